"""What each student adds: by the definition, by its axioms, and for students that are one."""

from itertools import permutations
from random import Random
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scenarios.config.schema import Scoring
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.lbt import Rule, Sheet
from scenarios.scoring.over_problems import over_problems
from scenarios.scoring.shapley import EXACT_STUDENTS, Shapley, shapley
from tests.scenarios.scoring.students import kept, made_up
from tests.scenarios.scoring.test_lbt import BOTH, COINS, ROSES, SCORING, lesson, rationale, same


def values(lessons: list[TeachingProblemRecord], students: tuple[str, ...], scoring: Scoring = SCORING) -> Shapley:
    found = shapley([Sheet(one, same) for one in lessons], students, scoring, 1)
    assert found is not None
    return found


def right(one: TeachingProblemRecord, rule: Rule, students: tuple[str, ...]) -> bool:
    examined = any(exam.student in students for r in one.rationales for exam in r.exams)
    return Sheet(one, same).choose(rule if examined else "sc", students, SCORING).correct


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4))
def test_a_value_is_the_mean_over_all_orders_of_what_the_student_adds(seed: int, k: int) -> None:
    lessons = made_up([0.0] * k, tps=3, trs=4, eps=1, seed=seed)
    names = tuple(f"s{number}" for number in range(k))
    found = values(lessons, names)
    for student in found.students:
        for rule, got in (("max", student.m1_max.value), ("sum", student.m1_sum.value)):
            added = []
            for order in permutations(names):
                before = tuple(sorted(order[: order.index(student.name)]))
                of = [[right(one, rule, some) for one in lessons] for some in (before, (*before, student.name))]  # type: ignore[arg-type]
                added.append((sum(of[1]) - sum(of[0])) / len(lessons))
            assert got == pytest.approx(sum(added) / len(added))


@pytest.mark.parametrize("k", [1, 2, 6, 9, EXACT_STUDENTS + 3])
def test_the_values_sum_to_the_whole_gain(k: int) -> None:
    found = values(made_up([number / k for number in range(k)], tps=6, trs=5, eps=2), tuple(f"s{n}" for n in range(k)))
    assert sum(one.m1_max.value for one in found.students) == pytest.approx(found.gain_max, abs=1e-9)
    assert sum(one.m1_sum.value for one in found.students) == pytest.approx(found.gain_sum, abs=1e-9)
    assert (found.orders is None) == (k <= EXACT_STUDENTS)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 999),
    st.integers(1, 4),
    st.floats(0, 1),
    st.sampled_from(["votes", "first"]),
    st.sampled_from(["answers", "students"]),
)
def test_the_values_sum_to_what_the_class_itself_gains_whatever_exams_failed_and_however_ties_are_broken(
    seed: int, k: int, share: float, ties: Literal["votes", "first"], merge: Literal["answers", "students"]
) -> None:
    draw, names, scoring = Random(seed), tuple(f"s{number}" for number in range(k)), Scoring(ties=ties, merge=merge)
    lessons = kept(made_up([0.0] * k, tps=4, trs=4, eps=1, seed=seed), lambda _, __: draw.random() < share)
    sheets = [Sheet(one, same) for one in lessons]
    if (found := shapley(sheets, names, scoring, 1)) is None:
        assert not any(one.exams for lesson in lessons for one in lesson.rationales)
        return
    sc = sum(one.choose("sc", names, scoring).correct for one in sheets)
    rules: tuple[Rule, ...] = ("max", "sum")
    for rule in rules:
        own = (sum(one.choose(rule, names, scoring).correct for one in sheets) - sc) / len(sheets)
        added = sum(getattr(one, f"m1_{rule}").value for one in found.students)
        assert added == pytest.approx(own, abs=1e-9) == getattr(found, f"gain_{rule}")


def test_sampled_orders_come_near_the_exact_values_and_depend_on_the_seed_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lessons, names = made_up([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0], tps=20, eps=2), tuple(f"s{n}" for n in range(6))
    exact = values(lessons, names)
    monkeypatch.setattr("scenarios.scoring.shapley.EXACT_STUDENTS", 5)
    sampled = values(lessons, names)
    assert sampled == values(lessons[:], names)
    assert sampled.orders == 682
    for a, b in zip(exact.students, sampled.students, strict=True):
        assert a.m1_max.value == pytest.approx(b.m1_max.value, abs=0.02)


def test_one_student_adds_the_whole_gain() -> None:
    (ada,) = values([ROSES, COINS], ("ada",)).students
    assert (ada.m1_max.value, ada.m1_sum.value) == (0.0, 0.5)  # SC is right on one of the two, SUM on both


def test_two_identical_students_have_one_value() -> None:
    one = lesson(rationale(0, "a", ada="00", bob="00"), rationale(1, "b", right=True, ada="11", bob="11"))
    ada, bob = values([one, replace(one, tp="other")], BOTH).students
    assert ada.m1_max == bob.m1_max
    assert ada.m1_max.value == 0.5


def test_a_student_without_exams_adds_nothing_whatever_decides_ties() -> None:
    lessons = made_up([0.0, 1.0], tps=8)
    for scoring in (SCORING, Scoring(ties="first"), Scoring(merge="students")):
        *_, nobody = values(lessons, ("s0", "s1", "nobody"), scoring).students
        assert (nobody.m1_max.value, nobody.m1_sum.value) == pytest.approx((0.0, 0.0))


def test_without_exams_there_are_no_values() -> None:
    assert shapley([], BOTH, SCORING, 1) is None
    assert shapley([Sheet(lesson(rationale(0, "a")), same)], BOTH, SCORING, 1) is None


def test_one_problem_has_values() -> None:
    found = values([ROSES], BOTH)
    assert (found.n, found.sc, found.gain_max) == (1, 0.0, 1.0)


def test_of_a_thousand_studies_of_identical_students_at_most_one_in_twenty_finds_a_difference() -> None:
    sheets = [Sheet(one, same) for one in made_up([0.0, 0.0], tps=12_000, trs=4, eps=1, right_helps=1.0)]
    rejected: dict[Rule, int] = {"max": 0, "sum": 0}
    for study in range(1000):
        of_study = sheets[12 * study : 12 * study + 12]
        for rule in rejected:
            # The Shapley values of two students differ as the line-ups of one student do.
            by_tp = [
                float(one.choose(rule, ("s0",), SCORING).correct) - one.choose(rule, ("s1",), SCORING).correct
                for one in of_study
            ]
            rejected[rule] += over_problems(by_tp, study).p_value < 0.05
    assert all(count <= 70 for count in rejected.values()), rejected  # 50 expected at most, standard deviation 7
