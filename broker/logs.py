"""Where a process writes its log, how much at most, and the errors that nothing catches."""

import logging
import sys
import threading
import time
from collections.abc import Callable

from broker.printable import LogFormatter, printable_traceback

FORMAT = "%(asctime)s %(levelname)s %(message)s"
UNCAUGHT = "nothing caught this error:"
BURST = 100
"""Lines that one place in the code may write in one window."""
WINDOW_S = 60.0
MAX_WINDOW_S = 3600.0


class _Window:
    """What one place in the code has written lately."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.seconds = WINDOW_S
        self.lines = 0


class RepeatFilter(logging.Filter):
    """Lets BURST lines of each place in the code pass per window; the window doubles while that is not enough."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, int], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written; the last one of a window, and the first one after it, say what is left out."""
        now = self._clock()
        window = self._windows.setdefault((record.pathname, record.lineno), _Window(now))
        left_out = 0
        if now - window.begun >= window.seconds:
            left_out = max(0, window.lines - BURST)
            window.seconds = min(2 * window.seconds, MAX_WINDOW_S) if left_out else WINDOW_S
            window.begun, window.lines = now, 0
        window.lines += 1
        if left_out:
            _add(record, f"{left_out} more like this were left out before")
        elif window.lines == BURST:
            _add(record, f"more like this are left out for {window.seconds:.0f} s")
        return window.lines <= BURST


def _add(record: logging.LogRecord, words: str) -> None:
    record.msg, record.args = f"{record.getMessage()} ({words})", ()


def configure(file: str = "") -> None:
    """Write this process's log to `file`, or to standard error, and errors that nothing catches too."""
    handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(FORMAT))
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = lambda *error: logging.critical(UNCAUGHT, exc_info=error)
    threading.excepthook = lambda error: logging.critical(UNCAUGHT, exc_info=error.exc_value)


def configure_terminal() -> None:
    """Write warnings and errors that nothing catches to the terminal, for a process that has no log."""
    if logging.lastResort:
        logging.lastResort.setFormatter(LogFormatter("%(message)s"))
    sys.excepthook = lambda kind, error, trace: print(printable_traceback(error), file=sys.stderr)
