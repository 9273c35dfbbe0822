"""Who learns in which round of level 3, where students join one after the other (paper, section 6.4). Pure.

All students sit the exams of the first round, which says how strong they are. The teacher is shown the mistakes of
those alone who have joined; in later rounds nobody else is examined.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from broker.protocol import digest
from scenarios.records.confusion import Confusion

Who = TypeVar("Who")
Order = Literal["all", "strong_first", "weak_first"]


def line_up(order: Order, measured: Mapping[str, Confusion], *what: object) -> tuple[str, ...]:
    """The students in the order they join in: by F1 of the positive class, then by accuracy, then at random.

    Args:
        order: which end first; all: as they stand.
        measured: by student, its answers in the first round, with all sets together.
        what: tells this lot from others.
    """
    if order == "all":
        return tuple(measured)

    def strength(name: str) -> tuple[float, float]:
        return measured[name].f1 or 0.0, measured[name].micro or 0.0

    sign = -1 if order == "strong_first" else 1
    return tuple(sorted(measured, key=lambda n: (*(sign * s for s in strength(n)), digest(*what, n))))


def joined(order: Order, students: Sequence[Who], number: int, rounds: int) -> tuple[Who, ...]:
    """Those who learn in round `number`, counted from 1, of `rounds`; everybody has joined by the last one.

    They join evenly: after the share n of the rounds, at least the share n of the students is there.
    """
    if order == "all":
        return tuple(students)
    return tuple(students[: -(-len(students) * min(number, rounds) // rounds)])
