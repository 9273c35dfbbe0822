"""The live monitor at a real terminal: keys while a class runs, and the terminal as it was before on every way out."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import classes
from tests.classes import ROOT, SMOKE, WAIT_S, sets

ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
SLOW = sets(*(f"{who}.engine_args.tokens_per_second=1" for who in ("teacher", "students.*")), "limits.stalled_s=3600")


class Terminal:
    """A pseudo-terminal of 100 x 30 with a program in it."""

    def __init__(self, *words: str | Path) -> None:
        self._ours, self._theirs = pty.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.settings = termios.tcgetattr(self._theirs)
        self.said = ""
        self.process = subprocess.Popen(
            [sys.executable, "run.py", *map(str, words)],
            cwd=ROOT,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env={**os.environ, "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def close(self) -> None:
        """End what still runs."""
        self.process.kill()
        self.process.wait(WAIT_S)
        os.close(self._ours)
        os.close(self._theirs)

    def press(self, keys: str, then: str) -> None:
        """Press keys, and wait until the program has written what matches `then` since."""
        before = len(self.said)
        self.send(keys)
        self.read_until(then, before)

    def read_until(self, text: str, since: int = 0) -> None:
        """Read until the program has written what matches `text`; fails where it ends before."""
        until = time.monotonic() + WAIT_S
        while not re.search(text, re.sub(r"\x1b\[[0-9;]*m", "", self.said[since:])):
            ended = self.process.poll() is not None
            if not self._read() and (ended or time.monotonic() > until):
                raise AssertionError(f"{text!r} did not come: {self.said[since:][-1500:]!r}")

    def end(self, interrupt: Callable[[], None]) -> int:
        """Interrupt the class, and once more where it finishes what is under way; returns the exit code."""
        before = len(self.said)
        interrupt()
        while self._read() or self.process.poll() is None:
            if "draining" in self.said[before:]:
                interrupt()
                return self.read_to_the_end()
        return self.process.returncode

    def read_to_the_end(self) -> int:
        """Read until the program has ended; returns its exit code."""
        while self._read() or self.process.poll() is None:
            pass
        return self.process.returncode

    def _read(self) -> bool:
        """Read what comes within a moment; returns whether there was something."""
        ready, _, _ = select.select([self._ours], [], [], 0.1)
        if ready:
            self.said += os.read(self._ours, 65536).decode(errors="replace")
        return bool(ready)

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    @property
    def left(self) -> bool:
        """Whether the alternate screen was left, and the cursor shown."""
        return self.said.rindex(LEAVE) > self.said.rindex(ENTER) and (
            self.said.rindex(SHOW_CURSOR) > self.said.rindex(HIDE_CURSOR)
        )

    @property
    def now(self) -> list[Any]:
        """The settings of the terminal."""
        return termios.tcgetattr(self._theirs)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """A class that takes very long."""
    terminal = Terminal(SMOKE, "--out", tmp_path / "run", *SLOW)
    try:
        terminal.read_until("shows the keys")
        yield terminal
    finally:
        terminal.close()


def test_keys_choose_what_is_shown_and_ctrl_c_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    assert terminal.now != terminal.settings
    terminal.press("?", "any key leaves this")
    terminal.press("x", "── agents ──")
    terminal.press("n", "▸ +teacher")
    terminal.press("\x1b[C", "▸ +weak")
    terminal.press(" ", "picture paused")
    terminal.press("q ", "elapsed")
    assert terminal.process.poll() is None, "q leaves `watch` only"
    assert terminal.end(lambda: terminal.send("\x03")) == 130
    assert terminal.now == terminal.settings
    assert terminal.left


def test_sigterm_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    assert terminal.end(lambda: terminal.process.send_signal(signal.SIGTERM)) == 130
    assert terminal.now == terminal.settings
    assert terminal.left


def test_a_study_shows_its_classes_above_the_one_that_runs_and_so_does_watch(tmp_path: Path) -> None:
    slow = sets("set={task.problems: 2, lesson.rationales: 2, teacher.engine_args.tokens_per_second: 1}")
    study = Terminal("study", "scenarios/studies/smoke.yaml", "--out", tmp_path / "study", *slow)
    watching = None
    try:
        study.read_until("the study's classes")
        study.read_until(r"1 +-1.0 +1 +running")
        watching = Terminal("watch", tmp_path / "study")
        watching.read_until(r"4 +0.0 +2 +to come")
        watching.send("q")
        assert watching.read_to_the_end() == 0
        assert study.end(lambda: study.send("\x03")) == 130
    finally:
        study.close()
        if watching:
            watching.close()
    said = classes.say("watch", tmp_path / "study")
    assert "interrupted" in said and "No class of this study runs now" in said


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("\x03", 130)])
def test_watching_ends_with_q_or_ctrl_c_and_leaves_the_class_alone(
    key: str, code: int, terminal: Terminal, tmp_path: Path
) -> None:
    watching = Terminal("watch", tmp_path / "run")
    try:
        watching.read_until("q leaves; the class goes on")
        watching.send(key)
        assert watching.read_to_the_end() == code
        assert watching.now == watching.settings
        assert watching.left
        assert "Interrupted" not in watching.said, "the class is not"
    finally:
        watching.close()
    assert terminal.process.poll() is None
