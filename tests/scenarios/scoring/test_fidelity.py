"""Whether students differ: found where they do, not found where they are one, and said so."""

from typing import Any

import pytest

from scenarios.config.schema import Agent
from scenarios.records.observe import TeachingProblemRecord
from scenarios.scoring.exam_counts import exam_counts
from scenarios.scoring.fidelity import Fidelity, bases, fidelity, kinds, sentence
from tests.scenarios.scoring.students import kept, made_up
from tests.scenarios.scoring.test_lbt import lesson, rationale

PLAIN = Agent(name="s0", model="m")
TERSE = Agent(name="s1", model="m", persona="You answer in one line.")


def compared(lessons: list[TeachingProblemRecord], *students: Agent) -> Fidelity | None:
    names = [student.name for student in students]
    return fidelity([exam_counts(one, names) for one in lessons], students, 1)


def agent(number: int, **more: Any) -> Agent:
    return Agent(name=f"s{number}", model="m", **more)


def test_copies_are_students_that_differ_in_name_and_placement_alone() -> None:
    students = (PLAIN, agent(1, replicas=2), TERSE.__class__(name="s2", model="m", persona="x"), agent(3, gpu="none"))
    assert kinds(students) == {"s0": "s0", "s1": "s0", "s2": "s2", "s3": "s0"}


def test_the_base_of_a_persona_is_the_model_without_it_or_else_the_first_of_the_model() -> None:
    assert bases((TERSE, Agent(name="s0", model="m"), Agent(name="other", model="n", persona="x"))) == {"s1": "s0"}
    assert bases((agent(0, persona="careful"), agent(1, persona="hasty"))) == {"s1": "s0"}


def test_a_simulated_student_of_another_ability_is_another_model() -> None:
    strong = {"ability": 2.0}
    students = (
        agent(0, engine="simulated"),
        agent(1, engine="simulated", engine_args=strong),
        agent(2, engine="simulated", engine_args=strong | {"tokens_per_second": 5}, persona="x"),
    )
    assert bases(students) == {"s2": "s1"}


def test_a_persona_that_makes_a_student_worse_is_seen() -> None:
    found = compared(made_up([1.0, -1.0], tps=30), PLAIN, TERSE)
    assert found is not None
    (one,) = found.to_base
    assert (one.student, one.base) == ("s1", "s0")
    assert one.accuracy.value < 0
    assert one.accuracy.ci95[1] < 0
    assert (one.same_with_itself, one.p_answers) == (None, None)  # one answer each
    assert found.differ
    assert sentence(found) is None


def test_a_persona_that_is_right_on_other_exams_is_seen_in_its_repeats() -> None:
    # As many right, on the other EP.
    rows = [
        lesson(rationale(0, "a", ada="10", bob="01"), rationale(1, "b", ada="01", bob="10"), tp=str(n))
        for n in range(8)
    ]
    doubled = [
        type(one)(one.tp, one.form, one.greedy, tuple(_twice(tr) for tr in one.rationales), one.exam_tokens)
        for one in rows
    ]
    students = (Agent(name="ada", model="m"), Agent(name="bob", model="m", persona="x"))
    found = compared(doubled, *students)
    assert found is not None
    (one,) = found.to_base
    assert (one.accuracy.value, one.same, one.same_with_itself) == (0.0, 0.0, 1.0)
    assert one.p_answers is not None
    assert one.p_answers < 0.001
    assert found.differ


def _twice(tr: Any) -> Any:
    from msgspec.structs import replace

    return replace(tr, exams=tuple(replace(exam, repeat=n) for exam in tr.exams for n in (0, 1)))


def test_students_that_are_one_are_said_to_be_one_at_most_once_in_twenty_not() -> None:
    lessons = made_up([0.0, 0.0], tps=200 * 8, trs=2, eps=2, repeats=2)
    by_answers = by_both = 0
    for study in range(200):
        found = compared(lessons[8 * study : 8 * study + 8], PLAIN, TERSE)
        assert found is not None
        (one,) = found.to_base
        assert one.p_answers is not None
        by_answers += one.p_answers < 0.05
        by_both += found.differ
    assert by_answers <= 20  # 10 expected at most, standard deviation 3.1
    assert by_both <= 20


def test_copies_stand_in_for_repeats() -> None:
    found = compared(made_up([0.0, 0.0, 0.0], tps=10), PLAIN, agent(1), agent(2, persona="x"))
    assert found is not None
    assert found.pairs == 1
    assert found.to_base[0].same_with_itself is not None
    assert not found.differ
    words = sentence(found)
    assert words is not None
    assert words.startswith("The exams on 10 teaching problems show no significant difference between the students")


def test_more_pairs_need_smaller_p_values() -> None:
    two = compared(made_up([0.0, 0.5], tps=10), PLAIN, TERSE)
    many = compared(made_up([0.0, 0.5, 0.0], tps=10), PLAIN, TERSE, agent(2, persona="y"))
    assert two is not None
    assert many is not None
    assert (two.pairs, many.pairs) == (1, 3)


@pytest.mark.parametrize("mark", ["11", "00"])
def test_students_that_are_right_everywhere_or_nowhere_are_not_told_apart(mark: str) -> None:
    rows = [lesson(_twice(rationale(0, "a", s0=mark, s1=mark)), tp=str(n)) for n in range(3)]
    found = compared(rows, PLAIN, TERSE)
    assert found is not None
    assert (found.to_base[0].same, found.to_base[0].p_answers, found.smallest_p) == (1.0, 1.0, 1.0)


def test_a_student_that_failed_half_its_exams_is_compared_on_the_others() -> None:
    found = compared(
        kept(made_up([0.0, 1.0], tps=6, trs=4, eps=2), lambda tr, e: e.student == "s0" or tr.repeat < 2), PLAIN, TERSE
    )
    assert found is not None
    assert found.to_base[0].n == 6 * 2 * 2


def test_a_class_of_copies_is_said_to_be_one_student() -> None:
    found = compared(made_up([0.0, 0.0], tps=2), PLAIN, agent(1))
    assert found == Fidelity([], 1.0, 0, 2)
    assert (sentence(found) or "").startswith("All students are copies of one, so")


def test_programs_of_others_are_no_copies() -> None:
    assert kinds((agent(0, engine="external"), agent(1, engine="external"))) == {"s0": "s0", "s1": "s1"}


def test_one_student_and_no_exams_have_nothing_to_compare() -> None:
    assert compared(made_up([0.0, 0.0], tps=2), PLAIN) is None
    assert compared([lesson(rationale(0, "a"))], PLAIN, agent(1)) is None
    assert compared([lesson(rationale(0, "a"))], PLAIN, TERSE) is None
