"""Further TRs for self-consistency at M1's cost (`lesson.equal_cost`)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from scenarios.config.schema import Exam, Lesson, Scenario
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.scoring.equal_cost import further
from tests.scenarios.levels.played import ANSWERERS, Played, bank, small_scenario

SCENARIO = small_scenario(
    lesson=Lesson(rationales=3, equal_cost=True),
    exam=Exam(problems=1, repeats=2),
)


def level(scenario: Scenario = SCENARIO, retried: frozenset[str] = frozenset()) -> ObserveLevel:
    return ObserveLevel(Setup(scenario, bank(eps=1), ANSWERERS, retried))


def answer(request: Request, failed: frozenset[str] = frozenset()) -> Result:
    draw = random.Random(request.id)
    if request.id in failed:
        return Result(request.id, "", None, False, failed="engine")
    text = f"way {draw.randrange(2)}" if request.kind == "Teach" else request.id
    return Result(
        request_id=request.id,
        text=text,
        answer=str(draw.randrange(2)),
        correct=draw.random() < 0.5,
        prompt_tokens=draw.randrange(50, 90),
        cached_prompt_tokens=40,
        completion_tokens=draw.randrange(5, 9),
    )


def play(
    one: ObserveLevel, order: random.Random | None = None, failed: frozenset[str] = frozenset(), long: int = -1
) -> dict[str, Request]:
    """What is asked; `long`: the repeat of which every TR takes many tokens."""

    def say(request: Request) -> Result:
        result = answer(request, failed)
        long_text = request.kind == "Teach" and request.repeat == long
        return replace(result, completion_tokens=2000) if long_text else result

    return Played(one, say, order).asked


def votes(asked: dict[str, Request], tp: str = "tp0/0") -> list[Request]:
    return sorted((r for r in asked.values() if r.stage == "votes" and r.tp == tp), key=lambda r: r.repeat)


def test_a_complete_problem_gets_as_many_further_rationales_as_its_exams_cost() -> None:
    one = level()
    asked = play(one)
    for lesson in one.outcome().lessons:
        assert len(lesson.votes) == len(votes(asked, lesson.tp)) == further(lesson) > 0
        assert [vote.repeat for vote in lesson.votes] == list(range(3, 3 + len(lesson.votes)))
        assert not any(vote.exams for vote in lesson.votes)
        assert {exam.tr for exam in asked.values() if exam.stage == "exam"}.isdisjoint(v.id for v in lesson.votes)
    assert one.totals()["votes"] == len(votes(asked)) + len(votes(asked, "tp1/0"))


def test_further_rationales_change_nothing_else() -> None:
    plain, dear = level(replace(SCENARIO, lesson=Lesson(rationales=3))), level()
    before, after = play(plain), play(dear)
    assert before.keys() == {id for id, request in after.items() if request.stage != "votes"}
    assert plain.outcome().lessons == tuple(replace(one, votes=()) for one in dear.outcome().lessons)


def test_a_class_with_more_rationales_asks_the_same() -> None:
    further_ones = votes(play(level()))
    more = {r.id for r in level(replace(SCENARIO, lesson=Lesson(rationales=3 + len(further_ones)))).begin().requests}
    assert {vote.id for vote in further_ones} <= more


def test_a_larger_class_counts_the_earlier_further_rationales_that_its_tokens_buy_and_asks_none_anew() -> None:
    """Its TRs may be dearer on average, so that its exams buy fewer than the smaller class has."""
    before = votes(play(level(), long=3))
    larger = level(replace(SCENARIO, lesson=Lesson(rationales=4, equal_cost=True)))
    asked = votes(play(larger, long=3))
    lesson = larger.outcome().lessons[0]
    assert 0 < len(lesson.votes) == further(lesson) < len(before) - 1
    assert (
        [vote.id for vote in lesson.votes] == [one.id for one in asked] == [one.id for one in before[1:]][: len(asked)]
    )


@given(st.integers(0, 2**32))
def test_the_order_of_arrival_decides_nothing(seed: int) -> None:
    straight, mixed = level(), level()
    assert play(straight).keys() == play(mixed, random.Random(seed)).keys()
    assert straight.outcome() == mixed.outcome()


@pytest.mark.parametrize("stage", ["teach", "votes"])
def test_a_failed_rationale_that_is_asked_again_takes_no_repeat_twice(stage: str) -> None:
    first = level()
    asked = play(first)
    failed = next(id for id, request in asked.items() if request.stage == stage)
    play(first := level(), failed=frozenset({failed}))
    lesson = first.outcome().lessons[0]
    if stage == "votes":
        assert len(lesson.votes) == further(lesson) - 1, "one that failed is no vote"
    again = level(retried=frozenset({failed}))
    retried = play(again)
    assert failed not in retried
    for one in again.outcome().lessons:
        ids = [r.id for r in (*one.rationales, *one.votes)]
        assert len(set(ids)) == len(ids) == 3 + further(one)


def test_rationales_that_all_fail_have_no_further_ones() -> None:
    one = level()
    teach = frozenset(r.id for r in one.begin().requests if r.stage == "teach")
    assert votes(play(level(), failed=teach)) == []
