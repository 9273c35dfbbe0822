"""Every scenario that comes with the project can be read and planned, and says what it is for."""

import re
from pathlib import Path

import msgspec
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
    observed += planned.invented + planned.invented_answers
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
    assert (scenario.exam.problems, scenario.exam.repeats, learn.held_out) == (3, 3, 500)
    assert scenario.published.by_method == {"original": 0.29, "correctness_dpo": 0.304, "m2": 0.322}
    assert (learn.weight, learn.gap, learn.pairs_per_tp) == (0.5, 0.3, 8)
    assert (recipe.learning_rate, recipe.batch, recipe.epochs, recipe.beta) == (5e-7, 16, 1, 0.1)
    assert (recipe.method, recipe.nll_weight, recipe.lora) == ("dpo", 50, False)


MATH = sorted((FOLDER / "paper").glob("m1_math_*.yaml"))


@pytest.mark.parametrize("path", MATH, ids=lambda path: path.stem)
def test_a_row_of_the_papers_table_has_the_papers_class_and_figures(path: Path) -> None:
    scenario = read(path)
    assert scenario.name == path.stem
    assert (scenario.task.problems, scenario.lesson.rationales, scenario.lesson.greedy) == (181, 256, True)
    assert (scenario.exam.problems, scenario.exam.repeats, scenario.levels) == (3, 3, (1,))
    sampling = (0.7, 20, 1.0)
    assert {(s.temperature, s.top_k, s.top_p) for s in (scenario.lesson.sampling, scenario.exam.sampling)} == {sampling}
    planned = count(scenario, 100)
    assert planned.teaching_rationales == 46_336
    assert planned.exam_answers == 417_024 * len(scenario.students)
    assert scenario.task.file == f"{path.parent}/math500.jsonl"
    assert scenario.task.exam_files == (f"{path.parent}/math_functional.jsonl",)


def test_every_row_of_the_table_is_a_class_with_the_figures_of_the_study() -> None:
    rows = msgspec.yaml.decode((FOLDER / "studies" / "paper_table2.yaml").read_bytes())
    models = {student["name"]: student["model"] for student in rows["students"]}
    in_study = {
        (row["where"]["teacher"], *(models[name] for name in rows["lineups"][row["lineup"]])): {
            name: row[name] for name in ("greedy", "sc", "max", "sum")
        }
        for row in rows["published"]
    }
    classes = [read(path) for path in MATH]
    found = {(one.teacher.model, *(s.model for s in one.students)): one.published.given for one in classes}
    assert found == in_study
    assert len(MATH) == len(found) == 11


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
