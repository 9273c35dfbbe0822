"""The last lines of a process's log that may explain its end."""

import re
from pathlib import Path

from broker.printable import printable

TAIL_BYTES = 1 << 16
LINE_CHARS = 300

COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What libraries write for a terminal."""
BACKGROUND = re.compile(
    r"\s|Traceback \(|During handling of|The above exception|(Current thread|Thread) 0x|Extension modules:"
)
"""How lines begin that say where, and not what: of tracebacks, and of Python's own crash reports."""
ROUTINE = re.compile(r"(\(.*?\) )?([\d-]+ [\d:,.]+ )?(INFO|DEBUG|WARNING)\b|\S+:\d+: \w*Warning: ")
"""How lines begin that explain no end: in a log, below errors (of this program and of vLLM); and Python's warnings."""


def last_words(log: Path, lines: int = 3, since: int = 0) -> str:
    """The last lines of a log that may explain an end, without tracebacks, routine and terminal controls.

    Args:
        log: the file; one that is missing says nothing.
        lines: how many at most.
        since: bytes at its beginning that are left out.
    """
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - TAIL_BYTES))
        tail = file.read().decode(errors="replace")
    said = [
        line
        for line in map(printable, re.split(r"[\r\n]+", COLOUR.sub("", tail)))
        if line.strip() and not BACKGROUND.match(line) and not ROUTINE.match(line)
    ]
    return "\n".join(line.strip()[:LINE_CHARS] for line in said[-lines:])
