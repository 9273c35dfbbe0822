"""How figures and texts are written for people: shares, intervals, numbered nouns, lines of a width."""

import re
import textwrap
import unicodedata

from rich.cells import get_character_cell_size

from broker.printable import printable

ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(\x07|\x1b\\)?|[ -/]*[0-~])?")
NO_BREAK = "\xa0"
"""Stands for a blank at which textwrap breaks no line."""


def wrapped(text: str, width: int, indent: str = "") -> str:
    """`text` in lines of at most `width`; a blank before a percent sign is no place to break."""
    lines = textwrap.wrap(text.replace(" %", f"{NO_BREAK}%"), max(4, width), subsequent_indent=indent)
    return "\n".join(lines).replace(NO_BREAK, " ")


def percent(share: float | None, digits: int = 1) -> str:
    """A share as people read it; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def interval(ci95: tuple[float, float] | None) -> str:
    """A 95 % interval of a share; a dash where there is none."""
    return "-" if ci95 is None else f"{100 * ci95[0]:.0f} to {100 * ci95[1]:.0f} %"


def many(n: int, noun: str, nouns: str = "") -> str:
    """So many of something: `1 exam answer`, `1,216 exam answers`; `nouns` is a plural with more than an s."""
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def plain(text: str) -> str:
    """`printable` text, with one blank between words."""
    return " ".join(printable(text).split())


def harmless(text: str) -> str:
    """`text` in one line that a terminal shows and does not obey, and whose width everybody agrees on."""
    text = text[:2000]
    if text.isascii() and text.isprintable():
        return text
    text = re.sub(r"[^\S ]+", " ", unicodedata.normalize("NFC", ESCAPES.sub("", text)))
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "M" or category in ("Cf", "Cs"):
        return ""
    wide = 2 if unicodedata.east_asian_width(character) in "WF" else 1
    unsure = category[0] == "C" or get_character_cell_size(character) != wide
    return "?" if unsure else character
