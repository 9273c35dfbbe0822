"""Set up the log of a process: its file, a limit for repeated lines, and uncaught errors."""

import logging
import sys
import threading
import time
from collections.abc import Callable

from broker.printable import LogFormatter, printable_traceback

FORMAT = "%(asctime)s %(levelname)s %(message)s"
UNCAUGHT = "nothing caught this error:"
BURST = 100
"""Lines that one statement may log in one window."""
WINDOW_S = 60.0
MAX_WINDOW_S = 3600.0


class _Window:
    """The lines that one statement has logged since a time."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.seconds = WINDOW_S
        self.lines = 0


class RepeatFilter(logging.Filter):
    """Passes BURST lines of each statement per window. The window doubles while a statement exceeds that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, int], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the line. The last line of a window and the first one after it report what is left out."""
        now = self._clock()
        window = self._windows.setdefault((record.pathname, record.lineno), _Window(now))
        left_out = 0
        if now - window.start >= window.seconds:
            left_out = max(0, window.lines - BURST)
            window.seconds = min(2 * window.seconds, MAX_WINDOW_S) if left_out else WINDOW_S
            window.start, window.lines = now, 0
        window.lines += 1
        if left_out:
            _add(record, f"{left_out} more like this were left out before")
        elif window.lines == BURST:
            _add(record, f"more like this are left out for {window.seconds:.0f} s")
        return window.lines <= BURST


def _add(record: logging.LogRecord, remark: str) -> None:
    record.msg, record.args = f"{record.getMessage()} ({remark})", ()


def configure(file: str = "") -> None:
    """Log to `file`, or to standard error if it is empty; uncaught errors are logged too."""
    handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(FORMAT))
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = lambda *error: logging.critical(UNCAUGHT, exc_info=error)
    threading.excepthook = lambda error: logging.critical(UNCAUGHT, exc_info=error.exc_value)


def configure_terminal() -> None:
    """Print warnings and uncaught errors to the terminal, for a process without a log."""
    if logging.lastResort:
        logging.lastResort.setFormatter(LogFormatter("%(message)s"))
    sys.excepthook = lambda kind, error, trace: print(printable_traceback(error), file=sys.stderr)
