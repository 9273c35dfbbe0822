"""Selects the sets that are kept, and makes all draws of level 3. Pure: each draw hashes the seed and the ids involved.

`best` is the whole selection (paper, M3 step 5). It takes only `TrainScore`, which is made from the teacher's exams on
training items. What is measured on held-out items has another type.
"""

from collections.abc import Sequence
from typing import NamedTuple

from broker.protocol import digest
from broker.work_messages import Exemplar
from scenarios.records.confusion import Confusion
from scenarios.records.iterate import ExemplarSet, FailureCase
from scenarios.tasks.problems import Problem

ENOUGH = 0.9
"""Share of its training items that must be answered for a set to be kept: failed requests must not decide."""


class TrainScore(NamedTuple):
    """The teacher's own answers to training items, with one set as its examples."""

    set: ExemplarSet
    answers: Confusion
    items: int
    """How many were asked; with fewer answers, some requests failed."""

    @property
    def counts(self) -> bool:
        """Whether enough of the items were answered."""
        return self.answers.n >= ENOUGH * self.items and self.answers.n > 0


def best(scores: Sequence[TrainScore], beam: int, seed: int) -> list[ExemplarSet]:
    """The sets to keep, best first: by F1 of the positive class, then by accuracy, then at random.

    Args:
        scores: of different sets, in any order.
        beam: the largest number to keep.
        seed: decides ties.
    """
    ranked = sorted(
        (score for score in scores if score.counts),
        key=lambda s: (-(s.answers.f1 or 0.0), -(s.answers.micro or 0.0), digest(seed, s.set.key)),
    )
    return [score.set for score in ranked[:beam]]


def draw(problems: Sequence[Problem], size: int, *parts: object) -> tuple[Problem, ...]:
    """`size` of these, or all where there are fewer, in a random order; `parts` identifies the draw."""
    return tuple(sorted(problems, key=lambda problem: digest(*parts, problem.id))[:size])


def draw_set(train: Sequence[Problem], size: int, *parts: object) -> ExemplarSet:
    """A set of training items with their answers, half of them positive (the odd one is negative)."""
    positive = [problem for problem in train if problem.answer == "Yes"]
    negative = [problem for problem in train if problem.answer != "Yes"]
    half = size // 2
    drawn = (*draw(positive, half, "positive", *parts), *draw(negative, size - half, "negative", *parts))
    return ExemplarSet.of((Exemplar(problem.text, answer=problem.answer) for problem in drawn), "training")


def distribute(
    failures: Sequence[FailureCase], groups: int, size: int, *parts: object
) -> list[tuple[FailureCase, ...]]:
    """Groups of `size` failures: each failure once before any comes twice, and no failure twice in a group.

    Returns:
        `groups` groups, each sorted; none where there are no failures.
    """
    if not failures:
        return []
    shuffled = sorted(failures, key=lambda one: digest(*parts, one.item, one.student))
    size = min(size, len(shuffled))
    return [tuple(sorted(shuffled[(group * size + n) % len(shuffled)] for n in range(size))) for group in range(groups)]
