import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.messages import Sampling
from scenarios.levels.base import Request, Result, Told
from scenarios.levels.observe import Observe
from scenarios.schema import Agent, Exam, Lesson, Scenario, Scoring, Task
from scenarios.tasks.bank import Bank, Item, Problem

STUDENTS = ("ada", "bob")


def scenario(**more: object) -> Scenario:
    values = {
        "lesson": Lesson(rationales=3),
        "exam": Exam(problems=2, repeats=2),
        "students": tuple(Agent(name=name) for name in STUDENTS),
        **more,
    }
    return Scenario(name="test", seed=3, task=Task(family="x"), teacher=Agent(name="teacher"), **values)  # type: ignore[arg-type]


def bank(tps: int = 2, eps: int = 2) -> Bank:
    items = []
    for n in range(tps):
        own = [Problem(f"tp{n}/{k}", f"problem {n} variant {k}", str(n * 10 + k), "number") for k in range(eps + 1)]
        items.append(Item(own[0], tuple(own[1:])))
    return Bank("made up", tuple(items), ())


def level(given_up: frozenset[str] = frozenset(), **more: object) -> Observe:
    return Observe(scenario(**more), bank(), {name: f"is {name}" for name in ("teacher", *STUDENTS)}, given_up)


def answer(request: Request) -> Result:
    """What an agent would say: the same to the same request, in a few different ways."""
    draw = random.Random(request.id)
    text = f"way {draw.randrange(2)} {request.tp}" if request.kind == "Teach" else request.id
    parsed = None if draw.random() < 0.2 else str(draw.randrange(3))
    return Result(request.id, text, parsed, draw.random() < 0.5, completion_tokens=5)


def play(one: Observe, order: random.Random | None = None) -> tuple[list[Request], list[Told]]:
    """Answer everything that is due, in the order it came or in a random one."""
    waiting = list(one.begin().requests)
    asked: list[Request] = []
    told: list[Told] = []
    while waiting:
        request = waiting.pop(order.randrange(len(waiting)) if order else 0)
        asked.append(request)
        step = one.receive(answer(request))
        waiting += step.requests
        told += step.feedback
    return asked, told


def test_the_teacher_is_asked_once_greedily_and_n_times_with_sampling_per_problem() -> None:
    requests = level().begin().requests
    assert [(r.tp, r.stage, r.repeat) for r in requests[:4]] == [
        ("tp0/0", "greedy", 0), ("tp0/0", "teach", 0), ("tp0/0", "teach", 1), ("tp0/0", "teach", 2),
    ]  # fmt: skip
    assert len(requests) == 8
    assert {r.sampling.temperature for r in requests if r.stage == "greedy"} == {0.0}


def test_every_student_sits_every_exam_problem_under_a_rationale_with_repeats() -> None:
    one = level()
    tr = one.begin().requests[1]
    exams = one.receive(Result(tr.id, "because", "1", True)).requests
    assert sorted((r.to, r.ep, r.repeat) for r in exams) == [
        (s, ep, k) for s in STUDENTS for ep in ("tp0/1", "tp0/2") for k in (0, 1)
    ]
    assert {(r.tr, r.tp, r.affinity) for r in exams} == {(tr.id, "tp0/0", tr.id)}


def test_identical_rationales_are_examined_once_and_counted_as_often_as_they_came() -> None:
    one = level()
    first, second = one.begin().requests[1:3]
    exams = one.receive(Result(first.id, "because", "1", True)).requests
    assert one.receive(Result(second.id, "because", "1", True)).requests == ()
    for request in exams:
        one.receive(Result(request.id, "text", "1", True))
    a, b = one.outcome().lessons[0].rationales
    assert a.exams == b.exams
    assert len(a.exams) == 8


def test_a_rationale_without_an_answer_and_a_failed_one_are_not_examined() -> None:
    one = level()
    first, second, third = one.begin().requests[1:4]
    assert one.receive(Result(first.id, "no idea", None, False)).requests == ()
    assert one.receive(Result(second.id, "", None, False, failed="engine")).requests == ()
    assert one.receive(Result(third.id, "so", "4", False)).requests != ()
    assert [(r.repeat, r.answer) for r in one.outcome().lessons[0].rationales] == [(0, None), (2, "4")]


def test_the_totals_shrink_as_rationales_turn_out_alike() -> None:
    one = level()
    assert one.totals() == {"greedy": 2, "teach": 6, "exam": 48}
    first, second = one.begin().requests[1:3]
    one.receive(Result(first.id, "because", "1", True))
    assert one.totals()["exam"] == 48
    one.receive(Result(second.id, "because", "1", True))
    assert one.totals()["exam"] == 40


@given(st.integers())
def test_the_order_of_arrival_decides_nothing(seed: int) -> None:
    straight, mixed = level(), level()
    asked_straight, _ = play(straight)
    asked_mixed, _ = play(mixed, random.Random(seed))
    assert {r.id for r in asked_straight} == {r.id for r in asked_mixed}
    assert straight.outcome() == mixed.outcome()
    assert straight.finished
    assert mixed.finished


def test_no_request_is_asked_twice() -> None:
    asked, _ = play(level())
    assert len({r.id for r in asked}) == len(asked)


def test_a_result_nobody_waits_for_changes_nothing() -> None:
    one = level()
    request = one.begin().requests[0]
    one.receive(Result(request.id, "x", "1", True))
    before = one.outcome()
    assert one.receive(Result(request.id, "y", "2", False)).requests == ()
    assert one.receive(Result("unheard of", "y", "2", False)).requests == ()
    assert one.outcome() == before


def test_feedback_goes_to_the_teacher_per_rationale_and_to_students_per_problem() -> None:
    one = level()
    greedy, *trs = one.begin().requests[:4]
    one.receive(Result(greedy.id, "g", "1", True))
    exams = [r for k, tr in enumerate(trs) for r in one.receive(Result(tr.id, f"way {k}", "1", True)).requests]
    told = [t for r in exams for t in one.receive(Result(r.id, "t", "1", r.to == "ada")).feedback]
    assert [t.to for t in told] == ["teacher", "teacher", "teacher", "ada", "bob"]
    assert told[0].feedback.about == trs[0].id
    assert told[0].feedback.lbt_scores == {"ada": 1.0, "bob": 0.0}
    assert told[0].feedback.failed == ("problem 0 variant 1", "problem 0 variant 2")
    assert told[3].feedback.failed == ()


def test_failed_exam_answers_are_left_out() -> None:
    one = level()
    tr = one.begin().requests[1]
    first, *others = one.receive(Result(tr.id, "because", "1", True)).requests
    one.receive(Result(first.id, "", None, False, failed="deaths"))
    for request in others:
        one.receive(Result(request.id, "t", "1", True))
    assert len(one.outcome().lessons[0].rationales[0].exams) == 7


@pytest.mark.parametrize(
    "change",
    [
        {"lesson": Lesson(rationales=3, sampling=Sampling(temperature=0.9))},
        {"seed": 4},
    ],
)
def test_what_is_asked_decides_the_ids(change: dict[str, object]) -> None:
    other = msgspec.structs.replace(scenario(), **change)
    answerers = {name: f"is {name}" for name in ("teacher", *STUDENTS)}
    ids = {r.id for r in level().begin().requests}
    assert not ids & {r.id for r in Observe(other, bank(), answerers).begin().requests if r.stage == "teach"}


def test_other_weights_of_a_student_make_other_exams_and_the_same_rationales() -> None:
    answerers = {"teacher": "is teacher", "ada": "is other", "bob": "is bob"}
    a, b = level(), Observe(scenario(), bank(), answerers)
    asked_a, _ = play(a)
    asked_b, _ = play(b)
    shared = {r.id for r in asked_a} & {r.id for r in asked_b}
    assert {r.to for r in asked_a if r.id in shared} == {"teacher", "bob"}


def test_more_rationales_or_repeats_reuse_all_that_was_asked_before() -> None:
    small, _ = play(level())
    large, _ = play(level(lesson=Lesson(rationales=5), exam=Exam(problems=2, repeats=3)))
    assert {r.id for r in small} < {r.id for r in large}


def test_a_request_that_was_given_up_is_asked_as_a_new_repeat() -> None:
    first = level().begin().requests[1]
    again = level(given_up=frozenset({first.id})).begin().requests[1]
    assert (first.repeat, again.repeat) == (0, 3)
    assert first.id != again.id
    third = level(given_up=frozenset({first.id, again.id})).begin().requests[1]
    assert third.repeat == 6


def test_cut_off_answers_can_count_as_wrong() -> None:
    one = level(scoring=Scoring(cut_off="wrong"))
    tr = one.begin().requests[1]
    exam, *_ = one.receive(Result(tr.id, "because", "1", True, finish_reason="length")).requests
    assert one.outcome().lessons[0].rationales[0].correct is False
    one.receive(Result(exam.id, "so", "1", True, finish_reason="length"))
    assert [answer.correct for answer in one.outcome().lessons[0].rationales[0].exams] == [False]


def test_students_who_would_answer_alike_are_asked_different_repeats() -> None:
    twins = {"teacher": "is teacher", "ada": "same", "bob": "same"}
    one = Observe(scenario(), bank(), twins)
    tr = one.begin().requests[1]
    exams = one.receive(Result(tr.id, "because", "1", True)).requests
    assert len({r.id for r in exams}) == len(exams) == 8
    assert sorted({(r.to, r.repeat) for r in exams}) == [("ada", 0), ("ada", 2), ("bob", 1), ("bob", 3)]
