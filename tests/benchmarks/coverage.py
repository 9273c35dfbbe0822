"""How often the 95 % interval of a paired difference holds the true one, how wide it is, and where it contradicts p.

Every outcome of a class (problems on which one method is better, and worse) counts with its exact chance, so nothing
is drawn but for the resamples of the percentile bootstrap that `paired` replaced, which stands beside it. With --quick
the rare outcomes, those with a chance of at most 1 in 10,000, are left out; the sums are divided by the chance left.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import multinomial

from scenarios.scoring.statistics import LEVEL, paired

SIZES = (10, 20, 40, 181)
SETTINGS = ((0.1, 0.02), (0.3, 0.0), (0.05, 0.05), (0.3, 0.1))
"""Chances that one method is better on a problem, and that it is worse."""
RESAMPLES = 10_000
GOAL = 0.93

Interval = tuple[float, float]


def ours(wins: int, losses: int, n: int) -> tuple[Interval, float]:
    """The interval and the p-value of `paired`."""
    found = paired([1.0] * wins + [0.0] * (n - wins), [0.0] * (n - losses) + [1.0] * losses, seed=0)
    return found.ci95, found.p_value


def bootstrap(wins: int, losses: int, n: int, seed: int) -> tuple[Interval, float]:
    """The percentile bootstrap over problems, and the same p-value."""
    shares = [wins / n, losses / n, 1 - (wins + losses) / n]
    drawn = np.random.default_rng(seed).multinomial(n, shares, size=RESAMPLES)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / n, [2.5, 97.5])
    return (float(low), float(high)), ours(wins, losses, n)[1]


def measure(
    n: int, win: float, loss: float, method: Callable[[int, int, int], tuple[Interval, float]], least: float
) -> dict[str, float]:
    """Coverage, mean width and share of contradictions, over the outcomes with at least the chance `least`."""
    outcomes = [(wins, losses) for wins in range(n + 1) for losses in range(n + 1 - wins)]
    chances = multinomial.pmf([(w, k, n - w - k) for w, k in outcomes], n, [win, loss, 1 - win - loss])
    total = np.zeros(4)
    for (wins, losses), chance in zip(outcomes, chances, strict=True):
        if chance > least:
            (low, high), p_value = method(wins, losses, n)
            excludes = low > 1e-12 or high < -1e-12
            holds = low - 1e-9 <= win - loss <= high + 1e-9
            total += chance * np.array([1, holds, high - low, excludes != (p_value < LEVEL)])
    covers, width, contradicts = (total[1:] / total[0]).tolist()
    return {"covers": round(covers, 4), "mean_width": round(width, 4), "contradicts_p": round(contradicts, 4)}


def run(quick: bool, seed: int) -> dict[str, Any]:
    least = 1e-4 if quick else 1e-6
    rows = {
        f"n={n} win={win:g} loss={loss:g}": {
            "paired": measure(n, win, loss, ours, least),
            "percentile_bootstrap": measure(n, win, loss, lambda w, k, n: bootstrap(w, k, n, seed), least),
        }
        for n in SIZES
        for win, loss in SETTINGS
    }
    return {
        "name": "coverage",
        "ratio": min(row["paired"]["covers"] for row in rows.values()),
        "goal": GOAL,
        "better": "higher",
        "detail": {
            "what": "smallest share of classes whose 95 % interval of a paired difference holds the true difference",
            **rows,
            "contradictions": max(row["paired"]["contradicts_p"] for row in rows.values()),
        },
    }
