import asyncio

import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from agents.engines.openai.pacing import Pacer
from tests.agents.engines.openai.at_a_server import Clock


def test_a_minutes_tokens_go_at_once_and_what_comes_then_waits_its_turn() -> None:
    clock = Clock()
    pace, gone = Pacer(60, clock, clock.sleep), list[tuple[str, float]]()

    async def call(name: str, tokens: int) -> None:
        await pace.admit(tokens)
        gone.append((name, round(clock.now - 1000, 3)))

    async def main() -> None:
        await asyncio.gather(call("a", 40), call("b", 20), call("large", 30), call("small", 1))

    asyncio.run(main())
    assert gone == [("a", 0), ("b", 0), ("large", 30), ("small", 31)]


def test_a_call_larger_than_the_limit_waits_for_all_of_it_and_leaves_a_debt() -> None:
    clock = Clock()
    pace = Pacer(60, clock, clock.sleep)

    async def main() -> None:
        await pace.admit(10)
        await pace.admit(100)
        assert round(clock.now - 1000, 3) == 10
        await pace.admit(10)
        assert round(clock.now - 1000, 3) == 60

    asyncio.run(main())


def test_what_a_call_did_not_take_is_given_back() -> None:
    clock = Clock()
    pace = Pacer(60, clock, clock.sleep)

    async def main() -> None:
        await pace.admit(60)
        pace.settle(60, 20)
        await pace.admit(40)

    asyncio.run(main())
    assert clock.slept == []


def test_a_pause_holds_all_calls_back_and_the_longest_one_counts() -> None:
    clock = Clock()
    pace = Pacer(0, clock, clock.sleep)

    async def main() -> None:
        pace.pause(9)
        pace.pause(2)
        await pace.admit(1_000_000)
        await pace.admit(1_000_000)

    asyncio.run(main())
    assert clock.slept == [9]
