"""The difference of two F1 scores on the same items: how large it is and how sure.

F1 is no mean over items, so tests of means do not fit. Each item changes F1 by its influence (the linear part of
F1 = 2 TP / (2 TP + FP + FN) in the counts), and these influences are means: their variance over items gives a
standard error, and Student's t an interval and a p-value. Both come from the same figures, so the interval excludes 0
exactly where p < 0.05.

At small n the linear part alone is too sure, as Wald's interval is for shares. As Agresti and Min (Statistics in
Medicine 2005) do for differences of paired shares, half an item is therefore added in each of the four ways in which
two arms can differ on an item: its answer is Yes or No, and a alone or b alone is right. This was chosen by simulation
(eleven kinds of arms, n = 10, 20, 40, 100): it covers at least 95 %, where the percentile bootstrap covers as little
as 65 %, a Dirichlet posterior 88 to 94 %, and Wald's interval 72 %; tests/scenarios/scoring/test_f1_difference.py
repeats a part of it. A permutation test would be exact where an item's two answers are exchangeable, but has no
interval that agrees with it.

The unit is the item. Several runs have the same items, so an item counts once, with its mean influence over runs. The
result is about the sets of these runs: `by_run` shows how much runs differ.
"""

from collections.abc import Mapping, Sequence, Set
from math import sqrt

import msgspec

PSEUDO = 0.5
"""Items added in each of the four ways in which two arms can differ."""

Answered = Mapping[str, bool]
"""By item, whether it was answered right."""


class F1Difference(msgspec.Struct, frozen=True):
    """The F1 of a less the F1 of b."""

    difference: float
    """Mean over runs."""
    ci95: tuple[float, float]
    """It is about the difference after half items are added, so it is not symmetric about `difference`."""
    p_value: float
    """Two-sided."""
    wins: int
    """Items that a alone answered right, added up over runs."""
    losses: int
    n: int
    """Items."""
    by_run: tuple[float, ...]


class _Counts(msgspec.Struct):
    """Of one arm in one run."""

    right: float
    """True positives."""
    wrong: float
    """False positives and false negatives."""

    @staticmethod
    def of(answers: Answered, positive: Set[str], added: float) -> "_Counts":
        """With `added` items for each way of differing: this arm is right on a Yes in one of them, wrong in two."""
        right = sum(is_right and item in positive for item, is_right in answers.items())
        wrong = sum(not is_right for is_right in answers.values())
        return _Counts(right + added, wrong + 2 * added)

    @property
    def f1(self) -> float:
        """F1; 0 without true positives."""
        return 2 * self.right / (2 * self.right + self.wrong) if self.right else 0.0

    def influence(self, is_positive: bool, is_right: bool) -> float:
        """How one such item changes F1."""
        of_right, of_wrong = is_positive and is_right, not is_right
        return 2 * (self.wrong * of_right - self.right * of_wrong) / (2 * self.right + self.wrong) ** 2


def f1_difference(runs: Sequence[tuple[Answered, Answered]], positive: Set[str]) -> F1Difference | None:
    """Compare two arms item by item.

    Args:
        runs: the answers of a and of b in each run. Items that only one of them answered are left out of that run.
        positive: the items whose answer is Yes.

    Returns:
        None where no run has an item that both answered.
    """
    both = [_common(a, b) for a, b in runs]
    both = [(a, b) for a, b in both if a]
    if not both:
        return None
    from scipy.stats import t

    counts = [(_Counts.of(a, positive, PSEUDO), _Counts.of(b, positive, PSEUDO)) for a, b in both]
    items = sorted({item for a, _ in both for item in a})

    def influence(run: int, is_positive: bool, a: bool, b: bool) -> float:
        of_a, of_b = counts[run]
        return (of_a.influence(is_positive, a) - of_b.influence(is_positive, b)) / len(both)

    real = [
        sum(influence(n, item in positive, a[item], b[item]) for n, (a, b) in enumerate(both) if item in a)
        for item in items
    ]
    added = [sum(influence(n, yes, a, not a) for n in range(len(both))) for yes in (True, False) for a in (True, False)]
    n = len(items) + PSEUDO * len(added)
    squares = sum(one**2 for one in real) + PSEUDO * sum(one**2 for one in added)
    error = sqrt(squares * n / (n - 1))
    centre = sum(a.f1 - b.f1 for a, b in counts) / len(counts)
    reach = float(t.ppf(0.975, n - 1)) * error
    by_run = tuple(_Counts.of(a, positive, 0).f1 - _Counts.of(b, positive, 0).f1 for a, b in both)
    return F1Difference(
        difference=sum(by_run) / len(by_run),
        ci95=(max(-1.0, centre - reach), min(1.0, centre + reach)),
        p_value=min(1.0, 2 * float(t.sf(abs(centre) / error, n - 1))),
        wins=sum(a[item] > b[item] for a, b in both for item in a),
        losses=sum(a[item] < b[item] for a, b in both for item in a),
        n=len(items),
        by_run=by_run,
    )


def _common(a: Answered, b: Answered) -> tuple[Answered, Answered]:
    items = sorted(a.keys() & b.keys())
    return {item: a[item] for item in items}, {item: b[item] for item in items}
