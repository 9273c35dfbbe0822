"""The dense LbT score: how likely students find the worked solutions of their exams under a TR.

The score is defined in lbt.py; here its marks are log-probabilities, each a mean over tokens, and exp of their mean is
a likelihood in (0, 1]. MAX ranks TRs by it as by the mean log-probability. SUM adds likelihoods, never logarithms:
under those, every further vote for an answer would count against it.
"""

from collections.abc import Iterable, Sequence
from math import exp, fsum, isnan

import msgspec

from scenarios.config.schema import Scoring
from scenarios.records.observe import Rationale, TeachingProblemRecord
from scenarios.scoring.lbt import Assumption, Merge, Rule, Sheet, Slot, assumption, distinct, lbt_scores, mean_marks
from scenarios.scoring.statistics import paired


class Dense(msgspec.Struct, frozen=True):
    """How the dense score and the exams' accuracy agree within the TPs of a class."""

    grades: int
    """Log-probabilities, each asked once."""
    kendall_tau_b: float | None
    """Between the two scores of a TP's TRs (identical ones once): the mean over TPs; None where no TP has it."""
    ci95: tuple[float, float]
    """Of the mean over TPs; see `statistics.paired`."""
    n: int
    """TPs with a tau: at least two TRs, and neither score the same for all of them."""
    same_max: float | None
    """Share of all TPs on which MAX chooses the same answer by both scores."""
    same_sum: float | None
    assumption: Assumption
    """The paper's assumption, measured by the dense score."""


def dense_scores(rationales: Iterable[Rationale], students: Sequence[str], merge: Merge) -> dict[str, float]:
    """The dense scores, in (0, 1], of the TRs of one TP by id; see `mean_marks`. A TR without grades is left out."""
    marks: dict[str, dict[Slot, float]] = {
        one.id: {(grade.student, grade.ep): grade.logprob for grade in one.grades}
        for one in rationales
        if one.answer is not None
    }
    means = mean_marks(marks, students, merge, lambda numbers: fsum(numbers) / len(numbers))
    return {id: exp(mean) for id, mean in means.items()}


def dense(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, seed: int) -> Dense:
    """How the two scores agree; `seed` is that of `paired`."""
    taus = [tau for sheet in sheets if (tau := _tau(sheet.lesson, students, scoring.merge)) is not None]
    found = paired(taus, [0.0] * len(taus), seed) if taus else None
    names = frozenset(students)
    grades = sum(grade.student in names for s in sheets for r in distinct(s.lesson) for grade in r.grades)
    return Dense(
        grades=grades,
        kendall_tau_b=found.difference if found else None,
        ci95=found.ci95 if found else (-1.0, 1.0),
        n=len(taus),
        same_max=_same(sheets, "max", students, scoring) if grades else None,
        same_sum=_same(sheets, "sum", students, scoring) if grades else None,
        assumption=assumption([sheet.lesson for sheet in sheets], students, scoring.merge, dense_scores),
    )


def _tau(lesson: TeachingProblemRecord, students: Sequence[str], merge: Merge) -> float | None:
    """Kendall's tau-b within one TP, of TRs that have both scores."""
    likely = dense_scores(lesson.rationales, students, merge)
    scores = lbt_scores(lesson.rationales, students, merge)
    both = [r.id for r in distinct(lesson) if r.id in likely and r.id in scores]
    return tau_b([(float(scores[id]), likely[id]) for id in both])


def tau_b(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau-b: corrected for ties; None where all are tied in one of the two, or there is one pair at most."""
    from scipy.stats import kendalltau  # takes longer to load than a plan may take

    if len(pairs) < 2:
        return None
    tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
    return None if isnan(tau) else tau


def _same(sheets: Sequence[Sheet], rule: Rule, students: Sequence[str], scoring: Scoring) -> float | None:
    """Both choices are representatives of one sheet's groups: equal answers are equal texts."""
    chosen = [(s.choose(rule, students, scoring, dense_scores), s.choose(rule, students, scoring)) for s in sheets]
    return sum(a.answer == b.answer for a, b in chosen) / len(chosen) if chosen else None
