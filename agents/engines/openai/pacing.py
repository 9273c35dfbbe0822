"""The time of the next call to a server: tokens per minute, pauses on the server's demand, back-off. Makes no calls."""

import asyncio
import email.utils
import math
import random
from collections.abc import Awaitable, Callable, Mapping

LONGEST_BACKOFF_S = 60.0
MINUTE_S = 60.0


class Pacer:
    """Admits calls in their order of arrival.

    Args:
        tokens_per_minute: 0: no limit.
        clock: monotonic seconds.
        sleep: waits that many seconds.
    """

    def __init__(
        self, tokens_per_minute: int, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._limit = tokens_per_minute
        self._clock = clock
        self._sleep = sleep
        self._level = float(tokens_per_minute)
        self._filled_at = clock()
        self._paused_until = -math.inf
        self._turn = asyncio.Lock()

    async def admit(self, tokens: int) -> None:
        """Wait until a call of about this many tokens may be made, and count its tokens.

        A call above the limit waits for the tokens of a whole minute, and leaves a debt.
        """
        async with self._turn:
            while (wait := self._wait_s(tokens)) > 0:
                await self._sleep(wait)
            self._level -= tokens

    def settle(self, counted: int, real: int) -> None:
        """Correct the count of a call to its real number of tokens."""
        self._level += counted - real

    def pause(self, seconds: float) -> None:
        """Admit no call for this many seconds."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _wait_s(self, tokens: int) -> float:
        now = self._clock()
        paused = self._paused_until - now
        if not self._limit:
            return paused
        self._level = min(self._limit, self._level + (now - self._filled_at) * self._limit / MINUTE_S)
        self._filled_at = now
        missing = min(tokens, self._limit) - self._level
        # Ignore rounding errors: such a wait could be too short to advance the clock.
        short = missing * MINUTE_S / self._limit if missing > 1e-6 * self._limit else 0.0
        return max(paused, short)


def backoff_s(request_id: str, attempt: int) -> float:
    """Return the wait before retry 1, 2, ...: it doubles, with a jitter drawn from the id."""
    draw = random.Random(f"{request_id}/{attempt}").uniform(0.5, 1.0)  # noqa: S311 - spreads calls, guards nothing
    return float(min(LONGEST_BACKOFF_S, 2.0 ** min(attempt, 30)) * draw)


def retry_after_s(headers: Mapping[str, str], wall_clock: Callable[[], float]) -> float | None:
    """Return the seconds until the time that the server asks for; None if the headers name none."""
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    said = headers.get("retry-after", "")
    if (seconds := _number(said)) is not None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - wall_clock())
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None
