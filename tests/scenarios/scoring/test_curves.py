"""Accuracy by what is spent: by the definition over all subsets, and what must hold of every class."""

from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scenarios.config.prices import Prices
from scenarios.config.schema import Agent, Scenario, Scoring
from scenarios.records.observe import ExamCost, ExplanationCost, InventedExam, TeachingProblemRecord, Tokens
from scenarios.report.analysis import prices_of
from scenarios.scoring.curves import RULES, AccuracyCurves, curves, doubling
from scenarios.scoring.lbt import Sheet
from tests.scenarios.scoring.students import kept, made_up
from tests.scenarios.scoring.test_lbt import BOTH, COINS, ROSES, SCORING, lesson, rationale, same


def drawn(
    lessons: list[TeachingProblemRecord], students: tuple[str, ...] = BOTH, scoring: Scoring = SCORING, seed: int = 1
) -> AccuracyCurves:
    found = curves([Sheet(one, same) for one in lessons], students, scoring, seed)
    assert found is not None
    return found


def over_subsets(one: TeachingProblemRecord, name: str, size: int, scoring: Scoring) -> float:
    """The share of all subsets of TRs, in all orders, with which a rule chooses right."""
    right = []
    for subset in combinations(one.rationales, size):
        for order in permutations(subset):
            some = replace(one, rationales=tuple(replace(r, repeat=n) for n, r in enumerate(order)))
            right.append(Sheet(some, same).choose(RULES[name], BOTH, scoring).correct)
    return sum(right) / len(right)


@pytest.mark.parametrize("ties", ["votes", "first"])
def test_fewer_rationales_are_the_mean_over_subsets(monkeypatch: pytest.MonkeyPatch, ties: str) -> None:
    monkeypatch.setattr("scenarios.scoring.curves.SUBSETS", 20_000)
    scoring = Scoring(ties=ties)  # type: ignore[arg-type]
    one, two, four, five = drawn([ROSES], BOTH, scoring).rationales
    assert [point.size for point in (one, two, four, five)] == [1, 2, 4, 5]
    for point in (one, two, four):
        for name in RULES:
            expected = over_subsets(ROSES, name, point.size, scoring)
            assert point.methods[name].accuracy == pytest.approx(expected, abs=0.02), (name, point.size)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.sampled_from(["votes", "first"]), st.sampled_from(["answers", "students"]))
def test_the_curves_end_at_the_figures_of_the_class(seed: int, ties: str, merge: str) -> None:
    scoring = Scoring(ties=ties, merge=merge)  # type: ignore[arg-type]
    lessons = made_up([0.0, 1.0], tps=5, trs=6, eps=2, seed=seed)
    found = drawn(lessons, ("s0", "s1"), scoring)
    for name, rule in RULES.items():
        right = sum(Sheet(one, same).choose(rule, ("s0", "s1"), scoring).correct for one in lessons)
        assert found.rationales[-1].methods[name].accuracy == pytest.approx(right / 5)
        if name != "sc":
            assert found.exams[-1].methods[name].accuracy == pytest.approx(right / 5)
    share = sum(r.correct for one in lessons for r in one.rationales) / 30
    assert all(
        one.accuracy == pytest.approx(share, abs=1e-6)
        for name, one in found.rationales[0].methods.items()
        if name != "greedy"
    )


def test_the_curves_depend_on_the_seed_and_not_on_the_order_of_the_problems() -> None:
    lessons = made_up([0.0, 1.0], tps=9)
    names = ("s0", "s1")
    assert drawn(lessons, names) == drawn(lessons[::-1], names)
    assert drawn(lessons, names) != drawn(lessons, names, seed=2)


def test_tokens_grow_with_what_is_used() -> None:
    found = drawn(made_up([0.0, 1.0], tps=3, trs=4, eps=2), ("s0", "s1"))
    assert [one.methods["sc"].tokens for one in found.rationales] == [20, 40, 80]
    assert [one.methods["m1_max"].tokens for one in found.rationales] == [30, 60, 120]
    assert [(one.size, one.methods["m1_sum"].tokens) for one in found.exams] == [(1, 90), (2, 100), (4, 120)]
    assert {one.methods["greedy"].tokens for one in found.rationales} == {20}


def test_thirds_are_by_the_share_of_right_answers() -> None:
    thirds = drawn(made_up([0.0], tps=60, trs=9), ("s0",)).difficulty
    assert sum(one.n for one in thirds) == 60
    accuracies = [one.methods["greedy"].accuracy for one in thirds]
    assert accuracies == sorted(accuracies)
    all_right = [lesson(rationale(0, "1", right=True, ada="1"))]
    (only,) = drawn(all_right, ("ada",)).difficulty
    assert (only.right_from, only.n, only.methods["m1_max"].accuracy) == pytest.approx((2 / 3, 1, 1.0))


def test_problems_with_failed_exams_or_rationales_count_where_they_have_as_many() -> None:
    whole = made_up([0.0, 1.0], tps=4, trs=4, eps=2)
    half = kept(whole, lambda _, exam: exam.student == "s0")
    shorter = replace(half[0], rationales=half[0].rationales[:3])
    found = drawn([shorter, half[1], *whole[2:]], ("s0", "s1"))
    assert [(one.size, one.n) for one in found.rationales] == [(1, 4), (2, 4), (4, 3)]
    assert [(one.size, one.n) for one in found.exams] == [(1, 4), (2, 4), (4, 2)]


def test_one_problem_whose_answers_are_all_wrong_has_curves_at_zero() -> None:
    found = drawn([lesson(rationale(0, "1", ada="10"), rationale(1, None), rationale(2, "2", ada="00"))], ("ada",))
    assert {one.accuracy for point in (*found.rationales, *found.exams) for one in point.methods.values()} == {0.0}


def test_a_problem_without_any_answer_is_wrong() -> None:
    found = drawn([COINS, lesson(rationale(0, None), rationale(1, None), tp="none")])
    assert found.rationales[0].methods["sc"].accuracy <= 0.5


def test_money_is_that_of_the_tokens_of_each_agent_and_not_known_without_prices() -> None:
    tr = replace(rationale(0, "5", ada="10"), prompt_tokens=100)
    one = replace(lesson(tr, greedy=replace(tr, exams=())), exam_costs=(ExamCost("ada", 50, 20), ExamCost("bob", 9, 9)))
    sheets = [Sheet(one, same)]
    paid = curves(sheets, BOTH, SCORING, 1, prices={"": Prices(0.5, 1), "ada": Prices(1, 2)})
    assert paid is not None
    point = paid.rationales[0].methods
    assert {name: value.money for name, value in point.items()} == {
        "greedy": 60, "sc": 60, "m1_max": 150, "m1_sum": 150, "m1_avg": 150,
    }  # fmt: skip
    talked = replace(one, explanation_costs=(ExplanationCost(("ada", "bob"), 40, 30),))
    paid = curves([Sheet(talked, same)], BOTH, SCORING, 1, prices={"": Prices(0.5, 1), "ada": Prices(1, 2)})
    assert paid is not None
    assert paid.rationales[0].methods["m1_max"].money == 200, "the teacher is paid for its answers to questions"
    assert {value.money for value in drawn([one]).rationales[0].methods.values()} == {None}


def test_the_spread_over_subsets_is_that_of_classes_drawn_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    lessons = [replace(ROSES, tp=f"r{n}") for n in range(4)]
    one, *_, last = drawn(lessons).rationales
    # One of five TRs is right: each TP's one TR is, with 1/5.
    assert one.methods["sc"].sd == pytest.approx((4 * 0.2 * 0.8) ** 0.5 / 4, abs=1e-6)
    assert {value.sd for value in last.methods.values()} == {0.0}


def test_levels_and_subjects_have_curves_of_their_own() -> None:
    lessons = made_up([0.0, 1.0], tps=4, trs=30, eps=2, seed=3)
    named = {one.tp: (level, "") for one, level in zip(lessons, ("10", "2", "2", ""), strict=True)}
    found = curves([Sheet(one, same) for one in lessons], ("s0", "s1"), SCORING, 1, named)
    assert found is not None
    assert [(part.name, part.rationales[0].n) for part in found.levels] == [("2", 2), ("10", 1), ("", 1)]
    assert found.subjects == []
    assert [point.size for point in found.levels[0].rationales] == [1, 2, 4, 8, 16, 24, 30]
    for point, *parts in zip(found.rationales, *(part.rationales for part in found.levels), strict=True):
        mean = sum(one.n * one.methods["m1_sum"].accuracy for one in parts) / point.n
        assert point.methods["m1_sum"].accuracy == pytest.approx(mean, abs=1e-5)


def test_without_exams_there_are_no_curves() -> None:
    assert curves([], BOTH, SCORING, 1) is None
    assert curves([Sheet(lesson(rationale(0, "a")), same)], BOTH, SCORING, 1) is None
    assert (doubling(0), doubling(1), doubling(6)) == ([], [1], [1, 2, 4, 6])


def test_what_the_exam_problems_took_is_paid_at_the_price_of_their_writer() -> None:
    tr = replace(rationale(0, "5", ada="10"), prompt_tokens=100)
    exam = InventedExam("guru", tokens=Tokens(completion_tokens=20, prompt_tokens=50))
    paid = Agent(
        name="guru", engine="openai", engine_args={"price_per_million_prompt": 1, "price_per_million_completion": 2}
    )
    scenario = Scenario(name="paid", teacher=paid, students=(Agent(name="ada"),))
    prices = prices_of(scenario)
    found = curves([Sheet(replace(lesson(tr), invented=exam), same)], ("ada",), SCORING, 1, prices=prices)
    assert found is not None
    point = found.rationales[0].methods
    assert point["m1_max"].money is not None and point["sc"].money is not None
    assert point["m1_max"].money - point["sc"].money == pytest.approx(prices[""].of(50, 20)) != 0
