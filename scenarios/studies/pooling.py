"""Pools the classes of a study: accuracies and paired differences over distinct problems.

The unit is the problem. A problem that several cells have (the same one under several teachers or seeds) is one
cluster: its results are averaged over those cells first, so that it counts once. Factors are fixed: the figures are for
the teachers, tasks and settings that the study names, each with equal weight where all cells have the same problems.
docs/studies.md says why this is preferred to a two-stage bootstrap and to a mixed model.

The statistics themselves come from scenarios/scoring/statistics.py; `compare` is the only place that calls them.
"""

from collections.abc import Iterable, Sequence
from math import ceil, log2
from statistics import NormalDist, stdev

import msgspec

from scenarios.report import methods
from scenarios.report.methods import Comparison
from scenarios.scoring import statistics
from scenarios.scoring.over_problems import over_problems
from scenarios.scoring.power import MOST, POWER, problems_needed
from scenarios.scoring.shapley import StudentValue
from scenarios.scoring.statistics import LEVEL, wilson
from scenarios.studies.answers import ClassAnswers


class Accuracy(msgspec.Struct, frozen=True):
    """How often one method or line-up is right, over distinct problems."""

    accuracy: float
    ci95: tuple[float, float]
    n: int


class Difference(Comparison, frozen=True, kw_only=True):
    """Two methods or line-ups on the same distinct problems; `a` minus `b`."""

    p_holm: float | None = None
    """Corrected for the number of primary comparisons; None: descriptive."""
    needed: int | None = None
    """About how many problems would show a difference of this size with 80 % power, at a p-value below 5 % divided by
    `comparisons`; None: there is no difference, or 10,000 problems (`power.MOST`) do not show it."""
    comparisons: int = 1
    """How many primary comparisons are corrected together; 1: descriptive, or the only one."""

    @property
    def shown(self) -> bool:
        """Whether the difference is significant; of a descriptive one, before any correction."""
        return (self.p_value if self.p_holm is None else self.p_holm) < LEVEL


def by_problem(classes: Sequence[ClassAnswers], term: str) -> dict[str, float]:
    """The mean of `term` over the cells that have a problem, by problem; sorted, so the order of cells is nothing."""
    return _averaged([(one.units, one.right[term]) for one in classes])


def _averaged(columns: Iterable[tuple[Sequence[str], Sequence[float]]]) -> dict[str, float]:
    """By problem, the mean of its values in all cells; `columns`: problems and values of each cell."""
    values: dict[str, list[float]] = {}
    for problems, of_cell in columns:
        for problem, value in zip(problems, of_cell, strict=True):
            values.setdefault(problem, []).append(value)
    return {problem: sum(values[problem]) / len(values[problem]) for problem in sorted(values)}


class PooledShapley(msgspec.Struct, frozen=True, omit_defaults=True):
    """What each student adds to SC, over the cells; empty where the cells have different students, or one student."""

    students: list[StudentValue] = []
    n: int = 0
    """Distinct problems."""


def shapley(classes: Sequence[ClassAnswers], seed: int) -> PooledShapley:
    """The Shapley values of the students: on each problem the mean over its cells, then the mean over problems."""
    if not classes or any(one.answerers != classes[0].answerers or not one.adds for one in classes):
        return PooledShapley()
    found, n = [], 0
    for name in classes[0].adds:
        by_rule = [list(_averaged([(one.units, one.adds[name][rule]) for one in classes]).values()) for rule in (0, 1)]
        n = len(by_rule[0])
        found.append(StudentValue(name, *(over_problems(values, seed) for values in by_rule)))
    return PooledShapley(found, n)


def accuracy(classes: Sequence[ClassAnswers], term: str) -> Accuracy:
    """How often `term` is right, with Wilson's interval over problems."""
    values = list(by_problem(classes, term).values())
    return Accuracy(sum(values) / len(values), wilson(sum(values), len(values)), len(values))


def compare(classes: Sequence[ClassAnswers], a: str, b: str, seed: int, comparisons: int = 1) -> Difference:
    """`a` minus `b`, paired by problem; one of so many `comparisons` that are corrected together."""
    of_a, of_b = (list(by_problem(classes, term).values()) for term in (a, b))
    return difference(a, b, of_a, of_b, seed, comparisons)


def difference(
    a: str, b: str, of_a: Sequence[float], of_b: Sequence[float], seed: int, comparisons: int = 1
) -> Difference:
    """`a` minus `b` from their values per problem, in the same order; see `compare`."""
    return Difference(
        **msgspec.structs.asdict(methods.compare(a, b, of_a, of_b, seed)),
        needed=needed([x - y for x, y in zip(of_a, of_b, strict=True)], comparisons),
        comparisons=comparisons,
    )


def needed(differences: Sequence[float], comparisons: int = 1) -> int | None:
    """How many problems would show a mean difference as large as this one, if they vary as these do.

    At POWER and a two-sided level of 5 % divided by the number of comparisons, which Holm's correction asks of the
    smallest p-value: exactly where all values are right or wrong, else by the normal approximation, and not below what
    the test itself needs. None: there is no difference, or MOST problems do not show it.
    """
    level = LEVEL / comparisons
    if all(one in (-1, 0, 1) for one in differences) and differences:
        n = len(differences)
        return problems_needed(differences.count(1) / n, differences.count(-1) / n, level=level)
    mean = sum(differences) / len(differences) if differences else 0.0
    if len(differences) < 2 or abs(mean) < 1e-9:
        return None
    normal = NormalDist()
    z = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(POWER)
    found = max(ceil(1 - log2(level)), ceil((z * stdev(differences) / mean) ** 2))
    return found if found <= MOST else None


def holm(differences: Sequence[Difference]) -> list[Difference]:
    """The comparisons with p-values corrected for their number (Holm 1979)."""
    corrected = statistics.holm([one.p_value for one in differences])
    return [msgspec.structs.replace(one, p_holm=p) for one, p in zip(differences, corrected, strict=True)]
