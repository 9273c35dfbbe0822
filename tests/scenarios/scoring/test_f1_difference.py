"""The difference of two F1 scores: by hand, what it promises, and what does not change it."""

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.records.confusion import Confusion
from scenarios.scoring.f1_difference import f1_difference

Run = tuple[dict[str, bool], dict[str, bool]]
Ways = tuple[float, float, float]
"""Chances that both are right, a alone, b alone."""


def items(n: int) -> list[str]:
    """Half of them are positive."""
    return [f"i{number:03}" for number in range(n)]


def positive(n: int) -> frozenset[str]:
    return frozenset(items(n)[: n // 2])


def drawn(n: int, of_yes: Ways, of_no: Ways, draw: random.Random) -> Run:
    a, b = {}, {}
    for item in items(n):
        both, only_a, only_b = of_yes if item in positive(n) else of_no
        way = draw.random()
        a[item] = way < both + only_a
        b[item] = way < both or both + only_a <= way < both + only_a + only_b
    return a, b


def expected(of_yes: Ways, of_no: Ways) -> float:
    def f1(only: int) -> float:
        yes, no = of_yes[0] + of_yes[only], of_no[0] + of_no[only]
        return 2 * yes / (2 * yes + (1 - yes) + (1 - no))

    return f1(1) - f1(2)


def test_a_difference_by_hand() -> None:
    # a: TP 2, FN 0, FP 1, so 4/5. b: TP 1, FN 1, FP 0, so 2/3.
    a = {"y1": True, "y2": True, "n1": False, "n2": True}
    b = {"y1": True, "y2": False, "n1": True, "n2": True}
    found = f1_difference([(a, b)], {"y1", "y2"})
    assert found is not None
    assert found.difference == pytest.approx(4 / 5 - 2 / 3)
    assert (found.wins, found.losses, found.n, found.by_run) == (1, 1, 4, (found.difference,))
    assert found.difference == pytest.approx((Confusion(2, 1, 0, 1).f1 or 0) - (Confusion(1, 0, 1, 2).f1 or 0))


SAME = [
    ((0.7, 0.05, 0.05), (0.7, 0.05, 0.05)),
    ((0.4, 0.2, 0.2), (0.4, 0.2, 0.2)),
    # Equal F1 by other errors: b says Yes more often.
    ((0.76, 0.04, 0.19), (0.5, 0.3, 0.075)),
]
OTHER = [
    ((0.6, 0.3, 0.0), (0.6, 0.3, 0.0)),
    ((0.7, 0.1, 0.02), (0.7, 0.1, 0.02)),
    # a hardly ever says No, b hardly ever Yes.
    ((0.02, 0.6, 0.03), (0.7, 0.05, 0.2)),
]


@pytest.mark.parametrize(("n", "runs"), [(10, 1), (20, 3), (40, 1)])
@pytest.mark.parametrize("ways", [*SAME, *OTHER])
def test_the_interval_covers_what_it_promises_and_equal_arms_are_told_apart_by_chance_alone(
    n: int, runs: int, ways: tuple[Ways, Ways]
) -> None:
    draw = random.Random(n + 1)
    found = [f1_difference([drawn(n, *ways, draw) for _ in range(runs)], positive(n)) for _ in range(300)]
    truth = expected(*ways)
    covered = sum(one is not None and one.ci95[0] <= truth <= one.ci95[1] for one in found) / len(found)
    # Of 1,500 draws each it covers 95.9 to 100 %; of 300 draws of a true 95 %, fewer than 92 % come once in 100 tries.
    assert covered >= 0.92
    if ways in SAME:
        assert abs(truth) < 0.002
        assert sum(one is not None and one.p_value < 0.05 for one in found) / len(found) <= 0.07


@given(st.integers(1, 8).flatmap(lambda n: st.lists(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n,
                                                             max_size=n), min_size=1, max_size=3)))  # fmt: skip
def test_the_interval_agrees_with_p_and_swapping_the_arms_mirrors_both(rows: list[list[tuple[bool, bool]]]) -> None:
    runs = [tuple(dict(zip(items(len(row)), one, strict=True)) for one in zip(*row, strict=True)) for row in rows]
    n = len(rows[0])
    one = f1_difference([(a, b) for a, b in runs], positive(n))
    other = f1_difference([(b, a) for a, b in runs], positive(n))
    assert one is not None
    assert other is not None
    assert (one.p_value < 0.05) == (one.ci95[0] > 0 or one.ci95[1] < 0)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.ci95 == pytest.approx((-other.ci95[1], -other.ci95[0]))
    assert (one.difference, one.wins) == (-other.difference, other.losses)


def test_arms_with_equal_answers_do_not_differ_and_that_is_not_certain() -> None:
    for yes, no in product((True, False), repeat=2):
        answers = {item: yes if item in positive(12) else no for item in items(12)}
        found = f1_difference([(answers, dict(answers))], positive(12))
        assert found is not None
        assert (found.difference, found.p_value) == (0.0, 1.0)
        assert found.ci95[0] < 0 < found.ci95[1]


def test_items_that_one_arm_did_not_answer_are_left_out_and_without_items_there_is_nothing() -> None:
    a, b = {"y": True, "n": True}, {"y": True, "m": False}
    found = f1_difference([(a, b), ({}, b)], {"y"})
    assert found is not None
    assert (found.n, found.by_run) == (1, (0.0,))
    assert f1_difference([(a, {})], {"y"}) is None
    assert f1_difference([], {"y"}) is None
