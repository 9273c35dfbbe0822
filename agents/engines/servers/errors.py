"""What went wrong with a call, as one of a few kinds that say what to do. It knows no engine and makes no calls.

Errors are told apart by what they carry (a status, a body) and not by the classes of a library: some come from
the HTTP library beneath it, and those have changed their names between versions.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from agents.engines.servers.pacing import retry_after_s
from broker.errors import EngineError

CONTEXT = re.compile(
    r"context.{0,12}(length|window|size)|max_model_len|n_ctx|too many (input )?tokens|(prompt|input) is too long", re.I
)
QUOTA = re.compile(
    r"insufficient_quota|billing|exceeded your current quota|credit balance|insufficient (funds|credits)", re.I
)
TRANSPORT = ("httpx", "httpx2", "httpcore", "httpcore2", "anyio", "ssl")
LONGEST = 300
"""Characters of a server's own words."""


class Trouble(EngineError):
    """A call without an answer."""


class Passing(Trouble):
    """Another try may help."""

    def __init__(self, text: str, wait_s: float | None = None, *, limited: bool = False) -> None:
        """`wait_s`: what the server asks for; `limited`: it is well, and takes no more calls for now."""
        super().__init__(text)
        self.wait_s = wait_s
        self.limited = limited
        self.received = 0
        """Tokens that had come before it broke off."""


class Refusal(Trouble):
    """The server does not want this request."""


class TooLong(Refusal):
    """The request is longer than the model's context."""


class Quota(Trouble):
    """The account is used up."""


class Unwelcome(Trouble):
    """The server knows the key, the model or the address not."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class NoApi(Trouble):
    """Something answers there that is no such server."""


def trouble(error: Exception, wall_clock: Callable[[], float]) -> Trouble | None:
    """What an exception of the library means; None: it is no trouble with a call but a mistake in the program."""
    if isinstance(error, Trouble):
        return error
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return _by_status(status, error, wall_clock)
    if "Timeout" in type(error).__name__:
        return Passing("the server is silent")
    if type(error).__name__ == "APIError":
        return _in_stream(error)
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return Passing(f"the server's answer is garbled: {error}")
    if isinstance(error, OSError) or type(error).__module__.split(".")[0] in TRANSPORT:
        return Passing(f"the connection broke: {_line(str(error)) or type(error).__name__}")
    if type(error).__name__ == "APIConnectionError":
        return Passing(f"no connection: {_line(str(error.__cause__ or error)) or type(error.__cause__).__name__}")
    return None


def _by_status(status: int, error: Exception, wall_clock: Callable[[], float]) -> Trouble:
    body = getattr(error, "body", None)
    words = said(body) or _line(str(error))
    told = f"HTTP {status}: {words}"
    if status < 300:
        return Passing(f"the server's answer is garbled: {words}")
    if status == 402 or (status == 429 and QUOTA.search(words)):
        return Quota(told)
    if status in (408, 409, 425, 429) or status >= 500:
        wait = retry_after_s(error.response.headers, wall_clock)  # type: ignore[attr-defined]
        return Passing(told, wait, limited=status == 429 or (status == 503 and wait is not None))
    if status < 400:
        location = error.response.headers.get("location", "another address")  # type: ignore[attr-defined]
        return Unwelcome(f"HTTP {status}: it redirects to {_line(location)}", status)
    if status in (401, 403, 404, 405):
        if isinstance(body, str) and body.lstrip().startswith("<"):
            return NoApi(f"HTTP {status} with a web page")
        return Unwelcome(told, status)
    if status == 413 or CONTEXT.search(words):
        return TooLong(told)
    return Refusal(told)


def _in_stream(error: Exception) -> Trouble:
    """The server began to answer, then said in the stream that it failed."""
    words = said(getattr(error, "body", None)) or _line(str(error))
    return TooLong(words) if CONTEXT.search(words) else Passing(f"the server broke off: {words}")


def said(body: Any) -> str:
    """What the body of an error says, in a line, without the request that some servers repeat in it."""
    match body:
        case {"error": dict() | str() as inner}:
            return said(inner)
        case {"message": str(message)}:
            hints = (body.get("code"), body.get("param"))
            return _line(" ".join([message, *(f"({hint})" for hint in hints if isinstance(hint, str) and hint)]))
        case {"detail": inner}:
            return said(inner)
        case [*items]:
            parts = [
                f"{'.'.join(map(str, i.get('loc', ())))}: {i.get('msg', '')}" for i in items if isinstance(i, dict)
            ]
            return _line("; ".join(parts))
        case str(text) if text.lstrip().startswith("<"):
            return "a web page"
        case str(text):
            return _line(text)
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
