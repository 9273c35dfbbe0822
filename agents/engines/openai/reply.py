"""Parse the response of a chat completion, streamed or whole."""

import codecs
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from agents.engines.openai.errors import AnswerTooLarge, IncompleteAnswer, NotAnApi, TransientError, error_in_answer

CHARACTERS_PER_TOKEN = 32
"""More than any model's average: a longer answer shows that the server ignores `max_tokens`."""
FEWEST_CHARACTERS = 1 << 16
"""Characters that an answer may always have."""
BYTES_PER_TOKEN = 1 << 12
"""Bytes of a stream per token, with everything around it."""
FEWEST_BYTES = 1 << 20
"""Bytes that a reply may always have."""
MOST_TOKENS = 10_000_000
"""Longer than any context: larger counts are wrong."""

LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "token_limit"})
"""Finish reasons for an answer cut off at `max_tokens`, in lower case."""
WITHHELD = frozenset(
    {"content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii"}
    | {"refusal", "sensitive", "guardrail_intervened"}
)
"""Finish reasons for an answer withheld by a filter or by the model."""
TOOLS = frozenset({"tool_calls", "tool_call", "tool_use", "function_call"})
FAILED = frozenset({"error", "abort", "aborted", "cancelled", "network_error", "insufficient_system_resource"})
"""Finish reasons for a failure of the server. All other reasons mean that the answer is complete."""


class ReplyMessage(msgspec.Struct, frozen=True):
    """A message, or a part of it in a stream."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    """Two names for thoughts, which are not part of the answer."""
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class ReplyChoice(msgspec.Struct, frozen=True):
    """An answer, or a part of it in a stream."""

    index: Any = 0
    delta: ReplyMessage | None = None
    message: ReplyMessage | None = None
    finish_reason: Any = None


class ReplyChunk(msgspec.Struct, frozen=True):
    """One chunk of a stream, or a whole completion."""

    choices: tuple[ReplyChoice, ...] | None = None
    usage: Any = None
    error: Any = None
    is_whole: bool = False
    """It is one JSON text, not part of a stream."""
    is_end: bool = False
    """The stream ends here."""


class Reply:
    """An answer under construction. It is cut off far beyond the requested `max_tokens`."""

    def __init__(self, max_tokens: int = 0) -> None:
        self.most_characters = max(FEWEST_CHARACTERS, CHARACTERS_PER_TOKEN * max_tokens)
        self.most_bytes = FEWEST_BYTES + BYTES_PER_TOKEN * max_tokens
        self.finish_reason: str | None = None
        """Finish reason in lower case; None: the answer has not ended."""
        self.refusal = ""
        """The model's refusal, which has a field of its own."""
        self.calls_tool = False
        self.started = False
        """Whether anything has arrived: the server has begun to work and to charge."""
        self.is_over = False
        """Whether the stream has ended or the answer was cut off."""
        self.is_cut = False
        """Whether the server did not stop at `max_tokens`."""
        self.counted = False
        """Whether the counts are the server's own; else each chunk counts as a token."""
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.completion_tokens = 0
        self.reasoning_tokens = 0
        """The server's count of thought tokens; 0: none, or not counted."""
        self._parts: list[str] = []
        self._characters = 0
        """Characters of text and thoughts."""
        self._thought_characters = 0
        """Characters of thoughts that came separately."""

    @property
    def text(self) -> str:
        """The answer."""
        # Some servers send a character outside the basic plane as two halves, in two chunks.
        return "".join(self._parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    @property
    def thought_tokens(self) -> int:
        """Completion tokens of thoughts that came separately; estimated by characters without the server's count."""
        if self.reasoning_tokens:
            return min(self.reasoning_tokens, self.completion_tokens)
        return round(self._thought_characters / max(1, self._characters) * self.completion_tokens)

    def add(self, chunk: ReplyChunk) -> int:
        """Add a chunk and return its number of tokens.

        Raises:
            ServerError: the server reports an error, or the chunk is garbled.
        """
        if chunk.error:
            raise error_in_answer(chunk.error)
        if chunk.is_whole and not chunk.choices:
            raise TransientError("the server's answer is garbled: it has no choices")
        self.started = True
        before = self.completion_tokens
        for choice in chunk.choices or ():
            if choice.index in (0, None):  # another index is an additional answer
                self._take(choice)
        if chunk.is_end or chunk.is_whole:
            self.is_over = True
            self.end()
        self._count(chunk.usage)
        return max(0, self.completion_tokens - before)

    def withheld(self) -> str:
        """Return why a working server gave no answer; empty if it gave one."""
        if self.finish_reason in WITHHELD:
            who = "the model" if self.finish_reason == "refusal" else "the server's content filter"
            return f"refused: {who} withheld the answer" + (f": {self.refusal[:200]}" if self.refusal else "")
        if self.text.strip():
            return ""
        if self.refusal:
            return f"refused: the model declines to answer: {self.refusal[:200]}"
        return "refused: the model calls a tool in place of answering" if self.calls_tool else ""

    def end(self) -> None:
        """Count the answer as complete, even without a finish reason."""
        if self._parts and self.finish_reason is None:
            self.finish_reason = "stop"

    def check(self) -> None:
        """Raise IncompleteAnswer if the answer has no end: a broken connection can look like the end of a stream."""
        if self.finish_reason is None:
            raise IncompleteAnswer("the answer broke off")

    def _take(self, choice: ReplyChoice) -> None:
        message = choice.delta or choice.message or ReplyMessage()
        text, thoughts = _text(message.content), _thoughts(message)
        if choice.delta is None and choice.message is not None:
            # A message is the complete answer, even at the end of a stream.
            self._parts.clear()
            self._characters = self._thought_characters = 0
        if choice.delta or choice.message:
            self._parts.append(text)
        self._thought_characters += len(thoughts)
        self._characters += len(text) + len(thoughts)
        if not self.counted and (text or thoughts):
            self.completion_tokens += 1
        if isinstance(message.refusal, str):
            self.refusal += message.refusal
        reason = choice.finish_reason or ""
        reason = reason.lower() if isinstance(reason, str) else "stop"
        reason = "" if reason in ("null", "none") else reason
        self.calls_tool |= bool(message.tool_calls or message.function_call) or reason in TOOLS
        if reason in FAILED:
            raise TransientError(f"the server says that it failed ({reason})")
        if reason:
            self.finish_reason = "length" if reason in LENGTH else reason
        if self._characters > self.most_characters:
            self._parts = [self.text[: self.most_characters]]
            self.finish_reason, self.is_over, self.is_cut = "length", True, True

    def _count(self, usage: Any) -> None:
        """Use the server's counts if they are plausible."""
        if not isinstance(usage, dict):
            return
        prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens") or 0
        if not _is_count(prompt) or not _is_count(completion) or not prompt:
            return
        self.counted = True
        # Some servers count thoughts only in the total.
        total = usage.get("total_tokens")
        self.prompt_tokens = prompt
        self.completion_tokens = max(completion, total - prompt) if _is_count(total) else completion
        self.cached_tokens = min(prompt, _detail(usage.get("prompt_tokens_details"), "cached_tokens"))
        self.reasoning_tokens = _detail(usage.get("completion_tokens_details"), "reasoning_tokens")


async def chunks(body: AsyncIterator[bytes], most_bytes: int) -> AsyncIterator[ReplyChunk]:
    """Yield the chunks of a body: a stream of events, or one JSON text, which some servers always send.

    Raises:
        NotAnApi: the body is a web page or plain text.
        TransientError: the body is garbled.
        AnswerTooLarge: the body is larger than `most_bytes`.
    """
    start, lines = b"", _lines(body, most_bytes)
    event: list[bytes] = []
    is_stream = False
    async for line in lines:
        if not start:
            line = line.removeprefix(codecs.BOM_UTF8)
            start = line.strip()[:1]
            if start == b"<":
                raise NotAnApi("it answers with a web page")
            if start in (b"{", b"["):
                whole = b"\n".join([line, *[line async for line in lines]])
                yield _chunk(whole, is_whole=True)
                return
        field, _, value = line.partition(b":")
        if field == b"data":
            event.append(value)
        is_stream |= field in (b"", b"data", b"event", b"id", b"retry") and bool(line)
        if not line and event:
            yield _chunk(b"\n".join(event))
            event.clear()
    if event:
        yield _chunk(b"\n".join(event))
    if start and not is_stream:
        raise NotAnApi("it answers with plain text")


async def _lines(body: AsyncIterator[bytes], most_bytes: int) -> AsyncIterator[bytes]:
    """Yield the lines of a body without line ends."""
    size, rest = 0, bytearray()
    async for part in body:
        size += len(part)
        if size > most_bytes:
            raise AnswerTooLarge(f"the reply is larger than {most_bytes:,} bytes")
        rest += part
        if b"\n" in part:
            *lines, rest = rest.split(b"\n")
            for line in lines:
                yield bytes(line).removesuffix(b"\r")
    if rest:
        yield bytes(rest)


def _chunk(data: bytes, *, is_whole: bool = False) -> ReplyChunk:
    if data.strip() == b"[DONE]":
        return ReplyChunk(is_end=True)
    try:
        plain = json.loads(data)
        if isinstance(plain, list) and plain:  # errors of Gemini are lists
            plain = plain[0]
        if isinstance(plain, dict) and "error" in (plain.get("object"), plain.get("type")):
            plain = {"error": plain} | plain
        return msgspec.structs.replace(msgspec.convert(plain, ReplyChunk), is_whole=is_whole, is_end=False)
    except (ValueError, RecursionError) as error:
        raise TransientError(f"the server's answer is garbled: {str(error)[:200]}") from error


def _text(content: Any) -> str:
    """Return the text of a content: a string, or the text parts of a list."""
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "".join(map(_text, content))
        case {"type": "text" | "output_text", "text": str(text)}:
            return text
        case {"type": str()}:  # a thought, an image
            return ""
    raise TransientError(f"the server's answer is garbled: its content is of type {type(content).__name__}")


def _thoughts(message: ReplyMessage) -> str:
    """Return thoughts from their own field or from parts of the content."""
    parts = message.content if isinstance(message.content, list) else []
    thinking = [part.get("thinking") for part in parts if isinstance(part, dict) and part.get("type") == "thinking"]
    return str(message.reasoning_content or message.reasoning or "") + "".join(map(_text, thinking))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS


def _detail(details: Any, name: str) -> int:
    count: Any = details.get(name) if isinstance(details, dict) else 0
    return int(count) if _is_count(count) else 0
