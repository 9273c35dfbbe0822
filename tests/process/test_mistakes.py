"""Bad input gets an error of one to three lines, exit code 2, and starts nothing."""

import json
from pathlib import Path

import pytest

from tests import classes

GOOD = """\
name: small
task: {family: chain_sum, problems: 2}
teacher: {name: teacher, engine: simulated}
students:
  - {name: ada, engine: simulated}
"""


def refused(tmp_path: Path, text: str, *words: str) -> str:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(text)
    out = tmp_path / "run"
    said = classes.say(scenario, "--out", out, *words, code=2)
    assert not out.exists()
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) <= 3, said
    return said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("problems: 2", "problms: 2", "did you mean 'problems'"),
        ("problems: 2", "problems: many", "class.yaml:2"),
        ("name: ada", "name: teacher", "teacher"),
        ("family: chain_sum", "family: chain_summ", "chain_sum"),
        ("family: chain_sum", "file: nowhere.jsonl", "nowhere.jsonl"),
        ("name: ada, engine: simulated", "name: ada, model: smollm2", "smollm2-135m-instruct"),
        ("name: ada, engine: simulated", "name: ada, engine: vlm", "transformers"),
        ("engine: simulated}\nstudents", "engine: simulated, gpu: 7}\nstudents", "GPU"),
        ("name: ada, engine: simulated", "name: ada, engine: simulated, engine_args: {abilty: 1}", "ability"),
        ("students:", "students: [", "class.yaml"),
    ],
)
def test_a_mistake_in_the_scenario(old: str, new: str, says: str, tmp_path: Path) -> None:
    assert old in GOOD
    assert says in refused(tmp_path, GOOD.replace(old, new))


def test_a_malformed_line_of_a_problem_file_is_named(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "1 + 1?", "answer": "2"}\n{"question": "2 + 2?"\n')
    said = refused(tmp_path, GOOD.replace("family: chain_sum", "file: problems.jsonl"))
    assert "problems.jsonl" in said
    assert "2" in said


def test_an_override_that_names_nothing(tmp_path: Path) -> None:
    assert "lesson" in refused(tmp_path, GOOD, "--set", "lesion.rationales=3")


def test_a_folder_that_holds_a_run_is_not_used_again(tmp_path: Path) -> None:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", tmp_path / "run", "--monitor", "off")
    assert "holds a run" in classes.say(scenario, "--out", tmp_path / "run", code=2)


def test_a_resumed_class_may_not_ask_otherwise(tmp_path: Path) -> None:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", tmp_path / "run", "--monitor", "off")
    assert "seed" in classes.say("resume", tmp_path / "run", "--set", "seed=99", code=2)


def test_commands_on_a_folder_without_a_run(tmp_path: Path) -> None:
    for command in ("resume", "report", "replay", "watch"):
        assert "no folder of a run" in classes.say(command, tmp_path, code=2)


def test_an_unknown_command_line(tmp_path: Path) -> None:
    assert classes.say("scenarios/smoke.yaml", "--sed", "7", code=2)


def test_a_missing_scenario_file(tmp_path: Path) -> None:
    assert "nowhere.yaml" in classes.say(tmp_path / "nowhere.yaml", code=2)


def test_agents_that_cannot_start_end_the_class_with_the_engines_words(tmp_path: Path) -> None:
    empty = tmp_path / "model"
    empty.mkdir()
    said = refused(tmp_path, GOOD.replace("name: ada, engine: simulated", f"name: ada, model: {empty}"))
    assert "safetensors" in said


def test_replay_of_what_would_be_another_class_is_refused(tmp_path: Path) -> None:
    scenario, out = tmp_path / "class.yaml", tmp_path / "run"
    scenario.write_text(GOOD)
    classes.say(scenario, "--out", out, "--monitor", "off")
    for change in ("students.0.persona=terse", "task.family=gcd", "teacher.engine_args.ability=9"):
        assert "another class" in classes.say("replay", out, "--set", change, code=2)


def test_a_folder_for_the_run_that_cannot_be_one(tmp_path: Path) -> None:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD)
    assert "cannot be made" in classes.say(scenario, "--out", scenario, code=2)
    assert "holds other things" in classes.say(scenario, "--out", tmp_path, code=2)


def test_problems_that_come_twice_are_refused(tmp_path: Path) -> None:
    line = '{"question": "1 + 1?", "answer": "2"}\n'
    (tmp_path / "problems.jsonl").write_text(line * 2 + line.replace("1 +", "3 +") * 2)
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD.replace("family: chain_sum", "file: problems.jsonl"))
    said = classes.say(scenario, "--out", tmp_path / "run", "--set", "task.problems=4", code=2)
    assert len(said.strip().splitlines()) <= 3


@pytest.mark.parametrize(("gpu", "seats"), [("none", ["CPU, 1 thread", "CPU, 1 thread"]), ("97", [])])
def test_the_doctor_says_whether_a_class_fits_on_this_machine(tmp_path: Path, gpu: str, seats: list[str]) -> None:
    scenario = tmp_path / "class.yaml"
    scenario.write_text(GOOD.replace("ada, engine: simulated", f"ada, engine: simulated, gpu: {gpu}"))
    found = json.loads(classes.say("doctor", scenario, "--json"))
    assert [row["device"] for row in found["agents"]] == seats
    assert any("asks for GPU 97" in check["says"] for check in found["checks"]) == (gpu == "97")
