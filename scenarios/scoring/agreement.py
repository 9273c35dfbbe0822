"""How alike the answers of two students are: on the exams that both took, right or wrong together.

The four shares of a pair (both right, only one, only the other, both wrong) are means over the EPs under the TRs that
both answered. Where students answered an EP repeatedly, they are the shares over all pairs of an answer of the one and
an answer of the other. Measures: Kuncheva and Whitaker, Machine Learning 51 (2003). Intervals leave out one TP after
the other (jackknife), since the exams of a TP go together.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import msgspec

from scenarios.scoring.exam_counts import ExamCounts
from scenarios.scoring.lineups import LineUp
from scenarios.scoring.statistics import clustered, mean

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Interval = tuple[float, float] | None


class PairAgreement(msgspec.Struct, frozen=True):
    """Two students. A measure is null where it is 0 divided by 0: a student is right everywhere, or nowhere."""

    a: str
    b: str
    n: int
    """EPs under TRs that both answered."""
    same: float | None
    """Share of them on which both are right or both are wrong."""
    kappa: float | None
    """Cohen's: `same` beyond what two independent students of these accuracies have; 1: always, 0: as by chance."""
    kappa_ci95: Interval
    error_correlation: float | None
    """Phi: the correlation between the errors of both, -1 to 1."""
    error_correlation_ci95: Interval
    yules_q: float | None
    double_fault: float | None
    """Share on which both are wrong."""
    double_fault_ci95: tuple[float, float]


class Agreement(msgspec.Struct, frozen=True):
    """The agreement of a class's students; and whether line-ups of students that agree less gain more."""

    pairs: list[PairAgreement]
    line_ups: int
    """Line-ups of at least two students whose pairs all have a kappa: of these the two correlations are. They share
    students, so the correlations describe this class and have no interval."""
    gain_max_by_kappa: float | None
    """Spearman's correlation between the mean kappa of a line-up's pairs and its gain by MAX over SC."""
    gain_sum_by_kappa: float | None


def agreement(
    counts: Sequence[ExamCounts], students: Sequence[str], line_ups: Sequence[LineUp], sc: float | None
) -> Agreement | None:
    """The agreement of every two students; None where no two answered the same EP.

    Args:
        counts: of each TP.
        students: in the order of the counts.
        line_ups: with their accuracies.
        sc: the accuracy of SC.
    """
    import numpy as np

    tables = np.array([_table(one) for one in counts]).reshape(len(counts), 4, len(students), len(students))
    whole = tables.sum(axis=0)
    measures, without = _measures(whole), _measures(whole - tables)
    pairs = []
    for i, j in combinations(range(len(students)), 2):
        asked = int(whole[3, i, j])
        if not asked:
            continue
        same, kappa, phi, q, fault = (_number(one[i, j]) for one in measures)
        by_tp = tables[:, :, i, j]
        faults = by_tp[:, 3] - by_tp[:, 1] - by_tp[:, 2] + by_tp[:, 0]
        ci95 = [_jackknife(one[by_tp[:, 3] > 0, i, j]) for one in (without[1], without[2])]
        kappa_ci95, phi_ci95 = (_around(value, reach) for value, reach in zip((kappa, phi), ci95, strict=True))
        of_faults = clustered([(fault, int(n)) for fault, n in zip(faults.tolist(), by_tp[:, 3].tolist(), strict=True)])
        pairs.append(
            PairAgreement(students[i], students[j], asked, same, kappa, kappa_ci95, phi, phi_ci95, q, fault, of_faults)
        )
    return Agreement(pairs, *_by_kappa(pairs, line_ups, sc)) if pairs else None


def _table(counts: ExamCounts) -> "Array":
    """Of one TP, for every two students: sums of both right, the first right, the second right, and cells of both."""
    import numpy as np

    k = len(counts.asked)
    asked = counts.asked.reshape(k, -1)
    has = (asked > 0).astype(float)
    right = counts.right.reshape(k, -1) / np.maximum(asked, 1)
    return np.stack([right @ right.T, right @ has.T, has @ right.T, has @ has.T])


def _measures(tables: "Array") -> list["Array"]:
    """Same, kappa, phi, Yule's Q and double fault of tables (... x 4 x students x students); NaN for 0 by 0."""
    import numpy as np

    a, first, second, n = np.moveaxis(tables, -3, 0)
    b, c = first - a, second - a
    d = n - a - b - c
    product = a * d - b * c
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = (a + b) * (b + d) + (a + c) * (c + d)
        spread = np.sqrt((a + b) * (c + d) * (a + c) * (b + d))
        every = [(a + d, n), (2 * product, chance), (product, spread), (product, a * d + b * c), (d, n)]
        return [np.where(under > 1e-9, over / under, np.nan) for over, under in every]


def _jackknife(without: "Array") -> float | None:
    """The reach of a 95 % interval, by the measures without one TP each and Student's t; None for fewer than three."""
    import numpy as np
    from scipy.stats import t

    n = len(without)
    if n < 3 or not np.isfinite(without).all():
        return None
    return float(t.ppf(0.975, n - 1) * np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))


def _around(value: float | None, reach: float | None) -> Interval:
    if value is None or reach is None:
        return None
    return (max(-1.0, value - reach), min(1.0, value + reach))


def _number(value: Any) -> float | None:
    return None if value != value else float(value)


def _by_kappa(
    pairs: Sequence[PairAgreement], line_ups: Sequence[LineUp], sc: float | None
) -> tuple[int, float | None, float | None]:
    kappas: Mapping[tuple[str, str], float | None] = {(one.a, one.b): one.kappa for one in pairs}
    rows = []
    for up in line_ups:
        found = [kappas.get(pair) for pair in combinations(up.students, 2)]
        known = [kappa for kappa in found if kappa is not None]
        if found and len(known) == len(found) and sc is not None and up.m1_max is not None and up.m1_sum is not None:
            rows.append((mean(known) or 0.0, up.m1_max - sc, up.m1_sum - sc))
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return len(rows), spearman(columns[0], columns[1]), spearman(columns[0], columns[2])


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs and where one of the two is constant."""
    # Rounded, so that values which are equal but for rounding share a rank.
    a, b = ([round(value, 9) for value in values] for values in (a, b))
    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)
