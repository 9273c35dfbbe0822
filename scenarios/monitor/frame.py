"""Lines of a picture: what rich draws, in exactly so many cells, and two columns side by side."""

import io
from collections.abc import Iterator, Sequence

import msgspec
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

CANVAS = Console(file=io.StringIO(), width=80, legacy_windows=False)
"""Turns what rich draws into lines."""
Line = tuple[Segment, ...]


class Frame(msgspec.Struct, frozen=True):
    """The lines of a picture, which rich prints."""

    lines: tuple[tuple[Segment, ...], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in self.lines:
            yield from line
            yield Segment.line()

    @property
    def text(self) -> str:
        """Without colours."""
        return "\n".join("".join(segment.text for segment in line).rstrip() for line in self.lines)


def render(drawn: RenderableType, width: int, indent: str = "") -> Frame:
    """The lines of `drawn` in exactly `width` cells."""
    indent = indent if width > len(indent) else ""
    options = CANVAS.options.update(width=width - len(indent), no_wrap=True, overflow="ellipsis")
    lines = CANVAS.render_lines(drawn, options)
    first = [Segment(indent)] if indent else []
    return Frame(tuple(tuple(Segment.simplify([*first, *line])) for line in lines))


def beside(left: Sequence[Line], right: Sequence[Line], width: int) -> list[Line]:
    """Two columns of lines; those on the left are `width` cells wide."""
    blank = (Segment(" " * width),)
    return [
        (*(left[n] if n < len(left) else blank), Segment(" "), *(right[n] if n < len(right) else ()))
        for n in range(max(len(left), len(right)))
    ]
