import asyncio
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents import prompts
from agents.engines.base import Completion, EngineExhausted, EngineFailure, EngineSettings, EngineStartError, Scored
from agents.engines.simulated.engine import SimulatedEngine
from agents.engines.simulated.options import write_answer_key
from broker.protocol import digest
from broker.work_messages import Examine, Exemplar, Sampling, Teach

PROBLEMS = {f"What is {a} + {a}?": str(2 * a) for a in range(40)}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "answers"
    write_answer_key(path, PROBLEMS)
    return path


def ask(key: Path, requests: list[Teach | Examine], repeats: int = 1, **options: Any) -> list[Completion]:
    async def all_of_them() -> list[Completion]:
        args = {"answer_key": str(key), "tokens_per_second": 1e9, **options}
        engine = SimulatedEngine(EngineSettings("simulated", None, 0, 1, options=args))
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


def test_an_agent_waits_after_some_requests_while_a_file_says_so(key: Path, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    asked = [prompts.prompt(str(number), teach(problem), "") for number, problem in enumerate(PROBLEMS)]

    async def answered() -> tuple[int, list[Completion]]:
        args = {"answer_key": str(key), "pause_while": str(hold), "pause_after": 3}
        engine = SimulatedEngine(EngineSettings("simulated", None, 0, 1, options=args))
        at_work: set[str] = set()
        all_at_work = asyncio.Event()

        def progress(request_id: str, tokens: int) -> None:
            at_work.add(request_id)
            if len(at_work) == len(asked):
                all_at_work.set()

        await engine.start(progress)
        tasks = [asyncio.create_task(engine.generate(prompt)) for prompt in asked]
        await all_at_work.wait()
        await asyncio.gather(*tasks[:3])
        done = sum(task.done() for task in tasks)
        hold.unlink()
        return done, list(await asyncio.gather(*tasks))

    done, completions = asyncio.run(answered())
    assert (done, len(completions)) == (3, len(asked))


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
            EngineSettings("simulated", None, 0, 1, options={"answer_key": str(key), "failure_rate": 0.3})
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


def test_a_missing_answer_key_fails_no_request_and_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(EngineExhausted, match=r"no answer key at .*nowhere"):
        ask(tmp_path / "nowhere", [teach("What is 1 + 1?")])


def test_an_unknown_engine_argument_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EngineStartError, match=r"abilty(.|\n)*it takes: ability, uptake"):
        SimulatedEngine(EngineSettings("simulated", None, 0, 1, options={"abilty": 1}))


def test_completions_say_what_they_cost(key: Path) -> None:
    (completion,) = ask(key, [teach("What is 1 + 1?")])
    assert completion.usage.completion_tokens > 0
    assert msgspec.json.encode(completion)


def grades(key: Path, requests: list[Examine], **options: Any) -> list[Scored]:
    async def all_of_them() -> list[Scored]:
        engine = SimulatedEngine(EngineSettings("simulated", None, 0, 1, options={"answer_key": str(key), **options}))
        await engine.start(lambda request_id, tokens: None)
        return [await engine.logprobs(prompts.prompt(digest(r), r, ""), " way 1.\nAnswer: 2") for r in requests]

    return asyncio.run(all_of_them())


def test_a_grade_is_the_log_of_the_chance_that_the_exam_is_passed(key: Path) -> None:
    tp, gold = next(iter(PROBLEMS.items()))
    exams = [examine(p, tp, f"way {i % 5}.\nAnswer: {gold}") for i, p in enumerate(PROBLEMS) if p != tp]
    found = grades(key, exams)
    assert found == grades(key, exams)
    assert all(scored.logprob < 0 and scored.tokens > 0 for scored in found)
    requests: list[Teach | Examine] = list(exams)
    passed = share_right(requests, ask(key, requests, 50, unparsable_rate=0), 50)
    assert sum(math.exp(scored.logprob) for scored in found) / len(found) == pytest.approx(passed, abs=0.05)


def test_a_grade_rises_with_ability_and_stays_finite(key: Path) -> None:
    tp, other = list(PROBLEMS)[:2]
    exam = examine(other, tp, "way 1.\nAnswer: 0")
    found = [grades(key, [exam], ability=ability)[0].logprob for ability in (-9, 0, 9)]
    assert found == sorted(found) and len(set(found)) == 3
    assert all(math.isfinite(grades(key, [exam], ability=a, uptake=50)[0].logprob) for a in (-50, 50))


def test_a_grade_can_fail_as_an_exam_can(key: Path) -> None:
    with pytest.raises(EngineFailure, match="simulated failure"):
        grades(key, [examine(p, "TP", "TR") for p in PROBLEMS], failure_rate=0.5)
