"""A class on paper takes exactly the time that a hand calculation gives."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.session.schedule import ProcessSpeed, RequestGroup, play


def steady(agent: str, at_once: int, each: float, *devices: str) -> ProcessSpeed:
    """A process in which every request has the same speed, as in a simulated agent."""
    return ProcessSpeed(
        agent=agent,
        devices=devices,
        at_once=at_once,
        tokens_per_second=each * at_once,
        measured_with=at_once,
        alone=each,
    )


EXAM = RequestGroup("student", 1, 5)
LESSONS = [RequestGroup("teacher", 2, 10, then=(EXAM,))]
"""Two rationales of 10 tokens, one after the other, and an exam answer of 5 tokens under each."""


def test_requests_run_as_many_at_once_as_there_are_places() -> None:
    played = play([RequestGroup("teacher", 5, 100)], [steady("teacher", 2, 10)])
    assert played.seconds == 30
    time = played.agents["teacher"]
    assert (time.requests, time.busy_s, time.ended_s) == (5, 30, 30)
    assert time.running == pytest.approx(5 / 3)


def test_exams_wait_for_their_rationale_and_students_work_beside_the_teacher() -> None:
    played = play(LESSONS, [steady("teacher", 1, 1), steady("student", 1, 1)])
    assert played.seconds == 25
    assert (played.agents["teacher"].busy_s, played.agents["student"].busy_s) == (20, 10)
    assert played.turns == 0


def test_agents_on_one_gpu_have_half_of_it_while_both_have_requests() -> None:
    played = play(LESSONS, [steady("teacher", 1, 1, "0"), steady("student", 1, 1, "0")])
    # 10: the first rationale. 20: its exam, at half speed, and half of the second rationale. 25, 30: the rest, alone.
    assert played.seconds == 30
    assert (played.agents["teacher"].busy_s, played.agents["student"].busy_s) == (25, 15)


def test_agents_that_take_turns_have_the_machine_until_nothing_is_left_to_answer() -> None:
    played = play(LESSONS, [steady("teacher", 1, 1), steady("student", 1, 1)], in_turn=("teacher", "student"))
    assert (played.seconds, played.turns) == (30, 2)
    assert played.agents["student"].busy_s == 10


def test_an_agent_that_takes_no_turns_works_beside_the_others() -> None:
    lessons = [RequestGroup("teacher", 2, 10, then=(EXAM, RequestGroup("far", 1, 5)))]
    speeds = [steady("teacher", 1, 1), steady("student", 1, 1), steady("far", 1, 1)]
    played = play(lessons, speeds, in_turn=("teacher", "student"))
    assert (played.seconds, played.turns) == (30, 2)
    assert (played.agents["far"].ended_s, played.agents["student"].ended_s) == (25, 30)


def test_processes_of_one_agent_share_its_requests() -> None:
    played = play([RequestGroup("teacher", 8, 100)], [steady("teacher", 2, 10, "0"), steady("teacher", 2, 10, "1")])
    assert played.seconds == 20
    # One request keeps one of two processes busy.
    assert play([RequestGroup("t", 1, 10)], [steady("t", 2, 10), steady("t", 2, 10)]).agents["t"].busy_s == 0.5


def test_a_chain_of_requests_goes_from_agent_to_agent() -> None:
    answer = RequestGroup("teacher", 1, 2, then=(RequestGroup("student", 3, 4),))
    lesson = RequestGroup("teacher", 1, 10, then=(RequestGroup("student", 1, 3, then=(answer,)),))
    played = play([lesson], [steady("teacher", 4, 1), steady("student", 4, 1)])
    assert played.seconds == 10 + 3 + 2 + 4
    assert [one.requests for one in played.agents.values()] == [2, 4]


def test_a_class_without_requests_takes_no_time() -> None:
    assert play([], [steady("teacher", 1, 1)]).seconds == 0


def test_the_time_of_a_step_grows_to_that_of_the_measured_batch_and_then_in_proportion() -> None:
    speed = ProcessSpeed(agent="a", at_once=512, tokens_per_second=8000, measured_with=256, alone=125)
    assert speed.each(1) == pytest.approx(125)
    assert speed.each(0.5) == pytest.approx(125)
    assert 256 * speed.each(256) == pytest.approx(8000)
    assert 512 * speed.each(512) == pytest.approx(8000)
    steps = [1 / speed.each(n) for n in (1, 86, 171, 256)]
    assert steps[1] - steps[0] == pytest.approx(steps[2] - steps[1]) == pytest.approx(steps[3] - steps[2])


def test_prompt_tokens_cost_time_where_their_speed_is_known() -> None:
    speed = ProcessSpeed(agent="a", at_once=1, tokens_per_second=100, measured_with=1, alone=100)
    assert speed.work(50, 1000) == 50
    slower = ProcessSpeed(
        agent="a", at_once=1, tokens_per_second=100, measured_with=1, alone=100, prompt_tokens_per_second=2000
    )
    assert slower.work(50, 1000) == 100
    assert play([RequestGroup("a", 3, 50, 1000)], [slower]).seconds == 3


@given(
    lessons=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 50)), min_size=1, max_size=6),
    exams=st.integers(1, 5),
    length=st.integers(1, 50),
    places=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_every_request_is_answered_no_faster_than_the_places_allow(
    lessons: list[tuple[int, int]], exams: int, length: int, places: tuple[int, int]
) -> None:
    groups = [
        RequestGroup("teacher", n, tokens, then=(RequestGroup("student", exams, length),)) for n, tokens in lessons
    ]
    played = play(groups, [steady("teacher", places[0], 1), steady("student", places[1], 1)])
    asked = sum(n for n, _ in lessons)
    work = {"teacher": sum(n * tokens for n, tokens in lessons), "student": asked * exams * length}
    assert [one.requests for one in played.agents.values()] == [asked, asked * exams]
    for (name, total), at_once in zip(work.items(), places, strict=True):
        time = played.agents[name]
        assert time.busy_s * time.running == pytest.approx(total)
        assert Fraction(total, at_once) <= time.busy_s + 1e-6
        assert time.busy_s <= played.seconds + 1e-6
    assert played.seconds <= sum(work.values()) + 1e-6
