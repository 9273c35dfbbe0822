"""A run of version 1 of protocol and prompts: `report` and `watch` still read it, and `resume` names the version.

version1/ has the run of a class at levels 1 and 3 with simulated agents: its class.db as SQL, its scenario and summary.
"""

import gzip
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests import classes
from tests.process.test_show_and_export import examples

RECORDED = Path(__file__).parent / "version1"


def rows(run: Path) -> list[tuple[object, ...]]:
    """What the class recorded; a writer adds columns and tables of later versions."""
    with closing(sqlite3.connect(run / "class.db")) as db:
        return [
            row
            for table in ("event", "answerer", "grade")
            for row in db.execute(f"SELECT * FROM {table}")  # noqa: S608  (our own names)
        ] + [
            *db.execute("SELECT request_id, text, answer, at FROM result"),
            *db.execute("SELECT id, item, position, text, answer, form, solution, part FROM problem"),
        ]


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    shutil.copy(RECORDED / "scenario.yaml", tmp_path)
    with closing(sqlite3.connect(tmp_path / "class.db")) as db:
        db.executescript(gzip.decompress((RECORDED / "class.sql.gz").read_bytes()).decode())
    return tmp_path


def test_the_report_of_a_run_of_version_1_has_the_same_results(old_run: Path) -> None:
    classes.say("report", old_run)
    old, new = (json.loads((folder / "summary.json").read_text("utf-8")) for folder in (RECORDED, old_run))
    assert new["status"] == "complete"
    assert new["counts"].items() >= old["counts"].items()
    for name, method in old["methods"].items():
        assert new["methods"][name]["accuracy"] == method["accuracy"]
    (before, after), (before_now, after_now) = (one["levels"]["3"]["rounds"] for one in (old, new))
    for then, now in ((before, before_now), (after, after_now)):
        for key in ("teacher_f1_train", "teacher_f1_test", "students", "exemplars", "best"):
            assert now[key] == then[key]


def test_a_run_of_version_1_can_be_watched(old_run: Path) -> None:
    assert "complete" in classes.say("watch", old_run)


@pytest.mark.parametrize("example", examples(), ids=["pandas", "polars"])
def test_the_examples_of_the_data_page_leave_out_the_exams_of_level_3(
    example: str, old_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(example.split()[1])
    classes.say("export", old_run, "--to", "parquet")
    run: Callable[[str, dict[str, object]], None] = exec
    run(example.replace('"runs/smoke/export"', repr(str(old_run / "export"))), {})
    said = capsys.readouterr().out
    for student in json.loads((RECORDED / "summary.json").read_text("utf-8"))["students"]:
        assert re.search(rf"{student['name']}\W+{student['exam_accuracy']}\W+{student['exam_answers']}\b", said)


def test_resume_names_the_version_that_made_a_run_and_changes_nothing(old_run: Path) -> None:
    before = rows(old_run)
    said = classes.say("resume", old_run, code=2)
    assert "were made with version 1 of the prompts; this program has version 2" in " ".join(said.split())
    assert rows(old_run) == before
