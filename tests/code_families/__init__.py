"""The code problems of scenarios/tasks/code, each with a slow reference that is plainly right."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class CodeProblem(NamedTuple):
    """A problem of a family."""

    id: str
    statement: str
    solution: str
    """A fast solution as source text; its first line is the signature."""
    slow: Callable[..., Any]
    """The reference: every value of a case comes from it."""
    visible: list[list[Any]]
    """Arguments of the visible cases."""
    hidden: list[list[Any]]
    """Arguments of the hidden cases, edge cases first."""


def lists(draw: Any, count: int, longest: int, low: int, high: int) -> Iterator[list[int]]:
    """`count` lists of whole numbers between `low` and `high`."""
    for _ in range(count):
        yield [draw.randint(low, high) for _ in range(draw.randint(1, longest))]
