"""What README and the tutorial print is so."""

import re
import tomllib
from pathlib import Path

import pytest

from scenarios.config import load
from scenarios.session.request_counts import counts
from tests import classes, evidence

README = (classes.ROOT / "README.md").read_text()
TUTORIAL = (classes.ROOT / "docs" / "first-class.md").read_text()
COMMANDS = sorted(set(re.findall(r"python run\.py ([a-z][^`\s]*)", README + TUTORIAL)))
"""The first words of all commands."""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_readme_or_the_tutorial_names_is_one(command: str) -> None:
    if command.endswith(".yaml"):
        assert "requests and tokens" in classes.say("plan", command)
    else:
        assert command in classes.say("--help")


def test_the_example_scenario_can_be_planned(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.S)
    file = tmp_path / "my_class.yaml"
    file.write_text(example)
    assert counts(load.read(file)).teaching_problems == 20


def test_the_plan_in_the_tutorial_is_what_that_class_prints() -> None:
    (words, plan) = re.findall(
        r"python run\.py plan (.*?)\n```.*?```\n(single_student: problems, requests and tokens.*?)```", TUTORIAL, re.S
    )[0]
    assert plan in classes.say("plan", *words.split())


def test_the_extras_that_readme_installs_exist() -> None:
    project = tomllib.loads((classes.ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r'"\.\[(\w+)\]"', README))
    assert named <= set(project["optional-dependencies"])
    assert "test" in named


def test_the_pages_that_readme_links_to_are_there() -> None:
    for page in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (classes.ROOT / page).is_file(), page


def test_the_sample_of_a_report_is_that_of_a_recorded_class() -> None:
    (sample,) = re.findall(r"of `scenarios/multi_student.yaml`.*?:\n\n```\n(.*?)```", README, re.S)
    printed = evidence.page("multi_student", evidence.results()["multi_student"])
    for part in sample.split("...\n"):
        assert part in printed
