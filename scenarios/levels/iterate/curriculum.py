"""The curriculum of level 3: which students learn in which round (paper, section 6.4). Pure.

All students take the exams of the first round, which decide how strong they are. The teacher is shown only the mistakes
of students that have joined, and only those are examined in later rounds.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

from broker.protocol import digest
from scenarios.records.confusion import Confusion

Who = TypeVar("Who")
Order = Literal["all", "strong_first", "weak_first"]


def line_up(order: Order, measured: Mapping[str, Confusion], *parts: object) -> tuple[str, ...]:
    """The students in the order they join in: by F1 of the positive class, then by accuracy, then at random.

    Args:
        order: which students join first; all: the given order.
        measured: by student, its answers in the first round, with all sets together.
        parts: identify the draw that decides ties.
    """
    if order == "all":
        return tuple(measured)

    def strength(name: str) -> tuple[float, float]:
        return measured[name].f1 or 0.0, measured[name].micro or 0.0

    sign = -1 if order == "strong_first" else 1
    return tuple(sorted(measured, key=lambda n: (*(sign * s for s in strength(n)), digest(*parts, n))))


def joined(order: Order, students: Sequence[Who], number: int, rounds: int) -> tuple[Who, ...]:
    """The students that learn in round `number`, from 1, of `rounds`. All have joined by the last round.

    They join evenly: after the share n of the rounds, at least the share n of the students has joined.
    """
    if order == "all":
        return tuple(students)
    return tuple(students[: -(-len(students) * min(number, rounds) // rounds)])
