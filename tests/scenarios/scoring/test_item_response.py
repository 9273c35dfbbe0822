"""Abilities, difficulties and qualities: found again where they are known, and finite where nothing decides them."""

import math

import numpy as np
import pytest

from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.abilities import Abilities, abilities
from scenarios.scoring.exam_counts import ExamCounts, exam_counts
from scenarios.scoring.item_response import Facets, fit
from scenarios.scoring.lbt import Sheet
from scenarios.scoring.lineups import compare_lineups
from tests.scenarios.scoring.students import kept, made_up
from tests.scenarios.scoring.test_lbt import BOTH, SCORING, lesson, rationale, same

TRUE = (-1.0, -0.2, 0.1, 1.5)
NAMES = ("s0", "s1", "s2", "s3")


def counted(lessons: list[TeachingProblemRecord], names: tuple[str, ...] = NAMES) -> list[ExamCounts]:
    return [exam_counts(one, names) for one in lessons]


def fitted(lessons: list[TeachingProblemRecord], names: tuple[str, ...] = NAMES) -> Facets:
    return fit(counted(lessons, names))


def summary(lessons: list[TeachingProblemRecord], names: tuple[str, ...]) -> Abilities | None:
    ups = compare_lineups([Sheet(one, same) for one in lessons], names, SCORING, 1)
    return abilities(counted(lessons, names), names, lessons, ups, 0.5)


def test_known_abilities_and_spreads_are_found_again() -> None:
    found = fitted(made_up(TRUE, tps=300, trs=8, eps=4, difficulty=1.2))
    differences = found.ability - found.ability[0]
    assert differences == pytest.approx(np.array(TRUE) - TRUE[0], abs=0.2)
    assert found.difficulty_sd == pytest.approx(1.2, abs=0.2)
    assert 0.5 < found.quality_sd < 1.2  # 0.5 among right TRs and among wrong ones, which are 1.5 apart


def test_the_interval_of_a_difference_covers_the_truth() -> None:
    covered = 0
    for seed in range(100):
        found = fitted(made_up((0.0, 0.8), tps=20, trs=4, eps=3, seed=seed), ("s0", "s1"))
        variance = found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]
        covered += abs(found.ability[1] - found.ability[0] - 0.8) < 2.093 * math.sqrt(variance)
    assert covered >= 88  # 95 expected, standard deviation 2.2


def test_the_scales_are_centred() -> None:
    found = fitted(made_up(TRUE, tps=10))
    everything = [value for of_tp in found.difficulty for value in of_tp.values()]
    assert sum(everything) == pytest.approx(0, abs=1e-9)
    assert all(sum(of_tp.values()) == pytest.approx(0, abs=1e-9) for of_tp in found.quality)


def test_the_fit_is_the_mode_of_the_penalised_likelihood() -> None:
    from scipy.optimize import minimize

    counts = counted(made_up((0.0, 1.0), tps=2, trs=3, eps=2), ("s0", "s1"))
    found = fit(counts)
    sd = np.concatenate([[3.0] * 2, [found.quality_sd] * 6, [found.difficulty_sd] * 4])

    def loss(theta: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
        total = 0.5 * float(((theta / sd) ** 2).sum())
        for number, one in enumerate(counts):
            quality, difficulty = theta[2 + 3 * number :][:3], theta[8 + 2 * number :][:2]
            logit = theta[:2, None, None] + quality[None, :, None] - difficulty[None, None, :]
            total -= float((one.right * logit - one.asked * np.logaddexp(0, logit)).sum())
        return total

    best = minimize(loss, np.zeros(12), tol=1e-10).x
    assert found.ability[1] - found.ability[0] == pytest.approx(best[1] - best[0], abs=2e-3)
    quality = np.array(list(found.quality[0].values()))
    assert quality == pytest.approx(best[2:5] - best[2:5].mean(), abs=2e-3)


@pytest.mark.parametrize("marks", ["11", "00"])
def test_where_all_is_right_or_all_is_wrong_everything_is_finite(marks: str) -> None:
    rows = [
        lesson(rationale(0, "a", ada=marks, bob=marks), rationale(1, "b", ada=marks, bob=marks), tp=str(n))
        for n in range(30)
    ]
    found = summary(rows, BOTH)
    assert found is not None
    for student in found.students:
        assert student.ability is not None
        assert abs(student.ability) < 12
        assert (student.ability > 0) == (marks == "11")
    assert found.students[0].ability == found.students[1].ability
    assert all(map(math.isfinite, (found.difficulty_sd, found.quality_sd)))


def test_one_student_on_one_problem_has_an_ability_without_an_interval() -> None:
    found = summary([lesson(rationale(0, "a", right=True, ada="110"))], ("ada",))
    assert found is not None
    (ada,) = found.students
    assert (ada.ci95, ada.exam_answers, found.n, found.right_minus_wrong_ci95) == (None, 3, 1, None)
    assert ada.ability is not None
    assert ada.teacher_leads_by == pytest.approx(1 / 3)


def test_a_student_that_failed_half_its_exams_keeps_its_ability_and_its_number() -> None:
    whole = made_up(TRUE, tps=120, trs=6)
    half = kept(whole, lambda tr, exam: exam.student != "s3" or tr.repeat % 2 == 1)
    found = summary(half, NAMES)
    assert found is not None
    last = found.students[-1]
    assert last.exam_answers == 120 * 3 * 3
    assert last.ability == pytest.approx(fitted(whole).ability[3], abs=0.3)


def test_a_student_without_exams_has_no_ability_and_changes_no_other() -> None:
    lessons = made_up((0.0, 1.0), tps=12)
    with_it, without = summary(lessons, ("s0", "s1", "nobody")), summary(lessons, ("s0", "s1"))
    assert with_it is not None
    assert without is not None
    nobody = with_it.students[-1]
    assert (nobody.ability, nobody.ci95, nobody.exam_answers, nobody.gain_max) == (None, None, 0, None)
    assert with_it.students[0].ability == pytest.approx(without.students[0].ability, abs=1e-3)


def test_right_rationales_have_a_higher_quality() -> None:
    found = summary(made_up(TRUE, tps=40), NAMES)
    assert found is not None
    assert found.right_minus_wrong is not None
    assert found.right_minus_wrong_ci95 is not None
    assert 0 < found.right_minus_wrong_ci95[0] < found.right_minus_wrong < 1.6  # 1.5, shrunk


def test_the_teacher_leads_weak_students_by_more() -> None:
    found = summary(made_up(TRUE, tps=40), NAMES)
    assert found is not None
    leads = [one.teacher_leads_by for one in found.students]
    assert leads == sorted(leads, key=lambda lead: -(lead or 0))
    assert found.gain_max_by_lead is not None


def test_without_exams_there_are_no_abilities() -> None:
    assert summary([lesson(rationale(0, "a"))], BOTH) is None
    with pytest.raises(ValueError, match="no exams"):
        fitted([lesson(rationale(0, "a"))])
