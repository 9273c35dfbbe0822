"""The terminal: its alternate screen, on which the monitor draws, and its keys."""

import contextlib
import io
import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live

from broker.interrupts import Interrupts
from scenarios.monitor.state import Snapshot
from scenarios.monitor.view import Frame, Sections, view


class Canvas(Protocol):
    """What the monitor draws on."""

    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot, unless it is shown already."""


def can_draw(console: Console) -> bool:
    """Whether the console has a screen to draw on."""
    return console.is_terminal and not console.is_dumb_terminal


class LiveScreen:
    """The terminal's alternate screen: on every way out, what was there before is restored.

    What other code prints meanwhile is kept and printed at the end; on the screen it would be lost.
    """

    def __init__(self, console: Console, hint: str) -> None:
        # A console that follows sys.stdout would write to the kept output.
        self._console = Console(file=console.file) if console.file in (sys.stdout, sys.stderr) else console
        self._hint = hint
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._frame: Frame | None = None
        self._sections: Sections = {}
        self._kept = contextlib.ExitStack()
        self._lock = threading.RLock()
        """Held while something is drawn, and while the shell takes or returns the terminal."""
        self._away = False
        """Whether the shell has the terminal, after Ctrl-Z."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for stream, redirect in (
                (sys.stdout, contextlib.redirect_stdout),
                (sys.stderr, contextlib.redirect_stderr),
            ):
                kept = io.StringIO()
                stack.callback(_print, stream, kept)
                stack.enter_context(redirect(kept))
            if _in_main_thread():
                stack.callback(_restore, signal.signal(signal.SIGTSTP, self._suspend))
            stack.callback(setattr, Interrupts, "on_alternate_screen", False)
            stack.callback(self._live.stop)
            Interrupts.on_alternate_screen = True
            self._live.start()
            self._kept = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot in the terminal's current size, unless it is shown already."""
        with self._lock:
            if self._away:
                if not _in_foreground(self._console):
                    return
                self._away, self._frame = False, None
                self._live.start()
            width, height = self._console.size
            frame = view(snapshot, width, height, self._hint, self._sections)
            if frame != self._frame:
                self._frame = frame
                self._live.update(frame, refresh=True)

    def _suspend(self, number: int, _: object) -> None:
        """Ctrl-Z: restore the terminal, then stop. After `fg` the next drawing takes it again."""
        with self._lock:
            self._live.stop()
            self._away = True
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._suspend)


def _in_main_thread() -> bool:
    """Whether this is the thread in which Python allows signal handlers."""
    return threading.current_thread() is threading.main_thread()


def _restore(handler: Any) -> None:
    """Restore the handler of Ctrl-Z. If another thread closes the screen, its handler remains and only stops."""
    if _in_main_thread():
        signal.signal(signal.SIGTSTP, handler)


def _in_foreground(console: Console) -> bool:
    """Whether this process has the terminal; after `bg` it has not."""
    try:
        return os.tcgetpgrp(console.file.fileno()) == os.getpgrp()
    except OSError:  # no terminal of this session
        return True


def _print(stream: TextIO, kept: io.StringIO) -> None:
    stream.write(kept.getvalue())
    stream.flush()


class Keys:
    """Reads q without waiting for Enter; at the end it restores the terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._before: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._before = termios.tcgetattr(self._stream)
            tty.setcbreak(self._stream)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            termios.tcsetattr(self._stream, termios.TCSADRAIN, self._before)

    def quit_within(self, seconds: float) -> bool:
        """Wait for so many seconds; returns whether q was pressed."""
        if self._before is None:
            time.sleep(seconds)
            return False
        if termios.tcgetattr(self._stream)[3] & termios.ICANON:  # a shell had the terminal, after Ctrl-Z
            tty.setcbreak(self._stream)
        ready, _, _ = select.select([self._stream], [], [], seconds)
        # Not through the stream's buffer, which select does not see.
        pressed = os.read(self._stream.fileno(), 64) if ready else b"-"
        return not pressed or b"q" in pressed.lower()
