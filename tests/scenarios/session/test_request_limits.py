import pytest

from scenarios.session import request_limits
from scenarios.session.request_limits import AT_BROKER, WAITING, ahead_of_students, credit_of_each


def test_agents_of_a_usual_class_have_the_whole_credit_and_those_of_a_large_one_share() -> None:
    assert [credit_of_each(agents) for agents in (1, 4, 64)] == [1024] * 3
    assert credit_of_each(128) * 128 == AT_BROKER
    assert (credit_of_each(1001), credit_of_each(100_000)) == (65, 64)


def test_a_teacher_of_a_usual_class_is_never_held_back() -> None:
    assert ahead_of_students(1024, 0, 54) == 1024
    assert ahead_of_students(1024, 0, 0) == 1024


def test_a_teacher_is_asked_for_as_much_as_students_can_wait_for() -> None:
    assert ahead_of_students(1024, 0, 5000) == WAITING // 5000
    assert ahead_of_students(1024, WAITING - 10_000, 5000) == 2
    assert ahead_of_students(1024, WAITING, 5000) == ahead_of_students(1024, 10 * WAITING, 5000) == 0


@pytest.mark.parametrize("due_per_answer", [1, 5000, 10 * WAITING])
def test_a_teacher_is_asked_for_one_more_before_students_have_nothing_to_do(due_per_answer: int) -> None:
    assert ahead_of_students(1024, 0, due_per_answer) >= 1
    assert ahead_of_students(1024, request_limits.WAITING // 2, due_per_answer) >= 1
