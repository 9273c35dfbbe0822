"""The first words with an OpenAI-compatible server: does it answer, what does it take, and if not, why not.

A few short calls of some tokens each, before the first request. The list of models is not asked for: some servers
that work have none, and it says nothing of what a server takes.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from agents.engines.base import Turn
from agents.engines.servers.dialect import Dialect
from agents.engines.servers.errors import NoApi, Passing, Quota, Refusal, TooLong, Unwelcome
from agents.engines.servers.options import Options
from agents.engines.servers.pacing import backoff_s
from agents.engines.servers.reply import Reply
from agents.engines.thoughts import without_begun
from broker.messages import Sampling

RETRIES = 3
"""At most: at the start, a server that is not there is more likely a wrong address than a passing trouble."""
LONGEST_WAIT_S = 600.0
"""A server that wants to be left alone for longer is not waited for."""
BEGUN = "Solution:"
TURNS = (
    Turn("system", "You answer in one short line."),
    Turn("user", "1 + 1?"),
    Turn("assistant", f"{BEGUN} 1 + 1 = 2"),
    Turn("user", "2 + 3?"),
)
SAMPLING = Sampling(max_tokens=16)
NEW_TURN_TOKENS = 3
"""Prompt tokens by which a begun answer must be longer than its text to have been closed like a finished turn."""

Call = Callable[[dict[str, Any]], Awaitable[Reply]]


def body(dialect: Dialect, begun: str = "") -> dict[str, Any]:
    """A short question, as the server takes it."""
    return dialect.body(TURNS, begun, SAMPLING, seed=1)


async def find_out(call: Call, dialect: Dialect, *, retries: int, sleep: Callable[[float], Awaitable[None]]) -> None:
    """Ask until the server answers, and teach `dialect` what it takes.

    Raises:
        Trouble: it does not answer, however it is asked.
    """

    async def ask(begun: str) -> Reply:
        attempt = 0
        while True:
            asked = body(dialect, begun)
            try:
                reply = await call(asked)
                dialect.note_guesses()
                return reply
            except TooLong:
                raise
            except Refusal as error:
                if not dialect.learn(asked, str(error)) and not dialect.guess(asked):
                    raise
            except Passing as error:
                attempt += 1
                if attempt > min(RETRIES, retries) or (error.wait_s or 0) > LONGEST_WAIT_S:
                    raise
                await sleep(backoff_s("", attempt) if error.wait_s is None else error.wait_s)

    plain = await ask("")
    if dialect.takes("prefill"):
        await _try_prefill(ask, dialect, plain)


async def _try_prefill(ask: Callable[[str], Awaitable[Reply]], dialect: Dialect, plain: Reply) -> None:
    """Find out whether the server goes on with a begun answer, or takes it for a finished turn."""
    once = await ask(BEGUN)
    if not dialect.takes("prefill"):
        return
    if once.thought_tokens and not once.text.strip():
        # A server that tells thoughts apart may take all for thoughts that no mark ends, as in a begun answer.
        dialect.give_up("prefill", "a begun answer comes back as thoughts")
        return
    if without_begun(once.text, BEGUN) != once.text:
        dialect.give_up("prefill", "asked to go on, it began again")
        return
    twice = await ask(f"{BEGUN} {BEGUN}")
    # Twice the beginning costs what it costs; once costs the same, and the frame of a turn if it was closed.
    frame = (once.prompt_tokens - plain.prompt_tokens) - (twice.prompt_tokens - once.prompt_tokens)
    if plain.counted and once.counted and twice.counted and frame >= NEW_TURN_TOKENS:
        dialect.give_up("prefill", f"its prompt grew by {frame} tokens more than were begun")


def explain(error: Exception, options: Options, model: str) -> str:
    """Why the engine cannot start and what to do, in one line: it is what a class that stops shows."""
    where, key = options.base_url, options.key_env
    match error:
        case NoApi():
            return f"{where} is no OpenAI-compatible server: {error}. A base_url mostly ends in /v1"
        case Unwelcome(status=401 | 403):
            to_do = f"Is the key in {key} right?" if key else "If it wants a key, name its variable: key_env."
            return f"{where} does not let us in: {error}. {to_do}"
        case Unwelcome(status=status) if status < 400:
            return f"{where}: {error}. Redirects are not followed: change base_url"
        case Unwelcome():
            unknown = f"the model {model!r}, or the address is wrong (base_url mostly ends in /v1)"
            return f"{where} does not know {unknown}: {error}"
        case Quota():
            return f"the account at {where} is used up: {error}"
        case Passing():
            return f"{where} does not answer: {error}. Is the server running, and base_url right?"
    return f"{where} refuses to answer as {model!r}: {error}"
