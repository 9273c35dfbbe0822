import asyncio
from collections.abc import Awaitable, Callable

import pytest

from agents.engines.base import EngineFailure
from agents.engines.weight_scheduler import MAX_JOINS, WeightScheduler
from tests.classes import WAIT_S


class Bench:
    """An engine that notes what it computes with, and fails the test that mixes weights."""

    def __init__(self) -> None:
        self.rounds = WeightScheduler(self.switch)
        self.computes: str | None = ""
        self.running: list[str] = []
        self.log: list[str] = []
        self.broken: set[str] = set()

    async def switch(self, weights: str) -> None:
        assert not self.running
        self.computes = None
        await asyncio.sleep(0)
        if weights in self.broken:
            raise EngineFailure("unsupported", f"no weights {weights}")
        self.computes = weights
        self.log.append(f"switch {weights}")

    async def ask(self, weights: str, steps: int = 3) -> str:
        async with self.rounds.turn(weights):
            self.running.append(weights)
            try:
                for _ in range(steps):
                    assert self.computes == weights
                    assert set(self.running) == {weights}
                    await asyncio.sleep(0)
                self.log.append(weights)
                return weights
            finally:
                self.running.remove(weights)


def run(use: Callable[[Bench], Awaitable[None]]) -> Bench:
    bench = Bench()
    asyncio.run(asyncio.wait_for(use(bench), WAIT_S))
    return bench


def test_requests_for_the_same_weights_run_together_without_a_switch() -> None:
    async def use(bench: Bench) -> None:
        await asyncio.gather(*(bench.ask("") for _ in range(5)))

    assert run(use).log == [""] * 5


def test_mixed_requests_run_in_one_round_for_each_of_the_weights() -> None:
    async def use(bench: Bench) -> None:
        await asyncio.gather(*(bench.ask(weights) for _ in range(4) for weights in ("", "a", "b")))

    assert run(use).log == [*[""] * 4, "switch a", *"aaaa", "switch b", *"bbbb"]


def test_nobody_starves_behind_a_stream_of_requests_for_other_weights() -> None:
    async def use(bench: Bench) -> None:
        served = asyncio.Event()

        async def stream() -> None:
            while not served.is_set():
                await bench.ask("", steps=1)

        streams = [asyncio.create_task(stream()) for _ in range(3)]
        await asyncio.sleep(0)
        await bench.ask("a")
        served.set()
        await asyncio.gather(*streams)

    log = run(use).log
    assert MAX_JOINS <= log.index("a") <= MAX_JOINS + 5


def test_a_failed_switch_fails_those_who_wanted_it_and_the_next_switch_anew() -> None:
    async def use(bench: Bench) -> None:
        bench.broken = {"x"}
        outcomes = await asyncio.gather(*map(bench.ask, ["", "x", "x", ""]), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["", "no weights x", "no weights x", ""]
        await bench.ask("")

    # What the engine computes with is not known after a failure: so the base is switched to, though it was held last.
    assert run(use).log == ["", "", "switch ", ""]


@pytest.mark.parametrize("patience", range(6))
def test_those_who_no_longer_wait_hold_up_nobody(patience: int) -> None:
    async def use(bench: Bench) -> None:
        tasks = [asyncio.create_task(bench.ask(weights)) for weights in ("", "a", "b", "a")]
        for _ in range(patience):
            await asyncio.sleep(0)
        tasks[1].cancel()
        tasks[2].cancel()
        assert await tasks[0] == "" and await tasks[3] == "a"
        assert await bench.ask("c") == "c" and await bench.ask("") == ""

    run(use)
