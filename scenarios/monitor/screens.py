"""Where a monitor shows what it knows: the terminal's alternate screen, or plain lines; and the keys of the terminal.

How a class looks is scenarios/monitor/view.py. Nothing here reads a gradebook.
"""

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
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import IO, Any, Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live

from broker.interrupts import Interrupts
from scenarios.monitor.state import EventRow, Snapshot, TeacherRow, TrainingRow
from scenarios.monitor.texts import duration, roughly
from scenarios.monitor.view import Frame, Sections, task, view
from scenarios.report.formatting import harmless, many, percent

UNSAID = frozenset({"started", "session", "ready", "progress"})
"""Events that have no line of their own in plain mode."""
LAST = frozenset({"finished", "left"})
"""Events of the end of a class."""


class Canvas(Protocol):
    """A place to draw on."""

    def draw(self, snapshot: Snapshot) -> None:
        """Show this, unless it shows already."""


def draws(console: Console) -> bool:
    """Whether a screen can be drawn there."""
    return console.is_terminal and not console.is_dumb_terminal


class LiveScreen:
    """The terminal's alternate screen: what stood there before comes back at the end, on every way out.

    What others print meanwhile is kept, and printed then: on the screen it would be overdrawn, and lost with it.
    """

    def __init__(self, console: Console, hint: str) -> None:
        # One that follows sys.stdout would write to where that is kept.
        self._console = Console(file=console.file) if console.file in (sys.stdout, sys.stderr) else console
        self._hint = hint
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        self._frame: Frame | None = None
        self._sections: Sections = {}
        self._kept = contextlib.ExitStack()
        self._lock = threading.RLock()
        """Held while something is drawn, and while the terminal changes hands."""
        self._away = False
        """Whether the shell has the terminal, after Ctrl-Z."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            for stream, redirect in (
                (sys.stdout, contextlib.redirect_stdout),
                (sys.stderr, contextlib.redirect_stderr),
            ):
                kept = io.StringIO()
                stack.callback(_tell, stream, kept)
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
        """Show this, unless it shows already. The terminal's size is asked each time."""
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
        """Ctrl-Z: give the terminal back as it was, then stop. After `fg` the next drawing takes it again."""
        with self._lock:
            self._live.stop()
            self._away = True
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._suspend)


def _in_main_thread() -> bool:
    """Where alone Python lets signals be handled."""
    return threading.current_thread() is threading.main_thread()


def _restore(handler: Any) -> None:
    """What Ctrl-Z did before. A screen that another thread closes keeps its handler, which then only stops."""
    if _in_main_thread():
        signal.signal(signal.SIGTSTP, handler)


def _in_foreground(console: Console) -> bool:
    """Whether the terminal's keys go to this process: not after `bg`."""
    try:
        return os.tcgetpgrp(console.file.fileno()) == os.getpgrp()
    except OSError:  # no terminal of this session
        return True


def _tell(stream: TextIO, kept: io.StringIO) -> None:
    stream.write(kept.getvalue())
    stream.flush()


class PlainLines:
    """A line per event and quarter of a stage, where there is no terminal."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._begun = False
        self._seq = 0
        self._quarters: dict[str, int] = {}
        self._measured: set[str] = set()
        self._states: dict[str, str] = {}
        self._failures = Counter[tuple[str, str]]()
        """By agent and reason."""

    def draw(self, snapshot: Snapshot) -> None:
        """Print what is new since the last time."""
        for line in self.lines(snapshot):
            print(f"{duration(snapshot.elapsed_s):>7}  {harmless(line)}", file=self._stream, flush=True)

    def lines(self, snapshot: Snapshot) -> list[str]:
        """What is new since the last time."""
        lines = [] if self._begun else self._beginning(snapshot)
        self._begun = True
        fresh = [event for event in snapshot.events if event.seq > self._seq and event.kind not in UNSAID]
        self._seq = snapshot.events[-1].seq if snapshot.events else 0
        # What was seen at one look came in no known order, but a class ends after its last result.
        end = next((n for n, event in enumerate(fresh) if event.kind in LAST), len(fresh))
        lines += self._told(fresh[:end]) + self._loading(snapshot)
        lines += self._stages(snapshot) + self._learning(snapshot)
        if end < len(fresh) or snapshot.over:
            lines += [f"{agent} failed {n} times: {reason}" for (agent, reason), n in self._failures.items() if n > 1]
            self._failures.clear()
        return lines + self._told(fresh[end:])

    def _told(self, fresh: Sequence[EventRow]) -> list[str]:
        """A line per event; of failures for the same reason only the first has one, and the end tells their number."""
        lines = []
        for event in fresh:
            if event.kind == "failed":
                alike = event.agent, event.detail.partition(" ")[2]  # without the request's id
                self._failures[alike] += 1
                if self._failures[alike] > 1:
                    continue
            lines.append(_said(event))
        return lines

    def _loading(self, snapshot: Snapshot) -> list[str]:
        """Who begins to load its model, and who has done so."""
        lines = []
        for agent in snapshot.agents:
            before = self._states.get(agent.name)
            self._states[agent.name] = agent.state
            if agent.engine == "simulated":
                continue
            if agent.state == "loading" and before != "loading":
                lines.append(f"{agent.name} is loading its model")
            elif agent.state == "ready" and before == "loading":
                lines.append(f"{agent.name} is ready")
        return lines

    def _stages(self, snapshot: Snapshot) -> list[str]:
        lines = []
        for stage in snapshot.stages:
            quarter = stage.done * 4 // stage.total
            if quarter > self._quarters.get(stage.name, 0):
                self._quarters[stage.name] = quarter
                left_s = snapshot.left_s if stage.left_s is None else stage.left_s
                left = f", about {roughly(left_s)} left" if left_s and quarter < 4 else ""
                spent = f", spent {snapshot.spent}" if snapshot.spent else ""
                failed = f", {snapshot.failed:,} failed" if snapshot.failed else ""
                lines.append(f"{stage.name} {stage.percent} % ({stage.done:,} of {stage.total:,}){left}{spent}{failed}")
        return lines

    def _learning(self, snapshot: Snapshot) -> list[str]:
        """A line at the beginning and per quarter of a training, and per teacher that is measured."""
        lines = []
        for row in snapshot.learning.trainings:
            name = f"round {row.round}: training of {', '.join(row.arms)}"
            quarter = row.step * 4 // row.steps if row.steps else 0
            if row.steps and not row.step and name not in self._quarters:
                self._quarters[name] = 0
                lines.append(f"{name} begins: {many(row.pairs, 'pair')} in {many(row.steps, 'step')}")
            if quarter > self._quarters.get(name, 0):
                self._quarters[name] = quarter
                done = 100 * row.step // row.steps
                lines.append(f"{name} {done} % (step {row.step:,} of {row.steps:,}){_figures(row)}")
        for teacher in snapshot.learning.teachers:
            name = f"round {teacher.round}: {teacher.name}"
            if teacher.problems == teacher.of and name not in self._measured:
                self._measured.add(name)
                lines.append(f"{name}{_shares(teacher)} of {many(teacher.of, 'held-out problem')}")
        return lines

    def _beginning(self, snapshot: Snapshot) -> list[str]:
        numbers = ", ".join(map(str, snapshot.course))
        level = f"levels {numbers}" if numbers else f"level {snapshot.level}"
        lines = [f"{snapshot.scenario}, {level}: {task(snapshot, ', ')}"]
        if snapshot.simulated:
            lines.append(f"simulated, no language model: {', '.join(snapshot.simulated)}")
        begun = [event.seq for event in snapshot.events if event.kind == "started"]
        if snapshot.over and snapshot.events:
            # An earlier session's last word; this one has said nothing yet.
            self._seq = snapshot.events[-1].seq
        elif begun:
            self._seq = begun[-1]
        if any(stage.done for stage in snapshot.stages):
            lines.append("so far: " + ", ".join(f"{s.name} {s.done:,} of {s.total:,}" for s in snapshot.stages))
            self._quarters = {stage.name: stage.done * 4 // stage.total for stage in snapshot.stages}
            self._learning(snapshot)  # that is so far, too
        return lines


def _said(event: EventRow) -> str:
    return " ".join(part for part in (event.agent, event.kind, event.detail) if part)


def _figures(row: TrainingRow) -> str:
    """How a training goes on."""
    figures = [f"loss {row.losses[-1]:.3f}"] if row.losses else []
    figures += [f"reward margin {row.margin:+.3f}"] if row.margin is not None else []
    figures += [f"chosen preferred {percent(row.accuracy, 0)}"] if row.accuracy is not None else []
    figures += [f"about {roughly(row.left_s)} left"] if row.left_s else []
    return "".join(f", {figure}" for figure in figures)


def _shares(row: TeacherRow) -> str:
    """How often a teacher is right."""
    shares = (("greedy", row.greedy), ("sampled", row.sampled))
    return ",".join(f" {name} {percent(share)} right" for name, share in shares if share is not None)


class Keys:
    """Listens for q without waiting for Enter, and leaves the terminal as it was."""

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
        """Wait so long; whether q was pressed."""
        if self._before is None:
            time.sleep(seconds)
            return False
        if termios.tcgetattr(self._stream)[3] & termios.ICANON:  # a shell had the terminal, after Ctrl-Z
            tty.setcbreak(self._stream)
        ready, _, _ = select.select([self._stream], [], [], seconds)
        # Past the stream's own buffer, which select does not see.
        pressed = os.read(self._stream.fileno(), 64) if ready else b"-"
        return not pressed or b"q" in pressed.lower()
