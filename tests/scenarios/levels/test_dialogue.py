"""Questions before the exam: who is asked what, what the exams then come with, and what is counted."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.work_messages import Ask, Examine, Exchange, Explain
from scenarios.config.schema import Exam, Lesson, Scenario, Task
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.records.observe import ExamCost, ExplanationCost
from scenarios.records.observe import TeachingProblemRecord as LessonOutcome
from scenarios.session.plan import order
from scenarios.session.request_counts import count, counts
from tests.scenarios.levels.played import STUDENTS, Played, bank, small_scenario


def scenario(questions: int = 1) -> Scenario:
    return small_scenario(
        seed=3,
        task=Task(family="gsm_symbolic", problems=2),
        lesson=Lesson(rationales=4),
        exam=Exam(problems=2, repeats=2, questions=questions),
    )


def level(questions: int = 1, identical: bool = False, retried: frozenset[str] = frozenset()) -> ObserveLevel:
    answerers = {name: "alike" if identical and name in STUDENTS else f"is {name}" for name in ("teacher", *STUDENTS)}
    return ObserveLevel(Setup(scenario(questions), bank(), answerers, retried))


def answer(request: Request) -> Result:
    """What an agent would say: the same to the same request; some questions and answers fail, some are empty."""
    draw = random.Random(request.id)
    if request.kind in ("Ask", "Explain"):
        text = draw.choice(("", "  ", f"line {draw.randrange(2)}?", f"line {draw.randrange(2)}?", "why?", "why?"))
        return Result(request.id, text, None, False, failed="engine" * (draw.random() < 0.1), completion_tokens=7)
    text = f"way {draw.randrange(3)} of {request.tp}" if request.kind == "Teach" else f"said {request.id}"
    return Result(request.id, text, str(draw.randrange(3)), draw.random() < 0.5, completion_tokens=5)


def lessons(one: ObserveLevel) -> tuple[LessonOutcome, ...]:
    return one.outcome().lessons


def taught(one: ObserveLevel, text: str = "because") -> list[Request]:
    """The questions that are due once a TR is there."""
    tr = one.begin().requests[1]
    return list(one.receive(Result(tr.id, text, "1", True)).requests)


def test_every_student_asks_before_its_exams_and_the_teacher_answers() -> None:
    one = level()
    texts = {}
    for_ada, for_bob = taught(one)
    assert [(r.kind, r.to, r.stage) for r in (for_ada, for_bob)] == [("Ask", "ada", "ask"), ("Ask", "bob", "ask")]
    asked = one.message(for_ada, lambda _: "because")
    assert isinstance(asked, Ask)
    assert asked.material[0].rationale == "because"
    texts[for_ada.id] = "Why 2?"
    (explain,) = one.receive(Result(for_ada.id, "Why 2?", None, False)).requests
    assert (explain.to, explain.stage) == ("teacher", "explain")
    explained = one.message(explain, lambda id: texts.get(id, "because"))
    assert isinstance(explained, Explain)
    assert (explained.question, explained.material) == ("Why 2?", asked.material)
    texts[explain.id] = "Because of 1."
    exams = one.receive(Result(explain.id, "Because of 1.", None, False)).requests
    assert {r.to for r in exams} == {"ada"}
    assert len(exams) == 4
    exam = one.message(exams[0], lambda id: texts.get(id, "because"))
    assert isinstance(exam, Examine)
    assert exam.dialogue == (Exchange("Why 2?", "Because of 1."),)
    assert not one.finished


def test_the_dialogue_is_part_of_an_exams_id() -> None:
    def exams(question: str) -> set[str]:
        one = level()
        asking = taught(one)[0]
        (due, *more) = one.receive(Result(asking.id, question, None, False)).requests
        return {r.id for r in (one.receive(Result(due.id, "So.", None, False)).requests if not more else [due, *more])}

    without = level(questions=0)
    plain = {r.id for r in taught(without) if r.to == "ada"}
    assert len(exams("Why?") | exams("How?") | exams("")) == 12
    assert exams(" ") == exams("") == plain


def test_an_exam_without_a_dialogue_is_taken_all_the_same_and_counted() -> None:
    one = level()
    for_ada, for_bob = taught(one)
    exams = one.receive(Result(for_ada.id, "", None, False, failed="engine")).requests
    assert {r.kind for r in exams} == {"Examine"}
    (explain,) = one.receive(Result(for_bob.id, "Why?", None, False)).requests
    more = one.receive(Result(explain.id, " ", None, False, completion_tokens=3)).requests
    for request in (*exams, *more):
        message = one.message(request, lambda _: "text")
        assert isinstance(message, Examine)
        assert message.dialogue == ()
        one.receive(Result(request.id, "x", "1", True))
    (rationale,) = lessons(one)[0].rationales
    assert (rationale.silent, rationale.talks) == (2, 2)
    assert one.totals()["explain"] == one.totals()["ask"] - 1


def test_the_same_question_about_the_same_rationale_is_answered_once() -> None:
    one = level()
    for_ada, for_bob = taught(one)
    (explain,) = one.receive(Result(for_ada.id, "Why?", None, False)).requests
    assert one.receive(Result(for_bob.id, "Why?", None, False)).requests == ()
    assert {r.to for r in one.receive(Result(explain.id, "So.", None, False)).requests} == set(STUDENTS)


def test_the_costs_of_a_shared_answer_do_not_depend_on_who_asked_first() -> None:
    def record(*students: str) -> LessonOutcome:
        one = level()
        asking = {request.to: request for request in taught(one)}
        for name in students:
            for due in one.receive(Result(asking[name].id, "Why?", None, False, completion_tokens=2)).requests:
                if due.kind == "Explain":
                    one.receive(Result(due.id, "So.", None, False, completion_tokens=7, prompt_tokens=5))
        return lessons(one)[0]

    found = record("ada", "bob")
    assert found == record("bob", "ada")
    assert found.exam_costs == (ExamCost("ada", 0, 2), ExamCost("bob", 0, 2))
    assert found.explanation_costs == (ExplanationCost(("ada", "bob"), 5, 7),)


def test_every_line_up_pays_once_for_each_answer_that_it_uses() -> None:
    def alike_about_one_tp(request: Request) -> Result:
        result = answer(request)
        return replace(result, text="why?") if request.kind == "Ask" and request.tp == "tp0/0" else result

    one = level()
    played = Played(one, alike_about_one_tp)
    came = {r.id for r in played.asked.values() if not played.results[r.id].failed}
    for lesson in lessons(one):
        for students in ((), ("ada",), ("bob",), STUDENTS):
            own = {r.id for r in played.of("ask", "exam") if r.tp == lesson.tp and r.to in students}
            for asking in (r for r in played.of("ask") if r.id in own and played.results[r.id].text.strip()):
                own |= {
                    r.id
                    for r in played.of("explain")
                    if (r.tp, r.tr) == (asking.tp, asking.tr)
                    and _question_of(played, r) == played.results[asking.id].text
                }
            tokens = sum(played.results[id].completion_tokens for id in own & came)
            assert lesson.exam_cost(students).completion_tokens == tokens
        assert lesson.exam_cost(STUDENTS).completion_tokens == lesson.exam_tokens
    shared = [cost for lesson in lessons(one) for cost in lesson.explanation_costs if cost.students == STUDENTS]
    assert shared, "some answers serve both students"


def _question_of(played: Played[ObserveLevel], request: Request) -> str:
    message = played.messages[request.id]
    assert isinstance(message, Explain)
    return message.question


def test_identical_students_ask_different_questions() -> None:
    for_ada, for_bob = taught(level(identical=True))
    assert (for_ada.repeat, for_bob.repeat) == (0, 1)


def test_the_class_ends_with_everything_asked_once_and_its_totals_right() -> None:
    one = level()
    played = Played(one, answer)
    assert one.finished
    stages = [request.stage for request in played.asked.values()]
    assert played.totals[-1] == {stage: stages.count(stage) for stage in played.totals[-1]}
    for stage in ("ask", "explain", "exam"):
        counted = [totals[stage] for totals in played.totals]
        assert counted == sorted(counted, reverse=True)
    came = sum(not played.results[r.id].failed for r in played.of("ask", "explain"))
    seen = {r.material: r.talks for lesson in lessons(one) for r in lesson.rationales}
    assert sum(seen.values()) == came
    tokens = came * 7
    assert sum(lesson.exam_tokens for lesson in lessons(one)) == tokens + 5 * len(played.of("exam"))


@settings(max_examples=40)
@given(st.integers(), st.booleans())
def test_the_order_of_arrival_decides_nothing(seed: int, identical: bool) -> None:
    straight, mixed = level(identical=identical), level(identical=identical)
    first, second = Played(straight, answer), Played(mixed, answer, random.Random(seed))
    assert set(first.asked) == set(second.asked)
    assert straight.outcome() == mixed.outcome()
    assert len(first.feedback) == len(second.feedback)
    assert {id: repr(m) for id, m in first.messages.items()} == {id: repr(m) for id, m in second.messages.items()}


def test_a_failed_question_is_retried_as_a_new_repeat() -> None:
    failed = taught(level())[0].id
    assert failed not in {r.id for r in taught(level(retried=frozenset({failed})))}


def test_no_message_holds_a_gold_answer() -> None:
    assert not any("gold-" in repr(message) for message in Played(level(), answer).messages.values())


def test_the_plan_counts_questions_and_answers() -> None:
    without, asking = count(scenario(0), 50), count(scenario(), 50)
    assert (without.questions, asking.questions) == (0, 2 * 4 * 2)
    assert asking.requests == without.requests + 2 * asking.questions
    assert asking.completion_tokens == without.completion_tokens + asking.questions * (200 + 200)
    assert asking.prompt_tokens > without.prompt_tokens
    assert any("asks one question" in step for step in order(scenario(), counts(scenario())))
    assert not any("asks one question" in step for step in order(scenario(0), counts(scenario(0))))
