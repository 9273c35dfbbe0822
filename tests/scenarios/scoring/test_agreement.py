"""How alike two students answer: by hand, against scikit-learn's kappa, and where nothing can be said."""

import pytest
from msgspec.structs import replace

from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.agreement import Agreement, PairAgreement, agreement, spearman
from scenarios.scoring.exam_counts import exam_counts
from scenarios.scoring.lbt import Sheet
from scenarios.scoring.lineups import compare_lineups
from tests.scenarios.scoring.students import kept, made_up
from tests.scenarios.scoring.test_lbt import BOTH, SCORING, lesson, rationale, same


def of(lessons: list[TeachingProblemRecord], students: tuple[str, ...] = BOTH) -> Agreement | None:
    ups = compare_lineups([Sheet(one, same) for one in lessons], students, SCORING, 1)
    return agreement([exam_counts(one, students) for one in lessons], students, ups, 0.5)


def pair(*lessons: TeachingProblemRecord) -> PairAgreement:
    found = of(list(lessons))
    assert found is not None
    (one,) = found.pairs
    return one


def test_the_measures_of_a_two_by_two_table() -> None:
    # Both right 4, only ada 1, only bob 2, both wrong 3.
    found = pair(lesson(rationale(0, "a", ada="1111100000", bob="1111011000")))
    assert found.n == 10
    assert (found.same, found.double_fault) == pytest.approx((0.7, 0.3))
    assert found.kappa == pytest.approx(0.4)
    assert found.error_correlation == pytest.approx(10 / 600**0.5)
    assert found.yules_q == pytest.approx((4 * 3 - 1 * 2) / (4 * 3 + 1 * 2))


def test_kappa_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    lessons = made_up([0.0, 1.0], tps=10)
    marks = [
        [e.correct for one in lessons for r in one.rationales for e in r.exams if e.student == s] for s in ("s0", "s1")
    ]
    found = of(lessons, ("s0", "s1"))
    assert found is not None
    assert found.pairs[0].kappa == pytest.approx(metrics.cohen_kappa_score(*marks))
    assert found.pairs[0].error_correlation == pytest.approx(metrics.matthews_corrcoef(*marks))


def test_repeats_count_as_all_pairs_of_their_answers() -> None:
    once = rationale(0, "a", ada="1", bob="1")
    again = replace(once, exams=(*once.exams, replace(once.exams[1], repeat=1, correct=False)))
    assert pair(lesson(again)).same == 0.5


def test_only_exams_of_both_count_and_a_student_with_half_its_exams_keeps_its_number() -> None:
    lessons = made_up([0.0, 1.0], tps=6, trs=4, eps=2)
    half = kept(lessons, lambda tr, exam: exam.student == "s0" or tr.repeat < 2)
    found = of(half, ("s0", "s1"))
    assert found is not None
    assert found.pairs[0].n == 6 * 2 * 2
    assert found.pairs[0].kappa_ci95 is not None


def test_two_identical_students_agree_everywhere() -> None:
    rows = [
        lesson(rationale(0, "a", ada="10", bob="10"), rationale(1, "b", ada="01", bob="01"), tp=str(n))
        for n in range(4)
    ]
    found = pair(*rows)
    assert (found.same, found.kappa, found.error_correlation, found.yules_q) == (1.0, 1.0, 1.0, 1.0)


def test_where_all_is_right_or_all_is_wrong_kappa_is_undefined_and_the_rest_is_said() -> None:
    for marks, fault in (("11", 0.0), ("00", 1.0)):
        found = pair(lesson(rationale(0, "a", ada=marks, bob=marks)))
        assert (found.same, found.kappa, found.error_correlation, found.yules_q) == (1.0, None, None, None)
        assert (found.kappa_ci95, found.double_fault) == (None, fault)


def test_one_problem_has_no_interval() -> None:
    assert pair(lesson(rationale(0, "a", ada="10", bob="01"))).kappa_ci95 is None


def test_without_two_students_or_without_exams_there_is_no_agreement() -> None:
    assert of([lesson(rationale(0, "a", ada="10"))], ("ada",)) is None
    assert of([lesson(rationale(0, "a"))]) is None
    assert of([]) is None


def test_line_ups_whose_pairs_all_have_a_kappa_are_correlated_with_their_gain() -> None:
    found = of(made_up([-1.0, 0.0, 1.0, 2.0], tps=20), ("s0", "s1", "s2", "s3"))
    assert found is not None
    assert found.line_ups == 11  # 15 subsets without the 4 single students
    assert found.gain_max_by_kappa is not None
    assert -1 <= found.gain_max_by_kappa <= 1


def test_a_rank_correlation_needs_three_pairs_and_two_values() -> None:
    assert spearman([1, 2], [1, 2]) is None
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


def test_the_interval_of_kappa_covers_what_a_large_class_has() -> None:
    large = of(made_up([0.0, 0.5], tps=3000, trs=2, eps=2, seed=9), ("s0", "s1"))
    assert large is not None
    truth = large.pairs[0].kappa
    assert truth is not None
    covered = 0
    for seed in range(60):
        found = of(made_up([0.0, 0.5], tps=25, trs=2, eps=2, seed=100 + seed), ("s0", "s1"))
        assert found is not None
        interval = found.pairs[0].kappa_ci95
        assert interval is not None
        covered += interval[0] <= truth <= interval[1]
    assert covered >= 52  # 57 expected, standard deviation 1.7
