"""A whole class whose teacher sits at an OpenAI-compatible server: its key, its budget, and how it goes on."""

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from tests import classes
from tests.agents import openai_server as faults
from tests.agents.openai_server import Server

KEY = "sk-secret-1234"
SCENARIO = """\
name: served
seed: 3
task: {{family: chain_sum, problems: 4, demonstrations: 1}}
teacher:
  name: teacher
  engine: openai
  model: small
  engine_args:
    base_url: {url}
    key_env: CLASS_KEY
    max_parallel: 2
    price_per_million_prompt: 1000000
    price_per_million_completion: 1000000
    budget: {budget}
students:
  - {{name: ada, engine: simulated}}
lesson: {{rationales: 3}}
exam: {{problems: 1}}
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("CLASS_KEY", KEY)
    with faults.running() as told:
        told.key = KEY
        yield told


def asked(server: Server) -> list[str]:
    """What was asked beyond the first words, each by its problem and seed."""
    work = [body for body in server.bodies if body["messages"][1]["content"] != "1 + 1?"]
    return [f"{body['messages'][3]['content']} {body['seed']}" for body in work]


def test_a_spent_budget_stops_the_class_and_a_larger_one_lets_it_go_on(server: Server, tmp_path: Path) -> None:
    scenario, out = tmp_path / "served.yaml", tmp_path / "run"
    scenario.write_text(SCENARIO.format(url=server.url, budget=500))
    words = (scenario, "--out", out, "--monitor", "off")
    said = " ".join(classes.say(*words, code=1).split())
    assert "the budget is spent" in said and "resume" in said
    teacher, ada = json.loads((out / "summary.json").read_text())["agents"]
    assert 500 <= teacher["spent"] < 1_000_000 and ada["spent"] is None
    done = classes.results(out)
    assert 0 < done < 16 + 12
    calls = len(server.bodies)
    classes.say("resume", out, "--monitor", "off", code=1)
    assert len(server.bodies) == calls
    said = classes.say("resume", out, "--monitor", "plain", "--set", "teacher.engine_args.budget=1000000")
    assert re.search(r"teach 100 % .*, spent [\d,.]+ of 1,000,000\.00", said), said
    assert "reused from earlier sessions" in said
    assert len(asked(server)) == len(set(asked(server))) == 16
    texts = {text for _, text, _, _ in classes.gradebook(out)}
    assert any(text and text.endswith("Answer: it") for text in texts)
    again = json.loads((out / "summary.json").read_text())["agents"][0]["spent"]
    assert again == float((out / "spent-teacher").read_text()) > teacher["spent"]


def test_the_key_lies_nowhere_in_the_runs_folder(server: Server, tmp_path: Path) -> None:
    scenario, out = tmp_path / "served.yaml", tmp_path / "run"
    scenario.write_text(SCENARIO.format(url=server.url, budget=0))
    server.faults.extend([faults.status(500, f"you are {KEY}"), faults.cut])
    classes.say(scenario, "--out", out, "--monitor", "off")
    files = [Path(folder, name) for folder, _, names in os.walk(out) for name in names]
    assert any("teacher.log" in file.name for file in files)
    assert not any(KEY.encode() in file.read_bytes() for file in files)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_every_process_holds_its_own_key_and_no_other_secret(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {
        "CLASS_KEY": KEY,
        "ADA_KEY": "sk-ada-5678",
        "HF_TOKEN": "hf-9",
        "OPENAI_ORG_ID": "org-9",
        "DB_PASSWORD": "9",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    found: dict[str, set[str]] = {}

    def look() -> None:
        for child in psutil.Process(process.pid).children(recursive=True):
            module = " ".join(child.cmdline()[-2:])
            found[module] = {name for name in child.environ() if name in secrets}

    with faults.running() as other:
        other.key = "sk-ada-5678"
        scenario = tmp_path / "served.yaml"
        ada = f"{{name: ada, engine: openai, model: small, engine_args: {{base_url: {other.url}, key_env: ADA_KEY}}}}"
        text = SCENARIO.format(url=server.url, budget=0).replace("{name: ada, engine: simulated}", ada)
        scenario.write_text(text)
        other.before = look
        process = classes.start(tmp_path / "run", scenario=scenario)
        said = classes.finish(process)
    assert found.pop("agents.agent teacher") == {"CLASS_KEY"}
    assert found.pop("agents.agent ada") == {"ADA_KEY"}
    assert "broker.broker broker" in found and not any(found.values()), found
    host = server.url.split("/")[2]
    assert f"teacher: sends the key in CLASS_KEY to {host}" in said


def test_a_wrong_key_stops_the_class_and_says_which_variable(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLASS_KEY", "sk-other")
    scenario = tmp_path / "served.yaml"
    scenario.write_text(SCENARIO.format(url=server.url, budget=0))
    said = " ".join(classes.say(scenario, "--out", tmp_path / "run", "--monitor", "off", code=1).split())
    assert "Is the key in CLASS_KEY right?" in said
    assert "sk-other" not in said
