"""Texts of models, peers, servers and files, as a terminal and a log may have them.

Such a text is data: it must not move the cursor, reverse the reading direction, hide characters, or look like a line
that this program wrote.
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
    """`text` in one line, without control and format characters; a blank stands for each line break and tab.

    Zero-width joiners go with the rest: a composed emoji comes apart, and nothing stays hidden.
    """
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if unicodedata.category(character) not in REMOVED:
        return character
    return " " if character.isspace() else ""


def printable_lines(text: str, indent: str = "") -> str:
    """The same, with the line breaks of `text` kept; `indent` begins each line after the first."""
    return f"\n{indent}".join(map(printable, text.split("\n")))


def printable_traceback(error: BaseException) -> str:
    """An error with its traceback. The lines of its message after the first are indented."""
    parts = (part.rstrip("\n") for part in traceback.format_exception(error))
    return "\n".join(printable_lines(part, INDENT) for part in parts)


class LogFormatter(logging.Formatter):
    """Log records in which only the first line of each is not indented, so that no text can forge another record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record without its traceback."""
        return printable_lines(super().formatMessage(record), INDENT)

    def formatException(self, ei: ErrorInfo) -> str:
        """The traceback."""
        return printable_traceback(ei[1]) if ei[1] else ""
