"""A class on code problems, from its first request to its page."""

import json
import sqlite3
from pathlib import Path

import msgspec
import pytest

from broker.work_messages import Answered, Sampling
from scenarios.levels.base import Request
from scenarios.levels.results import record_of
from scenarios.report.tables import UNPROTECTED
from scenarios.store.sqlite import Store
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.grading.code import ProgramGrader
from scenarios.tasks.programs import ProgramTask
from scenarios.tasks.sandbox.outcome import SandboxError
from scenarios.tasks.sources import files
from tests import classes
from tests.classes import summary

SCENARIO = """\
name: programs
task: {file: FILE, problems: 3, sandbox: none}
teacher: {name: teacher, engine: simulated}
students:
  - {name: ada, engine: simulated, engine_args: {ability: 1.0}}
lesson: {rationales: 3}
exam: {problems: 2}
"""
FILE = classes.ROOT / "scenarios" / "tasks" / "code" / "game_theory.jsonl"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    (folder / "class.yaml").write_text(SCENARIO.replace("FILE", str(FILE)))
    classes.finish(classes.start(folder / "run", scenario=folder / "class.yaml"))
    return folder / "run"


def test_a_class_on_programs_is_taught_examined_and_reported(finished: Path) -> None:
    found = summary(finished)
    assert found["status"] == "complete"
    assert found["unprotected"] is True
    assert found["counts"]["teaching_rationales"] == 9
    for name in ("greedy", "sc", "m1_max", "m1_sum"):
        assert 0 <= found["methods"][name]["accuracy"] <= 1
        assert 0 <= found["methods"][name]["s_score"] <= 1
    by_cases, oracle = found["baselines"]["by_visible_cases"], found["best_possible"]["accuracy"]
    assert by_cases["accuracy"] == oracle, "the visible cases are the grade"
    against = by_cases["against"]
    assert (against["a"], against["n"]) == ("m1_max", 3)
    assert against["difference"] == pytest.approx(found["methods"]["m1_max"]["s_score"] - by_cases["s_score"])
    with Store(finished) as store:
        marks = {bool(grade) for (grade,) in store.query("SELECT correct FROM exam_answer")}
        taught = store.query("SELECT behaviour, hidden FROM result WHERE kind = 'Teach' AND answer IS NOT NULL")
        sat = store.query("SELECT behaviour, hidden FROM result WHERE kind = 'Examine'")
    assert marks == {True, False}
    assert all(behaviour and 0 <= float(str(hidden)) <= 1 for behaviour, hidden in taught)
    assert set(sat) == {("", None)}


def asked_and_tasks(out: Path) -> tuple[list[str], list[ProgramTask], list[str]]:
    """The texts of all prompts of a class; the tasks of its problems and their reference solutions."""
    with sqlite3.connect(out / "class.db") as db:
        asked = [text for (text,) in db.execute("SELECT p.text FROM prompt_turn t JOIN prompt_text p ON p.id = t.text "
                                                "WHERE t.role = 'user'")]  # fmt: skip
        specs = [msgspec.json.decode(task, type=ProgramTask) for (task,) in db.execute("SELECT program FROM problem")]
        return asked, specs, [answer for (answer,) in db.execute("SELECT answer FROM problem")]


def shows_a_hidden_case(asked: list[str], specs: list[ProgramTask]) -> bool:
    hidden = [f"{spec.called}({', '.join(map(repr, case.args))}) " for spec in specs for case in spec.hidden]
    return any(call in text for text in asked for call in hidden)


def test_no_prompt_holds_a_hidden_case_or_a_reference_solution(finished: Path) -> None:
    asked, specs, solutions = asked_and_tasks(finished)
    assert asked and solutions
    for spec in specs:
        shown = [f"{spec.called}({', '.join(map(repr, case.args))})" for case in spec.visible]
        assert any(call in text for text in asked for call in shown)
    assert not shows_a_hidden_case(asked, specs)
    assert not any(solution in text for text in asked for solution in solutions)


LEARNS = ("level=2", "learn.held_out=2", "learn.samples=1", "learn.rationales=1", "learn.gap=0", "learn.arms=[m2]")
REWRITES = ("level=3", "iterate.material=rationale")


@pytest.mark.parametrize("more", [LEARNS, REWRITES], ids=["level 2", "level 3"])
def test_programs_are_trained_on_and_rewritten(more: tuple[str, ...], finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(classes.start(out, *more, scenario=finished.parent / "class.yaml"))
    found = summary(out)
    assert (found["status"], found["counts"]["failed"]) == ("complete", 0)
    if more == LEARNS:
        (one,) = found["levels"]["2"]["rounds"]
        assert [arm["status"] for arm in one["arms"]] == ["trained"]
        assert {row["teacher"]: row["n"] for row in one["teachers"]} == {"original": 2, "m2": 2}
        (file,) = (out / "training").glob("pairs-*.jsonl")
        pairs = [json.loads(line) for line in file.read_text().splitlines()]
        assert all(pair["answer_form"] == "code" and "def " in pair["chosen"] for pair in pairs) and pairs
    else:
        rewriting = found["levels"]["3"]["rationales"]
        assert rewriting["rewrites"] > 0 < rewriting["rewritten"]
        assert classes.gradebook(finished) < classes.gradebook(out), "level 1 asks the same"
        with Store(out) as store:
            (rewritten,), (exams,) = store.query(
                "SELECT count(*) FROM result WHERE kind = 'Revise' AND answer LIKE '%def %' UNION ALL "
                "SELECT count(*) FROM result WHERE kind = 'Examine' AND level = 3 AND failed = ''"
            )
        assert rewritten and exams
    # Right programs of simulated agents are the reference solutions, and rewriting shows the teacher its programs.
    assert not shows_a_hidden_case(*asked_and_tasks(out)[:2])


def test_report_replay_and_page_need_no_sandbox(finished: Path) -> None:
    before = summary(finished)["methods"]
    said = " ".join(classes.say("report", finished).split())
    assert " ".join(UNPROTECTED.split()) in said
    assert "S-score" in said
    assert summary(finished)["methods"] == before
    page = (finished / "report.html").read_text()
    assert "No sandbox" in page
    assert "S-score" in page
    assert "programs" in classes.say("replay", finished, "--set", "scoring.ties=first")
    assert "no sandbox" in classes.say("watch", finished)
    assert "program " in classes.say("show", finished)


def test_the_plan_of_a_class_or_study_says_that_programs_run_without_a_sandbox(tmp_path: Path) -> None:
    (tmp_path / "class.yaml").write_text(SCENARIO.replace("FILE", str(FILE)))
    (tmp_path / "study.yaml").write_text("study: s\nbase: class.yaml\nseeds: [1]\n")
    for planned in ("class.yaml", "study.yaml"):
        assert "run without a sandbox" in " ".join(classes.say("plan", tmp_path / planned).split()), planned
    safe = classes.say("plan", classes.ROOT / "scenarios" / "smoke.yaml", "--set", "task.sandbox=none")
    assert "sandbox" not in safe


def test_a_study_of_classes_without_a_sandbox_says_so(finished: Path, tmp_path: Path) -> None:
    base, out = finished.parent / "class.yaml", tmp_path / "out"
    (tmp_path / "study.yaml").write_text(f"study: trial\nbase: {base}\nseeds: [1]\nprimary: [ada - sc]\n")
    said = classes.say("study", tmp_path / "study.yaml", "--out", out, "--monitor", "off")
    assert " ".join(UNPROTECTED.split()) in " ".join(said.split())
    assert json.loads((out / "study.json").read_text())["unprotected"] is True
    page = (out / "report.html").read_text()
    assert "No sandbox" in page and "ran without a sandbox" in page


def test_a_class_that_was_stopped_goes_on(finished: Path, tmp_path: Path) -> None:
    out, scenario = tmp_path / "run", finished.parent / "class.yaml"
    slow = ("teacher.engine_args.tokens_per_second=100", "students.*.engine_args.tokens_per_second=100")
    process = classes.start(out, *slow, scenario=scenario)
    classes.wait_until(process, lambda: classes.results(out) > 4)
    process.terminate()
    process.communicate(timeout=classes.WAIT_S)
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == classes.gradebook(finished)


def test_where_the_sandbox_disappears_nothing_is_recorded_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> bool:
        raise SandboxError("the sandbox ended")

    monkeypatch.setattr(ProgramGrader, "correct", gone)
    problems = {one.problems[0].id: one.problems[0] for one in files.read(FILE)}
    request = Request("r", "Teach", "teacher", "teach", Sampling(), tp="pile")
    answer = Answered(text="```python\ndef beginner_wins(n, moves):\n    return True\n```")
    with ClassGrader(sandbox="none") as grader, pytest.raises(SandboxError, match="the sandbox ended"):
        record_of(request, answer, problems, grader)
