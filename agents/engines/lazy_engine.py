"""An engine that is not there from the beginning: its libraries are imported meanwhile, its model when it is started.

For an agent that may have to train before it answers anything, and whose engine would only be in the way then.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from agents.engines.base import Completion, Engine, Prompt, Scored


class LazyEngine:
    """What `make` makes, in a thread, from now on; see agents.engines.base.Engine.

    Only for engines whose calls cost nothing. Before `start` nothing but `stop` may be called.
    """

    spent: float | None = None

    def __init__(self, make: Callable[[], Engine]) -> None:
        """`make` may raise: `start` does then."""
        self._making = ThreadPoolExecutor(1, "engine").submit(make)

    @property
    def _engine(self) -> Engine:
        return self._making.result()

    @property
    def device(self) -> str:
        """See Engine."""
        return self._engine.device

    @property
    def capacity(self) -> int:
        """See Engine."""
        return self._engine.capacity

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        """See Engine; what `make` raised is raised here."""
        engine = await asyncio.wrap_future(self._making)
        await engine.start(on_progress)

    async def generate(self, prompt: Prompt) -> Completion:
        """See Engine."""
        return await self._engine.generate(prompt)

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """See Engine."""
        return await self._engine.logprobs(prompt, solution)

    async def stop(self) -> None:
        """See Engine."""
        if self._making.done() and not self._making.exception():
            await self._engine.stop()
