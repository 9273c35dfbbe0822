"""Short calls at the start that find out whether the server answers and what it supports.

An answer may be empty, since a reasoning model may use all its tokens for thoughts. The list of models is not
requested: some working servers have none, and it does not show what a server supports.
"""

import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from agents.engines.base import Turn
from agents.engines.openai.capabilities import FeatureSearch, ServerCapabilities
from agents.engines.openai.errors import (
    ContentFiltered,
    IncompleteAnswer,
    NotAnApi,
    PromptTooLong,
    QuotaExceeded,
    RequestRefused,
    SetupRejected,
    TransientError,
)
from agents.engines.openai.options import Feature, ServerOptions
from agents.engines.openai.pacing import backoff_s
from agents.engines.openai.reply import Reply
from agents.engines.thoughts import without_begun
from broker.work_messages import Sampling

RETRIES = 3
"""Most retries at the start, where a missing server is more likely a wrong address than a transient failure."""
LONGEST_WAIT_S = 600.0
"""The longest wait that is accepted from a server."""
BEGUN = "Solution:"
TURNS = (
    Turn("system", "You answer in one short line."),
    Turn("user", "1 + 1?"),
    Turn("assistant", f"{BEGUN} 1 + 1 = 2"),
    Turn("user", "2 + 3?"),
)
MOST_TOKENS = 1024
"""Reasoning models use tokens before they answer, and some refuse a smaller limit. If the model's context or the server
allows fewer, the limit is lowered."""
FEWEST_TOKENS = 16
TOO_MANY = re.compile(
    r"max_(completion_)?tokens.{0,80}(too (large|high|many)|at most|less than|exceed|<=|maximum)", re.I
)
NEW_TURN_TOKENS = 3
"""Additional prompt tokens that show that the server closed a begun answer like a finished turn."""
CORRECT = "For another address or model: resume with --set ...engine_args.base_url=URL or --set ...model=NAME"

Call = Callable[[dict[str, Any]], Awaitable[Reply]]


def body(
    capabilities: ServerCapabilities,
    begun: str = "",
    *,
    max_tokens: int = MOST_TOKENS,
    without: Collection[Feature] = (),
) -> dict[str, Any]:
    """Return the body of a short question."""
    return capabilities.body(TURNS, begun, Sampling(max_tokens=max_tokens), seed=1, without=without)


async def find_out(
    call: Call, capabilities: ServerCapabilities, *, retries: int, sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Ask until the server answers, and record in `capabilities` what it supports.

    Raises:
        ServerError: it answers no form of the request.
    """
    max_tokens = MOST_TOKENS

    async def ask(begun: str) -> Reply:
        nonlocal max_tokens
        passing, attempt = 0, FeatureSearch(capabilities, at_start=True)
        while True:
            asked = body(capabilities, begun, max_tokens=max_tokens, without=attempt.without)
            try:
                reply = await call(asked)
                attempt.answered()
                return reply
            except ContentFiltered:
                # The server works; other requests will show what it supports.
                reply = Reply()
                reply.finish_reason = "content_filter"
                return reply
            except RequestRefused as error:
                if max_tokens > FEWEST_TOKENS and (isinstance(error, PromptTooLong) or TOO_MANY.search(str(error))):
                    max_tokens //= 4
                elif isinstance(error, PromptTooLong) or not attempt.refused(asked, str(error)):
                    raise
            except TransientError as error:
                passing += 1
                if isinstance(error, IncompleteAnswer) and passing > 1 and capabilities.reports_end:
                    capabilities.assume_no_end()
                elif passing > min(RETRIES, retries) or (error.wait_s or 0) > LONGEST_WAIT_S:
                    raise
                else:
                    await sleep(backoff_s("", passing) if error.wait_s is None else error.wait_s)

    plain = await ask("")
    if capabilities.supports("prefill"):
        await _try_prefill(ask, capabilities, plain)


async def _try_prefill(ask: Callable[[str], Awaitable[Reply]], capabilities: ServerCapabilities, plain: Reply) -> None:
    """Find out whether the server continues a begun answer, or closes it like a finished turn."""
    once = await ask(BEGUN)
    if not capabilities.supports("prefill") or once.withheld():
        return
    if not once.text.strip():
        # A server that separates thoughts may read an answer without marks, as after a begun one, as thoughts.
        # If the plain answer is empty too, and no tokens were used, the empty answer proves nothing.
        if plain.text.strip() or once.thought_tokens or once.finish_reason == "length":
            capabilities.disable("prefill", "asked to go on with a begun answer, it says nothing")
        return
    if without_begun(once.text, BEGUN) != once.text:
        capabilities.disable("prefill", "asked to go on, it began again")
        return
    twice = await ask(f"{BEGUN} {BEGUN}")
    # The second beginning adds its own tokens; the first adds the same, and the frame of a turn if it was closed.
    frame = (once.prompt_tokens - plain.prompt_tokens) - (twice.prompt_tokens - once.prompt_tokens)
    if plain.counted and once.counted and twice.counted and frame >= NEW_TURN_TOKENS:
        capabilities.disable("prefill", f"its prompt grew by {frame} tokens more than were begun")


def explain(error: Exception, options: ServerOptions, model: str) -> str:
    """Return in one line why the engine cannot start and what to do; a class that stops prints it."""
    where, key = options.base_url, options.key_env
    match error:
        case NotAnApi():
            return f"{where} is no OpenAI-compatible server: {error}. A base_url mostly ends in /v1. {CORRECT}"
        case SetupRejected(status=401 | 403):
            to_do = f"Is the key in {key} right?" if key else "If it wants a key, name its variable: key_env."
            return f"{where} does not let us in: {error}. {to_do}"
        case SetupRejected(status=status) if status < 400:
            return f"{where}: {error}. Redirects are not followed: change base_url"
        case SetupRejected():
            unknown = f"the model {model!r}, or the address is wrong (base_url mostly ends in /v1)"
            return f"{where} does not know {unknown}: {error}. {CORRECT}"
        case QuotaExceeded():
            return f"the account at {where} is used up: {error}"
        case TransientError(limited=True):
            return f"{where} takes no calls for now: {error}. Try again later"
        case TransientError():
            return f"{where} does not answer: {error}. Is the server running, and base_url right? {CORRECT}"
    return f"{where} refuses to answer as {model!r}: {error}"
