"""One set of weights at a time: requests for the same weights run together, others wait for their round.

An engine's batch computes with one set of weights. When nothing runs any more, the weights of whoever has waited
longest are next, and all that wait for those are let in together. While others wait, so many more may join the round,
which keeps the batch full, and no more: no weights starve however many requests come for the others. Knows neither
models nor prompts.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

JOIN = 64
"""Requests that may join a round while others wait for theirs."""


class WeightScheduler:
    """Who may run now.

    Args:
        switch: makes the engine compute with these weights; called when nothing runs. What it raises is raised for all
            that wait for these weights; those that it leaves the engine with count as unknown then.
    """

    def __init__(self, switch: Callable[[str], Awaitable[None]]) -> None:
        self._switch = switch
        self._held: str | None = ""
        """The weights that the engine computes with; None: unknown, after a switch that failed."""
        self._running = 0
        self._joined = 0
        """In this round, while others waited."""
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        """By weights, those of the one that waits longest first."""
        self._switching: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def turn(self, weights: str) -> AsyncIterator[None]:
        """While this lasts, the engine computes with `weights`; empty: with the base.

        Raises:
            Exception: what `switch` raised.
        """
        await self._enter(weights)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, weights: str) -> None:
        if weights == self._held and not self._switching and (not self._waiting or self._joined < JOIN):
            self._joined += bool(self._waiting)
            self._running += 1
            return
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(weights, []).append(let_in)
        self._go_on()
        try:
            await let_in
        except asyncio.CancelledError:
            if let_in.done() and not let_in.cancelled() and not let_in.exception():
                # Let in, and cancelled before it could notice.
                self._leave()
            raise

    def _leave(self) -> None:
        self._running -= 1
        self._go_on()

    def _go_on(self) -> None:
        """Begin the next round, if the last one is over and anybody waits."""
        for weights in [weights for weights, all_ in self._waiting.items() if all(one.done() for one in all_)]:
            del self._waiting[weights]
        if self._waiting and not self._running and not self._switching:
            self._switching = asyncio.create_task(self._change())

    async def _change(self) -> None:
        weights = next(iter(self._waiting))
        failure: Exception | None = None
        if weights != self._held:
            self._held = None
            try:
                await self._switch(weights)
                self._held = weights
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
        self._go_on()
