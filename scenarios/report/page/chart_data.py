"""What charts are made of: dots, points, spans, tables, the colours of series, and how figures are typeset."""

import re
from collections.abc import Iterable, Sequence

import msgspec
from markupsafe import Markup

COLOURS = 7
"""How many colours page.css has for series: the set of Okabe and Ito without black."""
MINUS = "\u2212"
THIN = "\u202f"
"""A narrow space at which no line breaks."""
HYPHEN_AS_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")
INK, FAINT, GRID = "var(--ink)", "var(--faint)", "var(--line)"


class PageTable(msgspec.Struct, frozen=True):
    """A table: a heading for each column, and the cells of each row. The first cell of a row is its heading."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Chart(msgspec.Struct, frozen=True):
    """A drawing, and the table of its numbers."""

    title: str
    wide: Markup
    narrow: Markup
    table: PageTable
    note: str = ""


class Dot(msgspec.Struct, frozen=True):
    """One row of a dot plot."""

    label: str
    """Differs from those of all other rows."""
    value: float | None
    ci95: tuple[float, float] | None
    hover: str
    colour: str = INK
    columns: tuple[str, ...] = ()
    """Texts right of the plot."""
    heading: bool = False
    """It has no dot: its label names the rows below."""


class Point(msgspec.Struct, frozen=True):
    """One point of a line."""

    series: str
    x: float
    y: float
    ci95: tuple[float, float] | None = None


class Span(msgspec.Struct, frozen=True):
    """Something that lasted: a bar of a time line."""

    row: str
    begin: float
    end: float
    state: str
    hover: str


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name; with more names than colours they begin again."""
    return {name: f"var(--c{number % COLOURS + 1})" for number, name in enumerate(dict.fromkeys(names))}


def around_zero(intervals: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """An axis for differences of shares, with 0 in its middle, that all intervals fit on."""
    reach = max((abs(end) for ci95 in intervals for end in ci95), default=0.0)
    reach = max(0.1, min(1.0, reach * 1.1))
    return -reach, reach


def typeset(sentence: str) -> str:
    """A text of this program with minus signs, and with spaces at which no line breaks around percent signs and p."""
    unbroken = sentence.replace(" %", f"{THIN}%").replace("p = ", "p\u00a0=\u00a0")
    return HYPHEN_AS_MINUS.sub(MINUS, unbroken)
