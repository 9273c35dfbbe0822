"""Exported tables: the files hold what is recorded, in every format, and docs/data.md explains every column."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ScenarioError
from scenarios.config import load
from scenarios.report import export as exports
from scenarios.report import export_rows
from scenarios.report.export_columns import TABLES, Column, markdown
from scenarios.report.export_files import Form, opened
from scenarios.report.recorded import RecordedClass
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Problem, ProblemGroup
from tests import classes

COLUMNS = (Column("t", "text", ""), Column("n", "integer", ""), Column("x", "number", ""), Column("b", "boolean", ""))
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["", "a\0b", 'one\r\ntwo,"three"', "\u202e"]
)
ROWS = st.lists(
    st.tuples(
        st.none() | TEXTS,
        st.none() | st.integers(-(2**53), 2**53),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.booleans(),
    ),
    min_size=1,
)
HOSTILE = "line one\nline two\0 \u2603 \u202e 'x'; DROP TABLE result; --"


def written(form: Form, rows: list[tuple[Any, ...]], read: Any) -> Any:
    with TemporaryDirectory() as folder:
        path = Path(folder, "table")
        with opened(form, path, COLUMNS) as writer:
            for start in range(0, len(rows), 2):
                writer.write(rows[start : start + 2])
        return read(path)


@given(ROWS)
def test_json_lines_hold_every_value_as_it_is(rows: list[tuple[Any, ...]]) -> None:
    lines = written("jsonl", rows, lambda path: path.read_text("utf-8").split("\n"))
    assert [tuple(json.loads(line).values()) for line in lines[:-1]] == rows
    assert lines[-1] == ""


@given(ROWS)
def test_parquet_holds_every_value_as_it_is(rows: list[tuple[Any, ...]]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = written("parquet", rows, parquet.read_table)
    assert [str(kind) for kind in table.schema.types] == ["string", "int64", "double", "bool"]
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


@given(ROWS)
def test_csv_holds_every_text_and_an_empty_field_where_there_is_none(rows: list[tuple[Any, ...]]) -> None:
    def read(path: Path) -> list[list[str]]:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file))

    heading, *found = written("csv", rows, read)
    assert heading == ["t", "n", "x", "b"]
    for row, (text, n, x, b) in zip(found, rows, strict=True):
        assert row[0] == (text or "")
        assert row[1:3] == ["" if value is None else str(value) for value in (n, x)]
        assert row[3] == ("" if b is None else str(b).lower())


def test_the_page_explains_every_column_as_the_code_does() -> None:
    page = (classes.ROOT / "docs" / "data.md").read_text("utf-8")
    assert page.endswith(markdown()), "python -m scenarios.report.export_columns prints the end of docs/data.md"


def run(folder: Path, name: str = "run", text: str = HOSTILE) -> Path:
    """A class of level 1 with one TP, three TRs of which two are alike, and a failed exam."""
    path = folder / name
    path.mkdir()
    described = load.read(classes.ROOT / classes.SMOKE, ("task.problems=1", "lesson.rationales=3", "exam.problems=1"))
    (path / "scenario.yaml").write_text(load.dump(described))
    tp, ep = Problem("tp", HOSTILE, "1", "number"), Problem("tp/ep", "2 + 2?", "4", "number", "2 + 2 = 4\nAnswer: 4")
    trs = [
        Record(request_id=f"t{n}", kind="Teach", agent="teacher", stage="teach", tp="tp", repeat=n, text=of, answer="1",
               correct=True, temperature=0.7)
        for n, of in enumerate([text, "other", text])
    ]  # fmt: skip
    exams = [
        Record(request_id=f"e{n}", kind="Examine", agent=student, stage="exam", tp="tp", tr=tr, ep="tp/ep",
               text=text, answer=None, correct=right, failed=failed)
        for n, (student, tr, right, failed) in enumerate([
            ("weak", "t0", True, ""), ("strong", "t0", False, ""), ("weak", "t1", None, "engine"),
        ])
    ]  # fmt: skip
    with Store(path, write=True) as store:
        store.keep_bank(Bank("made up", (ProblemGroup(tp, (ep,)),), ()))
        store.record([*trs, *exams], grader="lbt", version="1")
    return path


@contextmanager
def never(path: Path) -> Iterator[RecordedClass]:
    raise AssertionError("level 1 needs no replay")
    yield


def exported(folders: dict[str, Path], out: Path, **more: Any) -> dict[str, list[dict[str, Any]]]:
    done = exports.export(folders, "jsonl", out, never, **more)
    tables = {n: [json.loads(line) for line in (out / f"{n}.jsonl").read_bytes().splitlines()] for n in done.rows}
    assert done.rows == {name: len(rows) for name, rows in tables.items()}
    assert done.rows.keys() | done.absent.keys() == TABLES.keys()
    assert {path.name for path in out.iterdir()} == {f"{name}.jsonl" for name in done.rows}
    return tables


def test_the_tables_hold_what_is_recorded_and_twins_share_their_exams(tmp_path: Path) -> None:
    tables = exported({"run": run(tmp_path)}, tmp_path / "out")
    for name, rows in tables.items():
        assert list(rows[0]) == [column.name for column in TABLES[name].columns]
        for column in TABLES[name].columns:
            if column.null == "never":
                assert all(row[column.name] is not None for row in rows), (name, column.name)
    assert set(tables) == {"problems", "rationales", "exams", "students"}
    assert [(one["use"], one["tp"], one["text"]) for one in tables["problems"]] == [
        ("teaching", None, HOSTILE), ("exam", "tp", "2 + 2?"),
    ]  # fmt: skip
    shared = [
        (one["request_id"], one["exams_of"], one["exam_answers"], one["lbt_score"]) for one in tables["rationales"]
    ]
    assert shared == [("t0", "t0", 2, 0.5), ("t1", None, 0, None), ("t2", "t0", 2, 0.5)]
    exams = [(one["student"], one["text"], one["correct"], one["failed"]) for one in tables["exams"]]
    assert exams == [("weak", HOSTILE, True, None), ("strong", HOSTILE, False, None), ("weak", None, None, "engine")]
    students = {one["student"]: (one["exam_answers"], one["accuracy"], one["failed"]) for one in tables["students"]}
    assert students == {"weak": (1, 1.0, 1), "average": (0, None, 0), "strong": (1, 0.0, 0)}


def test_the_size_of_the_blocks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run(tmp_path)
    whole = exported({"run": path}, tmp_path / "whole")
    monkeypatch.setattr(exports, "ROWS", 2)
    monkeypatch.setattr(exports, "CHARACTERS", 10)
    assert exported({"run": path}, tmp_path / "blocks") == whole


def test_several_runs_stand_in_one_table_with_their_names_and_factors(tmp_path: Path) -> None:
    folders = {"a": run(tmp_path, "a"), "b": run(tmp_path, "b")}
    tables = exported(folders, tmp_path / "out", factors={"a": {"teacher": "big", "seed": 1}, "b": {"seed": 2}})
    rows = [(row["run"], row["factor_teacher"], row["factor_seed"], row["request_id"]) for row in tables["rationales"]]
    assert rows == [*(("a", "big", "1", f"t{n}") for n in range(3)), *(("b", None, "2", f"t{n}") for n in range(3))]
    assert "run" not in exported({"a": folders["a"]}, tmp_path / "one")["exams"][0]


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    path, out = run(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "exams.jsonl").write_text("mine")
    with pytest.raises(ScenarioError, match=r"holds exams\.jsonl already, which no export wrote: name another folder"):
        exports.export({"run": path}, "jsonl", out, never)
    assert [file.name for file in out.iterdir()] == ["exams.jsonl"]
    assert (out / "exams.jsonl").read_text() == "mine"


def test_where_a_table_cannot_be_written_no_file_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Iterator[Any]:
        raise OSError("the disk is full")

    monkeypatch.setitem(export_rows.STORED, "exams", full)
    with pytest.raises(OSError, match="disk is full"):
        exports.export({"run": run(tmp_path)}, "csv", tmp_path / "out", never)
    assert list((tmp_path / "out").iterdir()) == []


def test_without_pyarrow_parquet_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ScenarioError, match=r'pip install -e "\.\[export\]"'):
        exports.export({"run": run(tmp_path)}, "parquet", tmp_path / "out", never)
    assert not (tmp_path / "out").exists()
