"""An engine that is made in the background."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from agents.engines.base import Completion, Engine, EngineStartError, Prompt, Scored
from agents.engines.lazy_engine import LazyEngine


class Quiet:
    device = "nowhere"
    capacity = 3
    spent: float | None = None

    def __init__(self) -> None:
        self.log: list[str] = []

    async def start(self, on_progress: Callable[[str, int], None]) -> None:
        self.log.append("start")

    async def generate(self, prompt: Prompt) -> Completion:
        raise NotImplementedError

    async def logprobs(self, prompt: Prompt, solution: str) -> Scored:
        raise NotImplementedError

    async def stop(self, *, again: bool = False) -> None:
        self.log.append("stop")


def nothing(request_id: str, tokens: int) -> None:
    """No progress is looked at."""


def test_it_is_made_at_once_in_a_thread_and_starts_when_it_is_told() -> None:
    made, quiet = threading.Event(), Quiet()

    def make() -> Engine:
        made.set()
        return quiet

    engine = LazyEngine(make)
    assert made.wait(600) and quiet.log == []

    async def live() -> None:
        await engine.start(nothing)
        assert (engine.device, engine.capacity, engine.spent) == ("nowhere", 3, None)
        await engine.stop()
        await engine.start(nothing)

    asyncio.run(live())
    assert quiet.log == ["start", "stop", "start"]


def test_what_cannot_be_made_is_told_at_the_start_and_can_be_stopped() -> None:
    def make() -> Engine:
        raise EngineStartError("no such package")

    engine = LazyEngine(make)
    with pytest.raises(EngineStartError, match="no such package"):
        asyncio.run(engine.start(nothing))
    asyncio.run(engine.stop())


def test_it_can_be_stopped_while_it_is_made() -> None:
    free, quiet = threading.Event(), Quiet()

    def make() -> Engine:
        assert free.wait(600)
        return quiet

    engine = LazyEngine(make)
    asyncio.run(engine.stop())
    free.set()
    assert quiet.log == []
