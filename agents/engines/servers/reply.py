"""What comes back from a chat completion, piece by piece or in one. What is no such reply raises, and is no answer."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from agents.engines.servers.errors import NoApi, Passing


class Words(msgspec.Struct, frozen=True):
    """Part of a message."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """Two names for thoughts, which are no part of the answer."""


class Choice(msgspec.Struct, frozen=True):
    """One answer, or part of it."""

    delta: Words | None = None
    message: Words | None = None
    finish_reason: str | None = None


class Cached(msgspec.Struct, frozen=True):
    """How many prompt tokens were there already."""

    cached_tokens: int | None = None


class Thought(msgspec.Struct, frozen=True):
    """How many completion tokens are thoughts."""

    reasoning_tokens: int | None = None


class Counted(msgspec.Struct, frozen=True):
    """The server's own count."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Cached | None = None
    completion_tokens_details: Thought | None = None


class Piece(msgspec.Struct, frozen=True):
    """One chunk of a stream, or a whole completion."""

    choices: tuple[Choice, ...] | None = None
    usage: Counted | None = None


class Reply:
    """An answer as it grows."""

    def __init__(self) -> None:
        self.text = ""
        self.finish_reason: str | None = None
        self.begun = False
        """Something came: the server has begun to work, and to charge."""
        self.counted = False
        """Whether the figures are the server's own; otherwise a piece counts as a token."""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        """The server's own count of thoughts; 0: it does not count them, or has none."""
        self._thought_characters = 0
        """Of thoughts that come apart from the text."""

    @property
    def thought_tokens(self) -> int:
        """Completion tokens of thoughts that came apart from the text; without the server's count, by characters."""
        if self.reasoning_tokens:
            return min(self.reasoning_tokens, self.completion_tokens)
        share = self._thought_characters / max(1, self._thought_characters + len(self.text))
        return round(share * self.completion_tokens)

    def add(self, piece: Piece) -> int:
        """Take a piece; returns how many tokens it brought."""
        self.begun = True
        before = self.completion_tokens
        for choice in (piece.choices or ())[:1]:
            words = choice.delta or choice.message or Words()
            self.text += words.content or ""
            thought = words.reasoning_content or words.reasoning or ""
            self._thought_characters += len(thought)
            if not self.counted and (words.content or thought):
                self.completion_tokens += 1
            if choice.finish_reason == "error":
                raise Passing("the server says that it failed")
            self.finish_reason = choice.finish_reason or self.finish_reason
        usage = piece.usage
        if usage and usage.prompt_tokens:
            self.counted = True
            self.prompt_tokens = max(0, usage.prompt_tokens)
            # Some servers leave thoughts out of the completion, and count them in the total alone.
            total = (usage.total_tokens or 0) - self.prompt_tokens
            self.completion_tokens = max(0, usage.completion_tokens or 0, total)
            if usage.completion_tokens_details:
                self.reasoning_tokens = max(0, usage.completion_tokens_details.reasoning_tokens or 0)
            details = usage.prompt_tokens_details
            self.cached_tokens = max(0, (details.cached_tokens or 0) if details else 0)
        return max(0, self.completion_tokens - before)

    def check(self) -> None:
        """Raise Passing where the answer has no end: a cut connection can look like the end of a stream."""
        if self.finish_reason is None:
            raise Passing("the answer broke off")


async def pieces(answer: Any) -> AsyncIterator[Piece]:
    """The pieces of what the library returns: a stream, a completion, or what some server sent instead.

    Raises:
        NoApi: a web page.
        Passing: what came is no reply.
    """
    if isinstance(answer, str):
        raise NoApi("it answers with a web page or plain text")
    if not hasattr(answer, "response"):
        yield _piece(answer.model_dump(warnings=False))
        return
    try:
        kind = answer.response.headers.get("content-type", "")
        if "html" in kind:
            raise NoApi("it answers with a web page")
        if "application/json" in kind:
            # Some servers answer in one piece whatever they are asked.
            yield _piece(msgspec.json.decode(await answer.response.aread()))
            return
        async for chunk in answer:
            yield _piece(chunk.model_dump(warnings=False))
    except msgspec.DecodeError as error:
        raise Passing(f"the server's answer is garbled: {error}") from error
    finally:
        await answer.close()


def _piece(plain: Any) -> Piece:
    if isinstance(plain, dict) and plain.get("error"):
        raise Passing(f"the server failed: {str(plain['error'])[:200]}")
    try:
        return msgspec.convert(plain, Piece)
    except msgspec.ValidationError as error:
        raise Passing(f"the server's answer is garbled: {error}") from error
