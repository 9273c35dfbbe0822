"""How much each student adds to M1: its Shapley value, from the same records as the line-ups.

The value of a line-up is the accuracy of M1 with its exams; without students it is the accuracy of SC. A Shapley value
is what a student adds when it joins, averaged over all orders in which the students may join (Shapley, 1953). The
values of one TP are linear in the values of its line-ups, so the whole is a mean over TPs, and its interval is that of
a mean over TPs. The values of all students sum to what M1 with everybody gains over SC. Written out, since it is one
product of matrices: shapiq, a kept library, gives no values per TP, and imports scikit-learn and pandas.
"""

from collections.abc import Sequence
from math import comb
from typing import TYPE_CHECKING, Any

import msgspec

from broker.protocol import digest
from scenarios.config.schema import Scoring
from scenarios.scoring.exam_table import right_by_problem
from scenarios.scoring.lbt import Sheet
from scenarios.scoring.over_problems import OverProblems, over_problems

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

EXACT_STUDENTS = 12
"""Up to so many students all line-ups are scored; with more, those that random orders pass through."""
LINE_UPS = 1 << EXACT_STUDENTS


class StudentValue(msgspec.Struct, frozen=True):
    """The Shapley value of one student, in accuracy."""

    name: str
    m1_max: OverProblems
    m1_sum: OverProblems


class Shapley(msgspec.Struct, frozen=True):
    """What each student adds to the accuracy of SC."""

    students: list[StudentValue]
    sc: float
    """The value of nobody."""
    gain_max: float
    """Accuracy of MAX with everybody minus that of SC: the sum of the students' values."""
    gain_sum: float
    n: int
    """TPs."""
    orders: int | None
    """Random orders that the values are means over; None: all orders, so the values are exact."""


def shapley(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, seed: int) -> Shapley | None:
    """The Shapley value of every student; None without TPs, students or exams."""
    if not students or not any(rationale.exams for sheet in sheets for rationale in sheet.lesson.rationales):
        return None
    takes_part, weights, orders = _weights(len(students), seed)
    right = right_by_problem(sheets, students, takes_part, scoring)
    by_tp = right @ weights  # 2 x TPs x students
    nobody, everybody = takes_part.sum(axis=1).argmin(), takes_part.sum(axis=1).argmax()
    sc, (m1_max, m1_sum) = float(right[0, :, nobody].mean()), right[:, :, everybody].mean(axis=1).tolist()
    values = [
        StudentValue(name, *(over_problems(by_tp[rule, :, number].tolist(), seed) for rule in (0, 1)))
        for number, name in enumerate(students)
    ]
    return Shapley(values, sc, m1_max - sc, m1_sum - sc, len(sheets), orders)


def values_by_problem(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, seed: int) -> "Array":
    """The Shapley values of the students on each TP: by MAX and by SUM (2 x TPs x students)."""
    takes_part, weights, _ = _weights(len(students), seed)
    values: Array = right_by_problem(sheets, students, takes_part, scoring) @ weights
    return values


def _weights(k: int, seed: int) -> tuple["Array", "Array", int | None]:
    """Line-ups (line-ups x k), the weight of each one's value in each student's Shapley value, and the random orders.

    Orders are drawn in pairs, each with its reverse: a student that joins early in one joins late in the other.
    """
    import numpy as np

    if k <= EXACT_STUDENTS:
        takes_part = (np.arange(1 << k)[:, None] >> np.arange(k) & 1).astype(bool)
        share = np.array([1 / (k * comb(k - 1, size)) for size in range(k)])  # of the line-ups of others it joins
        size = takes_part.sum(axis=1)[:, None]
        return takes_part, np.where(takes_part, share[size - 1], -share[size % k]), None
    drawn = max(1, LINE_UPS // (2 * k))
    rng = np.random.default_rng(int(digest(seed, "shapley", k)[:16], 16))
    half = rng.permuted(np.tile(np.arange(k), (drawn, 1)), axis=1)
    orders = np.concatenate([half, half[:, ::-1]])
    joined = orders.argsort(axis=1)[:, None] < np.arange(k + 1)[None, :, None]  # orders x line-ups x students
    takes_part, number = np.unique(joined.reshape(-1, k), axis=0, return_inverse=True)
    number, weights = number.reshape(len(orders), k + 1), np.zeros((len(takes_part), k))
    np.add.at(weights, (number[:, 1:], orders), 1 / len(orders))
    np.add.at(weights, (number[:, :-1], orders), -1 / len(orders))
    return takes_part, weights, len(orders)
