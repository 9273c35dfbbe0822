"""Every scenario that comes with the project can be read and planned, and says what it is for."""

from pathlib import Path

import pytest

from scenarios.describe import leading_comment
from scenarios.plan import counts
from scenarios.reading import asked_differs, dump, read

FOLDER = Path(__file__).parents[2] / "scenarios"
SHIPPED = sorted(FOLDER.glob("*.yaml"))


def test_the_promised_scenarios_are_there() -> None:
    promised = {"multi_student", "single_student", "self_teaching", "weak_teaches_strong", "smoke"}
    assert promised <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_read_and_planned(path: Path) -> None:
    scenario = read(path)
    assert scenario.name == path.stem
    planned = counts(scenario)
    assert planned.requests == planned.greedy + planned.teaching_rationales + planned.exam_answers
    assert planned.prompt_tokens > planned.requests
    assert planned.completion_tokens > planned.requests


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_says_in_a_few_lines_what_it_studies(path: Path) -> None:
    comment = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    assert 2 <= len(comment) <= 4
    assert len(leading_comment(path.read_text("utf-8"))) > 80


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_survives_being_written_out(path: Path, tmp_path: Path) -> None:
    scenario = read(path)
    copy = tmp_path / "scenario.yaml"
    copy.write_text(dump(scenario), "utf-8")
    assert read(copy) == scenario
    assert asked_differs(scenario, read(copy)) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_runs_with_simulated_agents_after_one_override_each(path: Path) -> None:
    scenario = read(path, ["teacher.engine=simulated", "students.*.engine=simulated"])
    assert {agent.engine for agent in scenario.agents} == {"simulated"}


def test_the_smoke_class_needs_no_language_model_and_has_students_of_different_ability() -> None:
    scenario = read(FOLDER / "smoke.yaml")
    assert {agent.engine for agent in scenario.agents} == {"simulated"}
    abilities = [student.engine_args["ability"] for student in scenario.students]
    assert sorted(set(abilities)) == abilities
    assert len(abilities) == 3
    assert (scenario.task.problems, scenario.lesson.rationales) == (12, 8)


def test_the_main_class_has_three_students_of_three_kinds() -> None:
    scenario = read(FOLDER / "multi_student.yaml")
    assert len({(student.model, student.persona) for student in scenario.students}) == 3


def test_a_model_that_teaches_itself_is_its_own_student() -> None:
    scenario = read(FOLDER / "self_teaching.yaml")
    assert [student.model for student in scenario.students] == [scenario.teacher.model]
