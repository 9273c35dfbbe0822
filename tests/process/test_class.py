"""Whole classes as a user runs them: real processes, a real broker, and what they leave behind."""

import json
import re
import shutil
import socket
import sqlite3
from pathlib import Path

import pytest
import zmq

from broker.endpoints import endpoints
from broker.gauges import Subscriber
from scenarios.config import load
from scenarios.store.sqlite import Store
from tests import classes
from tests.broker.test_server import gauges_where
from tests.classes import summary
from tests.ports import free_port

SHIPPED = sorted(path.relative_to(classes.ROOT) for path in (classes.ROOT / "scenarios").glob("*.yaml"))
SMALL = ("task.family=chain_sum", "task.problems=2", "lesson.rationales=2")
SMALL_ITERATE = ("iterate.rounds=1", "iterate.score_items=10", "iterate.revisions=1")
SIMULATED = ("teacher.engine=simulated", "students.*.engine=simulated")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke class, complete."""
    out = tmp_path_factory.mktemp("smoke") / "run"
    classes.finish(classes.start(out))
    return out


def test_a_class_of_four_processes_leaves_a_summary_a_gradebook_and_logs(finished: Path) -> None:
    found = summary(finished)
    assert found["status"] == "complete"
    assert found["simulated"] is True
    assert found["counts"]["teaching_problems"] == 12
    assert found["counts"]["teaching_rationales"] == 96
    assert found["counts"]["failed"] == 0
    assert [agent["name"] for agent in found["agents"]] == ["teacher", "weak", "average", "strong"]
    assert {path.name for path in (finished / "logs").glob("*.log")} >= {"teacher.log", "weak.log", "broker.log"}
    assert load.read(finished / "scenario.yaml").name == "smoke"
    assert "<title>smoke</title>" in (finished / "report.html").read_text()


def test_what_is_right_was_graded_against_the_gold_answers_of_the_bank(finished: Path) -> None:
    with Store(finished) as store:
        rows = store.query(
            "SELECT e.answer, p.answer, e.correct FROM exam_answer e JOIN problem p ON p.id = e.ep WHERE e.answer <> ''"
        )
    assert rows
    assert all((given == gold) == bool(correct) for given, gold, correct in rows)


def test_abler_students_do_better(finished: Path) -> None:
    accuracy = {student["name"]: student["exam_accuracy"] for student in summary(finished)["students"]}
    assert accuracy["weak"] < accuracy["average"] < accuracy["strong"]


def test_the_teacher_heard_of_its_rationales_and_the_students_of_their_exams(finished: Path) -> None:
    assert "feedback on" in (finished / "logs" / "teacher.log").read_text()
    assert "feedback on gsm_symbolic/" in (finished / "logs" / "weak.log").read_text()


def test_no_message_or_log_of_an_agent_holds_a_gold_answer_key(finished: Path) -> None:
    assert (finished / "answer-key").stat().st_mode & 0o777 == 0o600
    for log in (finished / "logs").glob("*.log"):
        assert "answer-key" not in log.read_text()


def test_the_same_class_again_gives_the_same_gradebook(finished: Path, tmp_path: Path) -> None:
    classes.finish(classes.start(tmp_path / "run"))
    assert classes.gradebook(tmp_path / "run") == classes.gradebook(finished)


def test_another_seed_gives_another_class(finished: Path, tmp_path: Path) -> None:
    classes.finish(classes.start(tmp_path / "run", "seed=8"))
    assert not classes.gradebook(tmp_path / "run") & classes.gradebook(finished)


def test_report_makes_the_same_summary_from_the_gradebook_alone(finished: Path) -> None:
    before = summary(finished)
    (finished / "summary.json").unlink()
    assert json.loads(classes.say("report", finished, "--json")) == before == summary(finished)


def test_a_finished_class_resumes_to_itself_without_starting_anything(finished: Path) -> None:
    before = classes.events(finished, "joined")
    said = classes.say("resume", finished)
    assert "reused from earlier sessions" in said
    assert f"Nothing was left to do. This again: python run.py report {finished}" in said
    assert classes.events(finished, "joined") == before


def test_replay_scores_the_same_records_by_another_rule(finished: Path) -> None:
    again = json.loads(classes.say("replay", finished, "--set", "scoring.merge=students", "--json"))
    assert again["replay"]["never_asked"] == {}
    assert again["counts"]["teaching_rationales"] == 96
    fewer = json.loads(classes.say("replay", finished, "--set", "lesson.rationales=4", "--json"))
    assert fewer["replay"]["never_asked"] == {}
    assert fewer["methods"]["sc"]["completion_tokens"] < again["methods"]["sc"]["completion_tokens"]


def test_replay_names_what_was_never_asked(finished: Path) -> None:
    more = json.loads(classes.say("replay", finished, "--set", "lesson.rationales=10", "--json"))
    assert more["replay"]["never_asked"] == {"teach": 24}


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke class with log-probabilities, complete."""
    out = tmp_path_factory.mktemp("graded") / "run"
    classes.finish(classes.start(out, "exam.score=logprob"))
    return out


def test_log_probabilities_are_asked_beside_the_same_exams(finished: Path, graded: Path) -> None:
    with Store(graded) as store:
        rows = store.query(
            "SELECT kind, count(*), count(score), count(DISTINCT tr || ep || agent) FROM result GROUP BY 1"
        )
        (least,), (most,) = store.query("SELECT min(score) FROM result UNION ALL SELECT max(score) FROM result")
    told = {str(kind): numbers for kind, *numbers in rows}
    assert told["Grade"] == [told["Examine"][0]] * 3
    assert told["Teach"][1] == told["Examine"][1] == 0
    assert -50 < float(str(least)) < float(str(most)) < 0
    assert classes.gradebook(finished) < classes.gradebook(graded)
    assert summary(graded)["dense"]["kendall_tau_b"] > 0.3
    assert summary(graded)["methods"]["m1_sum_logprob"]["n"] == 12


def test_replay_of_log_probabilities_names_them_where_they_were_never_asked(finished: Path, graded: Path) -> None:
    asked = summary(graded)["dense"]["grades"]
    missing = json.loads(classes.say("replay", finished, "--set", "exam.score=logprob", "--json"))
    assert missing["replay"]["never_asked"] == {"grade": asked}
    plain = json.loads(classes.say("replay", graded, "--set", "exam.score=accuracy", "--json"))
    assert plain["replay"]["never_asked"] == {}
    assert plain["methods"] == summary(finished)["methods"]
    fewer = json.loads(classes.say("replay", graded, "--set", "lesson.rationales=4", "--json"))
    assert fewer["replay"]["never_asked"] == {}
    assert 0 < fewer["dense"]["grades"] < asked


def test_replay_says_first_under_what_and_that_the_summary_stays(finished: Path) -> None:
    before = (finished / "summary.json").read_bytes()
    said = classes.say("replay", finished, "--set", "scoring.merge=students", "--set", "lesson.rationales=10")
    assert said.splitlines()[0] == (
        "replayed with scoring.merge=students, lesson.rationales=10; summary.json is unchanged"
    )
    assert "Never asked in this run, and so left out: 24 teaching rationales" in said
    assert (finished / "summary.json").read_bytes() == before


def test_a_class_that_another_process_holds_is_running(finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    with Store(out, write=True):
        assert json.loads(classes.say("report", out, "--json"))["status"] == "complete"
        with sqlite3.connect(out / "class.db") as db:
            db.execute("DELETE FROM event WHERE kind IN ('complete', 'session')")
        assert "running (so far)" in classes.say("report", out)
        assert summary(out)["status"] == "running"
    classes.say("report", out)
    assert summary(out)["status"] == "interrupted"


def test_watch_shows_the_end_of_a_finished_class(finished: Path) -> None:
    shown = classes.say("watch", finished)
    assert "smoke" in shown
    assert "teacher" in shown


@pytest.mark.parametrize("scenario", SHIPPED, ids=str)
def test_every_shipped_scenario_runs_with_simulated_engines_on_a_small_task(scenario: Path, tmp_path: Path) -> None:
    small: tuple[str, ...] = SMALL_ITERATE if "iterate" in scenario.stem else SMALL
    if scenario.stem == "code":
        small = ("task.problems=2", "lesson.rationales=2", "task.sandbox=none")
    if "originals" in scenario.read_text():
        small = (*small, "iterate.originals=1")
    classes.finish(classes.start(tmp_path / "run", *SIMULATED, *small, scenario=scenario))
    assert summary(tmp_path / "run")["status"] == "complete"


def test_garbage_on_the_wire_disturbs_nobody(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    endpoint, gauges = endpoints("ipc", out)
    garbage = (
        [b""],
        [b"\xff" * 300] * 5,
        [b"Hello", b"", b"", b"", b"\xc1"],
        [b"Answered", b"", b"x", b"", b"{}"],
    )
    with (
        classes.held(out, students=1) as process,
        Subscriber(gauges) as monitor,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as stranger,
    ):
        stranger.connect(endpoint)
        for frames in garbage:
            stranger.send_multipart(frames)
        # All but the last are dropped; that one is of a stranger, who is told so.
        gauges_where(monitor, "dropped", len(garbage) - 1)
        assert stranger.poll(1000 * classes.WAIT_S)
    classes.finish(process)
    assert classes.gradebook(out) == classes.gradebook(finished)


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as one:
        try:
            one.bind(("::1", 0))
        except OSError:
            return False
    return True


NO_IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=NO_IPV6)])
def test_a_class_over_tcp_is_encrypted_and_the_same(host: str, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(classes.start(out, f"broker.address=tcp://{host}:{free_port()}"))
    assert classes.gradebook(out) == classes.gradebook(finished)
    assert {path.stat().st_mode & 0o777 for path in (out / "keys").glob("*") if path.is_file()} == {0o600}


def test_an_external_student_joins_by_itself(tmp_path: Path) -> None:
    """The student of docs/protocol.md, as printed there."""
    import subprocess
    import sys

    page = (classes.ROOT / "docs" / "protocol.md").read_text()
    program = max(re.findall(r"```python\n(.*?)```", page, re.S), key=len)
    out = tmp_path / "run"
    process = classes.start(out, "students.1.engine=external", "students.1.engine_args={}", *SMALL)
    endpoint, _ = endpoints("ipc", out)
    with subprocess.Popen([sys.executable, "-c", program, endpoint, "average"]) as student:
        said = classes.finish(process)
        assert student.wait(timeout=classes.WAIT_S) == 0, "it was not told to leave"
    assert f"Start the program of average with endpoint {endpoint} and name average." in said
    answered = {agent["name"]: agent["requests"] for agent in summary(out)["agents"]}
    assert answered["average"] > 0
    average = next(agent for agent in summary(out)["agents"] if agent["name"] == "average")
    assert (average["model"], average["device"]) == ("", "external")
