"""Which exams of a TP can still matter to the answer that MAX, SUM and AVG choose (`exam.allocation`).

Functions of records, without I/O. `certain` is exact. `beaten` compares bounds of what all exams would give: a TR's
score after some of its EAs is a sample, without replacement, of its score after all of them, so its standard error
falls to 0 with the last EA (Serfling, Annals of Statistics 1974; the bounds are of successive elimination, Even-Dar et
al., JMLR 2006).
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm, sqrt
from operator import mul
from typing import NamedTuple

from scenarios.config.schema import Scoring
from scenarios.scoring.lbt import Slot, on_common_slots

ERRORS = 0.9
"""Standard errors from a score to its bound. With fewer, more is saved and accuracy suffers: docs/results.md."""
RULES = ("max", "sum", "avg")
"""The rules of lbt.py that exams decide."""


class Examined(NamedTuple):
    """One distinct TR."""

    votes: int
    """TRs with this text."""
    right: tuple[int, ...]
    """Right EAs: of every student, or of all together, as `scoring.merge` says."""


class Tally(NamedTuple):
    """The answers of a TP after some of its exams, on the slots that all TRs have in common.

    With `scoring.merge: answers` all students count as one.
    """

    answers: tuple[tuple[Examined, ...], ...]
    """Their TRs; in the order of the first repeat."""
    done: tuple[int, ...]
    """By student: EAs that every TR has."""
    left: tuple[int, ...]
    """By student: EAs that every TR would still get."""


def tally(
    answers: Sequence[Mapping[str, int]],
    marks: Mapping[str, Mapping[Slot, bool]],
    students: Sequence[str],
    left: int,
    scoring: Scoring,
) -> Tally | None:
    """The state of a TP; None: some TR has no EA yet, so any exam may change which EAs can be compared.

    Args:
        answers: by key of a distinct TR, how often it was drawn; for each answer, in the order of the first repeat.
        marks: by the same key, whether each EA is right.
        students: the line-up.
        left: rounds to come, in each of which every student gives one EA to every TR.
        scoring: how students are merged.
    """
    common = on_common_slots({key: marks[key] for of in answers for key in of}, students)
    if len(common) < sum(map(len, answers)):
        return None
    groups = [tuple(students)] if scoring.merge == "answers" else [(name,) for name in students]

    def per_group(slots: Mapping[Slot, bool], *, only_right: bool) -> tuple[int, ...]:
        return tuple(
            sum(right or not only_right for slot, right in slots.items() if slot[0] in group) for group in groups
        )

    return Tally(
        tuple(tuple(Examined(n, per_group(common[key], only_right=True)) for key, n in of.items()) for of in answers),
        per_group(next(iter(common.values())), only_right=False),
        tuple(left * len(group) for group in groups),
    )


def certain(found: Tally, scoring: Scoring) -> bool:
    """Whether MAX, SUM and AVG each choose the same answer whatever the EAs to come are, failed ones included.

    An answer is certain where it wins with all EAs to come wrong under its own TRs and right under those of another. An
    exam that fails under one TR is left out for all, which is never worse for it: with `merge: answers` it is as if all
    had it wrong; with `students`, the part of each student in the difference falls as its number of EAs grows.
    """
    wholes = [done + left for done, left in zip(found.done, found.left, strict=True)]
    # Scores times the least common multiple are whole numbers.
    times = [lcm(*filter(None, wholes)) // whole if whole else 0 for whole in wholes]
    more = sum(n * left for n, left in zip(times, found.left, strict=True))
    trs = [[(one.votes, sum(map(mul, times, one.right))) for one in of] for of in found.answers]
    votes = [sum(one.votes for one in of) for of in found.answers]
    return all(
        _has_winner(
            [_of(rule, of) for of in trs],
            [_of(rule, [(votes, score + more) for votes, score in of]) for of in trs],
            votes,
            scoring,
        )
        for rule in RULES
    )


def _has_winner(
    lows: Sequence[Fraction | int], highs: Sequence[Fraction | int], votes: Sequence[int], scoring: Scoring
) -> bool:
    def preferred(one: int, other: int) -> bool:
        """Whether a tie of the two goes to the first."""
        if scoring.ties == "votes" and votes[one] != votes[other]:
            return votes[one] > votes[other]
        return one < other

    answers = range(len(lows))
    return any(
        all(
            other == one or lows[one] > highs[other] or (lows[one] == highs[other] and preferred(one, other))
            for other in answers
        )
        for one in answers
    )


def _of(rule: str, scores: Sequence[tuple[int, int]]) -> Fraction | int:
    """The score of an answer from the number of votes and the score of each of its TRs."""
    if rule == "max":
        return max(score for _, score in scores)
    total = sum(votes * score for votes, score in scores)
    return total if rule == "sum" else Fraction(total, sum(votes for votes, _ in scores))


def beaten(found: Tally, errors: float = ERRORS) -> frozenset[int]:
    """The answers, by their place, that by MAX, by SUM and by AVG are below another one by confidence bounds.

    Args:
        found: the state of the TP.
        errors: standard errors from a score to its bound.
    """
    if not all(found.done):
        return frozenset()
    below = []
    for rule in RULES:
        bounds = [_bounds(rule, of, found, errors) for of in found.answers]
        best = max(low for low, _ in bounds)
        below.append({place for place, (_, high) in enumerate(bounds) if high < best})
    return frozenset(set.intersection(*below))


def _bounds(rule: str, of: Sequence[Examined], found: Tally, errors: float) -> tuple[float, float]:
    """The lower and the upper bound of an answer's score after all exams."""
    trs = [(one.votes, *_score(one, found)) for one in of]
    if rule == "max":
        return (
            max(score - errors * sqrt(variance) for _, score, variance in trs),
            max(score + errors * sqrt(variance) for _, score, variance in trs),
        )
    total = sum(votes * score for votes, score, _ in trs)
    reach = errors * sqrt(sum(votes**2 * variance for votes, _, variance in trs))
    whole = 1 if rule == "sum" else sum(votes for votes, *_ in trs)
    return (total - reach) / whole, (total + reach) / whole


def _score(one: Examined, found: Tally) -> tuple[float, float]:
    """The score so far, and the variance of its difference to the score after all exams."""
    score = variance = 0.0
    for right, done, left in zip(one.right, found.done, found.left, strict=True):
        share = (right + 1) / (done + 2)  # never 0 or 1, as after one EA the share itself is
        score += right / done
        variance += share * (1 - share) / done * left / (done + left)
    return score / len(found.done), variance / len(found.done) ** 2
