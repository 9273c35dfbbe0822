"""The live monitor: `Monitor` shows a class that runs in this process, `watch` one from another terminal.

It reads the gradebook and the broker's gauges and writes nothing. The more a look costs, the less often it looks, so
that a large class does not pay for being watched. Whatever goes wrong here, the class goes on.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from broker.printable import printable_traceback
from broker.protocol import Gauges
from scenarios.config.schema import Scenario
from scenarios.monitor.plain import PlainLines
from scenarios.monitor.reader import Reader
from scenarios.monitor.state import StudyState
from scenarios.monitor.terminal import Canvas, LiveScreen, can_draw
from scenarios.monitor.view import view
from scenarios.report.formatting import harmless
from scenarios.report.layout import Trimmed
from scenarios.report.spend import spent_in
from scenarios.session.running import is_running
from scenarios.store.sqlite import Store

Mode = Literal["live", "plain", "off"]

FRAME_S, SLOW_FRAME_S = 0.25, 1.0
"""Seconds between two frames: at least, and at most."""
SHARE, DRAWING_SHARE = 0.02, 0.05
"""The share of one core that a look at the gradebook may take in the long run, and drawing."""
PROBE_S = 2.0
"""Seconds after which `watch` checks again whether the class runs."""
JOIN_S = 10.0
"""Seconds that the end of a class waits for the monitor."""
LINES = 40
"""Lines of the final picture without a terminal."""


class GaugeSource(Protocol):
    """The broker's subscriber."""

    def latest(self) -> Gauges | None:
        """The newest gauges that were not read yet, or None. Does not wait."""


Subscribe = Callable[[], AbstractContextManager[GaugeSource]]


class _Loop:
    """Looks and draws, one step at a time."""

    def __init__(self, reader: Reader, source: GaugeSource, canvas: Canvas) -> None:
        self._reader = reader
        self._source = source
        self._gauges: Gauges | None = None
        self._canvas = canvas
        self._next_look = self._next_sum = self._next_frame = 0.0
        self._loaded = False
        """Whether scipy is loaded."""
        self._begun = False
        """Whether everything recorded at first is read: that is paid once and does not slow down later looks."""

    def step(self, *, at_once: bool = False) -> float:
        """Look, if it is time to, and draw.

        Returns:
            Seconds to wait before the next step.
        """
        reader, clock = self._reader, time.monotonic()
        if at_once or clock >= self._next_look or reader.behind:
            cost = _seconds(reader.look)
            self._next_look = (max(clock, self._next_look) if self._begun else clock) + cost / SHARE
            self._begun = self._begun or not reader.behind
        if clock >= self._next_sum and not reader.behind:
            cost = _seconds(reader.sum_up)
            self._next_sum = clock + cost / SHARE
            if reader.results_known and not self._loaded:
                import_module("scipy.stats")  # for intervals: paid once, and no reason to sum up less often
                self._loaded, self._next_sum = True, clock
        self._gauges = self._source.latest() or self._gauges
        if at_once or clock >= self._next_frame:
            self._next_frame = clock + min(max(FRAME_S, _seconds(self._draw) / DRAWING_SHARE), SLOW_FRAME_S)
        return FRAME_S / 10 if reader.behind else max(0.0, self._next_frame - time.monotonic())

    def _draw(self) -> None:
        now, clock = datetime.now(UTC), time.monotonic()
        self._canvas.draw(self._reader.snapshot(self._gauges, now=now, clock=clock, running=True))


def _seconds(action: Callable[[], None]) -> float:
    """Processor time of this thread that the action takes."""
    began = time.thread_time()
    action()
    return time.thread_time() - began


class Monitor:
    """Shows a class while it runs in this process: a context manager around the class.

    Args:
        folder: of the run; its class.db is there.
        scenario: what is run.
        subscribe: connects to the broker's gauges; called, used and closed in the monitor's thread.
        mode: live needs a terminal and is plain without one; off shows nothing.
        console: the terminal; default: standard output.
        stream: where plain lines go; default: standard error.
        study: the study that the class is part of.
    """

    def __init__(
        self,
        folder: Path,
        scenario: Scenario,
        subscribe: Subscribe,
        mode: Mode = "live",
        *,
        console: Console | None = None,
        stream: TextIO | None = None,
        study: StudyState | None = None,
    ) -> None:
        self._study = study
        self._folder = folder
        self._scenario = scenario
        self._subscribe = subscribe
        self._console = console or Console()
        self._stream = stream or sys.stderr
        self.mode: Mode = "plain" if mode == "live" and not can_draw(self._console) else mode
        """The mode in use."""
        self._screen = contextlib.ExitStack()
        self._ended = threading.Event()
        self._end: Callable[[], None] = self._ended.set
        """Lets the monitor's thread come to its end."""
        self._thread: threading.Thread | None = None
        self._failure = ""

    def __enter__(self) -> Self:
        if self.mode == "off":
            return self
        canvas: LiveScreen | PlainLines = PlainLines(self._stream)
        if self.mode == "live":
            canvas = LiveScreen(self._console, "Ctrl-C stops; the class can be resumed", sys.stdin)
            self._end = self._screen.enter_context(canvas).end
        self._thread = threading.Thread(target=self._run, args=(canvas,), name="monitor", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        try:
            if self._thread:
                self._thread.join(timeout=JOIN_S)
        finally:
            self._screen.close()
        if self._failure:
            print(self._failure, file=self._stream, flush=True)

    def _run(self, canvas: LiveScreen | PlainLines) -> None:
        try:
            with Store(self._folder) as store, self._subscribe() as source:
                reader = Reader(store, self._scenario, spent_in(self._folder), self._study)
                self._follow(reader, source, canvas)
        except Exception as error:
            # The class goes on without its picture; the end reports the error.
            log = self._folder / "logs" / "monitor.log"
            self._failure = (
                f"the monitor stopped early ({type(error).__name__}: {harmless(str(error))[:200]}); "
                f"the class went on without it\nmore in {log}"
            )
            # A picture that stands still would look like a class that stands still.
            self._screen.close()
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as file:
                file.write(f"{printable_traceback(error)}\n")

    def _follow(self, reader: Reader, source: GaugeSource, canvas: LiveScreen | PlainLines) -> None:
        loop = _Loop(reader, source, canvas)
        if isinstance(canvas, LiveScreen):
            while not canvas.wait(loop.step()):
                pass
            return
        reader.catch_up(canvas.read)
        while not self._ended.wait(loop.step()):
            pass
        reader.catch_up()
        loop.step(at_once=True)


def watch(
    folder: Path,
    scenario: Scenario,
    subscribe: Subscribe,
    study: StudyState | None = None,
    *,
    console: Console | None = None,
) -> str:
    """Show the class in `folder` until it ends, or q; a class that is over is drawn once.

    Args:
        folder: of the run.
        scenario: what is run there.
        subscribe: connects to the broker's gauges; called only where the class runs.
        study: the study that the class is part of.
        console: the terminal; default: standard output.

    Returns:
        The status of the class, as `Snapshot` has it.

    Raises:
        StoreError: there is no gradebook to read.
    """
    console = console or Console()
    with Store(folder) as store:
        reader = Reader(store, scenario, spent_in(folder), study)
        if is_running(folder):
            with subscribe() as source:
                _show_until_end(folder, reader, source, console)
        running = is_running(folder)
        with _reading(console) as tell:
            reader.catch_up(tell)
        final = reader.snapshot(None, now=datetime.now(UTC), clock=time.monotonic(), running=running)
        if not running:
            # The command above and the prompt below need lines, too.
            picture = view(final, console.width, console.height - 3 if console.is_terminal else LINES)
            console.print(Trimmed(picture))
        return final.status


@contextlib.contextmanager
def _reading(console: Console) -> Iterator[Callable[[float], object]]:
    """How much of a finished class is read, while it is read, on a terminal."""
    if not can_draw(console):
        yield lambda _: None
        return
    columns = TextColumn("reading class.db"), BarColumn(30), TaskProgressColumn()
    progress = Progress(*columns, console=console, transient=True, auto_refresh=False)
    task = progress.add_task("", total=1.0)

    def tell(share: float) -> None:
        if share < 1:
            progress.start()
            progress.update(task, completed=share, refresh=True)

    try:
        yield tell
    finally:
        progress.stop()


def _show_until_end(folder: Path, reader: Reader, source: GaugeSource, console: Console) -> None:
    """Draw a class until it ends, or q."""
    if not can_draw(console):
        lines = PlainLines(console.file)
        reader.catch_up(lines.read)
        _until_end(folder, _Loop(reader, source, lines), _slept)
        return
    with LiveScreen(console, "q leaves; the class goes on", sys.stdin, leave="q") as screen:
        _until_end(folder, _Loop(reader, source, screen), screen.wait)


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _until_end(folder: Path, loop: _Loop, wait: Callable[[float], bool]) -> None:
    probe = time.monotonic() + PROBE_S
    while not wait(loop.step()):
        if time.monotonic() >= probe:
            probe = time.monotonic() + PROBE_S
            if not is_running(folder):
                return
