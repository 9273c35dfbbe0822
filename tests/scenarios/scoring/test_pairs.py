"""Which TR is preferred to which, worked out by hand."""

import math
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.work_messages import Recipe
from scenarios.config.schema import Learn, Scoring
from scenarios.records.learn import Preference
from scenarios.records.observe import ExamAnswer, ExamGrade, Rationale, TeachingProblemRecord
from scenarios.scoring.pairs import ScoredRationale, equal, of_class, scored, select

ADA, BOB = "ada", "bob"


def tr(id: str, right: bool, ada: str, *, answer: str | None = "1", text: str = "", ended: bool = True) -> Rationale:
    """A TR with the exams of ada, 1 for a right one."""
    exams = tuple(ExamAnswer(ADA, f"ep{n}", 0, mark == "1") for n, mark in enumerate(ada))
    return Rationale(id, 0, answer, right, 5, exams, text or id, ended=ended)


def lesson(*trs: Rationale, tp: str = "tp") -> TeachingProblemRecord:
    return TeachingProblemRecord(tp, "number", None, trs)


def scores(one: TeachingProblemRecord, arm: str = "m2", **rule: object) -> dict[str, Fraction]:
    found = scored(one, [ADA, BOB], Scoring(), Learn(**rule), arm, 7, 1)  # type: ignore[arg-type]
    return {row.tr: row.score for row in found}


def chosen(one: TeachingProblemRecord, arm: str = "m2", **rule: object) -> list[tuple[str, str]]:
    pairs, _ = of_class([one], [ADA, BOB], Scoring(), Learn(**rule), arm, 7, 1)  # type: ignore[arg-type]
    return [(pair.chosen, pair.rejected) for pair in pairs[0]]


FOUR = lesson(tr("a", True, "11"), tr("b", True, "10"), tr("c", False, "10"), tr("d", False, "00"))
"""Final scores at w = 0.5: 1, 3/4, 1/4, 0."""


def test_the_final_score_is_correctness_and_lbt_score_in_the_given_parts() -> None:
    quarter = Fraction(1, 4)
    assert scores(FOUR) == {"a": 1, "b": 3 * quarter, "c": quarter, "d": 0}
    assert scores(FOUR, weight=0.0) == {"a": 1, "b": 2 * quarter, "c": 2 * quarter, "d": 0}
    assert scores(FOUR, weight=0.1)["b"] == Fraction(1, 10) + Fraction(9, 10) / 2


def test_the_baseline_knows_correctness_alone() -> None:
    assert scores(FOUR, "correctness") == {"a": 1, "b": 1, "c": 0, "d": 0}
    assert set(chosen(FOUR, "correctness")) <= {(x, y) for x in "ab" for y in "cd"}


def test_where_an_exam_failed_rationales_are_compared_on_the_exams_that_all_of_them_have() -> None:
    # On its one exam "c" would have the score 1/2, as "a" has.
    one = lesson(tr("a", False, "110"), tr("b", False, "100"), tr("c", False, "1"))
    assert set(scores(one).values()) == {Fraction(1, 2)}
    assert chosen(one) == []
    apart = lesson(tr("a", True, "1"), msgspec.structs.replace(tr("b", False, "00"), exams=(EP_1_WRONG,)))
    assert scores(apart) == {}
    assert scores(apart, "correctness") == {"a": 1, "b": 0}


EP_1_WRONG = ExamAnswer(ADA, "ep1", 0, False)


def test_pairs_with_the_largest_gap_come_first_and_equal_gaps_by_id() -> None:
    # Gaps: ad 1, ac 3/4, bd 3/4, bc 1/2; ab and cd 1/4, too small.
    assert chosen(FOUR) == [("a", "d"), ("a", "c"), ("b", "d"), ("b", "c")]
    assert chosen(FOUR, pairs_per_tp=3) == [("a", "d"), ("a", "c"), ("b", "d")]
    assert chosen(FOUR, gap=0.2) == [("a", "d"), ("a", "c"), ("b", "d"), ("b", "c")]  # by then every TR was in two
    assert chosen(FOUR, gap=0.2, uses_per_rationale=3)[4:] == [("a", "b"), ("c", "d")]


def test_a_rationale_is_in_so_many_pairs_at_most() -> None:
    assert chosen(FOUR, uses_per_rationale=1) == [("a", "d"), ("b", "c")]


@pytest.mark.parametrize(("gap", "found"), [(0.3, False), (0.29, True), (0.2999, True)])
def test_a_gap_must_be_larger_than_asked_for_and_rounding_decides_nothing(gap: float, found: bool) -> None:
    one = lesson(tr("a", False, "1" * 10), tr("b", False, "1" * 4 + "0" * 6))  # 0.5 x (1 - 0.4) = 0.3
    assert bool(chosen(one, gap=gap)) is found


BEST: dict[str, Any] = {"training": Recipe(method="sft")}


def test_best_of_n_is_the_best_rationale_of_a_problem_and_pairs_do_not_count() -> None:
    assert chosen(FOUR, **BEST) == [("a", "d")]
    assert chosen(FOUR, **BEST, pairs_per_tp=4, uses_per_rationale=4) == [("a", "d")]
    by_exams = lesson(tr("a", True, "10"), tr("b", False, "11"), tr("c", True, "00"))
    assert chosen(by_exams, **BEST, weight=0.6) == [("a", "b")]
    assert chosen(by_exams, **BEST, weight=0.0) == [("b", "c")]


@pytest.mark.parametrize(("gap", "found"), [(0.3, False), (0.29, True)])
def test_nothing_is_best_where_the_rationales_are_as_good_as_alike(gap: float, found: bool) -> None:
    one = lesson(tr("a", False, "1" * 10), tr("b", False, "1" * 4 + "0" * 6))
    assert bool(chosen(one, **BEST, gap=gap)) is found
    assert chosen(lesson(tr("x", True, "1"), tr("y", True, "1")), **BEST, gap=0.0) == []
    assert chosen(lesson(tr("x", True, "1")), **BEST, gap=0.0) == []


def test_of_the_best_one_is_drawn_whatever_their_order_and_another_with_another_seed() -> None:
    tied = lesson(*(tr(f"tr{n}", n < 8, "1") for n in range(9)))
    (drawn,) = chosen(tied, "correctness", **BEST)
    assert drawn[1] == "tr8"
    assert chosen(lesson(*reversed(tied.rationales)), "correctness", **BEST) == [drawn]
    others = {
        of_class([tied], [ADA, BOB], Scoring(), Learn(**BEST), "correctness", seed)[0][0][0].chosen
        for seed in range(60)
    }
    assert others == {f"tr{n}" for n in range(8)}


def test_with_shuffled_scores_any_rationale_can_be_best() -> None:
    def best(seed: int) -> str:
        found, _ = of_class([FOUR], [ADA, BOB], Scoring(), Learn(**BEST), "shuffled", seed)
        return found[0][0].chosen

    assert {best(seed) for seed in range(60)} == set("abcd")


def test_identical_rationales_are_one_and_those_nobody_was_examined_under_are_none() -> None:
    one = lesson(
        tr("a", True, "11"), tr("b", True, "11", text="a"), tr("c", False, "", answer=None), tr("d", False, "00")
    )
    assert scores(one).keys() == {"a", "d"}
    assert chosen(one) == [("a", "d")]


def test_a_pair_says_which_text_was_cut_off() -> None:
    pairs, _ = of_class([lesson(tr("a", True, "1"), tr("b", False, "0", ended=False))], [ADA], Scoring(), Learn(), "m2")
    assert (pairs[0][0].chosen_ended, pairs[0][0].rejected_ended) == (True, False)


def test_shuffled_scores_are_the_same_ones_on_other_rationales_of_the_problem() -> None:
    big = lesson(*(tr(f"tr{n}", n % 2 == 0, "1" * (n % 5) + "0" * (4 - n % 5)) for n in range(12)))
    right, shuffled = scores(big), scores(big, "shuffled")
    assert sorted(right.values()) == sorted(shuffled.values())
    assert right != shuffled
    assert shuffled == scores(lesson(*reversed(big.rationales)), "shuffled")


def test_what_gaps_there_were() -> None:
    _, gaps = of_class([FOUR, lesson(tr("x", True, "1"), tp="alone")], [ADA], Scoring(), Learn(gap=0.6), "m2")
    assert (gaps.pairs, gaps.above, gaps.problems, gaps.largest) == (6, 3, 1, 1.0)
    _, none = of_class([lesson(tr("x", True, "1"), tr("y", True, "1", text="x"))], [ADA], Scoring(), Learn(), "m2")
    assert (none.pairs, none.above, none.problems, none.largest) == (0, 0, 0, None)
    _, alike = of_class([lesson(tr("x", True, "1"), tr("y", True, "1"))], [ADA], Scoring(), Learn(), "m2")
    assert (alike.pairs, alike.above, alike.largest) == (1, 0, 0.0)


def pair(tp: str, name: str, gap: float) -> Preference:
    return Preference(tp, f"{name}+", f"{name}-", gap, 0.0, "", "")


def test_arms_are_cut_to_the_smallest_and_keep_as_many_problems_as_they_can() -> None:
    many = [[pair("p", "a", 1.0), pair("p", "b", 0.9)], [pair("q", "c", 0.5)], [pair("r", "d", 0.6)]]
    few = [[pair("p", "a", 1.0)], [], [pair("r", "x", 1.0), pair("r", "y", 1.0)]]
    cut = equal({"m2": many, "correctness": few})
    assert [one.chosen for one in cut["m2"]] == ["a+", "c+", "d+"]
    assert [one.chosen for one in cut["correctness"]] == ["a+", "x+", "y+"]


def test_an_arm_without_pairs_does_not_keep_the_others_from_learning() -> None:
    assert {arm: len(pairs) for arm, pairs in equal({"m2": [[pair("p", "a", 1.0)]], "correctness": [[]]}).items()} == {
        "m2": 1, "correctness": 0,
    }  # fmt: skip
    assert equal({"m2": [[]]}) == {"m2": ()}


@given(st.lists(st.fractions(0, 1, max_denominator=12), min_size=1, max_size=9), st.integers(1, 4), st.integers(1, 9))
def test_whatever_the_scores_the_rule_is_kept(values: list[Fraction], uses: int, most: int) -> None:
    rows = [ScoredRationale(f"tr{n}", f"m{n}", True, value) for n, value in enumerate(values)]
    pairs, gaps = select(rows, "tp", Learn(uses_per_rationale=uses, pairs_per_tp=most))
    assert len(pairs) <= min(most, gaps.above)
    assert all(one.gap > 0.3 for one in pairs)
    used = [tr for one in pairs for tr in (one.chosen, one.rejected)]
    assert all(used.count(tr) <= uses for tr in used)
    assert [one.gap for one in pairs] == sorted((one.gap for one in pairs), reverse=True)
    assert len({(one.chosen, one.rejected) for one in pairs}) == len(pairs)
    if gaps.above:
        assert pairs


def test_the_dense_arm_goes_by_how_likely_students_find_the_solutions() -> None:
    def graded(id: str, right: bool, logprob: float) -> Rationale:
        grades = tuple(ExamGrade(who, "ep0", logprob) for who in (ADA, BOB))
        return msgspec.structs.replace(tr(id, right, "1"), grades=grades)

    one = lesson(graded("a", True, -0.1), graded("b", True, -2.0), tr("ungraded", False, "0"))
    assert scores(one, "m2") == {"a": Fraction(1), "b": Fraction(1), "ungraded": Fraction(0)}
    dense = scores(one, "dense")
    assert dense.keys() == {"a", "b"}
    assert float(dense["a"]) == pytest.approx(0.5 + 0.5 * math.exp(-0.1))
    assert chosen(one, "dense") == [("a", "b")]
    assert chosen(lesson(tr("a", True, "1"), tr("b", False, "0")), "dense") == []
