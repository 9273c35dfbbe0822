"""From turns to tokens and back, by a model's own chat template.

Texts of turns are data: a control token spelled out in a problem is spelled to the model too, and never becomes
the control token (agents/engines/controls.py). A template without a system role gets the system turn merged into the
first user turn. Where a template opens the model's thoughts, a begun answer closes them first, so the model answers
without thinking. This file knows nothing of models, batches or devices.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from agents.engines import thoughts
from agents.engines.base import EngineFailure, EngineStartError, Turn
from agents.engines.controls import ControlInText, Controls
from agents.engines.templates import TemplateFailed, TemplateTooSlow, renderer

PROBE = "2718281828"
"""A text that no template has, and that none changes."""
TAIL = 16
"""Prompt tokens decoded along with a completion: some tokenizers drop a leading space at the start of a text, and the
prompt may end with an opening mark of thoughts."""


class Chat:
    """One tokenizer, with its chat template."""

    def __init__(self, tokenizer: Any, eos: int | Sequence[int] | None) -> None:
        """`eos`: the end tokens that the model's generation config names.

        Raises:
            EngineStartError: no chat template, or one that renders no chat.
        """
        if not tokenizer.chat_template:
            raise EngineStartError(
                "no chat template: take an instruction-tuned one, or put chat_template.jinja into its folder"
            )
        self.tokenizer = tokenizer
        self._controls = Controls(tokenizer)
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        special |= {token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._unsaid = frozenset(id_ for text, id_ in special.items() if text not in thoughts.SPECIAL_TOKENS)
        """Special tokens, which are no part of a text."""
        user = {"role": "user", "content": "?"}
        try:
            self._template: str = tokenizer.get_chat_template()
            self._system = PROBE in self._tried([{"role": "system", "content": PROBE}, user])
            if not self._system:
                self._render([user], add_generation_prompt=True)
            closed = self._tried([user, {"role": "assistant", "content": PROBE}], add_generation_prompt=False)
        except (TemplateFailed, ValueError) as error:
            raise EngineStartError(
                f"the chat template in {tokenizer.name_or_path} cannot be used: {error}\n"
                "put a chat_template.jinja that works into that folder, or take another model"
            ) from error
        # What the template puts right after an assistant's text, if that is a control token.
        after = closed.partition(PROBE)[2].lstrip()
        ends = [] if (end := self._controls.at_start(after)) is None else [end]
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
        messages = [{"role": turn.role, "content": self._controls.as_data(turn.text)} for turn in turns]
        if not self._system:
            messages = merge_system(messages)
        try:
            text = self._render(messages, add_generation_prompt=True)
            if begun:
                text += thoughts.closing(text) + self._controls.as_data(begun)
            return self._controls.encode(text)
        except TemplateFailed as error:
            raise EngineFailure("unsupported", f"the model's chat template refuses these turns: {error}") from error
        except ControlInText as error:
            raise EngineFailure("unsupported", str(error)) from error

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
        """The text of `completion`, without special tokens, as it goes on after `prompt`.

        Where the prompt ends with an opening mark of thoughts, that mark belongs to the text.
        """
        tail = list(prompt[-TAIL:])
        opened = thoughts.opened(self._text(tail))
        return opened + self._text(tail + list(completion))[len(self._text(tail)) :]

    def _text(self, tokens: list[int]) -> str:
        kept = [token for token in tokens if token not in self._unsaid]
        text: str = self.tokenizer.decode(kept, clean_up_tokenization_spaces=False)
        return text

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        values = {"messages": messages, "add_generation_prompt": add_generation_prompt, "tools": None}
        return renderer().render(self._template, {**values, "documents": None, **self.tokenizer.special_tokens_map})

    def _tried(self, messages: list[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        """The text of a chat; empty: the template refuses it."""
        try:
            return self._render(messages, add_generation_prompt=add_generation_prompt)
        except TemplateTooSlow:
            raise
        except TemplateFailed:
            return ""


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
