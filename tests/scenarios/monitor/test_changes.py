"""The monitor shows what `ctl` changed: pauses, dropped students, a budget."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scenarios.monitor.plain import PlainLines
from scenarios.monitor.reader import Reader
from scenarios.monitor.state import Snapshot
from scenarios.monitor.view import view
from scenarios.store.changes import changes_from
from scenarios.store.rows import ClassEvent
from scenarios.store.sqlite import Store
from tests.scenarios.monitor.monitored import begin, exams, gauges, half, picture, record, scenario, tr


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, write=True) as store:
        yield store


@pytest.mark.parametrize(
    ("events", "status", "pauses"),
    [
        (["paused"], "paused", 1),
        (["paused", "joined"], "paused", 1),
        (["paused", "waiting"], "paused", 1),
        (["paused", "resumed"], "running", 1),
        (["paused", "resumed", "paused"], "paused", 2),
        (["paused", "drain"], "draining", 1),
        (["paused", "drain", "resumed", "stopped"], "stopped", 1),
    ],
)
def test_the_status_follows_pauses(store: Store, tmp_path: Path, events: list[str], status: str, pauses: int) -> None:
    begin(store, scenario())
    for kind in events:
        store.note("ada" if kind == "joined" else "", kind, "2.5" if kind == "resumed" else "")
    snapshot = picture(tmp_path, scenario(), gauges())
    assert (snapshot.status, snapshot.changes.pauses) == (status, pauses)
    assert snapshot.left_s is None or status == "running"


def test_a_paused_class_says_how_long_and_the_time_left_does_not_grow(store: Store) -> None:
    half(store, scenario())
    reader = Reader(store, scenario())
    start = datetime.now(UTC)

    def look(seconds: float) -> Snapshot:
        reader.catch_up()
        return reader.snapshot(gauges(), now=start + timedelta(seconds=seconds), clock=seconds, running=True)

    look(0)
    record(store, tr("tp2", 1, answer="5", right=False), exams("tp2", 0, "", "-"))
    look(10)
    store.note("", "paused")
    start = datetime.fromisoformat(store.events()[-1].at) - timedelta(seconds=10)
    assert look(100).paused_s == 90
    record(store, exams("tp2", 1, "+", "-"))  # it was under way
    assert "paused 1:" in view(look(101), 80, 30).text
    store.note("", "resumed", "90.0")
    found = look(102)
    assert (found.changes.paused, found.paused_s) == (False, 90)
    assert "paused 1:30" in view(found, 80, 30).text


def test_a_dropped_student_is_part_of_no_total(store: Store, tmp_path: Path) -> None:
    described = scenario()
    half(store, described)
    with Store(tmp_path) as read:
        follows = Reader(read, described)
        follows.catch_up()
        store.note("bob", "dropped")
        record(store, tr("tp2", 1, answer="5", right=False), exams("tp2", 1, "+-", ""))
        follows.catch_up()
        now = datetime.now(UTC)
        seen = follows.snapshot(gauges(), now=now, clock=0, running=True)
        fresh = Reader(read, described)
        fresh.catch_up()
        assert fresh.snapshot(gauges(), now=now, clock=0, running=True) == seen
    stage = {row.name: (row.done, row.total) for row in seen.stages}["exam"]
    # TP 1: 12 of 12. TP 2: 2 of 2 for its first two TRs each, ada's one to come included, and 2 and 2 for the last TR.
    assert stage == (12 + 1 + 2, 12 + 2 + 2 + 4)
    assert seen.changes.not_asked == {"bob": 4}
    assert {row.tp: row.exams_total for row in seen.lessons} == {"tp1": 12, "tp2": 8}
    assert {agent.name: agent.state for agent in seen.agents}["bob"] == "dropped"


def test_the_header_and_the_lines_say_the_budget(store: Store, tmp_path: Path) -> None:
    half(store, scenario())
    store.note("", "budget", "5000")
    store.note("bob", "dropped")
    snapshot = picture(tmp_path, scenario(), gauges())
    assert f"{snapshot.tokens:,} of 5,000 tokens" in view(snapshot, 100, 30).text
    said = PlainLines(io.StringIO()).lines(snapshot)
    assert "budget 5,000 completion tokens" in said
    assert "bob dropped" in said


def test_an_event_that_cannot_be_read_breaks_no_picture(store: Store, tmp_path: Path) -> None:
    half(store, scenario())
    for kind in ("paused", "resumed", "budget", "dropped"):
        store.note("", kind, "x")
    snapshot = picture(tmp_path, scenario())
    assert (snapshot.changes.paused_seconds, snapshot.changes.budget) == (0, None)


def test_a_pause_of_a_killed_session_is_over_when_the_next_begins() -> None:
    kinds = ["started", "paused", "started"]
    found = changes_from(ClassEvent(seq, "2030-01-01T00:00:00+00:00", "", kind, "") for seq, kind in enumerate(kinds))
    assert (found.paused, found.pauses) == (False, 1)
