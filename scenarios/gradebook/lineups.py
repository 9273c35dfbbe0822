"""What other line-ups of students would have chosen, from the same exams.

All line-ups of a TP, and all random shares of their exams, are scored at once on arrays of whole numbers: scores are
only compared within a TP, so a common denominator keeps them exact. scores.py has the definition. numpy is imported on
use: it takes longer to load than `run.py plan` may take.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import lcm
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from broker.messages import digest
from scenarios.gradebook.lessons import Rationale
from scenarios.gradebook.scores import Sheet
from scenarios.schema import Scoring

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ALL_SUBSETS = 6
"""With more students than this there are too many subsets to show."""
DRAWS = 20
"""How many random shares of the exams an equal-budget figure is averaged over."""
CELLS = 1 << 21
"""Numbers per array, about: line-ups are scored in blocks, so that many students do not need much memory."""


class LineUp(msgspec.Struct, frozen=True):
    """A subset of the students, as if only they had sat the exams."""

    students: tuple[str, ...]
    m1_max: float | None
    """Accuracy; None where no TP is finished."""
    m1_sum: float | None
    exams_per_rationale: float
    """EAs per TR it uses, the mean over the TRs with an answer."""
    m1_max_equal: float | None
    """With as many EAs per TR as the smallest line-up has: the mean over DRAWS random shares of its exams."""
    m1_sum_equal: float | None


class Slot(NamedTuple):
    """One exam under the TRs of a TP: which student sits which EP, and for which time."""

    student: str
    ep: str
    repeat: int


def lineups(students: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset, small ones first, else in the given order.

    With more than ALL_SUBSETS students only the singles, the pairs, and everybody.
    """
    sizes = range(1, len(students) + 1) if len(students) <= ALL_SUBSETS else (1, 2, len(students))
    return [subset for size in sizes for subset in combinations(students, size)]


def compare_lineups(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, seed: int) -> list[LineUp]:
    """MAX and SUM of every line-up from the same records, as they are and with equal numbers of EAs.

    Two students sit twice the exams of one. So each line-up is also cut down, per TP, to the EAs per TR of the
    smallest line-up shown (that sat any), and the accuracy averaged over DRAWS such shares.
    """
    import numpy as np

    subsets = lineups(students)
    takes_part = np.array([[name in subset for name in students] for subset in subsets], dtype=bool)
    right = np.zeros((4, len(subsets)), dtype=np.int64)
    exams = np.zeros(len(subsets), dtype=np.int64)
    for sheet in sheets:
        table = _Table(sheet, students, scoring)
        taken = table.taken(takes_part)
        exams += table.exams(taken)
        right += table.right(taken, seed)
    n, rationales = len(sheets), sum(len(group.members) for sheet in sheets for group in sheet.groups)
    per_rationale = (exams / max(rationales, 1)).tolist()
    columns = (right / [[n], [n], [DRAWS * n], [DRAWS * n]]).tolist() if n else [[None] * len(subsets)] * 4
    return [
        LineUp(subset, m1_max, m1_sum, each, m1_max_equal, m1_sum_equal)
        for subset, each, m1_max, m1_sum, m1_max_equal, m1_sum_equal in zip(
            subsets, per_rationale, *columns, strict=True
        )
    ]


class _Table:
    """The exams of one TP as arrays: a row is a TR with an answer, a column is a slot.

    TRs of one group with the same marks share a row.
    """

    def __init__(self, sheet: Sheet, students: Sequence[str], scoring: Scoring) -> None:
        import numpy as np

        self._tp = sheet.lesson.tp
        self._ties = scoring.ties
        self._slots = sorted({slot for group in sheet.groups for member in group.members for slot in _marks(member)})
        rows = [
            (marks, times, number)
            for number, group in enumerate(sheet.groups)
            for marks, times in Counter(tuple(map(_marks(m).get, self._slots)) for m in group.members).items()
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
        self._student = np.array([place.get(slot.student, -1) for slot in self._slots], dtype=np.int64)
        # Columns whose shares of right answers are averaged: all of them, or those of one student after another.
        parts = [np.arange(len(self._slots))]
        if scoring.merge == "students":
            parts = [np.flatnonzero(self._student == number) for number in range(len(students))]
        self._parts = np.full((len(parts), max(map(len, parts))), len(self._slots))  # beyond the last: an empty column
        for number, part in enumerate(parts):
            self._parts[number, : len(part)] = part

    def taken(self, takes_part: "Array") -> "Array":
        """The slots of each line-up (line-ups x slots), from its students (line-ups x students)."""
        taken: Array = takes_part[:, self._student] & (self._student >= 0)
        return taken

    def exams(self, taken: "Array") -> "Array":
        """How many EAs each line-up uses, over all TRs."""
        exams: Array = taken @ (self._times @ self._sat)
        return exams

    def right(self, taken: "Array", seed: int) -> "Array":
        """How often each line-up chooses right: by MAX and SUM with all its exams, and with DRAWS random shares."""
        import numpy as np

        right = np.zeros((4, len(taken)), dtype=np.int64)
        if not len(self._votes):
            return right
        sizes = taken.sum(axis=1)
        budget = int(min(sizes[sizes > 0], default=0))
        order = self._drawn(seed)
        block = max(1, CELLS // (len(self._parts) * len(self._sat) * (1 + DRAWS)))
        for first in range(0, len(taken), block):
            whole = taken[first : first + block]
            shares = np.repeat(whole[:, None], 1 + DRAWS, axis=1)
            drawn = whole[:, order]
            drawn &= drawn.cumsum(axis=2) <= budget
            shares[:, np.arange(1, 1 + DRAWS)[:, None], order] = drawn
            scores = self._scores(shares.reshape(len(whole) * (1 + DRAWS), len(self._slots)))
            best = np.maximum.reduceat(scores, self._starts)
            total = np.add.reduceat(scores * self._times[:, None], self._starts)
            for rule, of_groups in enumerate((best, total)):
                chosen = self._chosen(of_groups).reshape(len(whole), 1 + DRAWS)
                right[rule, first : first + block] = chosen[:, 0]
                right[2 + rule, first : first + block] = chosen[:, 1:].sum(axis=1)
        return right

    def _drawn(self, seed: int) -> "Array":
        """The order in which slots enter a random share (draws x slots): as evenly over the students as it goes.

        The first `size` slots of a line-up are its share, the same for every TR of the TP, as a smaller exam would
        have had. Drawn by hashing the seed, the number of the draw and the slot's own ids, so that it depends on
        nothing else.
        """
        import numpy as np

        orders = []
        for draw in range(DRAWS):
            key = [digest(seed, draw, self._tp, *slot) for slot in self._slots]
            ranked = Counter[str]()
            place = []
            for number in sorted(range(len(key)), key=key.__getitem__):
                student = self._slots[number].student
                place.append((ranked[student], key[number], number))
                ranked[student] += 1
            orders.append([number for _, _, number in sorted(place)])
        return np.array(orders, dtype=np.int64).reshape(DRAWS, len(self._slots))

    def _scores(self, shares: "Array") -> "Array":
        """LbT scores (rows x shares), each times a number that is the same for all rows; 0 where nothing was sat."""
        import numpy as np

        counted = self._by_part(shares).swapaxes(1, 2)
        sat, right = ((self._by_part(cells) @ counted).astype(np.int64) for cells in (self._sat, self._right))
        parts = (sat > 0).sum(axis=0)
        common, each = _common(sat), _common(parts)
        if common * each * len(sat) * int(self._times.sum()) >= 1 << 62:
            sat, right, parts = (numbers.astype(object) for numbers in (sat, right, parts))
        scores: Array = (right * (common // np.maximum(sat, 1))).sum(axis=0) * (each // np.maximum(parts, 1))
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


def _marks(rationale: Rationale) -> dict[Slot, bool]:
    return {Slot(exam.student, exam.ep, exam.repeat): exam.correct for exam in rationale.exams}


def _common(numbers: "Array") -> int:
    """The least common multiple of all numbers from 1 on."""
    import numpy as np

    found = np.flatnonzero(np.bincount(numbers.ravel())).tolist()
    return lcm(*(number for number in found if number))
