"""The dense LbT score: how likely students find the worked solutions of their exams under a TR, and choices by it.

Pure, as scores.py, whose groups of equal answers and ties it shares. What a student tells is a mean over tokens, so exp
of it is a likelihood in (0, 1]: the geometric mean of its tokens'. The dense score of a TR is exp of the mean over its
students and EPs. MAX ranks TRs as their mean log-probability does; SUM adds likelihoods, and never logarithms, under
which every further vote for an answer would count against it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import exp, fsum, isnan
from typing import Literal

import msgspec

from scenarios.config.schema import Scoring
from scenarios.records.observe import Rationale, TeachingProblemRecord
from scenarios.scoring.lbt import Assumption, ChosenAnswer, Merge, Sheet, lbt_scores
from scenarios.scoring.statistics import paired

DenseRule = Literal["max", "sum", "avg"]


class Dense(msgspec.Struct, frozen=True):
    """How the dense score and the exams' accuracy agree within the TPs of a class."""

    grades: int
    """Log-probabilities that the students told, each asked once."""
    kendall_tau_b: float | None
    """Between the two scores of a TP's TRs (identical ones once): the mean over TPs; None where none has it."""
    ci95: tuple[float, float]
    """Percentile bootstrap over TPs."""
    n: int
    """TPs with a tau: at least two TRs, and neither score the same for all of them."""
    same_max: float | None
    """Share of all TPs on which MAX chooses the same answer by both scores."""
    same_sum: float | None
    assumption: Assumption
    """The paper's assumption, measured by the dense score."""


def dense_scores(lesson: TeachingProblemRecord, students: Sequence[str], merge: Merge) -> dict[str, float]:
    """The dense score of each TR with an answer, in (0, 1], by its material; a TR without grades is left out.

    Where a request failed, TRs are compared on those students and EPs that all of them have: EPs are not equally hard.

    Args:
        lesson: The TP.
        students: The line-up; what others told does not count.
        merge: answers: the mean over all log-probabilities. students: the mean of each student's mean.
    """
    told = {
        material(r): {(g.student, g.ep): g.logprob for g in r.grades if g.student in students}
        for r in lesson.rationales
        if r.answer is not None
    }
    told = {key: grades for key, grades in told.items() if grades}
    if not told:
        return {}
    seats = sorted(set.intersection(*(set(grades) for grades in told.values())))
    rows = [seats] if merge == "answers" else [[seat for seat in seats if seat[0] == name] for name in students]
    rows = [row for row in rows if row]
    if not rows:
        return {}
    return {
        key: exp(fsum(fsum(grades[seat] for seat in row) / len(row) for row in rows) / len(rows))
        for key, grades in told.items()
    }


def material(rationale: Rationale) -> str:
    """What identical TRs have in common."""
    return rationale.material or rationale.id


def choose_dense(sheet: Sheet, rule: DenseRule, students: Sequence[str], scoring: Scoring) -> ChosenAnswer:
    """The answer that `rule` hands in by dense scores; a TR without one adds nothing."""
    scores = dense_scores(sheet.lesson, students, scoring.merge)
    totals = []
    for group in sheet.groups:
        own = [scores[key] for member in group.members if (key := material(member)) in scores]
        total = max(own, default=0.0) if rule == "max" else fsum(own)
        totals.append(total / max(len(own), 1) if rule == "avg" else total)
    return sheet.best(totals, scoring)


def dense(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, seed: int) -> Dense:
    """How the two scores agree; `seed` is the bootstrap's."""
    taus = [tau for sheet in sheets if (tau := _tau(sheet.lesson, students, scoring.merge)) is not None]
    found = paired(taus, [0.0] * len(taus), seed) if taus else None
    distinct = [r for sheet in sheets for r in {material(r): r for r in sheet.lesson.rationales}.values()]
    grades = sum(grade.student in students for rationale in distinct for grade in rationale.grades)
    return Dense(
        grades=grades,
        kendall_tau_b=found.difference if found else None,
        ci95=found.ci95 if found else (-1.0, 1.0),
        n=len(taus),
        same_max=_same(sheets, "max", students, scoring) if grades else None,
        same_sum=_same(sheets, "sum", students, scoring) if grades else None,
        assumption=_assumption([sheet.lesson for sheet in sheets], students, scoring.merge),
    )


def _tau(lesson: TeachingProblemRecord, students: Sequence[str], merge: Merge) -> float | None:
    """Kendall's tau-b within one TP, of TRs that have both scores."""
    likely = dense_scores(lesson, students, merge)
    scores = lbt_scores(lesson.rationales, students, merge)
    both = {
        material(r): (float(scores[r.id]), likely[material(r)])
        for r in lesson.rationales
        if material(r) in likely and r.id in scores
    }
    return tau_b(list(both.values()))


def tau_b(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau-b: corrected for ties; None where all are tied in one of the two, or there is but one pair."""
    from scipy.stats import kendalltau  # takes longer to load than a plan may take

    if len(pairs) < 2:
        return None
    tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
    return None if isnan(tau) else tau


def _same(sheets: Sequence[Sheet], rule: DenseRule, students: Sequence[str], scoring: Scoring) -> float | None:
    """Both choices are representatives of one sheet's groups: equal answers are equal texts."""
    chosen = [(choose_dense(s, rule, students, scoring), s.choose(rule, students, scoring)) for s in sheets]
    return sum(a.answer == b.answer for a, b in chosen) / len(chosen) if chosen else None


def _assumption(lessons: Sequence[TeachingProblemRecord], students: Sequence[str], merge: Merge) -> Assumption:
    wins = ties = pairs = 0
    for lesson in lessons:
        likely = dense_scores(lesson, students, merge)
        right, wrong = (
            sorted(likely[material(r)] for r in lesson.rationales if r.correct is correct and material(r) in likely)
            for correct in (True, False)
        )
        for score in right:
            below = bisect_left(wrong, score)
            wins += below
            ties += bisect_right(wrong, score) - below
        pairs += len(right) * len(wrong)
    return Assumption(wins / pairs, ties / pairs, pairs) if pairs else Assumption(None, None, 0)
