"""The exams of one TP as arrays, and the answers that MAX and SUM choose with many line-ups of students at once.

lbt.py has the definition. All line-ups, and all random shares of their exams, are scored at once on arrays of integers:
scores are only compared within a TP, so a common denominator keeps them exact. numpy is imported on use: it takes
longer to load than `run.py plan` may take.
"""

from collections import Counter
from collections.abc import Sequence
from math import lcm
from typing import TYPE_CHECKING, Any

from broker.protocol import digest
from scenarios.config.schema import Scoring
from scenarios.scoring.lbt import Sheet

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

DRAWS = 20
"""How many random shares of the exams an equal-budget figure is averaged over."""
LARGEST = 1 << 62
"""Scores that may exceed it are Python integers."""
CELLS = 1 << 21
"""Numbers per array, about: line-ups are scored in blocks, so that many students do not need much memory."""


class ExamTable:
    """The exams of one TP as arrays: a row is a TR with an answer, a column is a slot.

    TRs of one group with the same marks share a row.
    """

    def __init__(self, sheet: Sheet, students: Sequence[str], scoring: Scoring) -> None:
        import numpy as np

        self._tp = sheet.lesson.tp
        self._ties = "votes" if sheet.lesson.abstains else scoring.ties
        marks_of = {
            m.id: {exam.slot: exam.correct for exam in m.exams} for group in sheet.groups for m in group.members
        }
        self._slots = sorted({slot for marks in marks_of.values() for slot in marks})
        rows = [
            (marks, times, number)
            for number, group in enumerate(sheet.groups)
            for marks, times in Counter(tuple(map(marks_of[m.id].get, self._slots)) for m in group.members).items()
        ]
        shape = (len(rows), len(self._slots))
        self._sat = np.array([[mark is not None for mark in marks] for marks, _, _ in rows], dtype=bool).reshape(shape)
        self._right = np.array([[mark is True for mark in marks] for marks, _, _ in rows], dtype=bool).reshape(shape)
        self._times = np.array([times for _, times, _ in rows], dtype=np.int64)
        self._starts = np.unique([number for _, _, number in rows], return_index=True)[1]
        """The first row of each group."""
        self._votes = np.array([len(group.members) for group in sheet.groups])
        self._correct = np.array([group.correct for group in sheet.groups], dtype=bool)
        place = {name: number for number, name in enumerate(students)}
        self._student = np.array([place.get(student, -1) for student, _, _ in self._slots], dtype=np.int64)
        # Columns whose shares of right answers are averaged: all of them, or those of one student after another.
        parts = [np.arange(len(self._slots))]
        if scoring.merge == "students":
            parts = [np.flatnonzero(self._student == number) for number in range(len(students))]
        self._parts = np.full((len(parts), max(map(len, parts))), len(self._slots))  # beyond the last: an empty column
        for number, part in enumerate(parts):
            self._parts[number, : len(part)] = part

    @property
    def rationales(self) -> "Array":
        """The row of each TR with an answer."""
        import numpy as np

        return np.repeat(np.arange(len(self._times)), self._times)

    @property
    def groups(self) -> "Array":
        """The group of answers of each row."""
        import numpy as np

        return np.repeat(np.arange(len(self._votes)), np.diff([*self._starts, len(self._times)]))

    @property
    def correct(self) -> "Array":
        """Whether each group's answer is right."""
        return self._correct

    def common(self, takes_part: "Array") -> tuple["Array", "Array"]:
        """The slots that the TRs of the TP are compared on, and how many EAs those are over all TRs, by line-up.

        They are the slots of the line-up's students on which every TR has an EA that has any of them, as in
        `on_common_slots`.

        Args:
            takes_part: line-ups x students.
        """
        own = takes_part[:, self._student] & (self._student >= 0)
        if self._sat.all():
            return own, own.sum(axis=1) * self._times.sum()
        sat = self._sat & own[:, None]  # line-ups x rows x slots
        examined = sat.sum(axis=2) > 0
        common = own & (sat | ~examined[:, :, None]).all(axis=1)
        return common, common.sum(axis=1) * (examined @ self._times)

    def right(self, common: "Array", seed: int) -> "Array":
        """How often each line-up chooses right: by MAX and by SUM, 0 or 1; and by both in DRAWS random shares.

        Args:
            common: line-ups x slots.
            seed: of the shares.

        Returns:
            4 x line-ups.
        """
        import numpy as np

        right = np.zeros((4, len(common)), dtype=np.int64)
        if not len(self._votes):
            return right
        sizes = common.sum(axis=1)
        budget = int(min(sizes[sizes > 0], default=0))
        block = max(1, CELLS // (len(self._parts) * len(self._sat) * (1 + DRAWS)))
        order, rank = self._drawn(seed)
        for first in range(0, len(common), block):
            whole = common[first : first + block, None]
            shares = np.concatenate([whole, self._cut_down(whole[:, 0], budget, order, rank)], axis=1)
            scores = self.scores(shares.reshape(len(whole) * (1 + DRAWS), len(self._slots)))
            for rule, of_groups in enumerate(self._max_and_sum(scores)):
                chosen = self._chosen(of_groups).reshape(len(whole), 1 + DRAWS)
                right[rule, first : first + block] = chosen[:, 0]
                right[2 + rule, first : first + block] = chosen[:, 1:].sum(axis=1)
        return right

    def whole(self, takes_part: "Array") -> "Array":
        """Whether each line-up chooses right with all its exams: by MAX and SUM (2 x line-ups).

        Without an exam that can be compared all answers are tied, as in `Sheet.choose`.

        Args:
            takes_part: line-ups x students.
        """
        import numpy as np

        right = np.zeros((2, len(takes_part)), dtype=bool)
        if not len(self._votes):
            return right
        block = max(1, CELLS // (len(self._parts) + self._sat.size + 1))
        for first in range(0, len(takes_part), block):
            common, _ = self.common(takes_part[first : first + block])
            for rule, of_groups in enumerate(self._max_and_sum(self.scores(common))):
                right[rule, first : first + block] = self._chosen(of_groups)
        return right

    def by_exams(self, common: "Array", sizes: Sequence[int], seed: int) -> list[list[float]]:
        """By size, the share of DRAWS random shares of the slots with which MAX, SUM and AVG choose right.

        Args:
            common: the slots that count, as a mask.
            sizes: slots of each share, as evenly over the students as it goes.
            seed: of the shares.
        """
        import numpy as np

        if not len(self._votes) or not sizes:
            return [[0.0] * 3 for _ in sizes]
        draws = self._drawn(seed)
        count = np.maximum(np.add.reduceat(self._times * self.examined(common), self._starts), 1)[:, None]
        right = []
        for size in sizes:
            best, total = self._max_and_sum(self.scores(self._cut_down(common[None], size, *draws)[0]))
            right.append([float(self._chosen(one).mean()) for one in (best, total, total / count)])
        return right

    def examined(self, common: "Array") -> "Array":
        """Whether each row has an EA on the slots in `common`, a mask."""
        import numpy as np

        examined: Array = np.any(self._sat & common, axis=1)
        return examined

    def _max_and_sum(self, scores: "Array") -> tuple["Array", "Array"]:
        """The scores of the groups of answers by MAX and by SUM: groups x shares. `scores`: rows x shares."""
        import numpy as np

        best: Array = np.maximum.reduceat(scores, self._starts)
        total: Array = np.add.reduceat(scores * self._times[:, None], self._starts)
        return best, total

    def _drawn(self, seed: int) -> tuple["Array", "Array"]:
        """The slots in a random order within each student, and the rank of each among all (draws x slots).

        Drawn by hashing the seed, the number of the draw and the slot's own ids, so that it depends on nothing else.
        """
        import numpy as np

        n = len(self._slots)
        order, rank = np.zeros((2, DRAWS, n), dtype=np.int64)
        for draw in range(DRAWS):
            key = [digest(seed, draw, self._tp, *slot) for slot in self._slots]
            place = {number: rank for rank, number in enumerate(sorted(range(n), key=key.__getitem__))}
            order[draw] = sorted(range(n), key=lambda number: (self._slots[number][0], place[number]))
            rank[draw] = [place[number] for number in order[draw]]
        return order, rank

    def _cut_down(self, common: "Array", size: int, order: "Array", rank: "Array") -> "Array":
        """Random shares of each line-up's slots (line-ups x draws x slots), as evenly over its students as it goes.

        The same slots for every TR of the TP, as a smaller exam would have had: the first of every student in the
        order drawn, then the second, and so on.
        """
        import numpy as np

        ordered = common[:, order]  # slots are sorted by student, so each place is still one of the same student
        counted = ordered.cumsum(axis=2)
        students = [student for student, _, _ in self._slots]
        first = np.array([students.index(student) for student in students], dtype=np.int64)
        of_student = counted - (counted - ordered)[:, :, first]
        turn = np.where(ordered, of_student * len(students) + rank, np.iinfo(np.int64).max)
        shares = np.zeros_like(ordered)
        shares[:, np.arange(DRAWS)[:, None], order] = ordered & (turn.argsort(axis=2).argsort(axis=2) < size)
        return shares

    def scores(self, shares: "Array") -> "Array":
        """LbT scores (rows x shares), each times a number that is the same for all rows; 0 where nothing was sat."""
        import numpy as np

        counted = self._by_part(shares).swapaxes(1, 2)
        right = (self._by_part(self._right) @ counted).astype(np.int64)
        if len(right) == 1:  # one denominator
            only: Array = right[0]
            return only
        sat = counted.sum(axis=1).astype(np.int64)  # parts x shares: on common slots it is the same for all rows
        denominator = lcm(*(number for number in np.flatnonzero(np.bincount(sat.ravel())).tolist() if number))
        if denominator * len(sat) * int(self._times.sum()) >= LARGEST:
            right, sat = right.astype(object), sat.astype(object)
        scores: Array = (right * (denominator // np.maximum(sat, 1))[:, None]).sum(axis=0)
        return scores

    def _by_part(self, cells: "Array") -> "Array":
        """The columns of `cells` by part: parts x rows x columns. As floats: their products are quick, and exact."""
        import numpy as np

        padded = np.pad(cells, ((0, 0), (0, 1)))
        return np.moveaxis(padded[:, self._parts], 1, 0).astype(float)

    def _chosen(self, scores: "Array") -> "Array":
        """Whether the chosen group is right, by share; the best one as in `Sheet.best`. `scores`: groups x shares."""
        import numpy as np

        tied = scores == scores.max(axis=0)
        rank = np.where(tied, self._votes[:, None], 0) if self._ties == "votes" else tied
        chosen: Array = self._correct[rank.argmax(axis=0)]
        return chosen


def right_by_problem(
    sheets: Sequence[Sheet], students: Sequence[str], takes_part: "Array", scoring: Scoring
) -> "Array":
    """Whether MAX and SUM choose right, by TP and line-up (2 x TPs x line-ups); see `ExamTable.whole`.

    A line-up whose students have no exam on any TP chooses as SC does.

    Args:
        sheets: the TPs.
        students: the columns of `takes_part`.
        takes_part: line-ups x students.
        scoring: how students are merged and ties are broken.
    """
    import numpy as np

    right = np.zeros((2, len(sheets), len(takes_part)), dtype=bool)
    sat = examined(sheets, students, takes_part)
    for number, sheet in enumerate(sheets):
        whole = ExamTable(sheet, students, scoring).whole(takes_part)
        right[:, number] = np.where(sat, whole, sheet.choose("sc", (), scoring).correct)
    return right


def examined(sheets: Sequence[Sheet], students: Sequence[str], takes_part: "Array") -> "Array":
    """Whether a student of each line-up has an exam on any TP; see `right_by_problem`."""
    answered = [one for sheet in sheets for one in sheet.lesson.rationales if one.answer is not None]
    names = {exam.student for one in answered for exam in one.exams}
    found: Array = takes_part[:, [name in names for name in students]]
    sat: Array = found.sum(axis=1) > 0
    return sat
