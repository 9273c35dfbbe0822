"""From turns to tokens and back, by a model's own chat template.

Texts of turns are data: a control token spelled out in a problem is spelled to the model too, and never becomes
the control token. A template without a system role gets the system turn merged into the first user turn. This
file knows nothing of models, batches or devices.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2

from agents.engines.base import EngineFailure, EngineStartError, Turn

MARK = "\ue000"
"""Private use: put between the letters of a control token spelled out in a text; the template's own have none."""
TAIL = 4
"""Prompt tokens decoded along with a completion: some tokenizers drop a leading space at the start of a text."""


class Chat:
    """One tokenizer, with its chat template."""

    def __init__(self, tokenizer: Any, eos: int | Sequence[int] | None) -> None:
        """`eos`: the end tokens that the model's generation config names.

        Raises:
            EngineStartError: no chat template.
        """
        if not tokenizer.chat_template:
            raise EngineStartError(
                "no chat template: take an instruction-tuned one, or put chat_template.jinja into its folder"
            )
        self.tokenizer = tokenizer
        added = {token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        own = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        self._controls: dict[str, int] = {text: id_ for text, id_ in (added | own).items() if len(text) > 1}
        longest_first = sorted(self._controls, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._system = self._has_system_role()
        ends = self._end_of_turn()
        self.stops = frozenset(
            {*([eos] if isinstance(eos, int) else eos or ()), tokenizer.eos_token_id, *ends} - {None}
        )
        """Tokens that end a completion."""
        self.end: int | None = next((token for token in (*ends, tokenizer.eos_token_id) if token is not None), None)
        """The one of them that the model was taught to end its turn with; None: there is none."""

    def encode(self, turns: Iterable[Turn], begun: str) -> list[int]:
        """The tokens of a prompt, up to and including the begun assistant's turn.

        Raises:
            EngineFailure: the template refuses these turns.
        """
        messages = [{"role": turn.role, "content": self._defuse(turn.text)} for turn in turns]
        if not self._system:
            messages = merge_system(messages)
        try:
            text = self._render(messages, add_generation_prompt=True) + self._defuse(begun)
        except jinja2.TemplateError as error:
            raise EngineFailure("unsupported", f"the model's chat template refuses these turns: {error}") from error
        if MARK not in text:
            return self._tokens(text, controls=True)
        # The tokenizer itself splits at control tokens first; so does this, but at the template's own alone.
        tokens: list[int] = []
        end = 0
        for match in self._control.finditer(text):
            tokens += self._tokens(text[end : match.start()].replace(MARK, ""), controls=False)
            tokens.append(self._controls[match.group()])
            end = match.end()
        return tokens + self._tokens(text[end:].replace(MARK, ""), controls=False)

    def encode_with(self, turns: Iterable[Turn], begun: str, text: str) -> tuple[list[int], int]:
        """The tokens of a prompt that goes on with `text`, and how many of them are the prompt's alone.

        Prompt and text are split into tokens as one, and what differs from the prompt's own tokens is the text's. That
        is how a generated text has its tokens too, unless the tokenizer joins the last letters of `begun` with the
        first of `text`: such a token counts to the text.

        Raises:
            EngineFailure: the template refuses these turns, or the text has no token.
        """
        turns = tuple(turns)
        prompt, whole = self.encode(turns, begun), self.encode(turns, begun + text)
        length = min(len(prompt), len(whole))
        start = next((index for index in range(length) if prompt[index] != whole[index]), length)
        if start == len(whole):
            raise EngineFailure("unsupported", "there is no token to score: the text is empty")
        return whole, start

    def decode(self, prompt: Sequence[int], completion: Sequence[int]) -> str:
        """The text of `completion`, without control tokens, as it goes on after `prompt`."""
        tail = list(prompt[-TAIL:])
        return self._text(tail + list(completion))[len(self._text(tail)) :]

    def _tokens(self, text: str, *, controls: bool) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=not controls)["input_ids"]
        return ids

    def _text(self, tokens: list[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return text

    def _defuse(self, text: str) -> str:
        return self._control.sub(lambda match: MARK.join(match.group()) + MARK, text.replace(MARK, ""))

    def _has_system_role(self) -> bool:
        try:
            text = self._render(
                [{"role": "system", "content": "<<rule>>"}, {"role": "user", "content": "?"}],
                add_generation_prompt=True,
            )
        except jinja2.TemplateError:
            return False
        return "<<rule>>" in text

    def _end_of_turn(self) -> list[int]:
        """The control token that the template puts right after an assistant's text, if it puts one there."""
        try:
            text = self._render(
                [{"role": "user", "content": "?"}, {"role": "assistant", "content": "<<said>>"}],
                add_generation_prompt=False,
            )
        except jinja2.TemplateError:
            return []
        match = self._control.match(text.rpartition("<<said>>")[2].lstrip())
        return [self._controls[match.group()]] if match else []


def merge_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same chat without a system role: what it said stands at the head of the first user turn."""
    rules = [message["content"] for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if not rules:
        return others
    if not others or others[0]["role"] != "user":
        return [{"role": "user", "content": "\n\n".join(rules)}, *others]
    first = {"role": "user", "content": "\n\n".join([*rules, others[0]["content"]])}
    return [first, *others[1:]]
