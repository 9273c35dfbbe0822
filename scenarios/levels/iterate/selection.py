"""Which sets are kept, and everything that is drawn at level 3. Pure: every draw hashes the seed and the ids involved.

`best` is the whole selection (paper, M3 step 5). It takes `TrainScore` and nothing else, and only the teacher's
exams on training items make one; what is measured on held-out items has another type and no way in here.
"""

from collections.abc import Sequence
from typing import NamedTuple

from broker.protocol import digest
from scenarios.levels.iterate.exemplars import exemplar
from scenarios.records.confusion import Confusion
from scenarios.records.iterate import ExemplarSet, FailureCase
from scenarios.tasks.problems import Problem

ENOUGH = 0.9
"""Share of its training items that must be answered before a set can be kept: failures must not choose."""


class TrainScore(NamedTuple):
    """The teacher's own answers to training items, with one set as its examples."""

    set: ExemplarSet
    answers: Confusion
    items: int
    """How many were asked; fewer answers than items: some requests failed."""

    @property
    def counts(self) -> bool:
        """Whether enough of the items were answered."""
        return self.answers.n >= ENOUGH * self.items and self.answers.n > 0


def best(scores: Sequence[TrainScore], beam: int, seed: int) -> list[ExemplarSet]:
    """The sets that are kept, best first: by F1 of the positive class, then by accuracy, then at random.

    Args:
        scores: of different sets, in any order.
        beam: how many are kept at most.
        seed: of the lot.
    """
    ranked = sorted(
        (score for score in scores if score.counts),
        key=lambda s: (-(s.answers.f1 or 0.0), -(s.answers.micro or 0.0), digest(seed, s.set.key)),
    )
    return [score.set for score in ranked[:beam]]


def draw(problems: Sequence[Problem], size: int, *what: object) -> tuple[Problem, ...]:
    """`size` of these, or all where there are fewer, in a random order; `what` tells this draw from others."""
    return tuple(sorted(problems, key=lambda problem: digest(*what, problem.id))[:size])


def draw_set(train: Sequence[Problem], size: int, *what: object) -> ExemplarSet:
    """A set of training items with their answers, half of them positive (the odd one is negative)."""
    positive = [problem for problem in train if problem.answer == "Yes"]
    negative = [problem for problem in train if problem.answer != "Yes"]
    half = size // 2
    drawn = (*draw(positive, half, "positive", *what), *draw(negative, size - half, "negative", *what))
    return ExemplarSet.of((exemplar(problem.text, problem.answer) for problem in drawn), "training")


def deal(failures: Sequence[FailureCase], hands: int, size: int, *what: object) -> list[tuple[FailureCase, ...]]:
    """`hands` times `size` failures: each failure once before any comes twice, and no failure twice in one hand.

    Returns:
        Hands in the order of dealing, each sorted; none where there are no failures.
    """
    if not failures:
        return []
    deck = sorted(failures, key=lambda one: digest(*what, one.item, one.student))
    size = min(size, len(deck))
    return [tuple(sorted(deck[(hand * size + n) % len(deck)] for n in range(size))) for hand in range(hands)]
