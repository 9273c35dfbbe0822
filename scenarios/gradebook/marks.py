"""What all printed tables share: how shares, bars and strange text look. Reads nothing."""

from rich.box import Box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

BLANK = "    \n"
RULED = Box(f"{BLANK}{BLANK} -- \n{BLANK * 5}", ascii=True)
"""One rule under the heading, and the same in every terminal."""
BAR = 10


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


def percent(share: float | None, digits: int = 1) -> str:
    """A share as people read it; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def plain(text: str) -> str:
    """One line of printable characters: what a terminal would obey becomes a blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def ruled(title: str) -> Table:
    """An empty table in the manner of all."""
    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        caption_justify="left",
        box=RULED,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
