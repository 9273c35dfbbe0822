"""The files and commands of docs/cluster.md are what the program takes."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

import run
from agents.placement import invited
from scenarios.config.schema import Agent, Scenario
from scenarios.session.command_line import program
from tests import classes

DOC = (classes.ROOT / "docs" / "cluster.md").read_text()
FILES = [yaml.safe_load(text) for text in re.findall(r"^ *```yaml\n(.*?)^ *```", DOC, re.S | re.M)]
SHELL = "\n".join(re.findall(r"^ *```sh\n(.*?)^ *```", DOC, re.S | re.M)).replace("\\\n", " ")
COMMANDS = [shlex.split(line)[2:] for line in SHELL.splitlines() if line.split()[:2] == ["python", "run.py"]]


def test_the_entries_of_the_example_are_those_of_a_scenario() -> None:
    [example] = [file for file in FILES if "students" in file]
    assert example.keys() <= set(Scenario.__struct_fields__)
    assert example["students"][0].keys() <= set(Agent.__struct_fields__)


@pytest.mark.parametrize("words", [words for words in COMMANDS if not words[0].endswith(".yaml")], ids=" ".join)
def test_the_commands_have_the_options_that_the_page_gives_them(words: list[str]) -> None:
    program(classes.ROOT / "pyproject.toml").parse_args(words, exit_on_error=False, print_error=False)


def test_agents_are_started_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    starts = re.findall(r"agents\.main ([^\n'\"`]*)", DOC)
    assert len(starts) >= 4
    for words in starts:
        option, file = shlex.split(words)
        assert option == "--invite"
        assert invited.main([option, str(Path("/nowhere") / Path(file).name)]) == 2
    assert "no invitation to be read there" in capsys.readouterr().err


def test_the_job_and_the_task_start_an_agent_with_the_invitation_that_they_mount() -> None:
    [job] = [file for file in FILES if file.get("kind") == "Job"]
    pod = job["spec"]["template"]["spec"]
    [container], [volume] = pod["containers"], pod["volumes"]
    assert container["volumeMounts"][0]["name"] == volume["name"]
    assert f"{container['volumeMounts'][0]['mountPath']}/far.invite" in container["command"][2]
    [task] = [file for file in FILES if "file_mounts" in file]
    assert all(path in task["setup"] and f"--invite {path}'" in SHELL for path in task["file_mounts"])


def test_the_job_of_ray_runs_a_command_that_there_is_and_keeps_its_records_on_the_volume_of_the_head() -> None:
    [job] = [file for file in FILES if file.get("kind") == "RayJob"]
    words = shlex.split(job["spec"]["entrypoint"].partition("run.py")[2])
    _, bound, *_ = run.app.parse_args(words, exit_on_error=False, print_error=False)
    assert (bound.arguments["launch"].launcher, bound.arguments["launch"].ray_address) == ("ray", "auto")
    assert (classes.ROOT / words[0]).is_file()
    pod = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    [container], [volume] = pod["containers"], pod["volumes"]
    [mount] = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert bound.arguments["out_dir"].is_relative_to(mount["mountPath"])
