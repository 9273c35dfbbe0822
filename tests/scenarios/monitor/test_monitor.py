import io
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from broker.errors import StoreError
from broker.protocol import Gauges
from scenarios.monitor import monitor as monitors
from scenarios.monitor.monitor import Monitor, watch
from scenarios.monitor.reader import Reader
from scenarios.monitor.state import Snapshot
from scenarios.session.running import is_running
from scenarios.store.sqlite import Store
from tests.scenarios.monitor.monitored import (
    Source,
    Tty,
    begin,
    exams,
    half,
    record,
    scenario,
    terminal,
    tr,
    whole,
    written,
)

ENTER, LEAVE, SHOW_CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path, write=True) as store:
        yield store


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of the monitor looks and draws, however long drawing takes on a busy machine."""
    monkeypatch.setattr(monitors, "FRAME_S", 0.0)
    monkeypatch.setattr(monitors, "SHARE", float("inf"))
    monkeypatch.setattr(monitors, "DRAWING_SHARE", float("inf"))
    monkeypatch.setattr(monitors, "PROBE_S", 0.0)


class Script:
    """A subscriber that does something each time it is asked; a factory of itself."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self._acts = list(acts)
        self.exhausted = threading.Event()

    def latest(self) -> Gauges | None:
        if self._acts:
            self._acts.pop(0)()
        else:
            self.exhausted.set()
        return None

    def __call__(self) -> AbstractContextManager["Script"]:
        return nullcontext(self)


# --- plain ----------------------------------------------------------------------------------------------


def test_plain_lines_tell_the_beginning_the_quarters_and_the_events(store: Store, tmp_path: Path) -> None:
    described, out = scenario(), io.StringIO()
    begin(store, described)
    source = Script(
        lambda: None,
        lambda: record(store, *(tr(tp, 0, stage="greedy") for tp in ("tp1", "tp2")), tr("tp1", 0), tr("tp1", 1)),
        lambda: record(store, exams("tp1", 0), exams("tp1", 1)),
        lambda: store.note("bob", "lost", "silent\n\x1b[2J"),
        lambda: store.note("bob", "ready"),
        lambda: None,
    )
    with Monitor(tmp_path, described, source, "plain", stream=out):
        assert source.exhausted.wait(600)
        store.note("ada", "failed", "0123456789abcdef0123456789abcdef engine: broken")
    lines = [re.sub(r"^ +[\d:]+  ", "", line) for line in out.getvalue().splitlines()]
    assert lines[:4] == [
        "small, level 1: gsm_symbolic, 2 TPs",
        "teacher joined qwen transformers cpu (1 core)",
        "ada joined qwen transformers cpu (1 core)",
        "bob joined smollm transformers cpu (1 core)",
    ]
    assert [line.partition(",")[0] for line in lines[4:]] == [
        "greedy 100 % (2 of 2)",
        "teach 33 % (2 of 6)",
        "exam 33 % (8 of 24)",
        "bob lost silent ",
        "ada failed 01234567… engine: broken",
    ]


def test_live_without_a_terminal_is_plain(store: Store, tmp_path: Path) -> None:
    out, lines = io.StringIO(), io.StringIO()
    with Monitor(tmp_path, scenario(), Source(), "live", console=Console(file=out), stream=lines) as monitor:
        assert monitor.mode == "plain"
    assert not out.getvalue()
    assert "small, level 1" in lines.getvalue()


def test_off_shows_and_starts_nothing(store: Store, tmp_path: Path) -> None:
    console, lines = terminal(), io.StringIO()
    threads = threading.active_count()
    with Monitor(tmp_path, scenario(), Source(), "off", console=console, stream=lines):
        assert threading.active_count() == threads
    assert written(console) == lines.getvalue() == ""


# --- live -----------------------------------------------------------------------------------------------


def test_a_live_class_is_drawn_and_the_terminal_is_left_as_it_was(store: Store, tmp_path: Path) -> None:
    half(store, scenario())
    console, source = terminal(), Script(lambda: None)
    with Monitor(tmp_path, scenario(), source, console=console):
        assert source.exhausted.wait(600)
    text = written(console)
    assert text.startswith(ENTER)
    assert "gradebook" in text
    assert text.index(LEAVE) > text.index("gradebook")
    assert SHOW_CURSOR in text
    assert not text[text.index(LEAVE) + len(LEAVE) :].strip()


def test_ctrl_c_goes_through_and_leaves_the_terminal_clean(store: Store, tmp_path: Path) -> None:
    console = terminal()
    with pytest.raises(KeyboardInterrupt), Monitor(tmp_path, scenario(), Source(), console=console):
        raise KeyboardInterrupt
    assert written(console).endswith((LEAVE, LEAVE + SHOW_CURSOR))
    assert not any(thread.name == "monitor" for thread in threading.enumerate())


def test_what_others_print_meanwhile_comes_after_the_screen_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    out = Tty()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    # A console that follows sys.stdout, as the command line's own does.
    with Monitor(tmp_path, scenario(), Source()) as monitor:
        assert monitor.mode == "live"
        print("a warning from elsewhere", file=sys.stderr)
        print("an answer from elsewhere")
    text = out.getvalue()
    assert text.index(ENTER) < text.index(LEAVE) < text.index("a warning from elsewhere")
    assert text.count("an answer from elsewhere") == 1
    assert sys.stdout is out


@pytest.mark.parametrize("mode", ["live", "plain"])
def test_a_monitor_that_breaks_is_reported_and_the_class_goes_on(
    store: Store, tmp_path: Path, mode: monitors.Mode
) -> None:
    def broken() -> None:
        raise RuntimeError("gauges of \x1b[2J another kind")

    console, lines, done = terminal(), io.StringIO(), []
    with Monitor(tmp_path, scenario(), Script(broken), mode, console=console, stream=lines):
        done.append("class")
    assert done == ["class"]
    assert "the monitor stopped early (RuntimeError: gauges of  another kind)" in lines.getvalue()
    log = (tmp_path / "logs" / "monitor.log").read_text()
    assert "another kind" in log and "\x1b" not in log
    if mode == "live":
        assert LEAVE in written(console)


def test_a_folder_without_a_gradebook_ends_the_monitor_alone(tmp_path: Path) -> None:
    lines = io.StringIO()
    with Monitor(tmp_path, scenario(), Source(), "plain", stream=lines):
        pass
    assert "holds no class.db" in lines.getvalue()


# --- watching -------------------------------------------------------------------------------------------


def test_a_class_runs_while_somebody_holds_its_lock(tmp_path: Path) -> None:
    assert not is_running(tmp_path)
    with Store(tmp_path, write=True):
        assert is_running(tmp_path)
        assert is_running(tmp_path)
    assert not is_running(tmp_path)
    with Store(tmp_path, write=True):
        pass


def test_watching_a_finished_class_draws_it_once_and_asks_no_broker(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        whole(store, scenario("simulated"))
    console = terminal()
    assert watch(tmp_path, scenario("simulated"), lambda: pytest.fail("asked"), console=console) == "complete"
    text = written(console)
    assert ENTER not in text
    for fact in ("● complete", "simulated: no language model", "tp1", "tp2", "24 / 24"):
        assert text.count(fact) == 1


def test_watching_a_killed_class_says_that_it_was_interrupted(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        half(store, scenario())
    console = Console(file=io.StringIO(), width=100)
    assert watch(tmp_path, scenario(), Source(), console=console) == "interrupted"
    assert "interrupted" in written(console)
    assert "\x1b" not in written(console)


def test_watching_a_running_class_lasts_until_it_ends_and_then_shows_the_end(store: Store, tmp_path: Path) -> None:
    described = scenario()
    half(store, described)

    def end() -> None:
        store.note("", "complete")
        store.close()

    console = terminal()
    assert watch(tmp_path, described, Script(lambda: None, lambda: None, end), console=console) == "complete"
    text = written(console)
    assert "running" in text[text.index(ENTER) : text.index(LEAVE)]
    assert "complete" in text[text.index(LEAVE) :]


def test_watching_without_a_terminal_prints_lines(store: Store, tmp_path: Path) -> None:
    half(store, scenario())
    console = Console(file=io.StringIO(), width=100)
    watch(tmp_path, scenario(), Script(lambda: None, store.close), console=console)
    assert "so far: greedy 1 of 2, teach 4 of 6, exam 13 of 24" in written(console)


def test_there_must_be_something_to_watch(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no class\.db"):
        watch(tmp_path, scenario(), Source(), console=terminal())


# --- reading and writing at once ------------------------------------------------------------------------


def test_reading_does_not_write(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        half(store, scenario())
    before = (tmp_path / "class.db").read_bytes()
    with Store(tmp_path) as eyes:
        reader = Reader(eyes, scenario())
        reader.catch_up()
        shown: Snapshot = reader.snapshot(None, now=datetime.now(UTC), clock=0.0, running=False)
    assert shown.lessons
    assert (tmp_path / "class.db").read_bytes() == before


def test_a_finished_class_leaves_room_for_the_command_and_the_prompt_and_pads_no_line(tmp_path: Path) -> None:
    with Store(tmp_path, write=True) as store:
        whole(store, scenario())
    console = terminal(100, 30)
    watch(tmp_path, scenario(), Source(), console=console)
    assert len(written(console).splitlines()) <= 30 - 2
    out = io.StringIO()
    watch(tmp_path, scenario(), Source(), console=Console(file=out, width=100))
    assert out.getvalue() and not [line for line in out.getvalue().splitlines() if line != line.rstrip()]
