"""Accuracy by what is spent: by the definition over all subsets, and what must hold of every class."""

from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scenarios.config.schema import Scoring
from scenarios.records.observe import TeachingProblemRecord
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


def test_without_exams_there_are_no_curves() -> None:
    assert curves([], BOTH, SCORING, 1) is None
    assert curves([Sheet(lesson(rationale(0, "a")), same)], BOTH, SCORING, 1) is None
    assert (doubling(0), doubling(1), doubling(6)) == ([], [1], [1, 2, 4, 6])
