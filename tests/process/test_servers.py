"""A whole class whose teacher sits at an OpenAI-compatible server: its key, its budget, and how it goes on."""

import contextlib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("openai", reason="pip install -e '.[openai]'")

from scenarios.report.unanswered import MAX_TOKENS
from tests import classes
from tests.agents.engines.openai import openai_server as faults
from tests.agents.engines.openai.openai_server import Server

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
    """What was asked beyond the calls at the start, each by its problem and seed."""
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
        for child, line in classes.children(process.pid, recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended in the meantime
                held = {name for name in child.environ() if name in secrets}
                if line == child.cmdline() != process.args:  # one that begins is a copy of run.py for a moment
                    found[" ".join(line[-2:])] = held

    with faults.running() as other:
        other.key = "sk-ada-5678"
        scenario = tmp_path / "served.yaml"
        ada = f"{{name: ada, engine: openai, model: small, engine_args: {{base_url: {other.url}, key_env: ADA_KEY}}}}"
        text = SCENARIO.format(url=server.url, budget=0).replace("{name: ada, engine: simulated}", ada)
        scenario.write_text(text)
        other.before = look
        process = classes.start(tmp_path / "run", scenario=scenario)
        said = classes.finish(process)
    assert found.pop("agents.main teacher", said) == {"CLASS_KEY"}
    assert found.pop("agents.main ada") == {"ADA_KEY"}
    assert "broker.server broker" in found and not any(found.values()), found
    host = server.url.split("/")[2]
    assert f"teacher: sends the key in CLASS_KEY to {host}" in said


@pytest.mark.parametrize("command", ["plan", "doctor"])
def test_which_key_goes_where_is_said_before_anything_is_sent(server: Server, tmp_path: Path, command: str) -> None:
    scenario = tmp_path / "served.yaml"
    scenario.write_text(SCENARIO.format(url=server.url, budget=0))
    sentence = f"teacher: sends the key in CLASS_KEY to {server.url.split('/')[2]}"
    assert sentence in " ".join(classes.say(command, scenario).split())
    assert json.loads(classes.say(command, scenario, "--json"))["keys"] == [sentence]
    assert not server.bodies


def test_a_key_for_an_unencrypted_server_elsewhere_is_refused_with_its_place(server: Server, tmp_path: Path) -> None:
    scenario = tmp_path / "served.yaml"
    scenario.write_text(SCENARIO.format(url="http://gpu-box:8000/v1", budget=0))
    said = " ".join(classes.say(scenario, "--out", tmp_path / "run", code=2).split())
    assert "served.yaml:9" in said and "unencrypted to gpu-box:8000" in said and "allow_http: true" in said


def say_within(server: Server, text: str, finish_reason: str = "stop") -> None:
    """From the first request of the class on, every answer is this text, with the right answer at its `{}`."""

    def reply(handler: faults.Handler) -> None:
        body = server.bodies[-1]
        if body["messages"][1]["content"] == "1 + 1?":  # a call at the start
            return handler.answer(body)
        asked = [message["content"] for message in body["messages"] if message["role"] == "user"][-1]
        terms = re.findall(r"[+-]? ?[0-9]+", asked)
        server.finish_reason = finish_reason
        return handler.complete(body, [text.format(sum(int(term.replace(" ", "")) for term in terms))], 9)

    server.fault = reply


ADA_AT_THE_SERVER = "{{name: ada, engine: openai, model: small, engine_args: {{base_url: {url}, key_env: CLASS_KEY}}}}"


def test_thoughts_are_neither_graded_nor_shown_to_students(server: Server, tmp_path: Path) -> None:
    say_within(server, " <think>Is it Answer: 4?</think>\n\nAnswer: {}")
    scenario, out = tmp_path / "served.yaml", tmp_path / "run"
    text = SCENARIO.format(url=server.url, budget=0)
    scenario.write_text(text.replace("{name: ada, engine: simulated}", ADA_AT_THE_SERVER.format(url=server.url)))
    said = " ".join(classes.say(scenario, "--out", out, "--monitor", "off").split())
    summary = json.loads((out / "summary.json").read_text())
    assert summary["methods"]["greedy"]["accuracy"] == summary["students"][0]["exam_accuracy"] == 1.0
    assert not [text for _, text, _, _ in classes.gradebook(out) if "think" in (text or "")]
    assert not [body for body in server.bodies if "think" in json.dumps(body["messages"])]
    for agent in summary["agents"]:
        assert agent["thoughts"] == agent["requests"]
        assert 0 < agent["thought_tokens"] < agent["completion_tokens"]
        assert f"{agent['name']}: {agent['requests']} answers came with thoughts, which are left out" in said
    assert summary["unanswered"] == []


def test_thoughts_may_be_kept(server: Server, tmp_path: Path) -> None:
    say_within(server, " <think>hm</think>\n\nAnswer: {}")
    scenario, out = tmp_path / "served.yaml", tmp_path / "run"
    scenario.write_text(SCENARIO.format(url=server.url, budget=0))
    classes.say(scenario, "--out", out, "--monitor", "off", "--set", "teacher.thoughts=keep")
    texts = [text for _, text, _, _ in classes.gradebook(out) if text]
    assert any(text.startswith("<think>hm</think>") for text in texts)


STUDENT_AT_A_SERVER = """\
name: served
seed: 3
task: {{family: chain_sum, problems: 4, demonstrations: 1}}
teacher: {{name: teacher, engine: simulated}}
students:
  - {{name: ada, engine: openai, model: small, engine_args: {{base_url: {url}, key_env: CLASS_KEY}}}}
lesson: {{rationales: 3}}
exam: {{problems: 1}}
"""


@pytest.mark.parametrize(
    ("text", "finish_reason", "thoughts"),
    [
        ("", "stop", ""),
        ("<think>Answer: {}", "length", " ({n} of them thoughts and nothing else: raise {entry})"),
    ],
)
def test_a_student_that_says_nothing_is_named(
    server: Server, tmp_path: Path, text: str, finish_reason: str, thoughts: str
) -> None:
    say_within(server, text, finish_reason)
    scenario, out = tmp_path / "served.yaml", tmp_path / "run"
    scenario.write_text(STUDENT_AT_A_SERVER.format(url=server.url))
    said = " ".join(classes.say(scenario, "--out", out, "--monitor", "off", code=3).split())
    (row,) = json.loads((out / "summary.json").read_text())["unanswered"]
    n = row["requests"]
    assert (row["agent"], row["stage"], row["empty"], row["failed"]) == ("ada", "exam", n, 0)
    assert f"ada: of {n} exam answers, {n} were empty{thoughts.format(n=n, entry=MAX_TOKENS['exam'])}." in said
    assert "ada gave no answer at all in stage exam" in said


def test_a_wrong_key_stops_the_class_and_says_which_variable(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLASS_KEY", "sk-other")
    scenario = tmp_path / "served.yaml"
    scenario.write_text(SCENARIO.format(url=server.url, budget=0))
    said = " ".join(classes.say(scenario, "--out", tmp_path / "run", "--monitor", "off", code=1).split())
    assert "Is the key in CLASS_KEY right?" in said
    assert "sk-other" not in said


def test_a_key_that_is_not_set_is_refused_before_the_start(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario, out = tmp_path / "served.yaml", tmp_path / "run"
    scenario.write_text(SCENARIO.format(url=server.url, budget=500))
    monkeypatch.delenv("CLASS_KEY")
    said = " ".join(classes.say(scenario, "--out", out, "--monitor", "off", code=2).split())
    assert "served.yaml:10: teacher.engine_args.key_env" in said and "CLASS_KEY" in said and "is not set" in said
    assert not out.exists()
    monkeypatch.setenv("CLASS_KEY", KEY)
    classes.say(scenario, "--out", out, "--monitor", "off", code=1)
    monkeypatch.delenv("CLASS_KEY")
    assert "is not set" in classes.say("resume", out, "--monitor", "off", code=2)


def test_a_wrong_address_is_corrected_as_long_as_the_student_has_answered_nothing(
    server: Server, tmp_path: Path
) -> None:
    scenario, out = tmp_path / "served.yaml", tmp_path / "run"
    with socket.socket() as mute:  # no other server gets its port meanwhile
        mute.bind(("127.0.0.1", 0))
        scenario.write_text(STUDENT_AT_A_SERVER.format(url=f"http://127.0.0.1:{mute.getsockname()[1]}/v1"))
        said = " ".join(
            classes.say(scenario, "--out", out, "--monitor", "off", "--set", "limits.restarts=0", code=1).split()
        )
    assert "resume with --set ...engine_args.base_url=URL" in said
    url = f"students.0.engine_args.base_url={server.url}"
    classes.say("resume", out, "--monitor", "off", "--set", url)
    assert asked(server)
    assert "start a new class" in classes.say("resume", out, "--set", f"{url}/other", code=2)


def test_what_the_server_does_not_take_and_refuses_to_answer_is_in_the_result(server: Server, tmp_path: Path) -> None:
    scenario, out = tmp_path / "served.yaml", tmp_path / "run"
    scenario.write_text(SCENARIO.format(url=server.url, budget=0))
    refusal = faults.whole(faults.message(None, refusal="I cannot help with that."))
    refused: list[int] = []

    def answer(handler: faults.Handler) -> None:
        body = server.bodies[-1]
        if body["messages"][1]["content"] != "1 + 1?":
            refused.append(body["seed"])
        if "top_k" in body:
            handler.say(400, {"error": {"message": "top_k is not supported", "param": "top_k"}})
        elif refused and body["seed"] == refused[0]:
            refusal(handler)
        else:
            handler.answer(body)

    server.fault = answer
    said = " ".join(classes.say(scenario, "--out", out, "--monitor", "off", code=3).split())
    summary = json.loads((out / "summary.json").read_text())
    assert summary["agents"][0]["without"] == ["top_k"]
    assert "The server of teacher does not take top_k" in said
    (failure,) = summary["failures"]
    assert failure["detail"] == "refused: the model declines to answer: I cannot help with that."
    assert failure["detail"][:40] in said
