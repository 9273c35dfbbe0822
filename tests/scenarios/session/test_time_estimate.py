"""What `plan --estimate` says of a class: exact where it can be computed by hand, near what a real class recorded."""

import json
from typing import Any

import pytest

from broker.errors import ScenarioError
from scenarios.config.load import read
from scenarios.config.schema import Scenario
from scenarios.session.plan_output import duration, time_table
from scenarios.session.schedule import ProcessSpeed
from scenarios.session.time_estimate import TimeEstimate, estimate, of_class
from tests import classes
from tests.printing import printed

FOLDER = classes.ROOT / "scenarios"
SIMULATED = (
    "teacher.engine=simulated",
    "students.*.engine=simulated",
    "task.problems=10",
    "exam.problems=2",
    "exam.repeats=1",
)


def scenario(*overrides: str, name: str = "multi_student") -> Scenario:
    return read(FOLDER / f"{name}.yaml", overrides)


def steady(agent: str, at_once: int = 32, each: float = 4000, **more: Any) -> ProcessSpeed:
    return ProcessSpeed(
        agent=agent, at_once=at_once, tokens_per_second=each * at_once, measured_with=at_once, alone=each, **more
    )


def speeds(described: Scenario, **more: Any) -> list[ProcessSpeed]:
    return [steady(one.name, **more) for one in described.agents]


def by_name(found: TimeEstimate) -> dict[str, Any]:
    return {one.agent: one for one in found.agents}


def test_the_main_class_takes_the_time_of_its_five_waves_of_answers() -> None:
    """An answer of 120 tokens takes 0.03 s, and 32 run at once.

    The teacher's 70 answers are three waves, with 27, 27 and 6 rationales, on each of which a student answers two exam
    problems. So a student has 54 answers due at 0.03 s, 54 at 0.06 s and 12 at 0.09 s: waves of 32, 32, 32 and 24.
    """
    described = scenario(*SIMULATED)
    found = estimate(described, 57, speeds(described))
    assert found.hours * 3600 == pytest.approx(0.15)
    teacher, *students = found.agents
    assert (teacher.requests, teacher.completion_tokens) == (70, 70 * 120)
    assert teacher.idle_share == pytest.approx(0.4)
    assert teacher.requests_at_once == pytest.approx(70 / 3)
    for one in students:
        assert (one.requests, one.completion_tokens) == (120, 120 * 120)
        assert one.idle_share == pytest.approx(0.2)
        assert one.requests_at_once == pytest.approx(30)
        assert one.ends_h * 3600 == pytest.approx(0.15)
    assert (found.gpus, found.gpu_hours, found.turns) == (0, 0, 0)


def test_shorter_answers_take_less_time_and_no_answer_exceeds_max_tokens() -> None:
    described = scenario(*SIMULATED, "students.0.sampling.max_tokens=40")
    found = by_name(estimate(described, 57, speeds(described), answer_tokens=60))
    assert {name: one.completion_tokens // one.requests for name, one in found.items()} == {
        "teacher": 60, "peer": 40, "hasty": 60, "tiny": 60,
    }  # fmt: skip
    longest = estimate(described, 57, speeds(described), answer_tokens=1000)
    assert longest.hours == estimate(described, 57, speeds(described)).hours
    assert any("--answer-tokens 300" in one for one in estimate(described, 57, speeds(described)).assumptions)
    assert any("Every completion has 60 tokens" in one for one in estimate(
        described, 57, speeds(described), answer_tokens=60).assumptions)  # fmt: skip


def test_students_alone_and_questions_are_part_of_the_schedule() -> None:
    described = scenario(*SIMULATED, "exam.questions=1", "baselines=[students_alone]", "task.problems=1")
    found = by_name(estimate(described, 57, speeds(described)))
    assert found["teacher"].requests == 1 + 6 + 3 * 6
    assert found["peer"].requests == 6 + 12 + 2


def test_copies_of_a_student_are_answered_by_one_agent() -> None:
    described = scenario(*SIMULATED, "students.0.copies=3")
    assert by_name(estimate(described, 57, speeds(described)))["peer"].requests == 3 * 120


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["level=2"], "level 1 alone: add --set level=1"),
        (["level=[1, 2]"], "level 1 alone"),
        (["exam.score=logprob"], "cannot compute the time of grades"),
        (["baselines=[self_evaluation]"], "cannot compute the time of judgements"),
        (["lesson.equal_cost=true"], "cannot compute the time of further_rationales"),
        (["exam.maker=invented"], "cannot compute the time of invented, invented_answers"),
    ],
)
def test_what_cannot_be_estimated_is_refused_before_any_speed_is_asked_for(overrides: list[str], message: str) -> None:
    described = scenario(*SIMULATED, *overrides)

    def unknown() -> list[dict[str, Any]]:
        raise AssertionError("speeds were asked for")

    with pytest.raises(ScenarioError, match=message):
        of_class(described, unknown, (), None)


def test_gpu_hours_count_every_gpu_and_those_without_agents_are_named() -> None:
    described = scenario(*SIMULATED)
    seated = [steady(one.name, devices=(str(n // 2),)) for n, one in enumerate(described.agents)]
    found = estimate(described, 57, seated, ("0", "1", "2"))
    assert found.gpu_hours == pytest.approx(3 * found.hours)
    assert 0 < found.busy_gpu_hours <= 2 * found.hours
    assert found.gpus_without_agents == ("2",)
    assert found.hours > estimate(described, 57, speeds(described)).hours
    words = text(found)
    assert "No agent uses GPU 2" in words
    assert "teacher and peer share GPU 0" in words and "hasty and tiny share GPU 1" in words


def test_agents_that_take_turns_are_said_to() -> None:
    described = scenario(*SIMULATED, "time_share=true")
    found = estimate(described, 57, [steady(one.name, devices=("0",)) for one in described.agents], ("0",))
    # 70 answers are three waves, 120 are four; each agent has its turn once.
    assert found.hours * 3600 == pytest.approx((3 + 3 * 4) * 0.03)
    assert found.turns == 4
    assert "take turns (time_share), 4 turns" in text(found)
    assert "share GPU" not in text(found)


def test_the_smallest_class_takes_one_wave_of_the_teacher_and_one_of_the_students() -> None:
    described = scenario(*SIMULATED, "lesson.rationales=1", "lesson.greedy=false", "task.problems=1")
    found = estimate(described, 57, speeds(described))
    assert by_name(found)["teacher"].requests == 1
    assert found.hours * 3600 == pytest.approx(0.06)


def test_the_cached_share_of_prompts_is_near_that_of_a_recorded_class() -> None:
    """docs/evidence has a class of real models with nine exams under each rationale."""
    recorded = json.loads((classes.ROOT / "docs" / "evidence" / "weak_to_strong.summary.json").read_text())
    students = {one["name"]: one for one in recorded["agents"] if one["role"] == "student"}
    described = scenario("task.problems=60", "exam.problems=3", "exam.repeats=3")
    found = estimate(described, 57, speeds(described), answer_tokens=54)
    for name in ("half", "tiny"):
        share = students[name]["cached_prompt_tokens"] / students[name]["prompt_tokens"]
        assert by_name(found)["peer"].cached_share == pytest.approx(share, abs=0.01)
        # Rationales without an answer, or identical ones, have no exams of their own.
        assert students[name]["requests"] <= by_name(found)["peer"].requests


def test_students_who_are_taught_an_answer_alone_compute_no_rationale() -> None:
    described = scenario(*SIMULATED, "exam.problems=1", "task.demonstrations=0")
    taught = scenario(*SIMULATED, "exam.problems=1", "task.demonstrations=0", "lesson.material=answer")
    (whole, short) = (by_name(estimate(one, 57, speeds(one)))["peer"] for one in (described, taught))
    # The prompt: instructions, TP, EP, and the TR of 120 tokens or its answer of 12; the TP, the TR and the EP are new.
    assert whole.cached_share == pytest.approx(80 / (80 + 57 + 57 + 120))
    assert short.cached_share == pytest.approx(80 / (80 + 57 + 57 + 12))


def test_fewer_exams_by_allocation_are_said_not_to_be_estimated() -> None:
    described = scenario(*SIMULATED)
    fewer = scenario(*SIMULATED, "exam.allocation=halving")
    full, halving = (estimate(one, 57, speeds(one)) for one in (described, fewer))
    assert full.hours == halving.hours
    assert "exam.allocation: halving asks fewer exams" in text(halving) and "allocation" not in text(full)


def test_an_external_student_takes_no_turns() -> None:
    others = ("students.0.engine=external", "students.0.engine_args={}", "time_share=true")
    described = scenario(*SIMULATED, *others)
    assert estimate(described, 57, speeds(described)).turns == 3


def test_a_slow_agent_is_not_said_to_have_no_speed() -> None:
    described = scenario(*SIMULATED)
    slow = estimate(described, 57, speeds(described, at_once=32, each=5 / 32))
    assert "5 completion tokens/s with 32 requests at once, 0.16 with one" in text(slow)


def test_prompts_cost_time_where_their_speed_is_given() -> None:
    described = scenario(*SIMULATED)
    free = estimate(described, 57, speeds(described))
    paid = estimate(described, 57, speeds(described, prompt_tokens_per_second=20_000.0))
    assert paid.hours > free.hours
    assert "20,000 prompt tokens/s" in text(paid) and "prompt tokens/s" not in text(free)


def text(found: TimeEstimate, width: int = 400) -> str:
    return printed(time_table(found), width=width)


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (["3"], "GPU 3"),
        (["1", "0", "2", "3"], "GPU 0 to 3"),
        (["0", "4"], "GPU 0, 4"),
        (["GPU-8a"], "GPU-8a"),
        ([], "-"),
    ],
)
def test_devices_are_named_in_few_words(devices: list[str], words: str) -> None:
    described = scenario(*SIMULATED)
    seated = [steady(one.name, devices=tuple(devices)) for one in described.agents]
    row = next(
        line for line in text(estimate(described, 57, seated, devices)).splitlines() if line.startswith("teacher")
    )
    assert row.split("  ", 1)[1].strip().startswith(f"{words} ")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_and_names_every_agent_with_its_source(width: int) -> None:
    described = scenario(*SIMULATED)
    found = estimate(described, 57, speeds(described, source="a guess"), ("0",))
    shown = text(found, width)
    assert all(len(line) <= width for line in shown.splitlines())
    assert "a guess" in " ".join(shown.split())
    assert all(one.agent in shown for one in found.agents)


@pytest.mark.parametrize(
    ("hours", "words"),
    [(0.0001, "0.36 s"), (0.02, "72 s"), (0.05, "3.0 min"), (1.9, "114.0 min"), (2.04, "2.0 h"), (1234, "1,234.0 h")],
)
def test_a_time_is_shown_in_the_unit_that_fits(hours: float, words: str) -> None:
    assert duration(hours) == words
