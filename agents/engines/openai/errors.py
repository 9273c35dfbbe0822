"""What went wrong with a call, as one of a few kinds that say what to do. It knows no engine and makes no calls.

Errors are told apart by what they carry (a status, a body) and not by the classes of a library: some come from
the HTTP library beneath it, and those have changed their names between versions.
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
"""A content filter refuses the request: Azure says `content_filter`, others name a content policy."""
TRANSPORT = ("httpx", "httpx2", "httpcore", "httpcore2", "anyio", "ssl")
OUT_OF_TOKENS = re.compile(r"could not finish the message because max_tokens", re.I)
"""Reasoning models of OpenAI say so, with status 400, where another server's answer ends with `length`."""
LONGEST = 300
"""Characters of a server's own words."""
LONGEST_BODY = 1 << 16
"""Bytes of a failed response."""


class ServerError(EngineError):
    """A call without an answer."""


class TransientError(ServerError):
    """Another try may help."""

    def __init__(self, text: str, wait_s: float | None = None, *, limited: bool = False) -> None:
        """`wait_s`: what the server asks for; `limited`: it is well, and takes no more calls for now."""
        super().__init__(text)
        self.wait_s = wait_s
        self.limited = limited


class IncompleteAnswer(TransientError):
    """The answer ends without saying so."""


class RequestRefused(ServerError):
    """The server does not want this request."""


class PromptTooLong(RequestRefused):
    """The request is longer than the model's context."""


class ContentFiltered(RequestRefused):
    """A content filter refuses the request; the server is well."""


class OutOfTokens(ServerError):
    """The model used up its tokens before it said anything."""


class AnswerTooLarge(ServerError):
    """The answer is too large, or takes too long: the server does not heed `max_tokens`."""


class QuotaExceeded(ServerError):
    """The account is used up."""


class SetupRejected(ServerError):
    """The server knows the key, the model or the address not."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class NotAnApi(ServerError):
    """Something answers there that is no such server."""


async def raise_for_status(response: Any) -> None:
    """Raise what a failed response means, as a hook of the HTTP library; of its body only a part is read.

    Raises:
        ServerError: the status says that the call failed.
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
    """What an exception means; None: it is no trouble with a call but a mistake in the program."""
    if isinstance(error, ServerError):
        return error
    if isinstance(error.__cause__, ServerError):  # some versions of the library wrap what its hooks raise
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
    """What a status and the server's words mean together."""
    told = f"HTTP {status}: {words}"
    if status == 402 or (status in (400, 403, 429) and QUOTA.search(words)):
        return QuotaExceeded(told)
    # 501: the server does not have a feature, as llama.cpp says it.
    if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
        wait = retry_after_s(headers, time.time)
        return TransientError(told, wait, limited=status == 429 or (status == 503 and wait is not None))
    if status < 400:
        return SetupRejected(
            f"HTTP {status}: it redirects to {_line(headers.get('location', 'another address'))}", status
        )
    if FILTERED.search(words):
        return ContentFiltered(told)
    if status in (401, 403, 404, 405) or (status == 501 and is_page):
        return NotAnApi(f"HTTP {status} with a web page") if is_page else SetupRejected(told, status)
    if OUT_OF_TOKENS.search(words):
        return OutOfTokens(told)
    if status == 413 or CONTEXT.search(words):
        return PromptTooLong(told)
    return RequestRefused(told)


def error_in_answer(error: Any) -> ServerError:
    """What an error means that the server sends in place of an answer, or in the middle of one, with status 200."""
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
    """What the body of an error says, in a line, without the request that some servers repeat in it."""
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
        case {"msg": message}:  # of one field, as FastAPI says it
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
