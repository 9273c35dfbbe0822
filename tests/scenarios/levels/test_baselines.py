"""The requests of `baselines`: students alone, self-evaluation, universal self-consistency."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.work_messages import Examine, Judge, Sampling
from scenarios.config.schema import Exam, Lesson, Scenario
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.observe.level import ObserveLevel
from scenarios.scoring.baselines import has_baselines, majority_alone, rating_scores, universal
from scenarios.scoring.lbt import Sheet
from tests.scenarios.levels import played
from tests.scenarios.levels.played import Played, bank, small_scenario

SCENARIO = small_scenario(
    ("ada", "bob", "bob2"),
    lesson=Lesson(rationales=4),
    exam=Exam(problems=1, repeats=3),
    baselines=("students_alone", "self_evaluation", "universal"),
)
PLAIN = replace(SCENARIO, baselines=())
ANSWERERS = played.ANSWERERS | {"bob2": "is bob"}


def level(scenario: Scenario = SCENARIO) -> ObserveLevel:
    return ObserveLevel(Setup(scenario, bank(eps=1), ANSWERERS))


def answer(request: Request, failed: str = "") -> Result:
    draw = random.Random(request.id)
    if request.stage == failed:
        return Result(request.id, "", None, False, failed="engine")
    said = str(draw.randrange(2)) if draw.random() < 0.9 else None
    text = f"way {draw.randrange(2)}, so {said}" if request.kind == "Teach" else request.id
    if request.kind == "Judge":
        text = f"Answer: {draw.choice(['Yes', 'No']) if request.tr else draw.randrange(1, 3)}"
    return Result(request.id, text, said, said == "1", prompt_tokens=50, completion_tokens=7)


def play(one: ObserveLevel, order: random.Random | None = None, failed: str = "") -> dict[str, Request]:
    return Played(one, lambda request: answer(request, failed), order).asked


def equal(a: str, b: str, form: str) -> bool:
    return a == b


def test_baselines_change_no_other_request_and_no_other_record() -> None:
    plain, dear = level(PLAIN), level()
    before, after = play(plain), play(dear)
    assert before.keys() == {id for id, one in after.items() if one.stage not in ("alone", "rate", "universal")}
    for one, other in zip(plain.outcome().lessons, dear.outcome().lessons, strict=True):
        rationales = tuple(replace(rationale, ratings=()) for rationale in other.rationales)
        assert (one.rationales, one.exam_tokens, one.greedy) == (rationales, other.exam_tokens, other.greedy)


def test_each_is_asked_as_often_as_one_students_exams_under_one_rationale() -> None:
    one = level()
    asked = play(one)
    stages = Counter(request.stage for request in asked.values())
    texts = sum(len({r.material for r in lesson.rationales if r.answer}) for lesson in one.outcome().lessons)
    assert (stages["alone"], stages["rate"]) == (2 * 3 * 3, texts * 3)
    assert {stage: n for stage, n in one.totals().items() if stage in stages} == dict(stages)
    assert all(has_baselines(SCENARIO, lesson) for lesson in one.outcome().lessons)
    # Identical students take different repeats of one question.
    repeats = {name: {r.repeat for r in asked.values() if r.stage == "alone" and r.to == name} for name in ANSWERERS}
    assert (repeats["bob"], repeats["bob2"], repeats["ada"]) == ({0, 2, 4}, {1, 3, 5}, {0, 1, 2})
    greedy = Sampling(temperature=0.0)
    once = level(
        replace(SCENARIO, exam=Exam(problems=1, sampling=greedy), lesson=Lesson(rationales=1, sampling=greedy))
    )
    assert Counter(request.stage for request in play(once).values())["alone"] == 2 * 3


@given(st.integers(0, 2**32))
def test_the_order_of_arrival_decides_nothing(seed: int) -> None:
    straight, mixed = level(), level()
    assert play(straight).keys() == play(mixed, random.Random(seed)).keys()
    assert straight.outcome() == mixed.outcome()


def test_a_student_alone_sees_the_problem_and_a_judge_the_rationales_and_neither_sees_a_gold_answer() -> None:
    one = level()
    asked = play(one).values()
    alone = next(request for request in asked if request.stage == "alone")
    message = one.message(alone, lambda id: f"text of {id}")
    assert isinstance(message, Examine)
    assert (message.problem, message.material) == ("What is 0 and 0?", ())
    rate = next(request for request in asked if request.stage == "rate")
    judged = one.message(rate, lambda id: f"text of {id}")
    assert judged == Judge(
        problem="What is 0 and 0?", solutions=(f"text of {rate.tr}",), sampling=SCENARIO.lesson.sampling
    )
    shown = one.message(next(r for r in asked if r.stage == "universal" and r.tp == "tp0/0"), lambda id: id)
    assert isinstance(shown, Judge)
    assert shown.solutions == tuple(r.id for r in one.outcome().lessons[0].rationales if r.answer is not None)
    assert shown.sampling.temperature == 0


def test_what_was_judged_chooses_an_answer() -> None:
    one = level()
    asked = play(one)
    for lesson in one.outcome().lessons:
        sheet = Sheet(lesson, equal)
        scores = rating_scores(lesson.rationales, ("teacher",), "answers")
        for rationale in lesson.rationales:
            yes = [rating.correct for rating in rationale.ratings]
            assert scores.get(rationale.id, 0) * len(yes) == sum(yes)
        named = lesson.universal
        assert named is not None
        picked = next(r for r in lesson.rationales if r.id == named.tr)
        assert universal(sheet).answer == picked.answer
        assert lesson.rating_tokens.completion_tokens == 7 * sum(
            r.stage == "rate" and r.tp == lesson.tp for r in asked.values()
        )
        answers = [a.answer for of in lesson.alone for a in of.answers if a.answer is not None]
        assert majority_alone(sheet, equal, SCENARIO.scoring).answer in Counter(answers)


@pytest.mark.parametrize("stage", ["alone", "rate", "universal"])
def test_a_failed_one_leaves_its_problem_unfinished_and_the_class_not(stage: str) -> None:
    one = level()
    play(one, failed=stage)
    for lesson in one.outcome().lessons:
        assert not has_baselines(SCENARIO, lesson)
        assert universal(Sheet(lesson, equal)).correct is False or stage != "universal"
        assert majority_alone(Sheet(lesson, equal), equal, SCENARIO.scoring).answer is not None or stage == "alone"


def test_where_no_two_rationales_have_an_answer_the_teacher_chooses_without_being_asked() -> None:
    one = level(replace(SCENARIO, lesson=Lesson(rationales=1)))
    assert not any(request.stage == "universal" for request in play(one).values())
    assert all(lesson.universal is not None for lesson in one.outcome().lessons)
