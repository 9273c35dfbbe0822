"""Convert turns to tokens and back with a model's chat template.

Texts of turns are data: a control token spelled out in a problem never becomes the control token
(agents/engines/controls.py). For a template without a system role, the system turn is merged into the first user turn.
If a template opens the model's thoughts, a begun answer first closes them, so the model answers without thinking.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from agents.engines import thoughts
from agents.engines.base import EngineFailure, EngineStartError, Turn
from agents.engines.controls import ControlInText, Controls
from agents.engines.templates import TemplateFailed, TemplateTooSlow, renderer

PROBE = "2718281828"
"""A text that no template contains or changes."""
TAIL = 16
"""Number of prompt tokens decoded along with a completion: some tokenizers drop a leading space at the start of a text,
and the prompt may end with an opening mark of thoughts."""


class Chat:
    """A tokenizer with its chat template."""

    def __init__(self, tokenizer: Any, eos: int | Sequence[int] | None) -> None:
        """`eos`: the end tokens that the model's generation config names.

        Raises:
            EngineStartError: there is no chat template, or it renders no chat.
        """
        if not tokenizer.chat_template:
            raise EngineStartError(
                "no chat template: take an instruction-tuned one, or put chat_template.jinja into its folder"
            )
        self.tokenizer = tokenizer
        self._controls = Controls(tokenizer)
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        special |= {token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special = frozenset(id_ for text, id_ in special.items() if text not in thoughts.SPECIAL_TOKENS)
        """Special tokens, which are not part of a text."""
        user = {"role": "user", "content": "?"}
        try:
            self._template: str = tokenizer.get_chat_template()
            self._system = PROBE in self._try_render([{"role": "system", "content": PROBE}, user])
            if not self._system:
                self._render([user], add_generation_prompt=True)
            closed = self._try_render([user, {"role": "assistant", "content": PROBE}], add_generation_prompt=False)
        except (TemplateFailed, ValueError) as error:
            raise EngineStartError(
                f"the chat template in {tokenizer.name_or_path} cannot be used: {error}\n"
                "put a chat_template.jinja that works into that folder, or take another model"
            ) from error
        # The template may put a control token right after an assistant's text.
        after = closed.partition(PROBE)[2].lstrip()
        ends = [] if (end := self._controls.at_start(after)) is None else [end]
        self.stops = frozenset(
            {*([eos] if isinstance(eos, int) else eos or ()), tokenizer.eos_token_id, *ends} - {None}
        )
        """Tokens that end a completion."""
        self.end: int | None = next((token for token in (*ends, tokenizer.eos_token_id) if token is not None), None)
        """The token among them with which the model ends its turns; None: there is none."""

    def encode(self, turns: Iterable[Turn], begun: str) -> list[int]:
        """Return the tokens of a prompt, up to and including the begun assistant turn.

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
        """Return the tokens of a prompt followed by `text`, and the index of the first token of `text`.

        Prompt and text are tokenized together. The tokens that differ from the prompt's own belong to the text, as in
        generation; a token that joins the end of `begun` with the start of `text` counts as part of the text.

        Raises:
            EngineFailure: the template refuses these turns, or the text has no token.
        """
        turns = tuple(turns)
        prompt, whole = self.encode(turns, begun), self.encode(turns, begun + text)
        start = common_prefix(prompt, whole)
        if start == len(whole):
            raise EngineFailure("unsupported", "there is no token to score: the text is empty")
        return whole, start

    def decode(self, prompt: Sequence[int], completion: Sequence[int]) -> str:
        """Return the text of `completion` after `prompt`, without special tokens.

        If the prompt ends with an opening mark of thoughts, the text begins with that mark.
        """
        tail = list(prompt[-TAIL:])
        opened = thoughts.opened(self._text(tail))
        return opened + self._text(tail + list(completion))[len(self._text(tail)) :]

    def _text(self, tokens: list[int]) -> str:
        kept = [token for token in tokens if token not in self._special]
        text: str = self.tokenizer.decode(kept, clean_up_tokenization_spaces=False)
        return text

    def _render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        values = {"messages": messages, "add_generation_prompt": add_generation_prompt, "tools": None}
        return renderer().render(self._template, {**values, "documents": None, **self.tokenizer.special_tokens_map})

    def _try_render(self, messages: list[dict[str, str]], *, add_generation_prompt: bool = True) -> str:
        """Render a chat; empty if the template refuses it."""
        try:
            return self._render(messages, add_generation_prompt=add_generation_prompt)
        except TemplateTooSlow:
            raise
        except TemplateFailed:
            return ""


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return the number of leading tokens that two lists share."""
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def merge_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the chat with its system text at the head of the first user turn."""
    rules = [message["content"] for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if not rules:
        return others
    if not others or others[0]["role"] != "user":
        return [{"role": "user", "content": "\n\n".join(rules)}, *others]
    first = {"role": "user", "content": "\n\n".join([*rules, others[0]["content"]])}
    return [first, *others[1:]]
