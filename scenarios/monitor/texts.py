"""Texts of the monitor: cells that hold no markup and no control characters, bars, curves, and times in words."""

import math
from collections.abc import Sequence
from itertools import pairwise

from rich.cells import get_character_cell_size
from rich.text import Text

from scenarios.report.formatting import harmless, percent

HEIGHTS = " ▁▂▃▄▅▆▇█"
WIDE = 80
"""Cells of a line from which figures have little columns beside them."""


def cell(text: str, style: str = "") -> Text:
    """Return `text` as one harmless line for a table; where it does not fit, its end becomes an ellipsis."""
    return Text(harmless(text), style, no_wrap=True, overflow="ellipsis")


def fitted(text: str, style: str, width: int) -> Text:
    """`text` in exactly `width` cells."""
    line = cell(text, style)
    line.truncate(width, overflow="ellipsis", pad=True)
    return line


def tail(text: str, width: int) -> str:
    """The end of `text` in at most `width` cells, after an ellipsis if it is cut."""
    text = harmless(text)
    size = 0
    for n, character in enumerate(reversed(text)):
        size += get_character_cell_size(character)
        if size > width:
            kept = text[len(text) - n + 1 :] if n else ""
            return f"…{kept}" if width else ""
    return text


def spread(left: Text, right: Text, width: int) -> Text:
    """`left` and `right` at the two ends of a line of `width`; `left` is cut first."""
    right.truncate(max(0, width - 2), overflow="ellipsis")
    left.truncate(max(0, width - 4 - right.cell_len), overflow="ellipsis")
    return Text.assemble(" ", left, " " * (width - 2 - left.cell_len - right.cell_len), right, no_wrap=True)


def rule(title: str, notes: Sequence[str], width: int) -> Text:
    """The title of a section, and at its end the last `notes` that there is room for."""
    for kept in (notes[n:] for n in range(len(notes) + 1)):
        end = cell(f" {' · '.join(kept)} ──" if kept else "", "dim")
        room = width - len(title) - 4 - end.cell_len
        if room >= 1 or not kept:
            break
    return Text.assemble(("── ", "dim"), (title, "bold"), (" " + "─" * room, "dim"), end, no_wrap=True)


def bar(share: float, width: int) -> Text:
    """A progress bar in half cells; the rest is a thinner line, so that it shows without colours."""
    halves = int(min(1.0, max(0.0, share)) * width * 2)
    full = "━" * (halves // 2) + "╸" * (halves % 2)
    return Text.assemble((full, "cyan"), ("─" * (width - len(full)), "dim"))


def curve(values: Sequence[float], cells: int) -> str:
    """`values` as little columns between the smallest and the largest; the mean of several in one cell."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return ""
    cells = min(cells, len(known))
    edges = [len(known) * n // cells for n in range(cells + 1)]
    means = [sum(value / (b - a) for value in known[a:b]) for a, b in pairwise(edges)]
    low = min(means)
    span = max(means) / 2 - low / 2  # halves: the difference of two large losses may not be finite
    return "".join(HEIGHTS[1 + round(7 * ((mean / 2 - low / 2) / span))] if span else HEIGHTS[4] for mean in means)


def score(value: float | None, width: int) -> Text:
    """A score from 0 to 1, with a little column if a line of `width` has room for it."""
    if value is None:
        return cell("")
    return cell(f"{HEIGHTS[round(value * 8)]} {value:.2f}" if width >= WIDE else f"{value:.2f}")


def share(value: float | None, width: int) -> Text:
    """A share or an F1 as in the report, with a little column if a line of `width` has room for it."""
    if value is None:
        return cell("")
    return cell(f"{HEIGHTS[round(value * 8)]} {percent(value)}" if width >= WIDE else percent(value, 0))


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as on a clock: 2:05, 1:02:05."""
    whole = max(0, int(seconds))  # the clock may have been set back
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def roughly(seconds: float) -> str:
    """An estimate, rounded: `40 s`, `3 min`, `2 h 10 min`."""
    if seconds < 55:
        return f"{max(5, round(seconds / 5) * 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60 // 10 * 10} min"
