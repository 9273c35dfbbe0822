"""Make texts of models, peers, servers and files safe to print and log.

Such a text must not move the cursor, reverse the reading direction, hide characters, or look like a line of this
program.
"""

import logging
import traceback
import unicodedata
from types import TracebackType

REMOVED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories: control (C0, DEL, C1), format (reading direction, zero width), surrogate, line and paragraph."""
INDENT = "    "
ErrorInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def printable(text: str) -> str:
    """`text` in one line, without control and format characters; line breaks and tabs become blanks.

    Zero-width joiners are removed too, so that nothing stays hidden; a composed emoji comes apart.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in REMOVED:
        return character
    return " " if character.isspace() else ""


def printable_lines(text: str, indent: str = "") -> str:
    """`printable` for each line of `text`; `indent` is put before each line after the first."""
    return f"\n{indent}".join(map(printable, text.split("\n")))


def printable_traceback(error: BaseException) -> str:
    """An error with its traceback. The lines of its message after the first are indented."""
    parts = (part.rstrip("\n") for part in traceback.format_exception(error))
    return "\n".join(printable_lines(part, INDENT) for part in parts)


class LogFormatter(logging.Formatter):
    """Formats log records; all lines after the first are indented, so that no text can forge a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the record without its traceback."""
        return printable_lines(super().formatMessage(record), INDENT)

    def formatException(self, ei: ErrorInfo) -> str:
        """Format the traceback."""
        return printable_traceback(ei[1]) if ei[1] else ""
