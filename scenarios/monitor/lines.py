"""Lines of exactly so many cells, and what makes texts harmless: the drawing tools of the monitor.

Every text that is drawn goes through `harmless`, whoever wrote it: what comes out holds no markup, no control
characters and no escapes. The lines are segments of rich, without its tables, which would cost more than all the
reading. This file knows nothing of classes.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec
from rich.cells import cell_len, get_character_cell_size
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style

from scenarios.report.formatting import harmless

Piece = tuple[str, str]
"""A text and the name of its style."""
Line = tuple[Piece, ...]

STYLES = {
    "": Style(),
    "bold": Style(bold=True),
    "dim": Style(dim=True),
    "good": Style(color="green"),
    "bad": Style(color="red"),
    "warn": Style(color="yellow"),
    "bar": Style(color="cyan"),
}

MARK = 5
"""Cells for the number of columns that are not shown."""


class Frame(msgspec.Struct, frozen=True):
    """What is drawn: a renderable of rich."""

    lines: tuple[Line, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in self.lines:
            for text, style in line:
                yield Segment(text, STYLES[style])
            yield Segment.line()

    @property
    def text(self) -> str:
        """Without colours."""
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self.lines)


class Column(msgspec.Struct, frozen=True):
    """A column of a table."""

    title: str
    priority: int
    """The smallest stay longest."""
    cells: Sequence[Piece]
    right: bool = False
    least: int = 0
    """Cells it needs to be of use; 0: as wide as its content."""
    tail: bool = False
    """Its end says more than its beginning."""
    extra: bool = False
    """Shown only where everything else has all the room it wants."""


# --- texts ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def fit(text: str, width: int, right: bool = False, tail: bool = False) -> str:
    """`text` in exactly `width` cells, made harmless; an ellipsis stands for the end, with `tail` for the beginning."""
    text = harmless(text)
    size = cell_len(text)
    if size > width:
        kept: list[str] = []
        size = 0
        for character in reversed(text) if tail else text:
            size += get_character_cell_size(character)
            if size > width - 1:
                break
            kept.append(character)
        text = ("…" + "".join(reversed(kept)) if tail else "".join(kept) + "…") if width > 0 else ""
        size = cell_len(text)
    padding = " " * (width - size)
    return padding + text if right else text + padding


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as on a clock: 2:05, 1:02:05."""
    whole = max(0, int(seconds))  # the clock may have been set back
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def roughly(seconds: float) -> str:
    """An estimate, as precise as it deserves: `40 s`, `3 min`, `2 h 10 min`."""
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60 // 10 * 10} min"


def bar(share: float, width: int) -> Line:
    """A progress bar in half cells; the rest is a thinner line, to be told apart without colours."""
    halves = int(min(1.0, max(0.0, share)) * width * 2)
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return ((full, "bar"), ("─" * (width - len(full)), "dim"))


def size_of(line: Line) -> int:
    """Its cells, once it is harmless."""
    return sum(cell_len(harmless(text)) for text, _ in line)


def spread(left: Line, right: Line, width: int) -> Line:
    """`left` and `right` at the two ends of a line of `width`; `left` gives way."""
    room = max(0, width - 2)
    size = min(size_of(right), room)
    return cut(((" ", ""), *cut(left, max(0, room - size - 2)), ("  ", ""), *cut(right, size)), width)


def cut(line: Line, width: int) -> Line:
    """`line` in exactly `width` cells."""
    pieces: list[Piece] = []
    for text, style in line:
        size = min(width, cell_len(harmless(text)))
        if size:
            pieces.append((fit(text, size), style))
            width -= size
    return (*pieces, (" " * width, ""))


def rule(title: str, notes: Sequence[str], width: int) -> Line:
    """A section's title, and at its end what there is room for of `notes`; the first give way."""
    for kept in (notes[n:] for n in range(len(notes) + 1)):
        end = f" {' · '.join(kept)} ──" if kept else ""
        room = width - len(title) - 4 - cell_len(end)
        if room >= 1 or not kept:
            break
    return cut((("── ", "dim"), (title, "bold"), (" " + "─" * room + end, "dim")), width)


# --- tables ---------------------------------------------------------------------------------------------


def table(columns: Sequence[Column], width: int, rows: range) -> list[Line]:
    """The rows `rows` of `columns` under their titles. Columns without content, and those without room, are left out.

    How many there was no room for stands at the end of the titles: `…+2`. The last column, where it is aligned to the
    left, asks for no more than its title and takes what is left.
    """
    shown = [c for c in columns if any(text for text, _ in c.cells)]
    if not shown:
        return []
    lines, hidden = _fitted(shown, width, rows)
    if hidden:
        room = max(0, width - MARK)
        lines, hidden = _fitted(shown, room, rows)
        mark = (f"{f'…+{hidden}':>{width - room}}", "dim")
        lines = [cut((*line, mark if n == 0 else ("", "")), width) for n, line in enumerate(lines)]
    return lines


def _fitted(columns: Sequence[Column], width: int, rows: range) -> tuple[list[Line], int]:
    """The columns that there is room for, and how many others there are."""
    shown = list(columns)
    loose = None if shown[-1].right else shown[-1]
    wish = {
        id(c): cell_len(c.title) if c is loose else max(cell_len(c.title), *(size_of((cell,)) for cell in c.cells))
        for c in shown
    }
    least = {id(c): min(wish[id(c)], max(c.least, cell_len(c.title))) if c.least else wish[id(c)] for c in shown}

    def over(sizes: dict[int, int], gap: int) -> int:
        return sum(sizes[id(c)] + gap for c in shown) - gap - (width - 2)

    while over(wish, 2) > 0 and (extras := [c for c in shown if c.extra]):
        shown.remove(max(extras, key=lambda c: c.priority))
    while over(least, 1) > 0 and len(shown) > 1:
        shown.remove(max(shown, key=lambda c: c.priority))
    gap = 2 if over(least, 2) <= 0 else 1
    sizes = dict(least)
    # Those that lack least first: they come out whole.
    for column in sorted(shown, key=lambda c: wish[id(c)] - least[id(c)]):
        more = min(-over(sizes, gap), wish[id(column)] - least[id(column)])
        sizes[id(column)] += max(0, more)
    if loose:
        sizes[id(loose)] += max(0, -over(sizes, gap))

    def line(cells: Sequence[Piece]) -> Line:
        pieces: list[Piece] = [(" ", "")]
        for column, (text, style) in zip(shown, cells, strict=True):
            pieces += ((fit(text, sizes[id(column)], column.right, column.tail), style), (" " * gap, ""))
        return cut(tuple(pieces[:-1]), width)

    lines = [line([(c.title, "dim") for c in shown]), *(line([c.cells[row] for c in shown]) for row in rows)]
    return lines, len(columns) - len(shown)
