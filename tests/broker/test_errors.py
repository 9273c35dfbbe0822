"""The tree of errors: one root, and nothing beside it but what never leaves a function's caller."""

import ast
import contextlib
import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from broker.errors import KEPT, LbtError, ModelError, in_words, is_damaged_database
from tests.classes import ROOT

BUILT_IN = {
    "Exception",
    "BaseException",
    "ValueError",
    "RuntimeError",
    "KeyError",
    "OSError",
    "LookupError",
    "TypeError",
}
CAUGHT_NEARBY = {"ControlInText", "TemplateFailed", "Postponed", "Endless", "Unusable", "WorkerGone"}
"""Each is raised and caught in one package and says nothing to a user."""


def classes_below(folder: str) -> dict[str, set[str]]:
    """The bases of each class in a package, by name."""
    found: dict[str, set[str]] = {}
    for path in Path(ROOT, folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name] = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    return found


@pytest.mark.parametrize("folder", ["agents", "broker", "scenarios"])
def test_every_error_has_the_one_root(folder: str) -> None:
    roots = {name for name, bases in classes_below(folder).items() if bases & BUILT_IN}
    assert roots - CAUGHT_NEARBY == ({"LbtError"} if folder == "broker" else set())


def test_an_error_says_its_agent_and_entry_until_the_scenario_names_the_line() -> None:
    assert str(ModelError("no such model", agent="ada", key=("model",))) == "ada: model: no such model"
    assert str(ModelError("is wrong", key=("students", 0, "gpu"))) == "students.0.gpu: is wrong"
    assert str(LbtError("plain")) == LbtError("plain").message == "plain"


def test_an_error_of_the_system_names_the_file_and_no_number() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Path("/no/such/file").read_text()
    assert in_words(caught.value) == "/no/such/file: No such file or directory"


def test_a_limit_of_the_system_is_reported_with_the_command_that_raises_it() -> None:
    assert in_words(OSError(errno.EMFILE, "Too many open files", "x")).splitlines() == [
        "x: Too many open files",
        "raise the limit of this shell: ulimit -n 4096",
    ]
    assert "ulimit -u" in in_words(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"))
    assert "ulimit -u" in in_words(RuntimeError("can't start new thread"))


def full(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA max_page_count = 2")
        db.execute("INSERT INTO one VALUES (?)", ("x" * 100_000,))


def read_only(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        db.execute("INSERT INTO one VALUES (1)")


def locked(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as first, contextlib.closing(sqlite3.connect(path, 0)) as second:
        first.execute("BEGIN EXCLUSIVE")
        second.execute("INSERT INTO one VALUES (1)")


def overwritten(path: Path) -> None:
    path.write_bytes(b"something else" * 1000)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("SELECT * FROM one")


def damaged(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("SELECT * FROM one").fetchall()


def failing(path: Path) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    raise error


@pytest.mark.parametrize(
    ("fault", "words", "kept"),
    [
        (full, "the disk is full", True),
        (read_only, "read-only", True),
        (locked, "another program keeps it locked", True),
        (overwritten, "another file was put in its place", False),
        (damaged, "it is damaged", False),
        (failing, "the disk fails", False),
    ],
)
def test_an_error_of_the_database_states_what_is_wrong_and_whether_anything_was_lost(
    fault: Callable[[Path], None], words: str, kept: bool, tmp_path: Path
) -> None:
    path = tmp_path / "class.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE one(value)")
        db.commit()
    with pytest.raises(sqlite3.Error) as caught:
        fault(path)
    said = in_words(caught.value)
    assert said.startswith("class.db: ") and words in said and str(caught.value) in said
    assert (KEPT in said) == kept


def test_text_that_is_not_utf8_is_damage_and_is_not_repeated() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as db, pytest.raises(sqlite3.Error) as caught:
        db.execute("SELECT CAST(x'ff' || zeroblob(1000) AS TEXT) AS answer").fetchall()
    said = in_words(caught.value)
    assert "it is damaged" in said and "column 'answer'" in said and len(said) < 200
    assert is_damaged_database(caught.value)
