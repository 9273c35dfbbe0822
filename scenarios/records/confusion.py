"""F1 of yes/no answers: of the positive class, macro and micro. Pure.

An answer that is neither yes nor no counts as the wrong one of the two, so there are only two predicted classes.
"""

from collections.abc import Iterable, Mapping

import msgspec

YES = "yes"
NO = "no"


class Confusion(msgspec.Struct, frozen=True):
    """Counts of answers to items of two classes; Yes is the positive class."""

    true_positive: int = 0
    false_positive: int = 0
    false_negative: int = 0
    true_negative: int = 0
    neither: int = 0
    """Among all these, answers that were neither yes nor no."""

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(*(a + b for a, b in zip(_counts(self), _counts(other), strict=True)))

    @property
    def n(self) -> int:
        """Number of answers."""
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def right(self) -> int:
        """Number of correct answers."""
        return self.true_positive + self.true_negative

    @property
    def f1(self) -> float | None:
        """F1 of the positive class: the harmonic mean of precision and recall. None: no answers."""
        return _f1(self.true_positive, self.false_positive + self.false_negative) if self.n else None

    @property
    def macro(self) -> float | None:
        """The mean of the F1 of both classes. None: no answers."""
        if not self.n:
            return None
        wrong = self.false_positive + self.false_negative
        return (_f1(self.true_positive, wrong) + _f1(self.true_negative, wrong)) / 2

    @property
    def micro(self) -> float | None:
        """F1 over both classes together, which is the accuracy. None: no answers."""
        return self.right / self.n if self.n else None

    @property
    def neither_share(self) -> float | None:
        """Share of the answers that were neither yes nor no. None: no answers."""
        return self.neither / self.n if self.n else None


def confusion(answers: Iterable[tuple[str, str | None]]) -> Confusion:
    """Count answers.

    Args:
        answers: gold answer and given answer of each item, in upper or lower case; None: none was found.
    """
    counts = [0, 0, 0, 0, 0]
    for gold, given in answers:
        positive = gold.casefold() == YES
        answer = "" if given is None else given.casefold()
        right = answer == (YES if positive else NO)
        counts[(0 if right else 2) if positive else (3 if right else 1)] += 1
        counts[4] += answer not in (YES, NO)
    return Confusion(*counts)


def _counts(one: Confusion) -> tuple[int, ...]:
    return (one.true_positive, one.false_positive, one.false_negative, one.true_negative, one.neither)


def _f1(right: int, wrong: int) -> float:
    """2 TP / (2 TP + FP + FN); 0 if no item is of the class and none was predicted to be."""
    return 2 * right / (2 * right + wrong) if right else 0.0


def pool(students: Mapping[str, Mapping[str, Confusion]]) -> dict[str, Confusion]:
    """Add up each student's answers over all sets; `students` is by set and student."""
    pooled: dict[str, Confusion] = {}
    for by_student in students.values():
        for name, answers in by_student.items():
            pooled[name] = pooled.get(name, Confusion()) + answers
    return pooled
