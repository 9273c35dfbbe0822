"""An engine that imports its libraries in a thread and loads its model at `start`.

For an agent that may have to train before it answers anything: its engine would only take memory from the training.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from agents.engines.base import Completion, Engine, Prompt, Scored


class LazyEngine:
    """The `Engine` that `make` returns. Before `start`, only `stop` may be called. Not for engines with prices."""

    spent: float | None = None

    def __init__(self, make: Callable[[], Engine]) -> None:
        """Call `make` in a thread; `start` raises what it raises."""
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
        """See Engine; also raises what `make` raised."""
        engine = await asyncio.wrap_future(self._making)
        await engine.start(on_progress)

    async def generate(self, prompt: Prompt) -> Completion:
        """See Engine."""
        return await self._engine.generate(prompt)

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        """See Engine."""
        return await self._engine.logprobs(prompt, solution)

    async def stop(self, *, again: bool = False) -> None:
        """See Engine."""
        if self._making.done() and not self._making.exception():
            await self._engine.stop(again=again)
