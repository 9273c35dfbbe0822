"""A line-up against one student with as many exams."""

import pytest
from msgspec.structs import replace

from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.equal_up import EqualUp, equal_up
from scenarios.scoring.lbt import Sheet
from tests.scenarios.scoring.students import kept, made_up
from tests.scenarios.scoring.test_lbt import BOTH, SCORING, lesson, rationale, same


def compared(
    lessons: list[TeachingProblemRecord], kinds: dict[str, str], line_up: tuple[str, ...], seed: int = 1
) -> list[EqualUp]:
    return equal_up([Sheet(one, same) for one in lessons], tuple(kinds), kinds, line_up, SCORING, seed)


def test_a_student_without_copies_needs_more_repeats() -> None:
    found = compared(
        made_up([0.0, 1.0, 2.0], tps=3, eps=2, repeats=2), {n: n for n in ("s0", "s1", "s2")}, ("s0", "s1", "s2")
    )
    assert [(one.student, one.exams_per_rationale, one.needs_repeats) for one in found] == [
        (name, 12.0, 6) for name in ("s0", "s1", "s2")
    ]
    assert {(one.m1_max, one.max_difference) for one in found} == {(None, None)}


def test_the_repeats_are_enough_on_the_problem_that_lacks_most() -> None:
    lessons = made_up([0.0, 1.0, 2.0], tps=2, eps=4)
    lessons = kept(lessons, lambda tr, exam: (tr.id[:3], exam.student) != ("tp0", "s0") or exam.ep == "ep0")
    found = compared(lessons, {n: n for n in ("s0", "s1", "s2")}, ("s0", "s1", "s2"))
    # 1 of the 9 exams of tp0, 4 of the 12 of tp1.
    assert [(one.student, one.exams_per_rationale, one.needs_repeats) for one in found] == [
        ("s0", 10.5, 9),
        ("s1", 10.5, 3),
        ("s2", 10.5, 3),
    ]


def test_a_problem_without_exams_is_no_difference() -> None:
    kinds = {"s0": "s0", "s1": "s0", "s2": "s2"}
    examined = made_up([0.0, 0.0, 1.0], tps=1, eps=2)
    unexamined = replace(
        lesson(rationale(0, "1"), rationale(1, "2", right=True), rationale(2, "2", right=True)), tp="unexamined"
    )
    for ties in ("votes", "first"):
        scoring = replace(SCORING, ties=ties)
        one, both = (
            equal_up([Sheet(tp, same) for tp in lessons], tuple(kinds), kinds, ("s0", "s2"), scoring, 1)[0]
            for lessons in (examined, [*examined, unexamined])
        )
        assert one.max_difference is not None
        assert both.max_difference is not None
        assert both.max_difference.value == pytest.approx(one.max_difference.value / 2)


def test_copies_have_as_many_exams_as_the_mixed_line_up() -> None:
    kinds = {"s0": "s0", "s1": "s0", "s2": "s2"}
    copies, other = compared(made_up([-1.0, -1.0, 2.0], tps=20, eps=2), kinds, ("s0", "s2"))
    assert (copies.student, copies.exams_per_rationale, copies.needs_repeats) == ("s0", 4.0, None)
    assert (other.student, other.needs_repeats) == ("s2", 2)
    assert copies.max_difference is not None
    assert copies.sum_difference is not None
    assert copies.m1_max is not None
    mixed = sum(
        Sheet(one, same).choose("max", ("s0", "s2"), SCORING).correct
        for one in made_up([-1.0, -1.0, 2.0], tps=20, eps=2)
    )
    assert copies.max_difference.value == pytest.approx(mixed / 20 - copies.m1_max)


def test_more_copies_than_needed_are_cut_down_by_the_seed() -> None:
    kinds = {"s0": "s0", "s1": "s0", "s2": "s0", "s3": "s3"}
    lessons = made_up([0.0, 0.0, 0.0, 1.0], tps=20, eps=2)
    found = compared(lessons, kinds, ("s0", "s3"))
    assert found == compared(lessons, kinds, ("s0", "s3"))
    assert (found[0].exams_per_rationale, found[0].needs_repeats) == (4.0, None)
    assert found[0] != compared(lessons, kinds, ("s0", "s3"), seed=2)[0]


def test_a_student_without_exams_is_never_enough() -> None:
    lessons = kept(made_up([0.0, 1.0], tps=3), lambda _, exam: exam.student == "s0")
    one, other = compared(lessons, {"s0": "s0", "s1": "s1"}, ("s0", "s1"))
    assert (one.needs_repeats, other.needs_repeats, other.m1_max) == (None, None, None)


def test_line_ups_of_one_kind_and_without_exams_have_nothing_to_compare() -> None:
    lessons = made_up([0.0, 0.0], tps=2)
    assert compared(lessons, {"s0": "s0", "s1": "s0"}, ("s0", "s1")) == []
    assert compared(lessons, {"s0": "s0", "s1": "s1"}, ("s0",)) == []
    assert compared([lesson(rationale(0, "a"))], {name: name for name in BOTH}, BOTH) == []
    assert compared([], {name: name for name in BOTH}, BOTH) == []
