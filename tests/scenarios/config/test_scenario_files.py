"""Every scenario that comes with the project can be read and planned, and says what it is for."""

import re
from pathlib import Path

import pytest

from scenarios.config.load import asked_differs, dump, read
from scenarios.config.reference import leading_comment
from scenarios.session.request_counts import count, counts

FOLDER = Path(__file__).parents[3] / "scenarios"
SHIPPED = sorted(FOLDER.glob("*.yaml"))


def test_the_promised_scenarios_are_there() -> None:
    promised = {"multi_student", "single_student", "self_teaching", "weak_teaches_strong", "smoke", "iterate"}
    assert promised <= {path.stem for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_read_and_planned(path: Path) -> None:
    scenario = read(path)
    assert scenario.name == path.stem
    planned = counts(scenario)
    observed = planned.greedy + planned.teaching_rationales + planned.exam_answers
    learnt = planned.trainings + planned.measured + planned.likelihoods
    again = planned.later_rationales + planned.later_exam_answers
    iterated = planned.reflections + planned.revisions + planned.own_answers + planned.held_out_answers
    assert planned.requests == observed + learnt + again + iterated
    assert planned.prompt_tokens > planned.requests
    assert planned.completion_tokens > planned.requests


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_says_in_a_few_lines_what_it_studies(path: Path) -> None:
    comment = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    assert 2 <= len(comment) <= 4
    assert len(leading_comment(path.read_text("utf-8"))) > 80


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_reads_back_equal_after_writing(path: Path, tmp_path: Path) -> None:
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


def test_the_smoke_class_of_level_2_goes_through_levels_1_and_2_without_a_language_model() -> None:
    scenario = read(FOLDER / "smoke_learn.yaml")
    assert {agent.engine for agent in scenario.agents} == {"simulated"}
    assert scenario.levels == (1, 2)
    assert scenario.learn.arms == ("m2", "correctness", "shuffled")


def test_the_papers_class_of_level_2_has_the_papers_numbers() -> None:
    scenario = read(FOLDER / "paper" / "m2_math.yaml")
    learn, recipe = scenario.learn, scenario.learn.training
    assert (scenario.task.problems, scenario.lesson.rationales) == (1564, 32)
    assert (learn.weight, learn.gap, learn.pairs_per_tp) == (0.5, 0.3, 8)
    assert (recipe.learning_rate, recipe.batch, recipe.epochs, recipe.beta) == (5e-7, 16, 1, 0.1)
    assert (recipe.method, recipe.nll_weight, recipe.lora) == ("dpo", 50, False)


def test_the_main_class_has_three_students_of_three_kinds() -> None:
    scenario = read(FOLDER / "multi_student.yaml")
    assert len({(student.model, student.persona) for student in scenario.students}) == 3


def test_a_model_that_teaches_itself_is_its_own_student() -> None:
    scenario = read(FOLDER / "self_teaching.yaml")
    assert [student.model for student in scenario.students] == [scenario.teacher.model]


PAPER = sorted((FOLDER / "paper").glob("m3_*.yaml"))


def test_the_papers_classes_of_level_3_are_there() -> None:
    assert {path.stem for path in PAPER} == {"m3_liar", "m3_fallacy"}


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_papers_classes_of_level_3_have_the_papers_numbers(path: Path) -> None:
    scenario = read(path)
    assert scenario.name == path.stem
    one = scenario.iterate
    assert (one.rounds, one.beam, one.exemplars, one.minibatch, one.revisions) == (5, 4, 8, 64, 8)
    assert scenario.iterate.task.file == f"{path.parent}/{path.stem.removeprefix('m3_')}.jsonl"
    planned = count(scenario, 0, 1849, 600, 40)
    assert planned.exam_answers == 5 * 4 * 64 * 3
    assert planned.own_answers == (4 + 5 * 32) * 200


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_papers_line_ups_are_an_override_each(path: Path) -> None:
    text = " ".join(line.lstrip("# ") for line in path.read_text("utf-8").splitlines() if line.startswith("#"))
    alone, one = re.findall(r"--set ('?)(students=\[.*?\])\1", text)
    assert count(read(path, [alone[1]]), 0, 1849, 600, 40).exam_answers == 5 * 4 * 64
    assert count(read(path, [one[1], "iterate.itself=false"]), 0, 1849, 600, 40).exam_answers == 5 * 4 * 64
