"""Level 3 for rationales: which TRs are rewritten for whom, what is asked, and what comes of it."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.work_messages import Reflect, Revise
from scenarios.config.iterate_schema import Iterate
from scenarios.config.schema import Exam, Lesson, Scenario, Task
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.rewrite.level import RewriteLevel
from scenarios.records.rewrite import Rewritten
from tests.scenarios.levels.played import ANSWERERS, STUDENTS, Played, bank, small_scenario


def scenario(**more: Any) -> Scenario:
    section = Iterate(**{"material": "rationale", "beam": 2, "revisions": 1, "mistakes": 3, **more})
    return small_scenario(
        level=3,
        seed=3,
        task=Task(family="gsm_symbolic", problems=2),
        lesson=Lesson(rationales=4),
        exam=Exam(problems=2, repeats=2),
        iterate=section,
    )


def level(retried: frozenset[str] = frozenset(), **more: int) -> RewriteLevel:
    return RewriteLevel(Setup(scenario(**more), bank(), ANSWERERS, retried))


def answer(request: Request) -> Result:
    """What an agent would say: the same to the same request, now and then something of no use."""
    draw = random.Random(request.id)
    if draw.random() < 0.05:
        return Result(request.id, "", None, False, failed="engine")
    if request.kind == "Reflect":
        return Result(request.id, "1. Too short." if draw.random() < 0.6 else "who knows", None, False)
    written = f"way {draw.randrange(9)} of {request.tp}"
    text = written if request.kind in ("Teach", "Revise") else f"said {request.id}"
    parsed = None if draw.random() < 0.1 else str(draw.randrange(3))
    return Result(request.id, text, parsed, parsed == "1", completion_tokens=5)


def rewritten(one: RewriteLevel) -> tuple[Rewritten, ...]:
    told = one.outcome().rewriting
    assert told is not None
    return told.lessons


def test_a_rationale_is_rewritten_for_each_student_that_failed_an_exam_with_it() -> None:
    one = level()
    played = Played(one, answer)
    assert one.finished
    revised = [request for request in played.asked.values() if request.kind == "Revise"]
    assert revised
    for request in revised:
        message = played.messages[request.id]
        assert isinstance(message, Revise)
        assert message.problem == message.material[0].problem
        assert message.material[0].rationale == played.results[request.tr].text
        assert len({mistake.student for mistake in message.mistakes}) == 1
        for mistake in message.mistakes:
            wrong = mistake.rationale.removeprefix("said ")
            assert not played.results[wrong].correct
            assert played.asked[wrong].to == mistake.student
            assert played.results[played.asked[wrong].tr].text == message.material[0].rationale


def test_only_the_best_different_rationales_among_the_originals_are_rewritten() -> None:
    one = level()
    Played(one, answer)
    for told in rewritten(one):
        assert (told.sampled, told.originals) == (4, 2)
        first = {r.material: r for r in told.lesson.rationales if r.repeat < 2}
        assert {each.parent for each in told.tailored} <= set(first)
        for each in told.tailored:
            assert any(e.student == each.student and not e.correct for e in first[each.parent].exams)


def test_a_rewritten_rationale_is_examined_by_all_students_like_any_other() -> None:
    one = level()
    Played(one, answer)
    new = [r for told in rewritten(one) for r in told.lesson.rationales if r.repeat >= told.sampled]
    assert any(r.exams for r in new)
    assert all({e.student for e in r.exams} == set(STUDENTS) for r in new if r.answer is not None)
    assert all(not r.exams for r in new if r.answer is None)


def test_the_outcome_of_level_1_does_not_depend_on_rewriting() -> None:
    one = level()
    Played(one, answer)
    for lesson, told in zip(one.outcome().lessons, rewritten(one), strict=True):
        assert lesson.rationales == tuple(r for r in told.lesson.rationales if r.repeat < told.sampled)
        assert lesson.exam_tokens < told.lesson.exam_tokens


def test_unusable_reasons_are_asked_for_once_more_and_then_dispensed_with() -> None:
    one = level(beam=4, revisions=2)
    played = Played(one, answer)
    again = [m for m in played.messages.values() if isinstance(m, Reflect) and m.complaint]
    assert again
    assert all(message.previous == "who knows" for message in again)
    every = [each for told in rewritten(one) for each in told.tailored]
    assert {bool(each.reasons) for each in every} == {True, False}
    assert all(len(each.repeats) == 2 for each in every)


def test_no_message_holds_a_gold_answer() -> None:
    played = Played(level(beam=4, revisions=2), answer)
    assert not any("gold-" in repr(message) for message in played.messages.values())


@settings(max_examples=30)
@given(st.integers())
def test_the_order_of_arrival_decides_nothing(seed: int) -> None:
    straight, mixed = level(revisions=2), level(revisions=2)
    first, second = Played(straight, answer), Played(mixed, answer, random.Random(seed))
    assert set(first.asked) == set(second.asked)
    assert straight.outcome() == mixed.outcome()
    assert {id: repr(m) for id, m in first.messages.items()} == {id: repr(m) for id, m in second.messages.items()}
    assert mixed.finished


def test_the_totals_grow_only_by_repairs_and_equal_the_requests_in_the_end() -> None:
    played = Played(level(), answer, random.Random(1))
    asked = {stage: sum(r.stage == stage for r in played.asked.values()) for stage in played.totals[-1]}
    assert played.totals[-1] == asked
    for stage in ("teach", "exam", "write"):
        counted = [totals[stage] for totals in played.totals]
        assert counted == sorted(counted, reverse=True)


def test_a_class_resumes_from_any_number_of_results() -> None:
    whole = Played(level(), answer)
    for most in range(0, len(whole.asked), 13):
        half = Played(level(), answer, random.Random(most), most)
        one = level()
        due = list(one.begin().requests)
        again: list[Request] = []
        while due:
            request = due.pop(0)
            if request.id not in half.results:
                again.append(request)
                half.results[request.id] = answer(request)
            due += one.receive(half.results[request.id]).requests
        assert set(half.results) == set(whole.results)
        assert len(again) == len(whole.results) - most


def test_a_failed_request_is_retried_as_a_new_repeat() -> None:
    played = Played(level(), answer)
    failed = frozenset(id for id, result in played.results.items() if result.failed)
    assert {played.asked[id].kind for id in failed} >= {"Examine"}
    again = Played(level(failed), answer)
    assert not failed & set(again.asked)
