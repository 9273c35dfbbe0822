"""The errors of calls to a server, by what to do about them. Makes no calls.

Errors are classified by status and body, not by the classes of a library: some come from the HTTP library underneath,
whose class names change between versions.
"""

import json
import re
import time
from collections.abc import Mapping
from typing import Any

from agents.engines.openai.pacing import retry_after_s
from broker.errors import EngineError

CONTEXT = re.compile(
    r"context.{0,12}(length|window|size)|max_model_len|n_ctx|too many (input )?tokens|(prompt|input) is too long", re.I
)
QUOTA = re.compile(
    r"insufficient[_ ](quota|funds|credits?|balance)|exceeded your current quota|credit balance"
    r"|billing[_ ](hard[_ ])?limit|(enable|requires) billing",
    re.I,
)
FILTERED = re.compile(r"content[_ ]?(filter|polic|management)|ResponsibleAI", re.I)
"""Words of content filters: Azure writes `content_filter`, others name a content policy."""
TRANSPORT = ("httpx", "httpx2", "httpcore", "httpcore2", "anyio", "ssl")
OUT_OF_TOKENS = re.compile(r"could not finish the message because max_tokens", re.I)
"""Words of OpenAI's reasoning models, with status 400, where other servers end an answer with `length`."""
LONGEST = 300
"""Most characters of a server's message."""
LONGEST_BODY = 1 << 16
"""Most bytes of a failed response."""


class ServerError(EngineError):
    """A call has no answer."""


class TransientError(ServerError):
    """Another try may succeed."""

    def __init__(self, text: str, wait_s: float | None = None, *, limited: bool = False) -> None:
        """`wait_s`: the wait that the server asks for; `limited`: the server works but accepts no calls for now."""
        super().__init__(text)
        self.wait_s = wait_s
        self.limited = limited


class IncompleteAnswer(TransientError):
    """The stream closed before the answer ended."""


class RequestRefused(ServerError):
    """The server refuses this request."""


class PromptTooLong(RequestRefused):
    """The request is longer than the model's context."""


class ContentFiltered(RequestRefused):
    """A content filter refuses the request; the server works."""


class OutOfTokens(ServerError):
    """The model used up its tokens before its answer began."""


class AnswerTooLarge(ServerError):
    """The answer is too large or too slow: the server ignores `max_tokens`."""


class QuotaExceeded(ServerError):
    """The account is used up."""


class SetupRejected(ServerError):
    """The server does not know the key, the model or the address."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class NotAnApi(ServerError):
    """The address is not that of such a server."""


async def raise_for_status(response: Any) -> None:
    """Raise the error of a failed response; a hook of the HTTP library. Reads only part of the body.

    Raises:
        ServerError: the call failed.
    """
    if response.status_code < 300:
        return
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > LONGEST_BODY:
            break
    text = body[:LONGEST_BODY].decode(errors="replace")
    try:
        words = message_of(json.loads(text))
    except (ValueError, RecursionError):
        words = message_of(text)
    is_page = text.lstrip().startswith("<")
    raise error_of_status(response.status_code, words or _line(text), response.headers, is_page=is_page)


def classify(error: Exception) -> ServerError | None:
    """Convert an exception to a `ServerError`; None if it is a bug of this program."""
    if isinstance(error, ServerError):
        return error
    if isinstance(error.__cause__, ServerError):  # some versions of the library wrap the exceptions of hooks
        return error.__cause__
    if "Timeout" in type(error).__name__:
        return TransientError("the server is silent")
    if isinstance(error, OSError) or type(error).__module__.split(".")[0] in TRANSPORT:
        return TransientError(f"the connection broke: {_line(str(error)) or type(error).__name__}")
    if type(error).__name__ == "APIConnectionError":
        return TransientError(
            f"no connection: {_line(str(error.__cause__ or error)) or type(error.__cause__).__name__}"
        )
    return None


def error_of_status(status: int, words: str, headers: Mapping[str, str], *, is_page: bool = False) -> ServerError:
    """Return the error for a status and a message of the server."""
    text = f"HTTP {status}: {words}"
    if status == 402 or (status in (400, 403, 429) and QUOTA.search(words)):
        return QuotaExceeded(text)
    # llama.cpp answers 501 for a feature that it lacks.
    if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
        wait = retry_after_s(headers, time.time)
        return TransientError(text, wait, limited=status == 429 or (status == 503 and wait is not None))
    if status < 400:
        return SetupRejected(
            f"HTTP {status}: it redirects to {_line(headers.get('location', 'another address'))}", status
        )
    if FILTERED.search(words):
        return ContentFiltered(text)
    if status in (401, 403, 404, 405) or (status == 501 and is_page):
        return NotAnApi(f"HTTP {status} with a web page") if is_page else SetupRejected(text, status)
    if OUT_OF_TOKENS.search(words):
        return OutOfTokens(text)
    if status == 413 or CONTEXT.search(words):
        return PromptTooLong(text)
    return RequestRefused(text)


def error_in_answer(error: Any) -> ServerError:
    """Return the error that a server sends with status 200, in place of an answer or in the middle of one."""
    words = message_of({"error": error}) or _line(str(error))
    status = error.get("code") if isinstance(error, dict) else None
    if isinstance(status, int) and 400 <= status <= 599:
        return error_of_status(status, words, {})
    if OUT_OF_TOKENS.search(words):
        return OutOfTokens(words)
    if FILTERED.search(words):
        return ContentFiltered(words)
    if QUOTA.search(words):
        return QuotaExceeded(words)
    return PromptTooLong(words) if CONTEXT.search(words) else TransientError(f"the server failed: {words}")


def message_of(body: Any) -> str:
    """Return the message in the body of an error as one line, without the request that some servers repeat."""
    match body:
        case {"error": dict() | list() | str() as inner} | {"errors": list() as inner} if inner:
            return message_of(inner)
        case {"message": dict() | list() as inner}:
            return message_of(inner)
        case {"message": str(message)}:
            hints = (body.get("code"), body.get("param"))
            return _line(" ".join([message, *(f"({hint})" for hint in hints if isinstance(hint, str) and hint)]))
        case {"detail": inner}:
            return message_of(inner)
        case {"msg": message}:  # the format of FastAPI
            where = body.get("loc")
            return _line(f"{'.'.join(map(str, where)) if isinstance(where, list) else ''}: {message}")
        case [*items]:
            return _line("; ".join(filter(None, map(message_of, items))))
        case str(text) if text.lstrip().startswith("<"):
            return "a web page"
        case str(text):
            return _line(text)
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
