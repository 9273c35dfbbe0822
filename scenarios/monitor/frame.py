"""Lines of a picture: texts and tables in exactly so many cells, and two columns side by side.

rich draws any renderable, but takes about five times as long as this does for texts of one line each.
"""

import io
from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Text

CANVAS = Console(file=io.StringIO(), width=80, legacy_windows=False)
"""Knows the styles, and breaks long texts into lines."""
Line = tuple[Segment, ...]


class Frame(msgspec.Struct, frozen=True):
    """The lines of a picture, which rich prints."""

    lines: tuple[Line, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in self.lines:
            yield from line
            yield Segment.line()

    @property
    def text(self) -> str:
        """Without colours."""
        return "\n".join("".join(segment.text for segment in line).rstrip() for line in self.lines)


Drawn = Text | Frame | Sequence["Drawn"]
"""A line, lines, or several of these below one another."""


def render(drawn: Drawn, width: int, indent: str = "") -> Frame:
    """The lines of `drawn` in exactly `width` cells. A text is one line; where it does not fit, an ellipsis ends it."""
    indent = indent if width > len(indent) else ""
    first = (Segment(indent),) if indent else ()
    return Frame(tuple((*first, *line) for line in _lines(drawn, width - len(indent))))


def _lines(drawn: Drawn, width: int) -> Iterator[Line]:
    if isinstance(drawn, Text):
        yield fitted_segments(drawn, width)
    elif isinstance(drawn, Frame):
        for line in drawn.lines:
            yield tuple(Segment.adjust_line_length(list(line), width))
    else:
        for one in drawn:
            yield from _lines(one, width)


def fitted_segments(text: Text, width: int, *, right: bool = False) -> Line:
    """A text of one line in exactly `width` cells, at their right end if it is shorter and `right`."""
    if (blank := width - text.cell_len) < 0:
        text = text.copy()
        text.truncate(width, overflow="ellipsis")
        blank = width - text.cell_len
    if text.spans:
        segments = tuple(text.render(CANVAS))
    else:
        segments = (Segment(text.plain, CANVAS.get_style(text.style)),) if text.plain else ()
    if blank <= 0:
        return segments
    padding = Segment(" " * blank)
    return (padding, *segments) if right else (*segments, padding)


def beside(left: Sequence[Line], right: Sequence[Line], width: int) -> list[Line]:
    """Two columns of lines; those on the left are `width` cells wide."""
    blank = (Segment(" " * width),)
    return [
        (*(left[n] if n < len(left) else blank), Segment(" "), *(right[n] if n < len(right) else ()))
        for n in range(max(len(left), len(right)))
    ]
