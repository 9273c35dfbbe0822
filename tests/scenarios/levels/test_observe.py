import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.work_messages import Examine, Grade, Sampling
from scenarios.config.schema import Agent, Exam, Lesson, Scenario, Scoring, StudentSampling
from scenarios.levels.base import FeedbackDue, Request, Result, Setup, Step
from scenarios.levels.observe.level import ObserveLevel
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from tests.scenarios.levels.played import ANSWERERS, STUDENTS, Played, bank, small_scenario


def scenario(**more: object) -> Scenario:
    return small_scenario(**{"seed": 3, "lesson": Lesson(rationales=3), "exam": Exam(problems=2, repeats=2), **more})


def level(retried: frozenset[str] = frozenset(), **more: object) -> ObserveLevel:
    return ObserveLevel(Setup(scenario(**more), bank(), ANSWERERS, retried))


def taught(one: ObserveLevel) -> tuple[Request, tuple[Request, ...]]:
    """The first sampled TR, and what its arrival makes due."""
    tr = one.begin().requests[1]
    return tr, one.receive(Result(tr.id, "because", "1", True)).requests


def answer(request: Request) -> Result:
    """What an agent would say: the same to the same request, in a few different ways."""
    draw = random.Random(request.id)
    text = f"way {draw.randrange(2)} {request.tp}" if request.kind == "Teach" else request.id
    parsed = None if draw.random() < 0.2 else str(draw.randrange(3))
    return Result(request.id, text, parsed, draw.random() < 0.5, completion_tokens=5)


def test_the_teacher_is_asked_once_greedily_and_n_times_with_sampling_per_problem() -> None:
    requests = level().begin().requests
    assert [(r.tp, r.stage, r.repeat) for r in requests[:4]] == [
        ("tp0/0", "greedy", 0), ("tp0/0", "teach", 0), ("tp0/0", "teach", 1), ("tp0/0", "teach", 2),
    ]  # fmt: skip
    assert len(requests) == 8
    assert {r.sampling.temperature for r in requests if r.stage == "greedy"} == {0.0}


def test_every_student_solves_every_exam_problem_under_a_rationale_with_repeats() -> None:
    one = level()
    tr, exams = taught(one)
    assert sorted((r.to, r.ep, r.repeat) for r in exams) == [
        (s, ep, k) for s in STUDENTS for ep in ("tp0/1", "tp0/2") for k in (0, 1)
    ]
    assert {(r.tr, r.tp, r.affinity) for r in exams} == {(tr.id, "tp0/0", tr.id)}


def test_identical_rationales_are_examined_once_and_counted_as_often_as_they_were_drawn() -> None:
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


def test_the_totals_shrink_as_rationales_turn_out_equal() -> None:
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
    assert Played(straight, answer).asked.keys() == Played(mixed, answer, random.Random(seed)).asked.keys()
    assert straight.outcome() == mixed.outcome()


def test_a_result_that_is_not_awaited_changes_nothing() -> None:
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
    assert told[0].feedback.failed == ("What is 0 and 1?", "What is 0 and 2?")
    assert told[3].feedback.failed == ()


def test_failed_exam_answers_are_left_out() -> None:
    one = level()
    _, (first, *others) = taught(one)
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
def test_everything_that_decides_a_completion_decides_its_id(change: dict[str, object]) -> None:
    other = msgspec.structs.replace(scenario(), **change)
    requests = ObserveLevel(Setup(other, bank(), ANSWERERS)).begin().requests
    assert not {r.id for r in level().begin().requests} & {r.id for r in requests if r.stage == "teach"}


def test_other_weights_of_a_student_make_other_exams_and_the_same_rationales() -> None:
    other = ObserveLevel(Setup(scenario(), bank(), ANSWERERS | {"ada": "is other"}))
    before, after = Played(level(), answer).asked, Played(other, answer).asked
    assert {before[id].to for id in before.keys() & after.keys()} == {"teacher", "bob"}


def test_more_rationales_or_repeats_reuse_all_earlier_requests() -> None:
    large = level(lesson=Lesson(rationales=5), exam=Exam(problems=2, repeats=3))
    assert Played(level(), answer).asked.keys() < Played(large, answer).asked.keys()


def test_a_retried_request_is_asked_as_a_new_repeat() -> None:
    first = level().begin().requests[1]
    again = level(retried=frozenset({first.id})).begin().requests[1]
    assert (first.repeat, again.repeat) == (0, 3)
    assert first.id != again.id
    third = level(retried=frozenset({first.id, again.id})).begin().requests[1]
    assert third.repeat == 6


def test_cut_off_answers_can_count_as_wrong() -> None:
    one = level(scoring=Scoring(cut_off="wrong"))
    tr = one.begin().requests[1]
    exam, *_ = one.receive(Result(tr.id, "because", "1", True, finish_reason="length")).requests
    assert one.outcome().lessons[0].rationales[0].correct is False
    one.receive(Result(exam.id, "so", "1", True, finish_reason="length"))
    assert [answer.correct for answer in one.outcome().lessons[0].rationales[0].exams] == [False]


def test_a_students_own_sampling_changes_its_exams_alone_and_not_its_grades() -> None:
    alike = dict.fromkeys(("teacher", *STUDENTS), "same")

    def exams(**sampling: float) -> dict[str, Request]:
        bob = Agent(name="bob", sampling=msgspec.convert(sampling, StudentSampling))
        exam = Exam(problems=1, repeats=1, score="logprob")
        one = ObserveLevel(Setup(scenario(students=(Agent(name="ada"), bob), exam=exam), bank(eps=1), alike))
        _, asked = taught(one)
        assert len({request.id for request in asked}) == 4
        return {f"{request.to} {request.stage}": request for request in asked}

    same, warm = exams(), exams(temperature=1.5, max_tokens=300)
    assert exams(temperature=Sampling().temperature) == same, "sampling that is no other"
    assert {name for name in same if same[name].id != warm[name].id} == {"bob exam"}
    assert (warm["bob exam"].sampling, warm["bob exam"].repeat) == (Sampling(temperature=1.5, max_tokens=300), 0)
    assert (same["bob exam"].sampling, same["bob exam"].repeat) == (Sampling(), 1)


def test_identical_students_are_asked_different_repeats() -> None:
    twins = {"teacher": "is teacher", "ada": "same", "bob": "same"}
    one = ObserveLevel(Setup(scenario(), bank(), twins))
    _, exams = taught(one)
    assert len({r.id for r in exams}) == len(exams) == 8
    assert sorted({(r.to, r.repeat) for r in exams}) == [("ada", 0), ("ada", 2), ("bob", 1), ("bob", 3)]


# --- log-probabilities ----------------------------------------------------------------------------------

DENSE = Exam(problems=2, repeats=2, score="logprob")


def test_with_logprob_every_student_also_grades_each_exam_problem_once() -> None:
    one = level(exam=DENSE)
    assert one.totals() == {"greedy": 2, "teach": 6, "exam": 48, "grade": 24}
    tr, due = taught(one)
    exams, grades = ([r for r in due if r.kind == kind] for kind in ("Examine", "Grade"))
    assert len(exams) == 8
    assert sorted((r.to, r.ep, r.repeat, r.stage) for r in grades) == [
        (s, ep, 0, "grade") for s in STUDENTS for ep in ("tp0/1", "tp0/2")
    ]
    assert {(r.tr, r.tp, r.affinity) for r in grades} == {(tr.id, "tp0/0", tr.id)}


def test_the_exams_of_a_class_are_the_same_with_and_without_log_probabilities() -> None:
    plain, dense = (list(Played(level(exam=exam), answer).asked.values()) for exam in (scenario().exam, DENSE))
    assert [r for r in dense if r.kind != "Grade"] == plain


def test_a_grade_holds_the_worked_solution_and_what_its_exam_holds() -> None:
    one = level(exam=DENSE)
    _, due = taught(one)
    exam, grade = (
        one.message(next(r for r in due if r.kind == kind), lambda id: "because") for kind in ("Examine", "Grade")
    )
    assert isinstance(exam, Examine) and isinstance(grade, Grade)
    assert grade.solution == "Answer: gold-01"
    for name in ("problem", "answer_form", "material", "demonstrations"):
        assert getattr(grade, name) == getattr(exam, name)


def test_grades_are_recorded_with_their_rationale_and_failed_ones_are_left_out() -> None:
    one = level(exam=DENSE)
    _, due = taught(one)
    for number, request in enumerate(r for r in due if r.kind == "Grade"):
        failed = "context" if number == 3 else ""
        step = one.receive(Result(request.id, "", None, False, failed, score=None if failed else -0.5 - number))
        assert step == Step()
        assert one.receive(Result(request.id, "", None, False, score=-9.0)) == Step()
    (rationale,) = one.outcome().lessons[0].rationales
    assert [(g.student, g.ep, g.logprob) for g in rationale.grades] == [
        ("ada", "tp0/1", -0.5), ("ada", "tp0/2", -1.5), ("bob", "tp0/1", -2.5),
    ]  # fmt: skip
    assert rationale.exams == ()


def test_feedback_waits_for_exams_only_and_the_class_for_grades_too() -> None:
    one = level(exam=DENSE)
    waiting = list(one.begin().requests)
    grades: list[Request] = []
    told: list[FeedbackDue] = []
    while waiting:
        request = waiting.pop(0)
        if request.kind == "Grade":
            grades.append(request)
            continue
        step = one.receive(answer(request))
        waiting += step.requests
        told += step.feedback
    assert {t.to for t in told} >= set(STUDENTS)
    assert grades and not one.finished
    for request in grades:
        one.receive(Result(request.id, "", None, False, score=-1.0))
    assert one.finished


def test_identical_students_each_grade_and_a_failed_grade_is_retried() -> None:
    def asked(retried: frozenset[str] = frozenset()) -> list[Request]:
        one = ObserveLevel(Setup(scenario(exam=DENSE), bank(), {"teacher": "t", "ada": "same", "bob": "same"}, retried))
        return [r for r in taught(one)[1] if r.kind == "Grade"]

    first = asked()
    assert [(r.to, r.repeat) for r in first] == [("ada", 0), ("ada", 0), ("bob", 1), ("bob", 1)]
    again = asked(frozenset({first[0].id}))
    assert [(r.to, r.repeat) for r in again] == [("ada", 2), ("ada", 0), ("bob", 1), ("bob", 1)]
    assert len({r.id for r in first} | {r.id for r in again}) == 5


def test_another_solution_is_another_grade() -> None:
    def ids(solution: str) -> set[str]:
        (item,) = bank(1).items
        eps = tuple(msgspec.structs.replace(ep, solution=solution) for ep in item.eps)
        problems = Bank("made up", (ProblemGroup(item.tp, eps),), ())
        one = ObserveLevel(Setup(scenario(exam=DENSE), problems, ANSWERERS))
        return {r.id for r in taught(one)[1] if r.kind == "Grade"}

    assert not ids("") & ids("so.\nAnswer: 1")


@pytest.mark.parametrize("failed", [False, True])
def test_at_temperature_0_the_only_sampled_rationale_is_the_greedy_one(failed: bool) -> None:
    one = level(lesson=Lesson(rationales=1, sampling=Sampling(temperature=0.0)))
    teach = one.begin().requests
    assert len({request.id for request in teach}) == len(teach) == 2
    assert one.totals()["greedy"] + one.totals()["teach"] == 2
    for request in teach:
        one.receive(Result(request.id, "", None, False, failed="engine" if failed else "", completion_tokens=5))
    assert one.finished
    for lesson in one.outcome().lessons:
        ids = [rationale.id for rationale in lesson.rationales]
        assert ids == ([] if failed else [lesson.greedy.id if lesson.greedy else ""])
        assert (lesson.greedy is None) is failed


@pytest.mark.parametrize("questions", [0, 1])
def test_a_problem_without_a_near_exam_problem_has_no_exams_and_is_complete_with_its_rationales(questions: int) -> None:
    near, far = bank().items
    problems = Bank("made up", (near, ProblemGroup(far.tp, (), (0.2, 0.1))), ())
    one = ObserveLevel(Setup(scenario(exam=Exam(problems=2, questions=questions)), problems, ANSWERERS))
    played = Played(one, answer)
    assert {request.tp for request in played.asked.values() if request.kind != "Teach"} == {near.tp.id}
    assert one.totals()["exam"] == len(played.of("exam"))
    assert far.tp.id not in {due.feedback.about for due in played.feedback}
    record = one.lesson(far.tp.id)
    assert record is not None and record.abstains and record.similarities == (0.2, 0.1)


def test_students_who_are_taught_the_answer_alone_see_nothing_else_of_a_rationale_and_sit_as_many_exams() -> None:
    whole, bare = level(), level(lesson=Lesson(rationales=3, material="answer"))
    before, after = Played(whole, answer), Played(bare, answer)
    taught = {request.id for request in before.of("greedy", "teach")}
    assert taught == {request.id for request in after.of("greedy", "teach")}, "the teacher is asked the same"
    assert len(before.asked) == len(after.asked)
    assert before.asked.keys() & after.asked.keys() == taught
    answers = {r.id: r.answer for lesson in bare.outcome().lessons for r in lesson.rationales}
    for request in after.of("exam"):
        message = after.messages[request.id]
        assert isinstance(message, Examine)
        assert [one.solution for one in message.material] == [f"Answer: {answers[request.tr]}"]


def test_students_who_are_taught_the_answer_alone_of_a_code_problem_see_the_program_as_a_block() -> None:
    tp, ep = (Problem(name, name, "def f(): return 1", "code", program='{"function": "f"}') for name in "ab")
    code = Bank("made up", (ProblemGroup(tp, (ep,)),), ())
    asked = scenario(lesson=Lesson(rationales=1, material="answer"), exam=Exam(problems=1))
    one = ObserveLevel(Setup(asked, code, ANSWERERS))
    (teach,) = (request for request in one.begin().requests if request.stage == "teach")
    exams = one.receive(Result(teach.id, "TALK", "def f():\n    return 2", True)).requests
    for request in exams:
        message = one.message(request, lambda id: "SECRET")
        assert isinstance(message, Examine)
        assert [each.solution for each in message.material] == ["```python\ndef f():\n    return 2\n```"]
    assert exams
