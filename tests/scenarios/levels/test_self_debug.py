"""Level 1 with repaired programs: who is asked for a repair, what becomes of it, and what is taught."""

import random
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.work_messages import Examine, Judge, Sampling, Teach
from scenarios.config.schema import Exam, Lesson, Scenario, Task
from scenarios.levels import sequence
from scenarios.levels.base import Level, Request, Result, Setup
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from scenarios.tasks.programs import Case, ProgramTask
from tests.scenarios.levels import played
from tests.scenarios.levels.played import Played, small_scenario

SPEC = msgspec.json.encode(ProgramTask("double", visible=(Case([1], 2), Case([2], 4)))).decode()
SCENARIO = small_scenario(
    ("ada", "bob", "bob2"),
    task=Task(file="x"),
    lesson=Lesson(rationales=5, self_debug=True),
    exam=Exam(problems=1, repeats=2, self_debug=True),
)
ANSWERERS = played.ANSWERERS | {"bob2": "is bob"}
FAILING = ("", "double(2) returned 2; right is 4", "double(1) returned 1; right is 2\ndouble(2) returned 2; right is 4")
"""By how many visible cases fail."""
REPAIRS = {"repair", "exam_repair"}
Answer = Callable[[Request], Result]


def problem(name: str) -> Problem:
    return Problem(name, f"Double {name}.", "GOLD", "code", program=SPEC)


BANK = Bank("made up", tuple(ProblemGroup(problem(f"tp{n}"), (problem(f"ep{n}"),)) for n in range(2)), ())


def level(scenario: Scenario = SCENARIO, retried: frozenset[str] = frozenset()) -> Level:
    return sequence.make(Setup(scenario, BANK, ANSWERERS, retried))


def programmed(request: Request, name: str, fails: int, tokens: int = 10) -> Result:
    program = f"def double({name}):\n    return {name}"
    text = f"Strategy {name}.\n```python\n{program}\n```"
    return Result(request.id, text, program, not fails, completion_tokens=tokens, prompt_tokens=2 * tokens,
                  failing=FAILING[fails], behaviour=name if not request.ep else "")  # fmt: skip


def unanswered(request: Request, failed: str = "") -> Result:
    return Result(request.id, "", None, False, failed=failed, completion_tokens=0 if failed else 10)


def drawn(request: Request) -> Result:
    """An answer that depends on the request alone: a program that fails some cases, none, or a failure."""
    draw = random.Random(request.id)
    if draw.random() < 0.2:
        return unanswered(request, draw.choice(["", "engine"]))
    return programmed(request, draw.choice("ab"), draw.randrange(3))


def play(one: Level, answer: Answer = drawn, order: random.Random | None = None) -> dict[str, Request]:
    return Played(one, answer, order).asked


def fixed(first: int, then: Callable[[Request], Result]) -> Answer:
    """Every first program fails so many cases; `then` answers repairs."""

    def answer(request: Request) -> Result:
        return then(request) if request.stage in REPAIRS else programmed(request, f"a{request.repeat}", first)

    return answer


def test_without_self_debugging_nothing_is_repaired() -> None:
    plain = replace(SCENARIO, lesson=Lesson(rationales=5), exam=Exam(problems=1, repeats=2))
    asked = play(level(plain))
    assert {one.stage for one in asked.values()} == {"greedy", "teach", "exam"}
    exams_alone = play(level(replace(plain, exam=SCENARIO.exam)))
    assert asked.keys() == {id for id, one in exams_alone.items() if one.stage != "exam_repair"}
    assert {one.stage for one in exams_alone.values()} == {"greedy", "teach", "exam", "exam_repair"}


def test_a_program_that_fails_is_repaired_once_and_one_that_passes_is_not() -> None:
    one = level()
    asked = play(one)
    failing = [request for request in asked.values() if request.stage not in REPAIRS and drawn(request).failing]
    stages = Counter(request.stage for request in asked.values())
    assert stages["exam_repair"] == sum(request.stage == "exam" for request in failing) > 0
    texts = {(r.tp, r.stage, drawn(r).text, drawn(r).failing) for r in failing if r.kind == "Teach"}
    assert stages["repair"] == len(texts) > 0, "rationales with the same text share one"
    assert {stage: n for stage, n in one.totals().items() if stage in REPAIRS} == {s: stages[s] for s in REPAIRS}
    assert {request.to for request in asked.values() if request.stage == "repair"} == {"teacher"}
    assert all(request.sampling == SCENARIO.exam.sampling for request in asked.values() if request.kind == "Examine")
    greedy = [r for r in asked.values() if r.stage == "repair" and asked[r.tr].stage == "greedy"]
    assert all(request.sampling.temperature == 0 for request in greedy)


@given(st.integers(0, 2**32))
def test_the_order_of_arrival_decides_nothing(seed: int) -> None:
    straight, mixed = level(), level()
    assert play(straight).keys() == play(mixed, order=random.Random(seed)).keys()
    assert straight.outcome() == mixed.outcome()


@pytest.mark.parametrize(
    ("then", "kept"),
    [
        (lambda request: programmed(request, "better", 0), True),
        (lambda request: programmed(request, "better", 1), True),
        (lambda request: programmed(request, "equal", 2), False),
        (unanswered, False),
        (lambda request: unanswered(request, "engine"), False),
    ],
)
def test_the_better_program_is_kept_and_the_first_of_two_equal_ones(then: Answer, kept: bool) -> None:
    one = level()
    play(one, fixed(2, then))
    for lesson in one.outcome().lessons:
        assert len(lesson.rationales) == 5
        for rationale in lesson.rationales:
            assert rationale.answer is not None
            assert ("better" in rationale.answer) is kept
            assert (rationale.behaviour == "better") is kept
            assert len(rationale.exams) == 6


def test_a_repair_is_right_and_its_tokens_count() -> None:
    one = level()
    play(one, fixed(1, lambda request: programmed(request, "b", 0, tokens=7)))
    for lesson in one.outcome().lessons:
        assert all(one.correct and one.completion_tokens == 17 for one in lesson.rationales)
        assert lesson.greedy and lesson.greedy.correct and lesson.greedy.prompt_tokens == 34
        assert all(exam.correct for one in lesson.rationales for exam in one.exams)
        assert lesson.exam_tokens == 5 * 6 * 17


def test_a_repair_shows_the_earlier_answer_and_what_fails_and_no_gold_answer() -> None:
    one, texts = level(), dict[str, str]()
    seen = Counter[str]()

    def answer(request: Request) -> Result:
        message = one.message(request, texts.__getitem__)
        assert isinstance(message, Teach | Examine)
        assert "GOLD" not in str(message)
        if request.stage in REPAIRS:
            assert message.complaint == FAILING[2]
            assert (
                message.previous == texts[request.tr]
                if request.stage == "repair"
                else message.previous in texts.values()
            )
            assert message.problem == f"Double {request.ep or request.tp}."
        else:
            assert (message.complaint, message.previous) == ("", "")
        if isinstance(message, Examine):
            (taught,) = message.material
            strategy = texts[request.tr].partition("\n")[0]
            assert taught.rationale == f"{strategy}\n```python\ndef double(b):\n    return b\n```"
        seen[request.stage] += 1
        made = fixed(2, lambda request: programmed(request, "b", 0))(request)
        texts[request.id] = made.text
        return made

    play(one, answer)
    assert seen.keys() == {"greedy", "teach", "exam"} | REPAIRS


def test_no_more_than_three_failing_cases_are_shown() -> None:
    one = level()
    first = one.begin().requests[0]
    failing = "\n".join(f"double({n}) failed" for n in range(9))
    (repair,) = one.receive(Result(first.id, "text", "program", False, failing=failing)).requests
    message = one.message(repair, {first.id: "text"}.__getitem__)
    assert isinstance(message, Teach)
    assert message.complaint.split("\n") == [*failing.split("\n")[:3], "6 more fail"]


def test_a_judge_sees_the_repaired_program() -> None:
    one, texts = level(replace(SCENARIO, baselines=("self_evaluation",))), dict[str, str]()

    def answer(request: Request) -> Result:
        message = one.message(request, texts.__getitem__)
        if isinstance(message, Judge):
            assert "double(b)" in message.solutions[0]
            return Result(request.id, "Answer: Yes", None, False)
        made = fixed(2, lambda request: programmed(request, "b", 0))(request)
        texts[request.id] = made.text
        return made

    assert any(request.kind == "Judge" for request in play(one, answer).values())


def test_students_who_are_taught_the_answer_alone_see_the_repaired_program() -> None:
    one = level(replace(SCENARIO, lesson=replace(SCENARIO.lesson, material="answer")))
    made, materials = dict[str, str](), set[str]()

    def answer(request: Request) -> Result:
        message = one.message(request, made.__getitem__)
        if isinstance(message, Examine):
            materials.add(message.material[0].rationale)
        result = fixed(2, lambda request: programmed(request, "b", 0))(request)
        made[request.id] = result.text
        return result

    play(one, answer)
    assert materials == {"```python\ndef double(b):\n    return b\n```"}


def test_a_failed_repair_is_asked_again_as_another_request() -> None:
    asked = play(level(), fixed(2, lambda request: unanswered(request, "engine")))
    failed = frozenset(id for id, request in asked.items() if request.stage in REPAIRS)
    again = play(level(retried=failed), fixed(2, lambda request: programmed(request, "b", 2)))
    repairs = {id: request for id, request in again.items() if request.stage in REPAIRS}
    assert len(repairs) == len(failed)
    assert failed.isdisjoint(repairs)
    assert again.keys() - repairs.keys() == asked.keys() - failed


def test_another_temperature_is_another_repair() -> None:
    def warmer(sampling: Sampling) -> Sampling:
        return replace(sampling, temperature=1.0)

    cold, warm = level(), level(replace(SCENARIO, lesson=replace(SCENARIO.lesson, sampling=warmer(Sampling()))))
    answer = fixed(2, lambda request: programmed(request, "b", 2))
    repairs = [
        {one.id for one in play(each, answer).values() if one.stage == "repair" and one.sampling.temperature}
        for each in (cold, warm)
    ]
    assert repairs[0] and repairs[0].isdisjoint(repairs[1])
