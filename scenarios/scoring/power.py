"""How many problems would show a difference between two methods, by the test that `statistics.paired` makes.

The power of the exact test of wins and losses is computed, not simulated. numpy and scipy are imported on use.
"""

from scenarios.scoring.statistics import LEVEL

POWER = 0.8
"""The chance to see the difference, as is usual in planning."""
MOST = 10_000
"""Problems beyond which the answer is that there are too many."""


def problems_needed(
    wins: float, losses: float, power: float = POWER, most: int = MOST, level: float = LEVEL
) -> int | None:
    """The number of problems on which p falls below `level`, in the direction of the difference, with chance `power`.

    Args:
        wins: the share of all problems on which one method is better, from 0 to 1.
        losses: the share on which it is worse.
        power: above 0, below 1.
        most: the largest number that is tried.
        level: what p has to fall below; with k comparisons 0.05 / k, which Holm's method asks of the smallest p-value.

    Returns:
        The number, or None: there is no difference, or `most` problems do not show it.

    Raises:
        ValueError: shares that cannot be.
    """
    if not (losses >= 0 and wins >= 0 and wins + losses <= 1):
        raise ValueError(f"wins {wins:g} and losses {losses:g}: shares of all problems, which add up to 1 at most")
    if wins == losses:
        return None
    import numpy as np
    from scipy.stats import binom

    differ = wins + losses
    decided = np.arange(most + 1)
    # So many wins among the problems that differ are the fewest that the two-sided test rejects with.
    needed = decided - binom.ppf(level / 2, decided, 0.5) + 1
    tied = 2 * binom.sf(needed - 1, decided, 0.5)
    needed += tied >= level
    chance = binom.sf(needed - 1, decided, max(wins, losses) / differ)

    def enough(n: int) -> bool:
        return float(binom.pmf(decided[: n + 1], n, differ) @ chance[: n + 1]) >= power

    if not enough(most):
        return None
    low, high = 0, most  # more problems show more, but for small steps of the exact test
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def about(problems: int) -> str:
    """A number of problems in two digits, rounded up: the rates that it was computed from are not more exact."""
    unit = 10 ** max(0, len(str(problems)) - 2)
    return f"about {-(-problems // unit) * unit:,} problem{'' if problems == 1 else 's'}"


def needed_sentence(wins: float, losses: float) -> str:
    """What `problems_needed` says, in words, with the usual power; the arguments are shares of all problems."""
    if wins == losses:
        return "No number of problems would show a difference: there is none in these figures."
    needed = problems_needed(wins, losses)
    if needed is None:
        return f"Not even {MOST:,} problems would show this difference."
    return f"{about(needed).capitalize()} would show this difference."
