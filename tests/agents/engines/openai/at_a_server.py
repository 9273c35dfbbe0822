"""Engines at the test server (tests/agents/engines/openai/openai_server.py), in a time that passes only in sleep."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from agents.engines.base import Completion, EngineSettings, EngineStartError, Prompt, Turn
from agents.engines.openai.engine import OpenAIEngine
from broker.work_messages import Sampling, Teach
from tests.agents.engines.openai.openai_server import WAIT_S, Server

T = TypeVar("T")


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def prompt(question: str = "2 + 3?", begun: str = "Solution:", **sampling: Any) -> Prompt:
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "1 + 1?"),
        Turn("assistant", "Solution: 2"),
        Turn("user", question),
    )
    how = Sampling(**sampling)
    asked = Teach(problem=question, answer_form="number", sampling=how)
    return Prompt(request_id=f"{question}", turns=turns, begun=begun, sampling=how, seed=(1 << 62) + 5, request=asked)


def engine(server: Server, clock: Clock | None = None, *, capacity: int = 0, **options: Any) -> OpenAIEngine:
    clock = clock or Clock()
    told = EngineSettings(
        model=server.model, folder=None, capacity=capacity, threads=1, options={"base_url": server.url, **options}
    )
    return OpenAIEngine(told, clock=clock, sleep=clock.sleep)


def use(
    made: OpenAIEngine,
    work: Callable[[OpenAIEngine], Awaitable[T]],
    progress: Callable[[str, int], None] = lambda request_id, tokens: None,
) -> T:
    async def main() -> T:
        await made.start(progress)
        try:
            return await asyncio.wait_for(work(made), WAIT_S)
        finally:
            await made.stop()
            await made.stop()

    return asyncio.run(main())


def answer(made: OpenAIEngine, *prompts: Prompt, before: Callable[[], None] = lambda: None) -> list[Any]:
    """What becomes of the prompts, all asked at once; `before` runs between the start and the first of them."""

    async def work(started: OpenAIEngine) -> list[Any]:
        before()
        return list(await asyncio.gather(*map(started.generate, prompts), return_exceptions=True))

    return use(made, work)


def one(made: OpenAIEngine, asked: Prompt | None = None, before: Callable[[], None] = lambda: None) -> Completion:
    (outcome,) = answer(made, asked or prompt(), before=before)
    if isinstance(outcome, BaseException):
        raise outcome
    assert isinstance(outcome, Completion)
    return outcome


def refused_start(made: OpenAIEngine) -> str:
    with pytest.raises(EngineStartError) as error:
        asyncio.run(made.start(lambda request_id, tokens: None))
    said = str(error.value)
    assert len(said.splitlines()) <= 3
    return said
