"""Where a process writes its log, and the errors that nothing catches."""

import logging
import sys
import threading

from broker.printable import LogFormatter, printable_traceback

FORMAT = "%(asctime)s %(levelname)s %(message)s"
UNCAUGHT = "nothing caught this error:"


def configure(file: str = "") -> None:
    """Write this process's log to `file`, or to standard error, and errors that nothing catches too."""
    handler = logging.FileHandler(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = lambda *error: logging.critical(UNCAUGHT, exc_info=error)
    threading.excepthook = lambda error: logging.critical(UNCAUGHT, exc_info=error.exc_value)


def configure_terminal() -> None:
    """Write warnings and errors that nothing catches to the terminal, for a process that has no log."""
    if logging.lastResort:
        logging.lastResort.setFormatter(LogFormatter("%(message)s"))
    sys.excepthook = lambda kind, error, trace: print(printable_traceback(error), file=sys.stderr)
