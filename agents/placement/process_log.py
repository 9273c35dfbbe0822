"""The last line of a process's log that may explain its end."""

import re
from pathlib import Path

from broker.printable import printable

TAIL_BYTES = 1 << 16
LINE_CHARS = 300

COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""Terminal colours."""
BACKGROUND = re.compile(
    r"\s|Traceback \(|During handling of|The above exception|(Current thread|Thread) 0x|Extension modules:"
)
"""Beginnings of lines that name no error: in tracebacks, and in Python's crash reports."""
ROUTINE = re.compile(r"(\(.*?\) )?([\d-]+ [\d:,.]+ )?(INFO|DEBUG|WARNING)\b|\S+:\d+: \w*Warning: ")
"""Beginnings of lines below the level of errors, of this program and of vLLM; and Python's warnings."""


def last_error_line(log: Path, since: int = 0) -> str:
    """Return the last line of a log that is not of a traceback, routine or empty, without colours; empty: none is.

    Args:
        log: the file; a missing file has no lines.
        since: bytes at the beginning to skip.
    """
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - TAIL_BYTES))
        tail = file.read().decode(errors="replace")
    errors = [
        line
        for line in map(printable, re.split(r"[\r\n]+", COLOUR.sub("", tail)))
        if line.strip() and not BACKGROUND.match(line) and not ROUTINE.match(line)
    ]
    return errors[-1].strip()[:LINE_CHARS] if errors else ""
