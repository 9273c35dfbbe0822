import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents import prompts
from agents.engines.base import Completion, EngineFailure, EngineStartError, Settings
from agents.engines.simulated import SimulatedEngine, write_answer_key
from broker.messages import Examine, Exemplar, Sampling, Teach, digest

PROBLEMS = {f"What is {a} + {a}?": str(2 * a) for a in range(40)}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "answers"
    write_answer_key(path, PROBLEMS)
    return path


def ask(key: Path, requests: list[Teach | Examine], repeats: int = 1, **options: Any) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        args = {"answer_key": str(key), "tokens_per_second": 1e9, **options}
        engine = SimulatedEngine(Settings("simulated", None, 0, 1, options=args))
        await engine.start(lambda request_id, tokens: None)
        asked = [(digest(r, k), r) for r in requests for k in range(repeats)]
        return list(await asyncio.gather(*(engine.generate(prompts.prompt(i, r, "")) for i, r in asked)))

    return asyncio.run(all_of_them())


def teach(problem: str) -> Teach:
    return Teach(problem=problem, answer_form="number", sampling=Sampling())


def examine(problem: str, tp: str, rationale: str) -> Examine:
    return Examine(problem=problem, answer_form="number", sampling=Sampling(), material=(Exemplar(tp, rationale),))


def share_right(requests: list[Teach | Examine], completions: list[Completion], repeats: int) -> float:
    golds = [PROBLEMS[r.problem] for r in requests for _ in range(repeats)]
    return sum(c.text.endswith(f"Answer: {g}") for c, g in zip(completions, golds, strict=True)) / len(golds)


def test_the_same_request_always_gets_the_same_text(key: Path) -> None:
    requests: list[Teach | Examine] = [teach(problem) for problem in PROBLEMS]
    assert ask(key, requests) == ask(key, list(requests))


def test_an_abler_agent_is_right_more_often(key: Path) -> None:
    requests: list[Teach | Examine] = [teach(problem) for problem in PROBLEMS]
    weak, middle, strong = (share_right(requests, ask(key, requests, 20, ability=a), 20) for a in (-2, 0, 2))
    assert weak < 0.35 < middle < 0.65 < strong


def test_students_taught_with_right_answers_do_better(key: Path) -> None:
    tp, gold = next(iter(PROBLEMS.items()))
    others = [p for p in PROBLEMS if p != tp]
    right: list[Teach | Examine] = [examine(p, tp, f"way {i}.\nAnswer: {gold}") for i, p in enumerate(others)]
    wrong: list[Teach | Examine] = [examine(p, tp, f"way {i}.\nAnswer: 77") for i, p in enumerate(others)]
    assert share_right(right, ask(key, right, 10), 10) > share_right(wrong, ask(key, wrong, 10), 10) + 0.2


def test_the_failure_rate_is_kept_and_is_the_same_each_time(key: Path) -> None:
    async def failures() -> list[str]:
        engine = SimulatedEngine(
            Settings("simulated", None, 0, 1, options={"answer_key": str(key), "failure_rate": 0.3})
        )
        failed = []
        for number in range(300):
            try:
                await engine.generate(prompts.prompt(digest(number), teach("What is 1 + 1?"), ""))
            except EngineFailure:
                failed.append(digest(number))
        return failed

    first, second = asyncio.run(failures()), asyncio.run(failures())
    assert first == second
    assert 60 < len(first) < 120


def test_a_missing_answer_key_fails_the_request_and_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(EngineFailure, match=r"no answer key at .*nowhere"):
        ask(tmp_path / "nowhere", [teach("What is 1 + 1?")])


def test_an_unknown_engine_argument_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EngineStartError, match=r"abilty(.|\n)*it takes: ability, uptake"):
        SimulatedEngine(Settings("simulated", None, 0, 1, options={"abilty": 1}))


def test_completions_say_what_they_cost(key: Path) -> None:
    (completion,) = ask(key, [teach("What is 1 + 1?")])
    assert completion.usage.completion_tokens > 0
    assert msgspec.json.encode(completion)
