"""A mean over teaching problems with its interval and test: the one place where analyses of students ask for them."""

from collections.abc import Sequence

import msgspec

from scenarios.scoring.statistics import paired


class OverProblems(msgspec.Struct, frozen=True):
    """A mean over TPs that is 0 where nothing differs."""

    value: float
    ci95: tuple[float, float]
    p_value: float
    """Two-sided, of the mean being 0."""


def over_problems(values: Sequence[float], seed: int) -> OverProblems:
    """The mean of `values`, one per TP; see `statistics.paired`.

    Raises:
        ValueError: no values.
    """
    found = paired(values, [0.0] * len(values), seed)
    return OverProblems(found.difference, found.ci95, found.p_value)
