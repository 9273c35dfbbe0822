"""Bars, tables and sentences of printed reports: they fit any width, and take every text as data.

A string never becomes markup, and has no control characters and no line breaks (broker/printable.py). rich has tables,
and draws these; it does not split a table into blocks of columns, keep a percent sign beside its number, nor trim the
ends of lines.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeVar

import msgspec
from rich.box import Box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from broker.printable import printable
from scenarios.report.formatting import wrapped

SHORTEST = 4
"""Cells of the shortest line that a text is folded into with care."""
BLANK = "    \n"
RULED = Box(f"{BLANK}{BLANK} -- \n{BLANK * 5}", ascii=True)
"""One rule under the heading, and the same in every terminal."""
BAR = 10
GAP = 2
"""Blanks between two columns."""
FOLDED = 24
"""Cells that a column of long texts needs; where there are fewer, other columns go into another block."""


def plain(text: str) -> str:
    """`printable` text with one blank between words."""
    return " ".join(printable(text).split())


class Bar:
    """A share from 0 to 1 as a bar, in ASCII where the terminal knows no more."""

    def __init__(self, share: float | None) -> None:
        self._filled = round((share or 0.0) * BAR)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        full, empty = ("#", ".") if options.ascii_only else ("█", "░")
        yield Text(full * self._filled + empty * (BAR - self._filled), style="cyan", no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """It is always as wide."""
        return Measurement(BAR, BAR)


class Sentences:
    """A paragraph as wide as the terminal. No line begins with a percent sign."""

    def __init__(self, text: str, style: str = "") -> None:
        self._text = text
        self._style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Wrap it."""
        yield Text(wrapped(printable(self._text), options.max_width), style=self._style)


class Trimmed:
    """A renderable without blanks at the ends of its lines."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it, line by line."""
        for line in console.render_lines(self._content, options, pad=False):
            while line and not line[-1].text.strip():
                line.pop()
            if line:
                last = line.pop()
                line.append(Segment(last.text.rstrip(), last.style))
            yield from line
            yield Segment.line()


def spaced(parts: Iterable[RenderableType]) -> Trimmed:
    """The parts of a report, each after a blank line."""
    return Trimmed(Group(*(one for part in parts for one in (Text(), part))))


class _Column(msgspec.Struct):
    heading: str
    right: bool
    fold: bool
    cells: list[Text | Bar]

    @property
    def natural(self) -> int:
        """Cells that it takes where nothing is folded."""
        sizes = [BAR if isinstance(cell, Bar) else cell.cell_len for cell in self.cells]
        return max([*map(len, self.heading.split("\n")), *sizes])

    @property
    def least(self) -> int:
        """Cells that it needs."""
        return min(self.natural, FOLDED) if self.fold else self.natural

    @property
    def bars(self) -> bool:
        """Whether it holds nothing but what the column before it says."""
        return any(isinstance(cell, Bar) for cell in self.cells)


class Ruled:
    """A table with a title above it, one rule below its headings, and a note at its end.

    If it is wider than the terminal, it first loses its bars, and then continues in further blocks, each with the
    first column: no column, no name and no figure is left out.
    """

    def __init__(self, title: str, note: str = "") -> None:
        self._title = printable(title)
        self.note = note
        self._columns: list[_Column] = []

    def add_column(self, heading: str = "", *, right: bool = False, fold: bool = False) -> None:
        """A column; one that folds breaks its texts into lines where there is no room for them."""
        self._columns.append(_Column("\n".join(map(plain, heading.split("\n"))), right, fold, []))

    def add_columns(self, *headings: str, right: bool = True, fold: bool = False) -> None:
        """Several columns of one kind."""
        for heading in headings:
            self.add_column(heading, right=right, fold=fold)

    def add_row(self, *cells: "Cell") -> None:
        """A row: a cell for each column."""
        for column, cell in zip(self._columns, cells, strict=True):
            column.cells.append(Text(plain(cell)) if isinstance(cell, str) else cell)

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return len(self._columns[0].cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        yield Text(wrapped(self._title, options.max_width), style="bold")
        for number, columns in enumerate(self._blocks(options.max_width)):
            if number:
                yield Text()
            yield _table(columns, options.max_width)
        if self.note:
            yield Sentences(self.note, style="dim")

    def _blocks(self, room: int) -> Iterator[list[_Column]]:
        """The columns that stand side by side."""
        first, *others = self._columns
        if _size(self._columns) > room:
            others = [column for column in others if not column.bars]
        while others:
            taken = 1
            while taken < len(others) and _size([first, *others[: taken + 1]]) <= room:
                taken += 1
            yield [first, *others[:taken]]
            others = others[taken:]


T = TypeVar("T")
Cell = str | Text | Bar


def tabulated(
    title: str,
    rows: Iterable[T],
    columns: Sequence[tuple[str, Callable[[T], Cell]]],
    note: str = "",
    *,
    fold: bool = False,
) -> Ruled:
    """A table with a row for each of `rows`.

    Args:
        title: above the table.
        rows: what the rows show.
        columns: heading and cell of each; the first names the row, the others are figures, on the right.
        note: below the table.
        fold: whether the first column folds.
    """
    table = Ruled(title, note)
    (first, _), *others = columns
    table.add_column(first, fold=fold)
    table.add_columns(*(heading for heading, _ in others))
    for row in rows:
        table.add_row(*(cell(row) for _, cell in columns))
    return table


def _size(columns: Sequence[_Column]) -> int:
    """Cells that these need side by side."""
    return sum(column.least + GAP for column in columns) - GAP


def _table(columns: Sequence[_Column], room: int) -> Table:
    spare = room - _size(columns)
    widths = []
    for column in columns:
        more = max(0, min(spare, column.natural - column.least))
        widths.append(column.least + more)
        spare -= more
    # Where even the first column and one other need more room than there is, the first one folds.
    widths[0] = max(1, widths[0] + min(0, spare))
    table = Table(box=RULED, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        side: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(Text(column.heading), justify=side, width=width, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*(_folded(cell, width) for cell, width in zip(row, widths, strict=True)))
    return table


def _folded(cell: Text | Bar, width: int) -> Text | Bar:
    """A text in lines of `width`, those after the first set in: where the next entry begins can be seen."""
    if isinstance(cell, Bar) or cell.cell_len <= width or width < SHORTEST:
        return cell
    return Text(wrapped(cell.plain, width, indent="  "), style=cell.style)
