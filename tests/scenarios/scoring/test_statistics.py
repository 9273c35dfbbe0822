"""Intervals and tests: against published values, against scipy, and against what they promise."""

from functools import cache
from itertools import product
from random import Random
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.scoring.score_interval import ScoreTest
from scenarios.scoring.statistics import (
    EXACT_UP_TO,
    Paired,
    caution,
    clustered,
    holm,
    paired,
    ratio_interval,
    sign_flip,
    wilson,
)

SETTINGS = [(0.1, 0.02), (0.3, 0.0), (0.05, 0.05), (0.3, 0.1)]
"""Chances that one method is better on a problem, and that it is worse."""


@cache
def compared(wins: int, losses: int, n: int) -> Paired:
    """Two methods, right and wrong on so many of `n` problems."""
    return paired([1.0] * wins + [0.0] * (n - wins), [0.0] * (n - losses) + [1.0] * losses, seed=1)


def tables(n: int, win: float, loss: float) -> list[tuple[Paired, float]]:
    """Every comparison of two methods on `n` problems with its chance, but for the rarest ones."""
    from scipy.stats import multinomial

    counts = [(wins, losses, n - wins - losses) for wins in range(n + 1) for losses in range(n + 1 - wins)]
    chances = multinomial.pmf(counts, n, [win, loss, 1 - win - loss])
    return [(compared(w, k, n), float(c)) for (w, k, _), c in zip(counts, chances, strict=True) if c > 1e-5]


def holds(one: Paired, difference: float) -> bool:
    return one.ci95[0] - 1e-9 <= difference <= one.ci95[1] + 1e-9


def test_wilson_is_the_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29.
    known = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, n), interval in known.items():
        assert wilson(successes, n) == pytest.approx(interval, abs=5e-5)


def test_no_trials_leave_everything_possible() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert {(wilson(0, n)[0], wilson(n, n)[1]) for n in range(1, 200)} == {(0.0, 1.0)}


def test_a_paired_comparison_by_hand() -> None:
    found = paired([1, 1, 1, 0, 1], [0, 0, 1, 1, 0], seed=1)
    assert found.difference == pytest.approx(0.4)
    assert (found.wins, found.losses) == (3, 1)
    # Four differing TPs, sum 2: of 16 flips, |sum| >= 2 in 2 (all one way) + 8 (one against three).
    assert found.p_value == pytest.approx(10 / 16)
    assert found.ci95[0] <= found.difference <= found.ci95[1]


def test_the_exact_p_value_is_scipys() -> None:
    from scipy.stats import permutation_test

    rng = np.random.default_rng(5)
    for n in (3, 6, 10):
        a, b = rng.normal(0.5, 1, n), rng.normal(0, 1, n)
        expected = permutation_test(
            (a, b), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=np.inf
        ).pvalue
        assert sign_flip(a - b, np.ones(n, dtype=int), seed=1) == pytest.approx(expected)


def test_of_right_and_wrong_the_p_value_is_the_exact_binomial_one() -> None:
    from scipy.stats import binomtest

    for wins, losses in ((25, 12), (4, 4), (0, 9), (1, 0)):
        assert compared(wins, losses, 77).p_value == pytest.approx(binomtest(wins, wins + losses).pvalue)


def test_the_score_interval_is_tangos() -> None:
    # Wins, losses, problems, level; Tango 1998, 6.2 (sleeping difficulties); Bentur 2009 as in Fagerland, Lydersen and
    # Laake 2014 (airway hyper-responsiveness); R's PropCIs::scoreci.mp(25, 28, 618).
    known = {
        (9, 3, 32, 0.95): (-0.027, 0.390),
        (1, 7, 21, 0.95): (-0.517, -0.026),
        (28, 25, 618, 0.90): (-0.0148, 0.0247),
    }
    for (wins, losses, n, level), interval in known.items():
        test = ScoreTest(np.array([-1.0, 0.0, 1.0]), np.array([losses, n - wins - losses, wins]), 1.0)
        critical = NormalDist().inv_cdf((1 + level) / 2)
        apart = test.z > critical
        found = (
            test.low(critical, excludes_zero=apart and wins > losses),
            test.high(critical, excludes_zero=apart and wins < losses),
        )
        assert found == pytest.approx(interval, abs=5e-4)


def test_the_end_away_from_zero_is_tangos_and_the_other_one_fits_the_exact_test() -> None:
    low, high = compared(9, 3, 32).ci95
    assert high == pytest.approx(0.390, abs=5e-4)
    assert -0.1 < low < -0.027  # p = 0.146; the score test alone says 0.083


@pytest.mark.parametrize("n", [10, 20, 40, 181])
@pytest.mark.parametrize(("win", "loss"), SETTINGS)
def test_the_interval_covers_the_difference_as_often_as_it_says(n: int, win: float, loss: float) -> None:
    assert sum(chance for one, chance in tables(n, win, loss) if holds(one, win - loss)) >= 0.94


@pytest.mark.parametrize("n", [6, 25, 60])
def test_the_interval_excludes_zero_exactly_where_p_is_below_5_percent(n: int) -> None:
    for one, _ in tables(n, 0.4, 0.2):
        assert holds(one, one.difference)
        assert (one.ci95[0] > 0 or one.ci95[1] < 0) == (one.p_value < 0.05), one


shares = st.lists(st.tuples(*[st.sampled_from([0.0, 1 / 3, 0.5, 0.95, 1.0])] * 2), min_size=1, max_size=18)


@given(shares, st.integers(0, 3))
def test_of_shares_too_the_interval_never_contradicts_p(rows: list[tuple[float, float]], seed: int) -> None:
    one = paired([a for a, _ in rows], [b for _, b in rows], seed)
    assert holds(one, one.difference)
    assert (one.ci95[0] > 0 or one.ci95[1] < 0) == (one.p_value < 0.05)


def test_of_shares_the_interval_covers_the_difference_as_often_as_it_says() -> None:
    rng = np.random.default_rng(12)
    drawn = {
        0.3: rng.choice([0.0, 1.0], p=[0.7, 0.3], size=(200, 10, 3)).mean(axis=2),  # three samples
        1 / 12: rng.beta(1, 5, (200, 10)) * rng.choice([0.0, 1.0], size=(200, 10)),  # few large ones
        0.1: rng.normal(0.1, 0.15, (200, 20)),  # bell-shaped
    }
    for true, classes in drawn.items():
        covered = sum(holds(paired(values, [0.0] * len(values), seed=1), true) for values in classes.tolist())
        assert covered / 200 >= 0.93, true


@pytest.mark.parametrize(("n", "differ"), [(8, 1.0), (30, 0.2), (181, 0.3)])
def test_equal_methods_are_told_apart_in_one_class_of_twenty_at_most(n: int, differ: float) -> None:
    rng = np.random.default_rng(7)
    drawn = rng.multinomial(n, [differ / 2, differ / 2, 1 - differ], size=1000).tolist()
    rejected = sum(compared(wins, losses, n).p_value < 0.05 for wins, losses, _ in drawn)
    assert rejected / 1000 <= 0.05


def test_methods_that_never_differ() -> None:
    found = compared(0, 0, 40)
    assert (found.difference, found.wins, found.losses, found.p_value) == (0.0, 0, 0, 1.0)
    # z^2 / (n + z^2), as Tango's: 40 problems do not show that two methods never differ.
    assert found.ci95 == pytest.approx((-0.0876, 0.0876), abs=5e-5)
    assert compared(0, 0, 4000).ci95[1] < 0.001


@pytest.mark.parametrize("n", [1, 6, EXACT_UP_TO])
def test_the_smallest_p_value_is_what_the_caution_says(n: int) -> None:
    assert paired([1.0] * n, [0.0] * n, seed=1).p_value == pytest.approx(2.0 ** (1 - n))


def test_a_drawn_p_value_is_never_zero() -> None:
    found = paired([1.0] * 30 + [0.5] * 30, [0.0] * 60, seed=1)
    assert found.p_value == pytest.approx(1 / 10_001)


def test_the_interval_of_what_is_certainly_apart_is_narrow() -> None:
    low, high = paired([1.0] * 30 + [0.5] * 30, [0.0] * 60, seed=1).ci95
    assert low > 0.6 and high < 0.85
    assert compared(2000, 0, 2000).ci95[0] > 0.995


def test_unequal_or_empty_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="one of each per TP"):
        paired([1.0], [1.0, 0.0], seed=1)
    with pytest.raises(ValueError, match="some TP"):
        paired([], [], seed=1)


pairs = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=1, max_size=12)


@given(pairs, st.integers(0, 3), st.randoms(use_true_random=False))
def test_neither_the_order_of_the_problems_nor_a_second_look_changes_anything(
    rows: list[tuple[float, float]], seed: int, random: Random
) -> None:
    mixed = list(rows)
    random.shuffle(mixed)
    one, other = (paired([a for a, _ in r], [b for _, b in r], seed) for r in (rows, mixed))
    assert one == other


@given(pairs)
def test_swapping_the_methods_mirrors_the_comparison(rows: list[tuple[float, float]]) -> None:
    one = paired([a for a, _ in rows], [b for _, b in rows], seed=1)
    other = paired([b for _, b in rows], [a for a, _ in rows], seed=1)
    assert (one.difference, one.wins, one.losses, one.p_value) == (
        -other.difference,
        other.losses,
        other.wins,
        other.p_value,
    )
    assert one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]))


def test_exact_p_values_of_equal_methods_come_as_often_as_they_say() -> None:
    # All that chance can do to seven differing problems: every sign pattern once. No two sums are alike.
    sizes = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    patterns = product((-1, 1), repeat=7)
    ones = np.ones(7, dtype=int)
    found = [sign_flip(np.array(p) * sizes, ones, seed=1) for p in patterns]
    assert sorted(found) == [k / 64 for k in range(1, 65) for _ in range(2)]


def test_drawn_p_values_of_equal_methods_are_below_a_level_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(12)
    differences = rng.normal(0, 1, (120, EXACT_UP_TO + 2))
    found = [sign_flip(d, np.ones(len(d), dtype=int), seed=i) for i, d in enumerate(differences)]
    for level in (0.05, 0.2, 0.5):
        share = float(np.mean([p <= level for p in found]))
        assert share == pytest.approx(level, abs=3.5 * (level * (1 - level) / 120) ** 0.5)


def test_holms_correction() -> None:
    # Holm 1979 as in R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_twenty_problems_need_no_caution() -> None:
    assert caution(20) is None
    assert caution(19) is not None


def test_the_caution_gives_the_numbers() -> None:
    said = caution(8) or ""
    assert said.startswith("8 teaching problems can show only a very large difference between two methods. ")
    assert "4/8" in said
    assert "from 22 to 78 %" in said
    assert "0.0078" in said
    assert "at least 75 points (6 problems better and none worse)" in said


def test_too_few_problems_can_show_no_difference_at_all() -> None:
    assert "can reach p < 0.05" in (caution(5) or "")
    assert "1 teaching problem can show no difference between two methods" in (caution(1) or "")
    assert "nothing to compare" in (caution(0) or "")


def test_trials_that_go_together_are_worth_fewer() -> None:
    # All ten of a group alike: as many trials as groups.
    alike = [(10.0, 10)] * 6 + [(0.0, 10)] * 6
    low, high = clustered(alike)
    # n - 1, and Student's t with 11 degrees of freedom in place of the normal, correct for few groups.
    worth = 11 * (1.959964 / 2.200985) ** 2
    assert (low, high) == pytest.approx(wilson(worth / 2, worth), abs=1e-6)
    assert clustered([(1.0, 1)] * 6 + [(0.0, 1)] * 6) == pytest.approx((low, high))
    # As many right in each group: more even than chance, and worth all the trials, but no more.
    assert clustered([(5.0, 10)] * 12) == wilson(60, 120)
    assert clustered([]) == clustered([(0, 0)]) == (0.0, 1.0)
    assert clustered([(3.0, 3), (2.0, 2)]) == wilson(2, 2)
    assert clustered([(1.0, 4)]) == pytest.approx(wilson(0.25, 1))


@pytest.mark.parametrize("groups", [3, 12])
@pytest.mark.parametrize("shape", [(2.0, 2.0), (6.0, 2.0)])
def test_the_interval_over_few_groups_covers_the_share_as_often_as_it_says(
    groups: int, shape: tuple[float, float]
) -> None:
    rng = np.random.default_rng(4)
    share, covered = shape[0] / sum(shape), 0
    for _ in range(1000):
        drawn = rng.binomial(16, rng.beta(*shape, groups))
        low, high = clustered([(int(right), 16) for right in drawn])
        covered += low <= share <= high
    assert covered / 1000 >= 0.94


def test_the_interval_over_groups_is_that_of_a_bootstrap_of_groups() -> None:
    rng = np.random.default_rng(3)
    groups = [
        (int(rng.binomial(n, share)), int(n))
        for n, share in zip(rng.integers(4, 9, 150), rng.beta(2, 2, 150), strict=True)
    ]
    right, sat = np.array([g[0] for g in groups]), np.array([g[1] for g in groups])
    drawn = rng.integers(0, 150, size=(4000, 150))
    low, high = np.percentile(right[drawn].sum(axis=1) / sat[drawn].sum(axis=1), [2.5, 97.5])
    assert clustered(groups) == pytest.approx((low, high), abs=0.006)
    assert ratio_interval(groups) == pytest.approx((low, high), abs=0.006)
    independent = wilson(int(right.sum()), int(sat.sum()))
    assert high - low > 1.2 * (independent[1] - independent[0])


def test_one_group_has_no_interval_of_a_ratio() -> None:
    assert ratio_interval([(1.0, 4)]) is None
