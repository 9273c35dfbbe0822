"""How sure a share or a difference is: Wilson intervals, paired comparisons, and what few problems cannot show.

The teaching problem (TP) is the unit everywhere: what happens within one TP is one observation. Everything is
deterministic, and independent of the order of the TPs. scipy and numpy are imported on use: they take longer to load
than `run.py plan` may take. scipy's permutation_test draws other sign flips for each sample size and takes no counts;
its Wilson interval takes whole numbers only, and its t interval no variance of 0.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

DRAWN_FLIPS = 10_000
EXACT_UP_TO = 14
"""Differences other than 0 and not all of one size; with more, sign flips are drawn at random."""
SMALLEST = 1e-300
"""p-values below it have no quantile of the normal distribution."""
FEW = 20
"""Fewer TPs than this get a caution."""
LEVEL = 0.05


class Paired(msgspec.Struct, frozen=True):
    """Two methods on the same TPs."""

    difference: float
    """Mean of a minus b."""
    ci95: tuple[float, float]
    """The differences that the test does not reject: 0 is one of them exactly where p_value is at least 0.05."""
    wins: int
    """TPs on which a is better."""
    losses: int
    p_value: float
    """Two-sided. Where a and b are right or wrong: the exact test of wins and losses (McNemar's)."""


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The 95 % Wilson score interval of `successes` out of `n` independent trials; (0, 1) for no trials.

    Neither need be a whole number: of a problem that was answered several times, a part may be right. Then the
    interval is wider than it need be.
    """
    if n == 0:
        return (0.0, 1.0)
    z, share = NormalDist().inv_cdf(0.975), successes / n
    shrink = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / shrink
    reach = z * sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / shrink
    # At the ends it is 0 and 1, but for rounding.
    return (max(0.0, centre - reach) if successes else 0.0, min(1.0, centre + reach) if successes < n else 1.0)


def clustered(groups: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """The 95 % interval of a share whose trials are correlated within groups, such as the exams of one TP.

    Wilson's, for the effective number of independent trials: at most all of them, and fewer where groups differ by
    more than chance (Korn and Graubard, Survey Methodology 1998, with their correction for few groups). Where every
    trial has the same result a group counts as one trial.

    Args:
        groups: successes and trials of each group; groups without trials are left out.
    """
    groups = [(right, n) for right, n in groups if n]
    trials, successes = sum(n for _, n in groups), sum(right for right, _ in groups)
    if not trials:
        return (0.0, 1.0)
    share = successes / trials
    effective: float = len(groups)
    if len(groups) > 1 and 0 < share < 1:
        from scipy.stats import t

        variance = _ratio_variance(groups)
        few = (NormalDist().inv_cdf(0.975) / float(t.ppf(0.975, len(groups) - 1))) ** 2
        effective = min(trials, few * share * (1 - share) / variance) if variance else trials
    return wilson(share * effective, effective)


def ratio_interval(groups: Sequence[tuple[float, int]]) -> tuple[float, float] | None:
    """The 95 % interval of a sum over groups divided by the sum of their sizes, by Student's t; None for one group.

    Args:
        groups: the sum and the size of each; groups are independent.
    """
    if len(groups) < 2:
        return None
    from scipy.stats import t

    ratio = sum(total for total, _ in groups) / sum(n for _, n in groups)
    reach = float(t.ppf(0.975, len(groups) - 1)) * sqrt(_ratio_variance(groups))
    return (ratio - reach, ratio + reach)


def _ratio_variance(groups: Sequence[tuple[float, int]]) -> float:
    """The variance of a sum over groups divided by the sum of their sizes; linearised, corrected for few groups."""
    size = sum(n for _, n in groups)
    ratio = sum(total for total, _ in groups) / size
    return len(groups) / (len(groups) - 1) * sum((total - ratio * n) ** 2 for total, n in groups) / size**2


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of independent runs, by Student's t; None for fewer than two."""
    return ratio_interval([(value, 1) for value in values])


def mean(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def paired(a: Sequence[float], b: Sequence[float], seed: int) -> Paired:
    """Compare two methods by their values per TP: shares, from 0 to 1.

    The test of no difference is exact: the sign-flip test, which for right and wrong is McNemar's exact test. Other
    differences are tested by the score test (score_interval.py). Around 0 its critical value is raised, so that at 0 it
    is the exact test. The interval is what these tests do not reject. Where values are shares, p is the larger one of
    the sign-flip test, which takes a difference and its negative for equally likely, and of the score test, which does
    not.

    Args:
        a: One value per TP.
        b: The other method's values for the same TPs, in the same order.
        seed: Of the sign flips, where there are too many to try them all. Right and wrong need none.

    Raises:
        ValueError: no TPs, or not the same number.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"{len(a)} and {len(b)} values: a paired comparison needs one of each per TP, and some TP")
    import numpy as np

    # Shares such as 1/3 differ by rounding alone.
    differences = np.round(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), 12) + 0.0
    values, counts = np.unique(differences, return_counts=True)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    sizes = set(np.abs(values).tolist()) - {0.0}
    ci95, p_value = _tested(tuple(values.tolist()), tuple(counts.tolist()), seed if len(sizes) > 1 else 0)
    return Paired(float(values @ counts) / len(differences), ci95, wins, losses, p_value)


@lru_cache(maxsize=10_000)  # many line-ups of a class have the same wins and losses
def _tested(values: tuple[float, ...], counts: tuple[int, ...], seed: int) -> tuple[tuple[float, float], float]:
    """The interval and the p-value of these distinct differences, each of which occurred so often."""
    import numpy as np

    from scenarios.scoring.score_interval import ScoreTest

    normal, distinct, often = NormalDist(), np.array(values), np.array(counts)
    sizes = {abs(value) for value in values if value}
    largest = max(sizes, default=1.0)
    # Away from 0, a difference may be twice as large as any that was seen; of shares, none is above 1.
    nearer, farther = (ScoreTest(distinct, often, b) for b in (largest, max(largest, min(1.0, 2 * largest))))
    p_value = sign_flip(distinct, often, seed)
    if len(sizes) > 1 and often[distinct != 0].sum() > EXACT_UP_TO:
        # Drawn p-values end at 1 / (DRAWN_FLIPS + 1); so many signs are close to normal.
        flips = abs(float(distinct @ often)) / sqrt(float(distinct**2 @ often))
    else:
        flips = -normal.inv_cdf(max(p_value / 2, SMALLEST))
    critical = normal.inv_cdf(1 - LEVEL / 2)
    raised = max(0.0, nearer.z - flips) if p_value > SMALLEST else 0.0
    if len(sizes) > 1:
        p_value = max(p_value, 2 * normal.cdf(-nearer.z))
    rejected = p_value < LEVEL
    if nearer.mean > 0:
        return (nearer.low(critical, raised, rejected), farther.high(critical)), p_value
    if nearer.mean < 0:
        return (farther.low(critical), nearer.high(critical, raised, rejected)), p_value
    return (farther.low(critical), farther.high(critical)), p_value


def sign_flip(values: "Array", counts: "Array", seed: int) -> float:
    """The chance of a sum at least as far from 0 when each TP's difference takes either sign with equal probability."""
    import numpy as np
    from scipy.special import bdtrc

    sizes = np.sort(np.repeat(np.abs(values), counts)[np.repeat(values, counts) != 0])
    m = len(sizes)
    if not m:
        return 1.0
    if sizes[0] == sizes[-1]:
        wins = int(counts[values > 0].sum())
        return min(1.0, 2 * float(bdtrc(max(wins, m - wins) - 1, m, 0.5)))
    observed = abs(float(values @ counts)) - 1e-9 * float(sizes.sum())  # equal sums may differ by rounding
    if m <= EXACT_UP_TO:
        signs = (np.arange(2**m)[:, None] >> np.arange(m) & 1) * 2 - 1
        return float((np.abs(signs @ sizes) >= observed).mean())
    signs = np.random.default_rng([seed, m]).integers(0, 2, size=(DRAWN_FLIPS, m), dtype=np.int8) * 2 - 1
    return float((1 + (np.abs(signs @ sizes) >= observed).sum()) / (DRAWN_FLIPS + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm, Scandinavian Journal of Statistics 1979), in the given order.

    The chance that any true hypothesis gets one below a level is at most that level, however they depend.
    """
    corrected, largest, n = [0.0] * len(p_values), 0.0, len(p_values)
    for rank, place in enumerate(sorted(range(n), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (n - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def caution(n: int, what: str = "teaching problem") -> str | None:
    """A sentence on what figures from `n` problems cannot show; None where there are enough of them."""
    if n >= FEW:
        return None
    if n == 0:
        return f"No {what} is finished: there is nothing to compare yet."
    low, high = (round(100 * share) for share in wilson(ceil(n / 2), n))
    smallest = 2.0 ** (1 - n)
    # The smallest difference that the exact test can call significant: so many wins and no loss.
    needed = next(m for m in range(1, FEW) if 2.0 ** (1 - m) < LEVEL)
    problems = f"{n} {what}{'s' if n > 1 else ''}"
    shows, reach = (
        (
            "only a very large difference between two methods",
            f"p falls below {LEVEL} only if the difference is at least {100 * needed / n:.0f} points "
            f"({needed} problems better and none worse)",
        )
        if needed <= n
        else (
            "no difference between two methods",
            f"so no difference, however large, can reach p < {LEVEL}",
        )
    )
    return (
        f"{problems} can show {shows}. An accuracy of {ceil(n / 2)}/{n} has a 95 % interval from {low} to {high} %, "
        f"{high - low} points wide. The smallest p-value that {n} can reach is {smallest:.2g}; {reach}. "
        "The figures describe these problems; they are no evidence about the method."
    )
