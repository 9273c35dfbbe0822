"""Invented exam problems: which are asked for, answered and used, and the class that goes on with them."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.work_messages import Examine, Invent, Sampling
from scenarios.config.invention_schema import Invention
from scenarios.config.schema import Exam, Lesson, Scenario, Task
from scenarios.levels import sequence
from scenarios.levels.base import Level, Request, Result, Setup
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.equal_cost import affordable
from scenarios.scoring.lbt import Sheet
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from tests.scenarios.levels.played import ANSWERERS, Played, small_scenario

SCENARIO = small_scenario(
    task=Task(family="x", problems=2),
    lesson=Lesson(rationales=3),
    exam=Exam(maker="invented", problems=2, invent=Invention(candidates=5, answers=3)),
)
BANK = Bank("made up", tuple(ProblemGroup(Problem(f"tp{n}", f"TP {n} of 7", "1", "number"), ()) for n in range(2)), ())
TEXTS = ("How many are 2 and 3?", "", "How many are 2 and 3?!", "Say 10 less 4.", "Say 20 less 5.")
"""What a writer writes, by repeat: the second is empty, the third a near duplicate of the first."""


def text_for(tp: str, number: int, texts: tuple[str, ...] = TEXTS) -> str:
    return texts[number].replace("How", f"In {tp}, how").replace("Say", f"Say for {tp}")


def setup(scenario: Scenario = SCENARIO, **others: object) -> Setup:
    return Setup(scenario, BANK, ANSWERERS, **others)  # type: ignore[arg-type]


def answer(request: Request, texts: tuple[str, ...] = TEXTS) -> Result:
    if request.stage == "invent":
        said, text = None, text_for(request.tp, request.repeat % 5, texts)
    else:
        draw = random.Random(request.id)
        said = "9" if request.stage == "agree" else str(draw.randrange(2))
        text = f"way {draw.randrange(5)}, so {said}"
    return Result(request.id, text, said, said == "1", prompt_tokens=50, completion_tokens=7)


def records(level: Level) -> tuple[TeachingProblemRecord, ...]:
    return level.outcome().lessons


def test_every_candidate_is_asked_for_and_only_usable_ones_are_answered() -> None:
    level = sequence.make(setup())
    asked = Played(level, answer).asked
    stages = Counter(request.stage for request in asked.values())
    assert (stages["invent"], stages["agree"]) == (2 * 5, 2 * 3 * 3)
    assert level.totals()["agree"] == 2 * 3 * 3
    assert {request.to for request in asked.values() if request.stage in ("invent", "agree")} == {"teacher"}
    invented = [lesson.invented for lesson in records(level)]
    assert all(one and (one.candidates, one.unusable, one.duplicates, one.disputed) == (5, 1, 1, 0) for one in invented)


def test_the_first_accepted_candidates_are_the_exam_with_the_agreed_answer() -> None:
    level = sequence.make(setup())
    asked = Played(level, answer).asked
    groups = level.outcome().invented
    assert [[ep.id for ep in group.eps] for group in groups] == [
        [f"tp{n}/ep/invented-1", f"tp{n}/ep/invented-4"] for n in range(2)
    ]
    assert [(ep.text, ep.answer) for ep in groups[1].eps] == [(text_for("tp1", n), "9") for n in (0, 3)]
    examined = {request.ep for request in asked.values() if request.stage == "exam"}
    assert examined == {ep.id for group in groups for ep in group.eps}


def test_every_exam_problem_is_announced_with_its_gold_answer_before_its_first_exam() -> None:
    level = sequence.make(setup())
    step, announced, waiting = level.begin(), dict[str, str](), list[Request]()
    while True:
        announced |= {problem.id: problem.answer for problem in step.problems}
        waiting += step.requests
        assert all(announced[request.ep] == "9" for request in waiting if request.stage == "exam")
        if not waiting:
            break
        step = level.receive(answer(waiting.pop(0)))
    eps = [ep.id for group in level.outcome().invented for ep in group.eps]
    assert len(eps) == 4 and {announced[id] for id in eps} == {"9"}


@given(order=st.randoms(use_true_random=False))
def test_the_order_of_arrival_decides_nothing(order: random.Random) -> None:
    one, other = sequence.make(setup()), sequence.make(setup())
    assert Played(one, answer).asked.keys() == Played(other, answer, order).asked.keys()
    assert one.outcome() == other.outcome()


def alone(scenario: Scenario, texts: tuple[str, ...], said: tuple[str, ...]) -> tuple[Level, dict[str, Request]]:
    """A class whose writer gives these texts, and these answers by repeat."""

    def say(request: Request) -> Result:
        result = answer(request, texts)
        return replace(result, answer=said[request.repeat] or None) if request.stage == "agree" else result

    played = Played(sequence.make(setup(scenario)), say)
    return played.level, played.asked


@pytest.mark.parametrize(
    ("texts", "said", "why"),
    [
        (("",) * 5, ("1",) * 3, (5, 0, 0)),
        (("TP 0 of 7",) * 2 + ("TP 1 of 7",) * 3, ("1", "2", ""), (0, 4, 1)),
        (TEXTS, ("1", "2", "3"), (1, 1, 3)),
        (TEXTS, ("1", "", ""), (1, 1, 3)),
    ],
)
def test_a_problem_without_a_usable_exam_problem_has_no_exams_and_votes_decide(
    texts: tuple[str, ...], said: tuple[str, ...], why: tuple[int, int, int]
) -> None:
    level, asked = alone(SCENARIO, texts, said)
    assert not any(request.stage == "exam" for request in asked.values())
    for lesson in records(level):
        assert lesson.abstains and lesson.invented
        assert (lesson.invented.unusable, lesson.invented.duplicates, lesson.invented.disputed) == why
        sheet = Sheet(lesson, lambda a, b, form: a == b)
        by_votes = sheet.choose("sc", ["ada"], SCENARIO.scoring)
        assert sheet.choose("max", ["ada"], SCENARIO.scoring) == by_votes
        assert sheet.choose("sum", ["ada"], SCENARIO.scoring) == by_votes


def test_one_candidate_of_two_problems_is_answered_once() -> None:
    level, asked = alone(SCENARIO, ("Count 3 and 4.",) * 5, ("7",) * 3)
    assert sum(request.stage == "agree" for request in asked.values()) == 3 == level.totals()["agree"]
    assert [[ep.id for ep in group.eps] for group in level.outcome().invented] == [
        ["tp0/ep/invented-1"], ["tp1/ep/invented-1"]
    ]  # fmt: skip


def test_a_problem_with_fewer_than_were_asked_for_uses_what_it_has() -> None:
    level, asked = alone(SCENARIO, (TEXTS[0],) * 5, ("4", "4", "5"))
    for lesson in records(level):
        assert lesson.invented and [one.agreeing for one in lesson.invented.problems] == [2]
        assert not lesson.abstains
    exams = Counter(request.ep for request in asked.values() if request.stage == "exam")
    assert set(exams) == {"tp0/ep/invented-1", "tp1/ep/invented-1"}


def test_a_writer_sees_the_problem_and_answers_without_material() -> None:
    level = sequence.make(setup())
    step = level.begin()
    first = step.requests[0]
    assert level.message(first, lambda id: id) == Invent(
        problem="TP 0 of 7", answer_form="number", sampling=SCENARIO.lesson.sampling
    )
    for request in step.requests:
        step = level.receive(answer(request))
    request = step.requests[0]
    assert [one.text for one in step.problems] == [text_for("tp1", n) for n in (0, 3, 4)]
    assert all(one.answer == "" for one in step.problems)
    message = level.message(request, lambda id: id)
    assert isinstance(message, Examine) and message.problem == text_for("tp1", 0) and not message.material


def test_a_student_may_write_and_draws_as_in_its_exams() -> None:
    exam = replace(SCENARIO.exam, invent=Invention(by="bob", candidates=5, answers=3), sampling=Sampling(max_tokens=90))
    asked = Played(sequence.make(setup(replace(SCENARIO, exam=exam))), answer).asked
    written = [request for request in asked.values() if request.stage in ("invent", "agree")]
    assert {(request.to, request.sampling.max_tokens) for request in written} == {("bob", 90)}


def test_a_failed_candidate_that_is_asked_again_is_another_draw() -> None:
    first = sequence.make(setup()).begin().requests[0]
    again = sequence.make(setup(retried=frozenset({first.id}))).begin().requests
    assert first.id not in {request.id for request in again}
    assert len({request.id for request in again}) == 10


def test_what_the_exam_problems_took_is_part_of_the_cost_of_m1() -> None:
    level = sequence.make(setup())
    Played(level, answer)
    (lesson, _) = records(level)
    assert lesson.tokens_of_exam_maker.completion_tokens == 7 * (5 + 9)
    assert lesson.tokens_of_exam_maker.prompt_tokens == 50 * (5 + 9)
    without = replace(lesson, invented=None)
    assert affordable(lesson, ["ada"]).by_tokens > affordable(without, ["ada"]).by_tokens
    assert affordable(lesson).by_completion == affordable(without).by_completion + 14
