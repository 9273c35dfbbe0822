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
from typing import IO, Any, Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live

from broker.interrupts import Interrupts
from scenarios.monitor.controls import Look, after, keys_in
from scenarios.monitor.frame import Frame
from scenarios.monitor.state import Snapshot
from scenarios.monitor.view import Sections, view

WHOLE = 40
"""Of so many frames one is drawn whole, since another program may have written over the picture; of the others only
the lines that changed."""


class Canvas(Protocol):
    """What the monitor draws on."""

    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot, unless it is shown already."""


def can_draw(console: Console) -> bool:
    """Whether the console has a screen to draw on."""
    return console.is_terminal and not console.is_dumb_terminal


class Keyboard:
    """Reads keys without Enter, where the terminal is this process's; Ctrl-C and Ctrl-Z remain signals."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._before: list[int | list[bytes | int]] | None = None
        """The terminal's settings as they were; None: they are not changed."""

    def take(self) -> None:
        """Let the terminal send each key at once. Does nothing where another process has the terminal."""
        if self._stream and self._before is None and in_foreground(self._stream):
            self._before = termios.tcgetattr(self._stream)
            tty.setcbreak(self._stream, termios.TCSADRAIN)

    def give_back(self) -> None:
        """Restore the terminal's settings. A shell that has the terminal has done so itself."""
        before, self._before = self._before, None
        if self._stream and before is not None and in_foreground(self._stream):
            termios.tcsetattr(self._stream, termios.TCSADRAIN, before)

    def pressed(self, seconds: float, wake: int) -> list[str]:
        """The keys that are pressed within so many seconds; also returns when something comes from `wake`."""
        if self._stream is None or self._before is None or not in_foreground(self._stream):
            select.select([wake], [], [], seconds)
            return []
        if termios.tcgetattr(self._stream)[3] & termios.ICANON:  # a shell had the terminal
            tty.setcbreak(self._stream, termios.TCSADRAIN)
        number = self._stream.fileno()
        ready, _, _ = select.select([number, wake], [], [], seconds)
        if number not in ready:
            return []
        # Not through the stream's buffer, which select does not see.
        if not (sent := os.read(number, 64)):
            self._stream = None  # the terminal is gone
        return keys_in(sent)


class LiveScreen:
    """The terminal's alternate screen and its keys: on every way out, what was there before is restored.

    What other code prints meanwhile is kept and printed at the end; on the screen it would be lost.

    Args:
        console: the terminal.
        hint: how to leave.
        keyboard: where keys come from; None: there are none.
        leave: the key that leaves, if there is one.
    """

    def __init__(self, console: Console, hint: str, keyboard: TextIO | None = None, leave: str = "") -> None:
        # A console that follows sys.stdout would write to the kept output.
        self._console = Console(file=console.file) if console.file in (sys.stdout, sys.stderr) else console
        self._keyboard = Keyboard(keyboard)
        self._hint = hint
        if keyboard is not None and keyboard.isatty():
            self._hint = f"? shows the keys · {hint}"
        self._leave = leave
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._look = Look()
        self._snapshot: Snapshot | None = None
        """What is shown, or stands still."""
        self._frame: Frame | None = None
        self._size: tuple[int, int] | None = None
        """Of the terminal, when the frame was drawn."""
        self._drawn = 0
        self._sections: Sections = {}
        self._ended = False
        self._wake, self._waker = -1, -1
        self._kept = contextlib.ExitStack()
        self._lock = threading.RLock()
        """Held while something is drawn, and while the shell takes or returns the terminal."""
        self._away = False
        """Whether the shell has the terminal, after Ctrl-Z."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._wake, self._waker = os.pipe()
            stack.callback(os.close, self._wake)
            stack.callback(os.close, self._waker)
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
            stack.callback(self._keyboard.give_back)
            Interrupts.on_alternate_screen = True
            self._keyboard.take()
            self._live.start()
            self._kept = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.close()

    def end(self) -> None:
        """Let `wait` return, now and from now on."""
        self._ended = True
        with contextlib.suppress(OSError):  # closed already
            os.write(self._waker, b".")

    def wait(self, seconds: float) -> bool:
        """Wait for so many seconds and do what the keys say; returns whether the picture has come to its end."""
        until = time.monotonic() + seconds
        while not self._ended and (left := until - time.monotonic()) > 0:
            keys = self._keyboard.pressed(left, self._wake)
            if self._leave in (key.lower() for key in keys):
                return True
            if keys and self._snapshot is not None:
                for key in keys:
                    self._look = after(self._look, key, len(self._snapshot.agents))
                self._show(self._snapshot)
        return self._ended

    def draw(self, snapshot: Snapshot) -> None:
        """Show the snapshot in the terminal's current size, unless it is shown already or the picture stands still."""
        if not self._look.paused or self._snapshot is None:
            self._snapshot = snapshot
        self._show(self._snapshot)

    def _show(self, snapshot: Snapshot) -> None:
        with self._lock:
            if self._away:
                if not in_foreground(self._console.file):
                    return
                self._away, self._frame = False, None
                self._keyboard.take()
                self._live.start()
            size = self._console.size
            frame = view(snapshot, *size, self._hint, self._sections, self._look)
            before, self._frame = self._frame, frame
            if before == frame and size == self._size:
                return
            self._drawn += 1
            same_places = before is not None and size == self._size and len(before.lines) == len(frame.lines)
            self._size = size
            if before is None or not same_places or self._drawn % WHOLE == 0:
                self._live.update(frame, refresh=True)
                return
            with self._console:  # one write for all lines
                for n, line in enumerate(frame.lines):
                    if line != before.lines[n]:
                        self._console.update_screen_lines([list(line)], y=n)

    def _suspend(self, number: int, _: object) -> None:
        """Ctrl-Z: restore the terminal, then stop. After `fg` the next drawing takes it again."""
        with self._lock:
            self._live.stop()
            self._keyboard.give_back()
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


def in_foreground(stream: IO[str]) -> bool:
    """Whether this process has the terminal; after `bg` it has not."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except OSError:  # no terminal of this session
        return True


def _print(stream: TextIO, kept: io.StringIO) -> None:
    stream.write(kept.getvalue())
    stream.flush()
