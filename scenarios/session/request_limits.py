"""How many requests of a large class exist at once: at the broker, and in the classroom. Each takes memory."""

from collections import Counter

AT_BROKER = 1 << 16
"""Requests that the broker has at once, about."""
CREDIT, LEAST_CREDIT = 1024, 64
"""Of these, those of each agent, at most and at least."""
WAITING = 100_000
"""Requests that may wait for students before the teacher is asked for more."""


def credit_of_each(agents: int) -> int:
    """How many unfinished requests the broker accepts for each of so many agents."""
    return min(CREDIT, max(LEAST_CREDIT, AT_BROKER // agents))


def ahead_of_students(credit: int, waiting: int, due_per_answer: int) -> int:
    """How many unfinished requests the teacher may have: few, while the answers to them would make too many due.

    Args:
        credit: how many the broker accepts.
        waiting: unfinished requests to students.
        due_per_answer: how many of them an answer of the teacher makes due, about.
    """
    least = int(2 * waiting <= WAITING)  # the students do not run out of work meanwhile
    return min(credit, max(least, (WAITING - waiting) // max(1, due_per_answer)))


def unfinished(credit: int, teacher: str, outstanding: Counter[str], due_per_answer: int, pool: str) -> int:
    """How many unfinished requests that were sent a pool may have.

    Args:
        credit: how many the broker accepts.
        teacher: the teacher's pool; empty: agents take turns, and none is held back.
        outstanding: requests without a result by pool, sent or not.
        due_per_answer: see `ahead_of_students`.
        pool: the pool in question.
    """
    if pool != teacher:
        return credit
    return ahead_of_students(credit, outstanding.total() - outstanding[pool], due_per_answer)
