"""Schedule requests for different weights in rounds, one set of weights per round.

An engine's batch computes with one set of weights. When a round has ended, the weights with the longest waiting request
are next, and all requests for them start together. While other weights wait, a limited number of requests may join the
round: this keeps the batch full and starves no weights.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

MAX_JOINS = 64
"""Number of requests that may join a round while other weights wait."""


class WeightScheduler:
    """Admits requests by weights.

    Args:
        switch: makes the engine compute with these weights; called when nothing runs. If it raises, all requests that
            wait for these weights raise the same, and the engine's weights count as unknown.
    """

    def __init__(self, switch: Callable[[str], Awaitable[None]]) -> None:
        self._switch = switch
        self._current: str | None = ""
        """The weights that the engine computes with; None: unknown, after a failed switch."""
        self._running = 0
        self._joined = 0
        """Requests that joined this round while other weights waited."""
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        """Waiting requests by weights; the weights with the longest waiting request come first."""
        self._switching: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def turn(self, weights: str) -> AsyncIterator[None]:
        """Hold the engine at `weights` (empty: the base) within the context.

        Raises:
            Exception: what `switch` raised.
        """
        await self._enter(weights)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, weights: str) -> None:
        if weights == self._current and not self._switching and (not self._waiting or self._joined < MAX_JOINS):
            self._joined += bool(self._waiting)
            self._running += 1
            return
        admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(weights, []).append(admitted)
        self._next_round()
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.done() and not admitted.cancelled() and not admitted.exception():
                # Admitted, then cancelled before it could run.
                self._leave()
            raise

    def _leave(self) -> None:
        self._running -= 1
        self._next_round()

    def _next_round(self) -> None:
        """Begin the next round if the last one is over and a request waits."""
        for weights in [weights for weights, all_ in self._waiting.items() if all(one.done() for one in all_)]:
            del self._waiting[weights]
        if self._waiting and not self._running and not self._switching:
            self._switching = asyncio.create_task(self._change())

    async def _change(self) -> None:
        weights = next(iter(self._waiting))
        failure: Exception | None = None
        if weights != self._current:
            self._current = None
            try:
                await self._switch(weights)
                self._current = weights
            except Exception as error:
                failure = error
        for waiter in self._waiting.pop(weights, ()):
            if waiter.done():
                continue
            if failure:
                waiter.set_exception(failure)
            else:
                waiter.set_result(None)
                self._running += 1
        self._switching, self._joined = None, 0
        self._next_round()
