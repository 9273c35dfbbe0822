"""A study in which the records of one class are damaged shows the others, and says what to do."""

import contextlib
import io
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from broker.errors import ScenarioError
from broker.interrupts import Interrupts
from scenarios.config.schema import Scenario
from scenarios.monitor.state import StudyState
from scenarios.report import export as exports
from scenarios.report.export_columns import TABLES
from scenarios.report.export_rows import Row
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import Store
from scenarios.studies import load
from scenarios.studies.cell_folder import CellFolder
from scenarios.studies.commands import plan_study, rebuild_study
from scenarios.studies.folder import StudyFolder
from scenarios.studies.inspect_study import export, show
from scenarios.studies.progress import watch_study
from scenarios.studies.result import read_study
from scenarios.studies.runner import run_cells
from tests import classes
from tests.scenarios.report.page.played import play_in, written


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two complete classes."""
    small = ("set.task.problems=2", "set.lesson.rationales=2", "seeds=[1]")
    study, cells = load.read(classes.ROOT / "scenarios/studies/smoke.yaml", small)
    folder = StudyFolder.begin(tmp_path_factory.mktemp("whole") / "study", study, cells)
    for run in map(folder.run, folder.cells()):
        play_in(run)
        written(run)
    return folder.path


def no_database(run: CellFolder) -> None:
    (run.path / "class.db").write_text("no database")


def lost_results(run: CellFolder) -> None:
    """Its events can still be read."""
    with Store(run.path) as store:
        [(page,)] = store.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'result'")
        [(size,)] = store.rows("PRAGMA page_size")
    with (run.path / "class.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)


def no_utf8(run: CellFolder) -> None:
    """One answer and one event have a byte that begins no character."""
    with contextlib.closing(sqlite3.connect(run.path / "class.db")) as db, db:
        db.execute(
            "UPDATE result SET text = CAST(x'ff41' AS TEXT) WHERE request_id IN (SELECT max(request_id) FROM result)"
        )
        db.execute("UPDATE event SET agent = CAST(x'ff41' AS TEXT) WHERE seq = (SELECT max(seq) FROM event)")


@pytest.fixture(params=[no_database, lost_results, no_utf8])
def study(request: pytest.FixtureRequest, whole: Path, tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    damage: Callable[[CellFolder], None] = request.param
    damage(folder.run(folder.cells()[0]))
    return folder


def check_said(study: StudyFolder, said: str) -> None:
    """The damaged class is named, with what to do; the other one is not."""
    damaged, other = map(study.run, study.cells())
    words = " ".join(said.split())
    assert f"{damaged} is left out, since it cannot be read: " in words and "it is damaged" in words
    assert (
        "Put a copy of its class.db back, or have all of it asked again: remove everything but scenario.yaml" in words
    )
    assert f"then python run.py resume {study}" in words
    assert f"{other} is left out" not in words


def test_show_lists_the_other_classes_and_names_the_damaged_one(
    study: StudyFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    damaged, other = map(study.run, study.cells())
    assert show(study.path) == 0
    said = capsys.readouterr()
    check_said(study, said.err)
    lines = {line.split()[0]: line.split()[1:3] for line in said.out.splitlines() if line.strip()}
    assert (lines[damaged.path.name], lines[other.path.name]) == (["unreadable"], ["complete", "SC"])
    assert f"Show one of them: python run.py show {other}" in " ".join(said.out.split())
    assert show(study.path, as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["status"], row["progress"]) for row in rows] == [("unreadable", ""), ("complete", "")]
    assert "it is damaged" in rows[0]["reason"] and not rows[1]["reason"]


def another_version(run: CellFolder) -> None:
    with contextlib.closing(sqlite3.connect(run.path / "class.db")) as db:
        db.execute("PRAGMA user_version = 99")


def not_opened(run: CellFolder) -> None:
    """SQLite cannot open its second file, as where this user has no permission."""
    (run.path / "class.db-wal").unlink(missing_ok=True)
    (run.path / "class.db-wal").mkdir()


@pytest.mark.parametrize("hinder", [another_version, not_opened])
def test_answers_that_are_not_damaged_are_not_to_be_removed(
    whole: Path, tmp_path: Path, hinder: Callable[[CellFolder], None], capsys: pytest.CaptureFixture[str]
) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    hindered, _ = map(study.run, study.cells())
    hinder(hindered)
    assert show(study.path) == 0
    assert export(study.path, to="jsonl") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.count(f"{hindered} is left out, since it cannot be read: ") == 2
    assert said.count(f"Its files stay as they are. When the cause is gone: python run.py resume {study}") == 2
    assert "remove" not in said


def test_plan_estimates_the_rest_from_the_other_classes(study: StudyFolder) -> None:
    out = Console(file=io.StringIO(), width=400)
    assert plan_study(study.path, (), lambda _: ([], []), out) == 0
    assert isinstance(out.file, io.StringIO)
    said = out.file.getvalue()
    check_said(study, said)
    assert "1 class took" in said and "the other one takes about" in said


def test_watch_lists_the_other_classes(study: StudyFolder) -> None:
    out = Console(file=io.StringIO(), width=400)
    assert watch_study(study, out) == 0
    assert isinstance(out.file, io.StringIO)
    said = out.file.getvalue()
    check_said(study, said)
    heading, first, second = (line.split() for line in said.splitlines()[:3])
    assert heading[:4] == ["cell", "ability", "seed", "status"]
    assert (first[:3], second[:4]) == (["1", "-1.0", "1"], ["2", "0.0", "1", "complete"])


def test_resume_goes_on_with_the_other_classes(study: StudyFolder) -> None:
    first, second = map(study.run, study.cells())
    second.clear()
    held: list[RunFolder] = []

    def hold(scenario: Scenario, folder: RunFolder, *, retry_failed: bool, study: StudyState, extension: object) -> int:
        held.append(folder)
        return 0

    quiet = Console(quiet=True)
    code, failed = run_cells(study, hold, Interrupts(), quiet, quiet)
    assert (code, [folder.path for folder in held]) == (1, [second.path])
    assert "it is damaged" in failed[first.path.name]


def no_file(path: Path) -> None:
    path.unlink()


def no_text(path: Path) -> None:
    path.write_bytes(b"\xff\x00" * 500)


def another_shape(path: Path) -> None:
    path.write_text('{"counts": [], "methods": 1}')


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def resumed(study: StudyFolder) -> tuple[int, dict[str, str], str]:
    """Resume a study of complete classes: the exit code, the classes that failed, and what is said."""

    def hold(scenario: Scenario, folder: RunFolder, *, retry_failed: bool, study: StudyState, extension: object) -> int:
        raise AssertionError("a complete class needs no agents")

    said = Console(file=io.StringIO(), width=400)
    found = run_cells(study, hold, Interrupts(), said, said)
    assert isinstance(said.file, io.StringIO)
    return *found, said.file.getvalue()


@pytest.mark.parametrize("damage", [no_file, no_text, another_shape, cut_off])
@pytest.mark.parametrize("name", ["summary.json", "report.html"])
def test_resume_writes_the_summary_and_the_page_of_a_complete_class_again(
    whole: Path, tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    first, second = map(study.run, study.cells())
    before = (first.path / "summary.json").read_bytes()
    damage(first.path / name)
    assert (first.is_reported, second.is_reported) == (False, True)
    code, failed, said = resumed(study)
    assert (code, failed, said.count("written again")) == (0, {}, 1)
    assert first.is_reported and (first.path / "summary.json").read_bytes() == before


@pytest.mark.parametrize("name", ["summary.json", "report.html"])
def test_resume_names_a_class_whose_summary_or_page_cannot_be_written(whole: Path, tmp_path: Path, name: str) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    first, second = map(study.run, study.cells())
    a_folder(first.path / name)
    (second.path / "report.html").unlink()
    code, _, said = resumed(study)
    assert code == 1 and f"{first.path / name}: Is a directory" in said
    assert second.is_reported


def test_resume_of_a_class_with_a_failed_request_ends_with_3_each_time(whole: Path, tmp_path: Path) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    first, _ = map(study.run, study.cells())
    with contextlib.closing(sqlite3.connect(first.path / "class.db")) as db, db:
        db.execute("UPDATE result SET failed = 'no answer' WHERE request_id = (SELECT max(request_id) FROM result)")
    (first.path / "summary.json").unlink()
    assert [(code, said.count("written again")) for code, _, said in (resumed(study), resumed(study))] == [
        (3, 1),
        (3, 0),
    ]


def test_resume_writes_the_summary_and_the_page_where_the_metrics_cannot_be_written(
    whole: Path, tmp_path: Path
) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    first, _ = map(study.run, study.cells())
    (first.path / "metrics.jsonl").mkdir()
    (first.path / "report.html").unlink()
    code, _, said = resumed(study)
    assert code == 1 and f"The metrics are not written: {first.path / 'metrics.jsonl'}: Is a directory" in said
    assert first.is_reported


def test_export_writes_the_other_classes_and_names_the_damaged_one(
    study: StudyFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, other = map(study.run, study.cells())
    assert export(study.path, to="jsonl", out_dir=tmp_path / "tables") == 1
    check_said(study, capsys.readouterr().err)
    for file in (tmp_path / "tables").iterdir():
        assert {json.loads(line)["run"] for line in file.read_text().splitlines()} == {other.path.name}
    assert {file.stem for file in (tmp_path / "tables").iterdir()} >= {"problems", "rationales", "exams", "students"}


def test_export_reads_the_other_classes_once(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    damaged, other = map(study.run, study.cells())
    no_database(damaged)
    read = list[tuple[Path, str]]()
    rows = exports._rows

    def counted(table: str, folder: Path, replayed: exports.Replayed) -> Iterator[Row]:
        read.append((folder, table))
        return rows(table, folder, replayed)

    monkeypatch.setattr(exports, "_rows", counted)
    assert export(study.path, to="jsonl") == 1
    assert sorted(read) == sorted([(damaged.path, "problems"), *((other.path, table) for table in TABLES)])


def test_export_keeps_earlier_tables_that_may_have_the_records_of_a_damaged_class(whole: Path, tmp_path: Path) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    assert export(study.path, to="jsonl") == 0
    before = {file: file.read_bytes() for file in (study.path / "export").iterdir()}
    lost_results(study.run(study.cells()[0]))
    with pytest.raises(ScenarioError, match="Nothing was replaced"):
        export(study.path, to="jsonl", overwrite=True)
    assert {file: file.read_bytes() for file in (study.path / "export").iterdir()} == before


def test_export_of_a_study_without_a_readable_class_writes_nothing_and_names_every_class(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    for run in map(study.run, study.cells()):
        no_database(run)
    assert export(study.path, to="jsonl") == 1
    said = capsys.readouterr()
    words = " ".join(said.err.split())
    assert words.count("is left out, since it cannot be read: ") == words.count("Put a copy of its class.db back") == 2
    assert not said.out
    assert not [*(study.path / "export").iterdir()]


@pytest.mark.parametrize("damage", [no_file, no_text])
def test_a_class_with_a_damaged_scenario_is_left_out(
    whole: Path, tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    damaged, other = map(study.run, study.cells())
    damage(damaged.scenario_file)
    code, failed, said = resumed(study)
    assert (code, [*failed]) == (1, [damaged.path.name])
    assert "Put a copy of its scenario.yaml back, then python run.py resume" in said
    quiet, err = Console(quiet=True), Console(file=io.StringIO(), width=400)
    assert rebuild_study(study, quiet, err) == 1
    assert [(run.cell, run.status) for run in read_study(study).result.runs] == [
        (damaged.path.name, "failed"),
        (other.path.name, "complete"),
    ]
    assert plan_study(study.path, (), lambda _: ([], []), quiet) == 0
    assert export(study.path, to="jsonl") == 1
    assert "Put a copy of its scenario.yaml back" in " ".join(capsys.readouterr().err.split())


def test_a_class_whose_damaged_records_were_removed_is_asked_again(whole: Path, tmp_path: Path) -> None:
    study = StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))
    damaged, other = map(study.run, study.cells())
    for path in damaged.path.iterdir():
        if path.name != "scenario.yaml":
            path.unlink()
    damaged.make()
    assert (damaged.status, damaged.trouble(), other.status) == ("not begun", None, "complete")
    assert damaged.to_run(()).seed == 1
