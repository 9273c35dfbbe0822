"""The score test of a mean difference over TPs, and the interval that is this test inverted.

For differences of -1, 0 and 1 it is Tango's for paired proportions (Statistics in Medicine 1998). Its variance is that
of the likeliest distribution with the mean that is tested, so it is not 0 where no TP differs. The same is done here
for shares: that distribution has its mass on the observed differences and, at both ends, on the largest possible one (a
constrained empirical likelihood; Owen, Empirical Likelihood, 2001). scipy and statsmodels have no such interval. numpy
and scipy are imported on use.
"""

from math import nextafter, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


class ScoreTest:
    """Tests of the mean of one difference per TP."""

    def __init__(self, values: "Array", counts: "Array", bound: float) -> None:
        """Of the distinct differences, and how often each was observed; `bound`, above 0, is the largest possible."""
        self._values, self._counts, self._bound = values, counts, bound
        self._n = int(counts.sum())
        self.mean = float(values @ counts) / self._n

    @property
    def z(self) -> float:
        """How many standard errors the observed mean is from 0."""
        return abs(self.mean) * sqrt(self._n / self._variance(0.0)) if self.mean else 0.0

    def low(self, critical: float, raised: float = 0.0, excludes_zero: bool = False) -> float:
        """The smallest mean that is at most `critical` standard errors below the observed one.

        Args:
            critical: more than 0.
            raised: how much larger it is between 0 and an observed mean above 0. Below 0 this falls, to nothing at the
                negative of the observed mean.
            excludes_zero: whether 0 is further below. It is an argument so that rounding cannot contradict a p-value.
        """
        from scipy.optimize import brentq

        low, high = -self._bound, self.mean
        if low >= high:
            return low
        if self.mean > 0:
            low, high = (0.0, high) if excludes_zero else (low, 0.0)

        def beyond(mean: float) -> float:
            """Below 0 within the interval, above 0 outside; finite where the variance is 0."""
            if mean == self.mean:  # where no TP differs the variance is 0 here, too
                return -((critical * self._bound) ** 2)
            allowed = critical + (raised * min(1.0, max(0.0, 1 + mean / self.mean)) if raised else 0.0)
            return self._n * (self.mean - mean) ** 2 - allowed**2 * self._variance(mean)

        if beyond(high) >= 0:  # 0, but for rounding
            return high
        if beyond(low) > 0:
            low = max(low, float(brentq(beyond, low, high)))
        return nextafter(low, 1.0) if excludes_zero and low == 0 else low

    def high(self, critical: float, raised: float = 0.0, excludes_zero: bool = False) -> float:
        """The largest mean that is at most `critical` standard errors above the observed one; see `low`."""
        return -ScoreTest(-self._values, self._counts, self._bound).low(critical, raised, excludes_zero)

    def _variance(self, mean: float) -> float:
        """The variance of the likeliest distribution with `mean`, which is at most the observed mean.

        An observed difference d has the probability 1/n / (1 + rate (d - mean)); what is left is at -bound.
        """
        from scipy.optimize import brentq

        sign = 1 if mean <= self.mean else -1
        away, reach = sign * (self._values - mean), self._bound + sign * mean

        def tilted(rate: float) -> float:
            return float(self._counts @ (away / (1 + rate * away)))

        if reach <= 0:
            return 0.0
        if tilted(0.0) <= 0:  # but for rounding, 0 at the observed mean
            rate = 0.0
        elif tilted(largest := (1 - 1e-9) / reach) < 0:
            rate = float(brentq(tilted, 0.0, largest))
        else:
            rate = 1 / reach
        likely = self._counts / (self._n * (1 + rate * away))
        return float(likely @ away**2 + max(0.0, 1 - likely.sum()) * reach**2)
