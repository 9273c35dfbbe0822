"""The gradebook of a class, class.db: one SQLite file that holds every result, and is the only truth about the class.

Rows are written in groups, each group in one transaction with synchronous=FULL: what was acknowledged survives a power
cut. A request has one row, however often its result arrives. schema.sql has the tables and views.
"""

import contextlib
import fcntl
import os
import shlex
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Self

import msgspec

from broker.errors import StoreError, database_in_words
from broker.files import open_lock, write_atomically
from scenarios.store import naming, problems, prompts
from scenarios.store.prompts import Chain
from scenarios.store.rows import COLUMNS, ClassEvent, Record, record_of_row
from scenarios.tasks.problems import Bank

SCHEMA_VERSION = 2

SCHEMA = Path(__file__).with_name("schema.sql").read_text("utf-8")
ADDED_COLUMNS = {
    ("result", "temperature"): ("REAL", "NULL"),
    ("result", "thought_tokens"): ("INTEGER NOT NULL DEFAULT 0", "0"),
    ("result", "prompt"): ("INTEGER", "NULL"),
    ("result", "behaviour"): ("TEXT NOT NULL DEFAULT ''", "''"),
    ("result", "hidden"): ("REAL", "NULL"),
    ("result", "failing"): ("TEXT NOT NULL DEFAULT ''", "''"),
    ("problem", "level"): ("TEXT NOT NULL DEFAULT ''", "''"),
    ("problem", "subject"): ("TEXT NOT NULL DEFAULT ''", "''"),
    ("problem", "program"): ("TEXT NOT NULL DEFAULT ''", "''"),
}
"""Columns that class.db of earlier versions lacks, by table: their type, and the SQL that is read in their place."""

LATEST_GRADE = "(SELECT value FROM grade WHERE seq = (SELECT max(seq) FROM grade g WHERE g.request_id = r.request_id))"
"""SQL for the latest grade of a row of `result r`. Joined to few rows, the view latest_grade is made of all grades."""
CACHE_KIB = 64 * 1024
CHECKPOINT_PAGES = 8000
"""Request ids are digests, so each row is on another page: keep pages in memory, and write them back less often."""


def _begin(path: Path) -> None:
    """Write a gradebook without rows. It is there with all its tables or not at all, whenever this process dies.

    Raises:
        OSError: it cannot be written.
    """
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.executescript(f"{SCHEMA} PRAGMA user_version={SCHEMA_VERSION};")
        try:
            write_atomically(path, db.serialize())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error


class Store:
    """The gradebook of one run, open for reading, or for reading and writing."""

    def __init__(self, folder: Path, *, write: bool = False) -> None:
        """Open `folder/class.db`. A writer creates it if it is missing; there is one writer at a time.

        Raises:
            StoreError: another process writes it, it is of another version, it is missing, or it is no gradebook.
        """
        self.path = folder / "class.db"
        self._lock: IO[str] | None = None
        self._ids: set[str] | None = None
        """The ids of all results, if this is the writer; None: another process may add some."""
        self._prompts = prompts.PromptWriter()
        if write:
            self._lock = open_lock(folder / "lock")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                watch = f"python run.py watch {shlex.quote(str(folder))}"
                raise StoreError(f"{folder}: another run.py is at work on this class; {watch} shows it") from None
        elif not self.path.is_file():
            raise StoreError(f"{folder} holds no class.db: is it the folder of a run?")
        try:
            self._db = self._open(write)
            if write:
                self._ids = {str(row[0]) for row in self._db.execute("SELECT request_id FROM result")}
            self._file = self.path.stat()
        except BaseException as error:
            if self._lock:
                self._lock.close()
            if isinstance(error, sqlite3.DatabaseError):
                raise StoreError(f"{self.path}: {database_in_words(error)}") from error
            raise

    def _open(self, write: bool) -> sqlite3.Connection:
        if write and not self.path.is_file():
            _begin(self.path)
        uri = f"{self.path.resolve().as_uri()}?mode={'rw' if write else 'ro'}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        db.execute(f"PRAGMA cache_size={-CACHE_KIB}")
        if write:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            db.close()
            if not version:
                raise StoreError(f"{self.path} is empty: its class did not begin. Remove it, then begin again")
            raise StoreError(
                f"{self.path} is a gradebook of version {version}; this program reads version {SCHEMA_VERSION}"
            )
        tables = {table for table, _ in ADDED_COLUMNS}
        known = {(table, row[1]) for table in tables for row in db.execute(f"PRAGMA table_info({table})")}
        self._missing = frozenset(ADDED_COLUMNS.keys() - known)
        if write and self._missing:
            added = " ".join(
                f"ALTER TABLE {table} ADD COLUMN {name} {ADDED_COLUMNS[table, name][0]};"
                for table, name in ADDED_COLUMNS
                if (table, name) in self._missing
            )
            db.executescript(f"BEGIN; {added} {SCHEMA} COMMIT;")
            self._missing = frozenset()
        columns = ", ".join(map(self.column, COLUMNS))
        self._select = f"SELECT {columns}, value FROM result r LEFT JOIN latest_grade USING(request_id)"  # noqa: S608 - our own names
        wanted = "WHERE r.request_id IN (SELECT value FROM json_each(?))"
        self._select_each = f"SELECT {columns}, {LATEST_GRADE} FROM result r {wanted}"  # noqa: S608 - our own names
        return db

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and give the lock back."""
        self._db.close()
        if self._lock:
            self._lock.close()

    @property
    def misplaced(self) -> str:
        """What happened to class.db since it was opened, if its path names another file or none; else empty."""
        if self._is_file(self.path):
            return ""
        if (now := self.folder) != self.path.parent:
            return f"{self.path.parent} was moved to {now} while the class ran"
        return f"{self.path} was removed, moved or replaced while the class ran"

    @property
    def folder(self) -> Path:
        """The run's folder: the new one if it was moved and the system tells where."""
        if not self._is_file(self.path) and self._lock and sys.platform == "linux":
            now = Path(os.readlink(f"/proc/self/fd/{self._lock.fileno()}")).parent
            if self._is_file(now / self.path.name):
                return now
        return self.path.parent

    def _is_file(self, path: Path) -> bool:
        try:
            return os.path.samestat(path.stat(), self._file)
        except OSError:
            return False

    def record(self, records: Sequence[Record], *, grader: str, version: str, chains: Iterable[Chain] = ()) -> int:
        """Commit results, their grades and prompts as one transaction; ids that are there already stay as they are.

        Returns:
            How many were new.

        Raises:
            sqlite3.OperationalError: the disk is full; nothing of this group was kept.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        values = ", ".join("?" * (len(COLUMNS) + 1))
        # Not OR IGNORE, which would also leave out a row that breaks another constraint.
        again = "ON CONFLICT(request_id) DO NOTHING"
        insert = f"INSERT INTO result({', '.join(COLUMNS)}, at) VALUES ({values}) {again}"  # noqa: S608 - our own names
        with self._transaction():
            before = self._db.total_changes
            self._db.executemany(insert, [(*msgspec.structs.astuple(r)[:-1], at) for r in records])
            new = self._db.total_changes - before
            self._db.executemany(
                "INSERT INTO grade(request_id, grader, version, value) VALUES (?, ?, ?, ?) "
                "ON CONFLICT(request_id, grader, version) DO NOTHING",
                [(r.request_id, grader, version, float(r.correct)) for r in records if r.correct is not None],
            )
            turns = self._prompts.write(self._db, chains)
        self._prompts.committed(turns)
        if self._ids is not None:
            self._ids.update(r.request_id for r in records)
        return new

    def keep_asked(self, rows: Iterable[tuple[str, str, int, int, str, str]]) -> None:
        """Record for what level 3 wants results: rows of request id, arm, run, round, agent, stage, each once."""
        with self._transaction():
            self._db.executemany("INSERT INTO asked VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)

    def name_first_twins(self) -> None:
        """Make every result about one of several identical TRs of a TP name the first of them by repeat.

        Until then it names the one that arrived first, which differs from run to run.
        """
        with self._transaction():
            naming.name_first_twins(self._db)

    def name_stages(self, stages: Mapping[str, str]) -> None:
        """Say what results are for now, by request id."""
        with self._transaction():
            naming.name_stages(self._db, stages)

    def note(self, agent: str, kind: str, detail: str = "") -> None:
        """Record an event."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._db.execute("INSERT INTO event(at, agent, kind, detail) VALUES (?, ?, ?, ?)", (at, agent, kind, detail))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE and COMMIT, or ROLLBACK where anything is raised."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def find(self, request_id: str) -> Record | None:
        """One result with its latest grade; None: it is not recorded."""
        return self.find_all((request_id,)).get(request_id)

    def find_all(self, request_ids: Iterable[str]) -> dict[str, Record]:
        """Results with their latest grades by request id; those that are not recorded are left out."""
        wanted = [id for id in request_ids if self._ids is None or id in self._ids]
        if not wanted:  # nearly always so for new requests
            return {}
        rows = self._db.execute(self._select_each, (msgspec.json.encode(wanted).decode(),))
        return {record.request_id: record for record in map(record_of_row, rows)}

    def results(self, where: str = "TRUE", *values: object) -> Iterator[Record]:
        """Results with their latest grades, ordered by id; `where` is SQL of this program, such as `tr = ?`."""
        for row in self._db.execute(f"{self._select} WHERE {where} ORDER BY r.request_id", values):
            yield record_of_row(row)

    def keep_bank(self, bank: Bank) -> None:
        """Record the problems of the class, or those that are new."""
        with self._transaction():
            problems.write(self._db, bank)

    def bank(self) -> Bank | None:
        """The problems as they were kept; None: there are none yet."""
        return problems.read(self._db, [self.column(name, "problem") for name in problems.COLUMNS])

    def keep_totals(self, totals: Mapping[str, int]) -> None:
        """Record how many requests each stage will have, as far as it is known."""
        with self._transaction():
            self._db.execute("DELETE FROM total")
            self._db.executemany("INSERT INTO total VALUES (?, ?)", sorted(totals.items()))

    def check_answerers(self, answerers: Mapping[str, str]) -> None:
        """Check who answers: by agent name, the digest that request ids are made of.

        Raises:
            StoreError: an agent with recorded answers was another answerer before; its answers would be mixed up.
        """
        answered = self.answered()
        before = {name: digest for name, digest in self.answerers().items() if name in answered}
        changed = sorted(name for name, digest in answerers.items() if before.get(name, digest) != digest)
        if changed:
            raise StoreError(
                f"{self.path.parent}: {', '.join(changed)} would answer otherwise than when this class began: "
                "other weights, engine or prompts.\n"
                "Start a new class (python run.py SCENARIO.yaml --set ...), or bring the earlier model back."
            )

    def keep_answerers(self, answerers: Mapping[str, str]) -> None:
        """Record who answers; see `check_answerers`, which is called first."""
        self.check_answerers(answerers)
        with self._transaction():
            self._db.executemany(
                "INSERT INTO answerer VALUES (?, ?) ON CONFLICT(agent) DO UPDATE SET digest = excluded.digest",
                sorted(answerers.items()),
            )

    def answerers(self) -> dict[str, str]:
        """The digests that request ids are made of, by agent name."""
        return {str(name): str(digest) for name, digest in self._db.execute("SELECT agent, digest FROM answerer")}

    def answered(self) -> frozenset[str]:
        """The agents with a recorded result, and those with the same answerer digest, which share it."""
        rows = self._db.execute(
            "SELECT agent FROM answerer WHERE digest IN "
            "(SELECT digest FROM answerer WHERE agent IN (SELECT agent FROM result))"
        )
        return frozenset(str(row[0]) for row in rows)

    def give_up_failed(self) -> int:
        """Mark every failed request to be asked again as a new repeat; returns how many."""
        failed = {row[0] for row in self._db.execute("SELECT request_id FROM result WHERE failed <> ''")}
        again = sorted(failed - self.given_up())
        with self._transaction():
            for request_id in again:
                self.note("", "retry", request_id)
        return len(again)

    def given_up(self) -> frozenset[str]:
        """Failed requests that were asked again."""
        return frozenset(event.detail for event in self.events(kinds=["retry"]))

    def text(self, request_id: str) -> str:
        """The text of a recorded result.

        Raises:
            KeyError: it is not there.
        """
        for (text,) in self._db.execute("SELECT text FROM result WHERE request_id = ?", (request_id,)):
            return str(text)
        raise KeyError(request_id)

    def completion_tokens(self) -> int:
        """Completion tokens of all results."""
        return int(next(self.rows("SELECT coalesce(sum(completion_tokens), 0) FROM result"))[0])

    def events(self, after: int = 0, kinds: Iterable[str] = ()) -> list[ClassEvent]:
        """Events with a larger number than `after`, oldest first."""
        rows = self._db.execute("SELECT seq, at, agent, kind, detail FROM event WHERE seq > ? ORDER BY seq", (after,))
        wanted = set(kinds)
        return [ClassEvent(*row) for row in rows if not wanted or row[3] in wanted]

    def column(self, name: str, table: str = "result") -> str:
        """SQL for a column of a table, even if class.db is of an earlier version that lacks it."""
        return ADDED_COLUMNS[table, name][1] if (table, name) in self._missing else name

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        """The rows of a read-only query, for the monitor and for reports."""
        return list(self.rows(sql, *values))

    def rows(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """The same one by one, of a result of any size."""
        return iter(self._db.execute(sql, values))
