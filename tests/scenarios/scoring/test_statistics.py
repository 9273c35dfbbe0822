"""Intervals and tests: against scipy, against known values, and against what they promise."""

from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.scoring.statistics import EXACT_UP_TO, caution, clustered, paired, ratio_interval, wilson


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
        assert paired(a.tolist(), b.tolist(), seed=1).p_value == pytest.approx(expected)


def test_the_drawn_p_value_is_close_to_the_exact_one() -> None:
    from scipy.stats import binomtest

    # 25 wins and 12 losses of one point each: the sign-flip test is then the sign test.
    found = paired([1.0] * 25 + [0.0] * 12 + [1.0] * 40, [0.0] * 25 + [1.0] * 12 + [1.0] * 40, seed=3)
    assert found.p_value == pytest.approx(binomtest(25, 37).pvalue, abs=0.006)


def test_the_interval_is_scipys_bootstrap() -> None:
    from scipy.stats import bootstrap

    rng = np.random.default_rng(2)
    a, b = rng.normal(0.3, 1, 60), rng.normal(0, 1, 60)
    expected = bootstrap(
        (a - b,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(9)
    ).confidence_interval
    assert paired(a.tolist(), b.tolist(), seed=1).ci95 == pytest.approx((expected.low, expected.high), abs=0.02)


def test_methods_that_never_differ() -> None:
    found = paired([1.0, 0.0, 1.0], [1.0, 0.0, 1.0], seed=1)
    assert (found.difference, found.ci95, found.wins, found.losses, found.p_value) == (0.0, (0.0, 0.0), 0, 0, 1.0)


@pytest.mark.parametrize("n", [1, 6, EXACT_UP_TO])
def test_the_smallest_p_value_is_what_the_caution_says(n: int) -> None:
    assert paired([1.0] * n, [0.0] * n, seed=1).p_value == 2.0 ** (1 - n)


def test_a_drawn_p_value_is_never_zero() -> None:
    assert paired([1.0] * 60, [0.0] * 60, seed=1).p_value == pytest.approx(1 / 10_001)


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


def test_exact_p_values_of_equal_methods_come_as_often_as_they_say() -> None:
    # All that chance can do to seven differing problems: every sign pattern once. No two sums are alike.
    sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    patterns = product((-1, 1), repeat=7)
    found = [paired([sign * d for sign, d in zip(p, sizes, strict=True)], [0.0] * 7, seed=1).p_value for p in patterns]
    assert sorted(found) == [k / 64 for k in range(1, 65) for _ in range(2)]


def test_drawn_p_values_of_equal_methods_are_below_a_level_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(12)
    differences = rng.normal(0, 1, (120, EXACT_UP_TO + 2))
    found = [paired(d.tolist(), [0.0] * len(d), seed=i).p_value for i, d in enumerate(differences)]
    for level in (0.05, 0.2, 0.5):
        share = float(np.mean([p <= level for p in found]))
        assert share == pytest.approx(level, abs=3.5 * (level * (1 - level) / 120) ** 0.5)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(12)
    covered = 0
    for i in range(150):
        a, b = rng.binomial(1, 0.6, 40), rng.binomial(1, 0.4, 40)
        low, high = paired(a.tolist(), b.tolist(), seed=i).ci95
        covered += low <= 0.2 <= high
    assert 0.90 <= covered / 150 <= 0.99  # a percentile bootstrap of 40 problems is a little narrow


def test_twenty_problems_need_no_caution() -> None:
    assert caution(20) is None
    assert caution(19) is not None


def test_the_caution_gives_the_numbers() -> None:
    said = caution(8) or ""
    assert "4/8" in said
    assert "from 22 to 78 %" in said
    assert "0.0078" in said
    assert "at least 75 points (6 problems better and none worse)" in said


def test_too_few_problems_can_show_no_difference_at_all() -> None:
    assert "can reach p < 0.05" in (caution(5) or "")
    assert "1 teaching problem cannot" in (caution(1) or "")
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
