"""Preference pairs: of two TRs of one TP, which one its students learn more from.

The rule (paper, M2): a TR's final score is weight x correctness + (1 - weight) x LbT score, and two TRs of a TP make
a pair if their scores differ by more than a gap. The paper does not say which of the many pairs it takes; here those
with the largest gaps, each TR in so many pairs at most, equal gaps in the order of the TRs' ids. Best-of-n
supervised fine-tuning (`sft`) takes the best TR of each TP instead. Scores are exact fractions, so no choice depends
on rounding. scenarios/levels/learn/round.py trains on the pairs.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import lcm
from operator import attrgetter
from typing import NamedTuple, TypeVar

from broker.protocol import digest
from scenarios.config.schema import ArmName, Learn, Scoring
from scenarios.records.learn import Gaps, Preference
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.dense import dense_scores
from scenarios.scoring.lbt import Scorer, lbt_scores, material

Key = TypeVar("Key")


class ScoredRationale(NamedTuple):
    """A TR and its final score; of identical TRs the first."""

    tr: str
    material: str
    ended: bool
    score: Fraction


def scored(
    lesson: TeachingProblemRecord, students: Sequence[str], scoring: Scoring, rule: Learn, arm: ArmName, *seed: object
) -> list[ScoredRationale]:
    """The distinct examined TRs of a TP, by id, with the scores that `arm` gives them.

    A TR without an answer was not examined, so it has no score; nor has, for the arm `dense`, one without grades.

    Args:
        lesson: the TP and all that came of it.
        students: whose exams count.
        scoring: how their results are merged.
        rule: the weight of correctness; it is 1 for the arm `correctness`.
        arm: for `shuffled` the scores change places, drawn by `seed` and the ids; for `dense` the LbT score is how
            likely the students find their exams' solutions (scenarios/scoring/dense.py).
        seed: of the class, and the round.
    """
    weight = Fraction(1) if arm == "correctness" else exact(rule.weight)
    scorer: Scorer = dense_scores if arm == "dense" else lbt_scores
    scores = scorer(lesson.rationales, students, scoring.merge)
    distinct: dict[str, ScoredRationale] = {}
    for one in lesson.rationales:
        key = material(one)
        if one.answer is None or not one.exams or key in distinct:
            continue
        if arm == "correctness" or one.id in scores:
            # Its weight is 1 for the arm `correctness`, which needs no LbT score.
            score = weight * one.correct + (1 - weight) * Fraction(scores.get(one.id, 0))
            distinct[key] = ScoredRationale(one.id, key, one.ended, score)
    found = sorted(distinct.values())
    if arm == "shuffled":
        drawn = sorted(found, key=lambda one: digest("shuffled", *seed, lesson.tp, one.tr))
        return [one._replace(score=other.score) for one, other in zip(found, drawn, strict=True)]
    return found


def select(rows: Sequence[ScoredRationale], tp: str, rule: Learn, *seed: object) -> tuple[list[Preference], Gaps]:
    """The pairs of one TP, those with the largest gaps first, and what gaps there were.

    With the method `sft` it is one pair at most, the best TR and the worst: where no scores differ by more than the
    gap there is nothing to choose. Of TRs that are equally good one is drawn by `seed` and the ids.
    """
    common = lcm(*(one.score.denominator for one in rows))
    wanted = exact(rule.gap) * common
    whole = [one.score.numerator * (common // one.score.denominator) for one in rows]
    candidates: list[tuple[int, str, str, int, int]] = []
    largest = 0
    for i, high in enumerate(whole):
        for j, low in enumerate(whole):
            if i != j and high >= low:
                largest = max(largest, high - low)
                if high - low > wanted:
                    candidates.append((low - high, rows[i].tr, rows[j].tr, i, j))
    if rule.training.method == "sft":
        taken = [_best(rows, tp, *seed)] if candidates else []
    else:
        taken = _furthest(rows, tp, sorted(candidates), rule)
    pairs = len(rows) * (len(rows) - 1) // 2
    return taken, Gaps(pairs, len(candidates), int(bool(candidates)), largest / common if pairs else None)


def of_class(
    lessons: Iterable[TeachingProblemRecord],
    students: Sequence[str],
    scoring: Scoring,
    rule: Learn,
    arm: ArmName,
    *seed: object,
) -> tuple[list[list[Preference]], Gaps]:
    """The pairs of every TP, and the gaps of them all; see `scored` and `select`."""
    pairs, gaps = [], []
    for lesson in lessons:
        chosen, found = select(scored(lesson, students, scoring, rule, arm, *seed), lesson.tp, rule, *seed)
        pairs.append(chosen)
        gaps.append(found)
    return pairs, Gaps(
        pairs=sum(one.pairs for one in gaps),
        above=sum(one.above for one in gaps),
        problems=sum(one.problems for one in gaps),
        largest=max((one.largest for one in gaps if one.largest is not None), default=None),
    )


def equal(arms: Mapping[Key, Sequence[Sequence[Preference]]]) -> dict[Key, tuple[Preference, ...]]:
    """As many pairs for every arm as the one with the fewest has; arms that have none do not count, and get none.

    Where an arm has more, the first pair of every TP goes in before any second one, and so on: fewer pairs, and not
    fewer problems. Within one such rank the largest gaps come first, then the TPs' and TRs' ids.

    Args:
        arms: by arm (and seed), by TP, its pairs, best first.
    """
    size = min((n for pairs in arms.values() if (n := sum(map(len, pairs)))), default=0)
    return {arm: _cut(pairs, size) for arm, pairs in arms.items()}


def exact(number: float) -> Fraction:
    """The decimal number as written in the scenario, instead of its nearest binary one."""
    return Fraction(repr(number))


def _furthest(
    rows: Sequence[ScoredRationale], tp: str, candidates: Iterable[tuple[int, str, str, int, int]], rule: Learn
) -> list[Preference]:
    uses, taken = Counter[int](), list[Preference]()
    for _, _, _, i, j in candidates:
        if len(taken) == rule.pairs_per_tp:
            break
        if max(uses[i], uses[j]) < rule.uses_per_rationale:
            uses.update((i, j))
            taken.append(_pair(tp, rows[i], rows[j]))
    return taken


def _best(rows: Sequence[ScoredRationale], tp: str, *seed: object) -> Preference:
    drawn = sorted(rows, key=lambda one: digest("best", *seed, tp, one.tr))
    score = attrgetter("score")
    # Of equals both take the first.
    return _pair(tp, max(drawn, key=score), min(drawn, key=score))


def _pair(tp: str, high: ScoredRationale, low: ScoredRationale) -> Preference:
    return Preference(
        tp=tp,
        chosen=high.tr,
        rejected=low.tr,
        score_chosen=float(high.score),
        score_rejected=float(low.score),
        chosen_material=high.material,
        rejected_material=low.material,
        chosen_ended=high.ended,
        rejected_ended=low.ended,
    )


def _cut(by_tp: Sequence[Sequence[Preference]], size: int) -> tuple[Preference, ...]:
    ranked = sorted(
        (rank, -pair.gap, pair.tp, pair.chosen, pair.rejected, pair)
        for pairs in by_tp
        for rank, pair in enumerate(pairs)
    )
    return tuple(sorted((pair for *_, pair in ranked[:size]), key=lambda pair: (pair.tp, pair.chosen, pair.rejected)))
