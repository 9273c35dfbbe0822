"""`ctl`: a class that runs is paused, goes on without a student, or ends with what it has; with real processes."""

import json
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scenarios.session.control import COMMAND, FOLDER
from scenarios.store.sqlite import Store
from tests import classes

SMALL = ("task.problems=3", "lesson.rationales=3")
HELD: dict[str, Any] = {"teacher": 12, "students": 2}
"""The teacher answers everything, each student two exams."""
ENOUGH = 12 + 3 * 2


def ctl(out: Path, *words: str, code: int = 0) -> str:
    return " ".join(classes.say("ctl", out, *words, code=code).split())


def status(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(classes.say("ctl", out, "status", "--json"))
    return found


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def answered_by(out: Path, student: str) -> set[str]:
    with Store(out) as store:
        return {record.request_id for record in store.results("agent = ?", student)}


def report(out: Path) -> dict[str, Any]:
    """The summary that `report` makes of the records anew."""
    classes.say("report", out)
    return classes.summary(out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class, undisturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    classes.finish(classes.start(out, *SMALL))
    return out


def test_a_paused_class_waits_until_it_is_resumed_and_comes_to_the_same(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        assert "paused" in ctl(out, "pause")
        assert "the class is paused already" in ctl(out, "pause", code=2)
        found = status(out)
        assert (found["running"], found["status"], found["left_s"]) == (True, "paused", None)
        assert found["changes"]["paused"] and found["changes"]["pauses"] == 1
        assert "resumed after" in ctl(out, "resume")
        assert "the class is not paused" in ctl(out, "resume", code=2)
        assert status(out)["status"] == "running"
    said = " ".join(classes.finish(process).split())
    assert "The class was paused 1 time" in said
    assert classes.gradebook(out) == classes.gradebook(whole)
    changes = classes.summary(out)["changes"]
    assert (changes["pauses"], changes["paused"]) == (1, False)
    assert changes["paused_seconds"] > 0
    assert not (out / FOLDER).exists()


def test_ctrl_c_ends_a_paused_class_and_resume_goes_on_unpaused(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, "limits.drain_s=1", enough=ENOUGH, **HELD) as process:
        ctl(out, "pause")
        classes.interrupt(process, out)
        classes.finish(process, code=130)
    assert len(classes.events(out, "resumed")) == 1
    found = status(out)
    assert (found["running"], found["status"]) == (False, "stopped")
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == classes.gradebook(whole)


def test_a_class_that_is_killed_while_it_is_paused_goes_on_unpaused(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        ctl(out, "pause")
        kill(process)
    said = ctl(out, "resume", code=2)
    assert f"does not run, so it cannot be changed. Go on with: python run.py resume {out}" in said
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == classes.gradebook(whole)
    assert classes.summary(out)["changes"]["paused"] is False


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class without its weak student, who has answered two exams."""
    out = tmp_path_factory.mktemp("dropped") / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        assert "the class has no student 'nobody'; it has weak, average, strong" in ctl(out, "drop", "nobody", code=2)
        assert "only students can be dropped" in ctl(out, "drop", "teacher", code=2)
        assert json.loads(classes.say("ctl", out, "drop", "weak", "--json"))["done"]
        assert "weak is dropped already" in ctl(out, "drop", "weak", code=2)
        agents = {one["name"]: one["state"] for one in status(out)["agents"]}
        assert agents["weak"] == "dropped"
    said = " ".join(classes.finish(process).split())
    assert "The student weak was dropped while the class ran" in said
    return out


def test_a_dropped_student_keeps_its_results_and_is_asked_nothing_more(whole: Path, dropped: Path) -> None:
    assert classes.gradebook(dropped) < classes.gradebook(whole)
    missing = {id for id, *_ in classes.gradebook(whole) - classes.gradebook(dropped)}
    assert missing == answered_by(whole, "weak") - answered_by(dropped, "weak")
    assert len(answered_by(dropped, "weak")) == 2
    changes = classes.summary(dropped)["changes"]
    assert (changes["dropped"], changes["not_asked"]) == (["weak"], {"weak": len(missing)})


def test_report_show_and_status_say_that_a_student_was_dropped(dropped: Path) -> None:
    before = classes.summary(dropped)
    assert report(dropped) == before
    assert "The student weak was dropped" in " ".join(classes.say("show", dropped).split())
    assert "The student weak was dropped" in (dropped / "report.html").read_text()
    found = status(dropped)
    assert found["changes"]["dropped"] == ["weak"]
    assert {row["name"]: row["done"] for row in found["stages"]} == {
        row["name"]: row["total"] for row in found["stages"]
    }
    assert found["standing"]["finished"] == 3


def test_a_class_without_a_student_has_nothing_left_to_do(dropped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(dropped, tmp_path / "run"))
    assert "Nothing was left to do" in classes.say("resume", run, "--monitor", "off")
    assert classes.gradebook(run) == classes.gradebook(dropped)


def test_a_student_that_was_dropped_before_a_kill_is_not_asked_after_it(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        kill(process)
    # As a class leaves it that is killed when the command is recorded, before it takes effect.
    with Store(out, write=True) as store:
        store.note("weak", "dropped")
    before = answered_by(out, "weak")
    process = classes.resume(out)
    classes.finish(process)
    assert answered_by(out, "weak") == before
    assert answered_by(out, "strong") == answered_by(whole, "strong")
    assert report(out)["changes"]["not_asked"] == {"weak": len(answered_by(whole, "weak")) - len(before)}


def test_a_command_that_a_killed_class_did_not_see_changes_nothing(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        process.send_signal(signal.SIGSTOP)
        command = subprocess.Popen(
            classes.command("ctl", out, "drop", "weak"),
            cwd=classes.ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        classes.wait_until(command, lambda: any((out / FOLDER).glob(f"*{COMMAND}")))
        kill(process)
        said, _ = command.communicate(timeout=classes.WAIT_S)
    assert (command.returncode, "nothing was changed" in " ".join(said.split())) == (2, True), said
    (out / FOLDER).mkdir(mode=0o700, exist_ok=True)
    (out / FOLDER / f"0{COMMAND}").write_text('{"verb": "drop", "argument": "weak"}')  # its sender was killed, too
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == classes.gradebook(whole)


def test_of_two_equal_commands_at_once_one_is_carried_out(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        drop = classes.command("ctl", out, "drop", "weak")
        both = [
            subprocess.Popen(drop, cwd=classes.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(2)
        ]
        assert sorted(one.wait(classes.WAIT_S) for one in both) == [0, 2]
        ctl(out, "drop", "average")
        assert "strong is the last student" in ctl(out, "drop", "strong", code=2)
    classes.finish(process)
    assert classes.events(out, "dropped") == ["weak ", "average "]


def test_a_class_ends_with_what_it_has_when_its_budget_is_spent(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, "limits.drain_s=1", enough=ENOUGH, **HELD) as process:
        assert "not 'much'" in ctl(out, "budget", "much", code=2)
        assert "a budget of 10 completion tokens" in ctl(out, "budget", "10")
        said = " ".join(classes.finish(process, code=3).split())
    assert "its budget is spent" in said and f"ctl {out} budget none" in said
    found = classes.summary(out)
    assert (found["status"], found["changes"]["budget"]) == ("budget", 10)
    assert "The class is not complete" in found["caution"]
    before = classes.gradebook(out)
    assert before < classes.gradebook(whole)

    classes.finish(classes.resume(out), code=3)
    assert classes.gradebook(out) == before
    assert report(out)["status"] == "budget"

    assert "the budget is changed" in ctl(out, "budget", "none")
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == classes.gradebook(whole)
    assert classes.summary(out)["status"] == "complete"


def test_a_budget_that_was_recorded_before_a_kill_holds_after_it(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        ctl(out, "budget", "1000000")
        kill(process)
    with Store(out, write=True) as store:
        store.note("", "budget", "10")
    before = classes.gradebook(out)
    classes.finish(classes.resume(out), code=3)
    assert classes.gradebook(out) == before


def test_a_class_that_does_not_run_is_not_changed(whole: Path) -> None:
    before = classes.tables(whole)
    for words in (("pause",), ("resume",), ("drop", "weak"), ("budget", "5")):
        said = ctl(whole, *words, code=2)
        assert f"this class has ended, with all its results. See it with: python run.py show {whole} Ask more" in said
        assert f"python run.py extend {whole} --set KEY=VALUE" in said and "resume" not in said
    assert classes.tables(whole) == before
    assert status(whole)["running"] is False


def test_a_command_that_makes_no_sense_is_refused_in_a_sentence(whole: Path, tmp_path: Path) -> None:
    assert "drop needs STUDENT" in ctl(whole, "drop", code=2)
    assert "pause takes no 'weak'" in ctl(whole, "pause", "weak", code=2)
    assert "budget: a whole number" in ctl(whole, "budget", "0", code=2)
    assert "Traceback" not in ctl(whole, "dance", code=2)
    assert "is not the folder of a run" in ctl(tmp_path, "pause", code=2)
    other = Path(shutil.copytree(whole, tmp_path / "other"))
    db = sqlite3.connect(other / "class.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    assert "version 99" in ctl(other, "pause", code=2)
