"""What the item response model says of a class: abilities of students, spread of EPs and TRs; and teacher's lead.

A teacher answers TPs without a TR, students answer EPs after one: they have no exam in common, so the teacher's ability
cannot be placed on the students' scale. Their distance is therefore given in accuracy.
"""

from collections.abc import Mapping, Sequence
from math import sqrt

import msgspec

from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.agreement import spearman
from scenarios.scoring.exam_counts import ExamCounts
from scenarios.scoring.item_response import Facets, fit
from scenarios.scoring.lineups import LineUp
from scenarios.scoring.statistics import mean, mean_interval

DIGITS = 6
"""Of what is fitted: further ones depend on the machine."""


class StudentAbility(msgspec.Struct, frozen=True):
    """One student on the scale of the item response model."""

    name: str
    ability: float | None
    """In logits: 0 is half of the EPs of mean difficulty right, after a TR of mean quality. None: it has no EA."""
    ci95: tuple[float, float] | None
    """Over TPs; None for a single TP. Students sat the same exams, so two of them may differ surely although their
    intervals overlap."""
    exam_answers: int
    teacher_leads_by: float | None
    """The share of the teacher's TAs that are right, minus that of the student's EAs."""
    gain_max: float | None
    """Accuracy of MAX with this student alone, minus that of SC."""
    gain_sum: float | None


class Abilities(msgspec.Struct, frozen=True):
    """A class by its item response model, in logits; the spreads are standard deviations."""

    students: list[StudentAbility]
    difficulty_sd: float
    """Between EPs."""
    quality_sd: float
    """Between TRs of one TP: how much it matters which TR a student reads."""
    right_minus_wrong: float | None
    """Mean quality of the right TRs of a TP minus that of its wrong ones, as fitted (shrunk towards 0); the mean over
    TPs that have both."""
    right_minus_wrong_ci95: tuple[float, float] | None
    """Over these TPs."""
    n: int
    """TPs with exams."""
    gain_max_by_lead: float | None
    """Spearman's correlation over students between `teacher_leads_by` and `gain_max`: descriptive."""
    gain_sum_by_lead: float | None


def abilities(
    counts: Sequence[ExamCounts],
    students: Sequence[str],
    lessons: Sequence[TeachingProblemRecord],
    line_ups: Sequence[LineUp],
    sc: float | None,
) -> Abilities | None:
    """Fit the model and say how far the teacher is ahead; None without exams.

    Args:
        counts: of each TP.
        students: in the order of the counts.
        lessons: the TPs with the teacher's TAs.
        line_ups: those of one student are looked up.
        sc: the accuracy of SC.
    """
    counts = [one for one in counts if one.asked.any()]
    if not counts:
        return None
    found = fit(counts)
    teacher = mean(float(one.correct) for lesson in lessons for one in lesson.rationales)
    alone = {up.students[0]: up for up in line_ups if len(up.students) == 1}
    rows = [_student(name, number, counts, found, teacher, alone, sc) for number, name in enumerate(students)]
    differences = [
        d for one, quality in zip(counts, found.quality, strict=True) if (d := _differs(one, quality)) is not None
    ]
    centre, ci95 = mean(differences), mean_interval(differences)
    return Abilities(
        students=rows,
        difficulty_sd=round(found.difficulty_sd, DIGITS),
        quality_sd=round(found.quality_sd, DIGITS),
        right_minus_wrong=None if centre is None else round(centre, DIGITS),
        right_minus_wrong_ci95=(round(ci95[0], DIGITS), round(ci95[1], DIGITS)) if ci95 else None,
        n=len(counts),
        gain_max_by_lead=_by_lead([(row.teacher_leads_by, row.gain_max) for row in rows]),
        gain_sum_by_lead=_by_lead([(row.teacher_leads_by, row.gain_sum) for row in rows]),
    )


def _student(
    name: str,
    number: int,
    counts: Sequence[ExamCounts],
    found: Facets,
    teacher: float | None,
    alone: Mapping[str, LineUp],
    sc: float | None,
) -> StudentAbility:
    asked = sum(int(one.asked[number].sum()) for one in counts)
    right = sum(int(one.right[number].sum()) for one in counts)
    up = alone.get(name)
    gains = [minus(value, sc) for value in ((up.m1_max, up.m1_sum) if up else (None, None))]
    if not asked:
        return StudentAbility(name, None, None, 0, None, *gains)
    value = float(found.ability[number])
    # With few TPs the estimate by TPs may be too small by chance, so the larger one counts.
    variance = max(float(found.covariance[number, number]), float(found.model_variance[number]))
    ci95 = _around(value, variance, len(counts)) if len(counts) > 1 else None
    return StudentAbility(name, round(value, DIGITS), ci95, asked, minus(teacher, right / asked), *gains)


def _around(value: float, variance: float, n: int) -> tuple[float, float]:
    from scipy.stats import t

    reach = float(t.ppf(0.975, n - 1)) * sqrt(variance)
    return round(value - reach, DIGITS), round(value + reach, DIGITS)


def _differs(counts: ExamCounts, quality: Mapping[str, float]) -> float | None:
    """The mean quality of the right TRs of a TP minus that of the wrong ones; None where it has not both."""
    of_right, of_wrong = (
        mean(
            quality[tr]
            for tr, correct in zip(counts.trs, counts.correct, strict=True)
            if correct is wanted and tr in quality
        )
        for wanted in (True, False)
    )
    return minus(of_right, of_wrong)


def minus(a: float | None, b: float | None) -> float | None:
    """The difference; None where one of the two is."""
    return None if a is None or b is None else a - b


def _by_lead(rows: Sequence[tuple[float | None, float | None]]) -> float | None:
    known = [(lead, gain) for lead, gain in rows if lead is not None and gain is not None]
    return spearman([lead for lead, _ in known], [gain for _, gain in known])
