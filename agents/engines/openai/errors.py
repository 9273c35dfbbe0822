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


class Trouble(EngineError):
    """A call without an answer."""


class Passing(Trouble):
    """Another try may help."""

    def __init__(self, text: str, wait_s: float | None = None, *, limited: bool = False) -> None:
        """`wait_s`: what the server asks for; `limited`: it is well, and takes no more calls for now."""
        super().__init__(text)
        self.wait_s = wait_s
        self.limited = limited


class BrokenOff(Passing):
    """The answer ends without saying so."""


class Refusal(Trouble):
    """The server does not want this request."""


class TooLong(Refusal):
    """The request is longer than the model's context."""


class Filtered(Refusal):
    """A content filter refuses the request; the server is well."""


class OutOfTokens(Trouble):
    """The model used up its tokens before it said anything."""


class TooMuch(Trouble):
    """The answer is too large, or takes too long: the server does not heed `max_tokens`."""


class Quota(Trouble):
    """The account is used up."""


class Unwelcome(Trouble):
    """The server knows the key, the model or the address not."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class NoApi(Trouble):
    """Something answers there that is no such server."""


async def raise_for_status(response: Any) -> None:
    """Raise what a failed response means, as a hook of the HTTP library; of its body only a part is read.

    Raises:
        Trouble: the status says that the call failed.
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
        words = said(json.loads(text))
    except (ValueError, RecursionError):
        words = said(text)
    is_page = text.lstrip().startswith("<")
    raise by_status(response.status_code, words or _line(text), response.headers, is_page=is_page)


def trouble(error: Exception) -> Trouble | None:
    """What an exception means; None: it is no trouble with a call but a mistake in the program."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error.__cause__, Trouble):  # some versions of the library wrap what its hooks raise
        return error.__cause__
    if "Timeout" in type(error).__name__:
        return Passing("the server is silent")
    if isinstance(error, OSError) or type(error).__module__.split(".")[0] in TRANSPORT:
        return Passing(f"the connection broke: {_line(str(error)) or type(error).__name__}")
    if type(error).__name__ == "APIConnectionError":
        return Passing(f"no connection: {_line(str(error.__cause__ or error)) or type(error.__cause__).__name__}")
    return None


def by_status(status: int, words: str, headers: Mapping[str, str], *, is_page: bool = False) -> Trouble:
    """What a status and the server's words mean together."""
    told = f"HTTP {status}: {words}"
    if status == 402 or (status in (400, 403, 429) and QUOTA.search(words)):
        return Quota(told)
    # 501: the server does not have a feature, as llama.cpp says it.
    if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
        wait = retry_after_s(headers, time.time)
        return Passing(told, wait, limited=status == 429 or (status == 503 and wait is not None))
    if status < 400:
        return Unwelcome(f"HTTP {status}: it redirects to {_line(headers.get('location', 'another address'))}", status)
    if FILTERED.search(words):
        return Filtered(told)
    if status in (401, 403, 404, 405) or (status == 501 and is_page):
        return NoApi(f"HTTP {status} with a web page") if is_page else Unwelcome(told, status)
    if OUT_OF_TOKENS.search(words):
        return OutOfTokens(told)
    if status == 413 or CONTEXT.search(words):
        return TooLong(told)
    return Refusal(told)


def in_answer(error: Any) -> Trouble:
    """What an error means that the server sends in place of an answer, or in the middle of one, with status 200."""
    words = said({"error": error}) or _line(str(error))
    status = error.get("code") if isinstance(error, dict) else None
    if isinstance(status, int) and 400 <= status <= 599:
        return by_status(status, words, {})
    if OUT_OF_TOKENS.search(words):
        return OutOfTokens(words)
    if FILTERED.search(words):
        return Filtered(words)
    if QUOTA.search(words):
        return Quota(words)
    return TooLong(words) if CONTEXT.search(words) else Passing(f"the server failed: {words}")


def said(body: Any) -> str:
    """What the body of an error says, in a line, without the request that some servers repeat in it."""
    match body:
        case {"error": dict() | list() | str() as inner} | {"errors": list() as inner} if inner:
            return said(inner)
        case {"message": dict() | list() as inner}:
            return said(inner)
        case {"message": str(message)}:
            hints = (body.get("code"), body.get("param"))
            return _line(" ".join([message, *(f"({hint})" for hint in hints if isinstance(hint, str) and hint)]))
        case {"detail": inner}:
            return said(inner)
        case {"msg": message}:  # of one field, as FastAPI says it
            where = body.get("loc")
            return _line(f"{'.'.join(map(str, where)) if isinstance(where, list) else ''}: {message}")
        case [*items]:
            return _line("; ".join(filter(None, map(said, items))))
        case str(text) if text.lstrip().startswith("<"):
            return "a web page"
        case str(text):
            return _line(text)
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
