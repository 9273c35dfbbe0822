"""How sure a share or a difference is: Wilson intervals, paired comparisons, and what few problems cannot show.

The teaching problem (TP) is the unit everywhere: what happens within one TP is one observation. Everything is
deterministic, and independent of the order of the TPs. scipy and numpy are imported on use: they take longer to load
than `run.py plan` may take. scipy's bootstrap and permutation_test draw other resamples, so they would change the
figures of recorded classes; its Wilson interval takes whole numbers only, and its t interval no variance of 0.
"""

from collections.abc import Iterable, Sequence
from math import ceil, sqrt
from statistics import NormalDist

import msgspec

RESAMPLES = 10_000
EXACT_UP_TO = 14
"""Non-zero differences; with more, sign flips are drawn at random."""
FEW = 20
"""Fewer TPs than this get a caution."""
LEVEL = 0.05


class Paired(msgspec.Struct, frozen=True):
    """Two methods on the same TPs."""

    difference: float
    """Mean of a minus b."""
    ci95: tuple[float, float]
    """Percentile bootstrap over TPs. Where the methods never differ it is a point, which is not certainty."""
    wins: int
    """TPs on which a is better."""
    losses: int
    p_value: float
    """Two-sided sign-flip permutation test."""


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
    """Compare two methods by their values per TP.

    Args:
        a: One value per TP.
        b: The other method's values for the same TPs, in the same order.
        seed: Of the bootstrap, and of the sign flips where there are too many to try them all.

    Raises:
        ValueError: no TPs, or not the same number.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"{len(a)} and {len(b)} values: a paired comparison needs one of each per TP, and some TP")
    import numpy as np

    rng = np.random.default_rng(seed)
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    # To draw n TPs with replacement is to draw how often each distinct difference comes; these are few, so it is fast.
    values, counts = np.unique(differences, return_counts=True)
    n = len(differences)
    means = rng.multinomial(n, counts / n, size=RESAMPLES) @ values / n
    low, high = np.percentile(means, [2.5, 97.5])
    return Paired(
        difference=float(differences.mean()),
        ci95=(float(low), float(high)),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        p_value=_sign_flip(differences.tolist(), seed),
    )


def _sign_flip(differences: Sequence[float], seed: int) -> float:
    """The chance of a sum at least as far from 0 when each TP's difference takes either sign with equal probability."""
    import numpy as np

    sizes = np.sort([abs(d) for d in differences if d])
    m = len(sizes)
    observed = abs(sum(differences)) - 1e-9 * float(sizes.sum())  # equal sums may differ by rounding
    if m <= EXACT_UP_TO:
        signs = (np.arange(2**m)[:, None] >> np.arange(m) & 1) * 2 - 1
        return float((np.abs(signs @ sizes) >= observed).mean())
    signs = np.random.default_rng([seed, m]).integers(0, 2, size=(RESAMPLES, m), dtype=np.int8) * 2 - 1
    return float((1 + (np.abs(signs @ sizes) >= observed).sum()) / (RESAMPLES + 1))


def caution(n: int, what: str = "teaching problem") -> str | None:
    """A sentence on what figures from `n` problems cannot show; None where there are enough of them."""
    if n >= FEW:
        return None
    if n == 0:
        return f"No {what} is finished: there is nothing to compare yet."
    low, high = (round(100 * share) for share in wilson(ceil(n / 2), n))
    smallest = 2.0 ** (1 - n)
    # The smallest difference that a sign-flip test can call significant: so many wins and no loss.
    needed = next(m for m in range(1, FEW) if 2.0 ** (1 - m) < LEVEL)
    problems = f"{n} {what}{'s' if n > 1 else ''}"
    if needed <= n:
        reach = (
            f"p falls below {LEVEL} only if the difference is at least {100 * needed / n:.0f} points "
            f"({needed} problems better and none worse)"
        )
    else:
        reach = f"so no difference between two methods, however large, can reach p < {LEVEL}"
    return (
        f"{problems} cannot tell methods apart unless they are far apart. An accuracy of {ceil(n / 2)}/{n} has a "
        f"95 % interval from {low} to {high} %, {high - low} points wide. "
        f"The smallest p-value that {n} can reach is {smallest:.2g}; {reach}. "
        f"Take the figures as a picture of this class, not as evidence about the method."
    )
