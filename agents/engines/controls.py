"""The control tokens of a tokenizer, and tokenization of texts in which no text becomes a control token.

Every added token is a control token, also one that is not `special`, since some models have such role marks. Exceptions
are tokens of ordinary text, without which a model would get other tokens than in its training: blanks; words and
numbers that are not `special`; single characters, except special ones that no other token writes.
"""

import functools
import json
import logging
import re
import unicodedata
from typing import Any

from broker.errors import EngineError

log = logging.getLogger(__name__)

BREAK = "\ue000"
"""Private-use character that follows each character of a control token spelled out in a text."""
EDGE = "\ue001"
"""Private-use character at both ends of a text, so that the text forms no control token with its surroundings."""
MARKS = re.compile(f"[{BREAK}{EDGE}]")
BLANKS = re.compile(r"[\s▁]*")
"""U+2581 is SentencePiece's blank."""


class ControlInText(EngineError):
    """A text would become a control token, and this tokenizer cannot prevent it."""


class Controls:
    """The control tokens of one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._core = getattr(tokenizer, "backend_tokenizer", None)
        """None: the tokenizer is not one of the library `tokenizers`."""
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        added = {token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items()}
        special |= {token.content: id_ for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.ids: dict[str, int] = {
            text: id_ for text, id_ in (added | special).items() if self._is_control(text, special=text in special)
        }
        """Token ids by text."""
        self._known = frozenset(self.ids.values())
        longest_first = sorted(self.ids, key=len, reverse=True)
        # Testing the first character alone is fast with a thousand control tokens.
        first = "".join(sorted({re.escape(text[0]) for text in self.ids}))
        spelled = f"(?=[{first}])(?:{'|'.join(map(re.escape, longest_first))})" if self.ids else "(?!)"
        self._spelled = re.compile(spelled, re.IGNORECASE)
        """In either case, since a template may change it."""
        self._own = re.compile(f"({spelled})(?!{BREAK})")

    def _is_control(self, text: str, *, special: bool) -> bool:
        letters = BLANKS.sub("", text)
        if len(text) == 1:
            return bool(letters) and special and self._core is not None and self._core.model.token_to_id(text) is None
        return bool(letters) and (special or not all(unicodedata.category(letter)[0] in "LMN" for letter in letters))

    def as_data(self, text: str) -> str:
        """Mark `text`, so that `encode` can tell it from the template's own text."""
        text = MARKS.sub("", text)
        bare = text.strip()
        if not bare:
            return text
        before, _, after = text.partition(bare)
        broken = self._spelled.sub(lambda match: "".join(letter + BREAK for letter in match.group()), bare)
        # A template that trims texts must find their blanks.
        return f"{before}{EDGE}{broken}{EDGE}{after}"

    def at_start(self, text: str) -> int | None:
        """Return the id of the control token at the start of `text`, or None."""
        match = self._own.match(text)
        return self.ids[match.group()] if match else None

    def encode(self, marked: str) -> list[int]:
        """Tokenize a text without control tokens in the parts that `as_data` has marked.

        Raises:
            ControlInText: a marked part becomes a control token all the same.
        """
        # [text, control token, text, ...]
        parts = self._own.split(marked)
        wanted = [self.ids[text] for text in parts[1::2]]
        plain = MARKS.sub("", marked)
        tokens: list[int] = self._tokenizer(plain, add_special_tokens=False, split_special_tokens=False)["input_ids"]
        if [token for token in tokens if token in self._known] == wanted:
            return tokens
        if self._respelled is None:
            raise ControlInText("a text spells a control token of the model, and its tokenizer takes it for the token")
        core, ids = self._respelled
        parts = [_respell(part) if n % 2 else MARKS.sub("", part) for n, part in enumerate(parts)]
        tokens = [ids.get(token, token) for token in core.encode("".join(parts), add_special_tokens=False).ids]
        # Text that the vocabulary lacks rightly becomes the unknown token.
        unknown = self._tokenizer.unk_token_id
        allowed = iter(wanted)
        if not all(token in allowed for token in tokens if token in self._known and token != unknown):
            raise ControlInText("a text becomes a control token of the model, and nothing prevents it")
        return tokens

    @functools.cached_property
    def _respelled(self) -> tuple[Any, dict[int, int]] | None:
        """A copy of the tokenizer that recognises control tokens only in a marked spelling, and the ids that differ.

        Built when a text first spells a control token; that takes a second or two for a large vocabulary. None if it
        cannot be built.
        """
        if self._core is None:
            return None
        saved = json.loads(self._core.to_str())
        saved |= {"truncation": None, "padding": None, "post_processor": None}
        ids = {}
        for token in saved["added_tokens"]:
            token["content"] = self._spelling(token["content"])
            ids[token["content"]] = token["id"]
        # A text can match a control token in the vocabulary, too.
        model = saved["model"]
        if isinstance(model["vocab"], list):
            model["vocab"] = [[self._spelling(text), score] for text, score in model["vocab"]]
        else:
            model["vocab"] = {self._spelling(text): id_ for text, id_ in model["vocab"].items()}
        if model.get("unk_token"):
            model["unk_token"] = self._spelling(model["unk_token"])
        if "merges" in model:
            model["merges"] = [[a, b] for a, b in model["merges"] if not self.ids.keys() & {a, b, a + b}]
        try:
            copy = type(self._core).from_str(json.dumps(saved))
        except Exception as error:  # the library raises nothing more specific
            log.warning("texts that spell control tokens will fail, as the tokenizer cannot be changed: %s", error)
            return None
        return copy, {copy.token_to_id(text): id_ for text, id_ in ids.items()}

    def _spelling(self, text: str) -> str:
        return _respell(text) if text in self.ids else text


def _respell(text: str) -> str:
    return f"{BREAK}{text}{BREAK}"
