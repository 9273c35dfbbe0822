"""Exams in rounds (`exam.allocation`): once all TRs of a TP are there, each round asks every student one exam per TR.

A round is decided only when the whole round before it has arrived or failed, from all EAs of the TP: the order of
arrival decides nothing. scenarios/scoring/allocation.py says which exams can still matter.
"""

from collections import Counter
from typing import NamedTuple

from scenarios.levels.base import Setup
from scenarios.levels.observe.problem_state import ProblemState
from scenarios.records.observe import Saved
from scenarios.scoring.allocation import beaten, certain, tally
from scenarios.scoring.lbt import Sheet, material


class Round(NamedTuple):
    """The next exams of a TP."""

    materials: tuple[str, ...]
    """Digests of the texts of the TRs that are examined."""
    ep: int
    """Number of the EP."""
    repeat: int


class _Progress:
    """One TP between its rounds."""

    def __init__(self, answers: list[Counter[str]]) -> None:
        self.answers = answers
        """Those that may still be chosen: by digest of a text, how often it was drawn."""
        self.asked = 0
        """Rounds that were asked."""


class Rounds:
    """The rounds of all TPs.

    Args:
        setup: what the level is made from.
    """

    def __init__(self, setup: Setup) -> None:
        self._scenario = setup.scenario
        self._same = setup.same
        self._students = tuple(student.name for student in setup.scenario.students)
        self._progress: dict[str, _Progress | None] = {}
        """By TP; None: it needs no more exams."""

    def next(self, lesson: ProblemState) -> Round | None:
        """The next round of a TP without missing results, or None. What it does not ask is in `lesson.saved`."""
        tp, eps = lesson.item.tp.id, len(lesson.item.eps)
        if tp not in self._progress:
            groups = Sheet(lesson.record(), self._same).groups
            self._progress[tp] = _Progress([Counter(map(material, group.members)) for group in groups])
        if (progress := self._progress[tp]) is None:
            return None
        left = eps * self._scenario.exam.repeats - progress.asked
        if len(progress.answers) < 2:
            lesson.saved += Saved(by_agreement=self._exams(progress, left))
            left = 0
        elif progress.asked and left:
            left = self._after_round(lesson, progress, left)
        if not left:
            self._progress[tp] = None
            return None
        repeat, ep = divmod(progress.asked, eps)
        progress.asked += 1
        return Round(tuple(key for of in progress.answers for key in of), ep, repeat)

    def _after_round(self, lesson: ProblemState, progress: _Progress, left: int) -> int:
        """Drop answers; returns how many of the `left` rounds are still needed: all or none."""
        scoring, exams_each = self._scenario.scoring, left * len(self._students)
        marks = {key: {one.slot: one.correct for one in of.answers} for key, of in lesson.materials.items()}
        while (found := tally(progress.answers, marks, self._students, left, scoring)) is not None:
            if certain(found, scoring):
                one_left = len(progress.answers) == 1
                exams = self._exams(progress, left)
                lesson.saved += Saved(by_halving=exams) if one_left else Saved(by_certainty=exams)
                return 0
            dropped = beaten(found) if self._scenario.exam.allocation == "halving" else frozenset()
            if not dropped:
                break
            for key in [key for place in dropped for key in progress.answers[place]]:
                lesson.materials[key].dropped = True
                lesson.saved += Saved(by_halving=exams_each)
            progress.answers = [of for place, of in enumerate(progress.answers) if place not in dropped]
        return left

    def _exams(self, progress: _Progress, rounds: int) -> int:
        return rounds * len(self._students) * sum(map(len, progress.answers))
