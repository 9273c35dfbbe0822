"""Cells are pooled over distinct problems: what a problem counts, and how often chance is taken for a difference."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.studies.answers import ClassAnswers
from scenarios.studies.pooling import Difference, accuracy, by_problem, compare, holm, needed


def cell(units: list[str], **right: list[float]) -> ClassAnswers:
    return ClassAnswers(tps=units, units=units, right=right, answerers={}, differing=1, simulated=True)


def test_a_problem_that_several_cells_have_counts_once() -> None:
    one = cell(["p", "q"], a=[1, 0], b=[0, 0])
    two = cell(["p", "r"], a=[0, 1], b=[0, 1])
    assert by_problem([one, two], "a") == {"p": 0.5, "q": 0.0, "r": 1.0}
    found = compare([one, two], "a", "b", seed=1)
    assert (found.n, found.wins, found.losses) == (3, 1, 0)
    assert found.difference == pytest.approx(0.5 / 3)
    assert accuracy([one, two], "a").n == 3


def test_more_seeds_of_the_same_problems_do_not_make_a_difference_significant() -> None:
    units = [f"p{n}" for n in range(5)]
    one = cell(units, a=[1, 1, 1, 1, 1], b=[0, 0, 0, 0, 0])
    assert compare([one], "a", "b", seed=1).p_value == compare([one] * 20, "a", "b", seed=1).p_value == 2 / 2**5


@given(st.permutations(range(4)))
def test_the_order_of_cells_decides_nothing(order: list[int]) -> None:
    cells = [cell([f"p{n}", f"q{k % 2}"], a=[n % 2, k % 2], b=[1, 0]) for k, n in enumerate(range(4))]
    assert compare([cells[k] for k in order], "a", "b", seed=3) == compare(cells, "a", "b", seed=3)


def differences(*p_values: float) -> list[Difference]:
    return [
        Difference(a="a", b=f"b{n}", difference=0.1, ci95=(0, 0.2), wins=1, losses=0, p_value=p, n=10)
        for n, p in enumerate(p_values)
    ]


def test_holm_corrects_as_in_the_published_example() -> None:
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert [one.p_holm for one in holm(differences(0.01, 0.04, 0.03, 0.005))] == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_corrected_p_value_is_never_smaller_and_keeps_the_order(p_values: list[float]) -> None:
    found = holm(differences(*p_values))
    assert all(one.p_holm is not None and one.p_value <= one.p_holm <= 1 for one in found)
    ordered = sorted(found, key=lambda one: (one.p_value, one.p_holm))
    assert [one.p_holm for one in ordered] == sorted(one.p_holm or 0 for one in found)


def test_more_problems_are_needed_for_a_smaller_difference() -> None:
    large, small = [1.0] * 6 + [0.0] * 4, [1.0] * 2 + [0.0] * 8
    assert (needed(large) or 0) < (needed(small) or 0)
    assert needed([0.0] * 10) is None and needed([1.0, -1.0]) is None and needed([]) is None
    tiny = [[1.0] * 21 + [-1.0] * 20 + [0.0] * 99, [0.5] * 21 + [-0.5] * 20 + [0.0] * 99]
    assert all(needed(values) is None for values in tiny)  # it takes over 10,000, exactly and by the approximation


def test_a_comparison_among_several_takes_more_problems_than_the_same_one_alone() -> None:
    for values in ([1.0] * 3 + [-1.0] + [0.0] * 6, [0.5] * 3 + [-0.5] + [0.0] * 6):
        alone, *among = [needed(values, k) or 0 for k in (1, 2, 5)]
        assert 0 < alone < among[0] < among[1]
    one = cell(["p", "q", "r"], a=[1, 1, 0], b=[0, 1, 1])
    assert (compare([one], "a", "b", 1).comparisons, compare([one], "a", "b", 1, 3).comparisons) == (1, 3)


@pytest.mark.parametrize("shared", [True, False], ids=["every seed has the same problems", "seeds draw other problems"])
def test_a_study_of_equal_line_ups_finds_a_difference_in_at_most_one_of_twenty(shared: bool) -> None:
    """Problems differ in difficulty and teachers in ability; the line-ups differ in nothing."""
    rng, studies, found = random.Random(5), 600, 0
    for number in range(studies):
        cells = []
        difficulty: dict[str, float] = {}
        for ability in (0.0, 1.0):
            for seed in range(3):
                units = [f"{'' if shared else seed} {problem}" for problem in range(12)]
                chances = [
                    1 / (1 + 2.718 ** (difficulty.setdefault(unit, rng.gauss(0, 1.5)) - ability)) for unit in units
                ]
                a, b = ([float(rng.random() < chance) for chance in chances] for _ in range(2))
                cells.append(cell(units, a=a, b=b))
        found += compare(cells, "a", "b", seed=number).p_value < 0.05
    # 600 studies at exactly 5 % find 30 give or take 5.3; 46 is three of these above.
    assert found <= 46
