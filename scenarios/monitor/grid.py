"""The cells of a study as a table: how far each class is, and what it comes to so far."""

from collections.abc import Sequence

from scenarios.monitor.frame import Drawn
from scenarios.monitor.state import CellState, ShareRow
from scenarios.monitor.tables import STYLES, TableColumn, table
from scenarios.monitor.texts import bar, cell
from scenarios.report.formatting import many, percent

BAR = 10
SHOWN = ("SC", "MAX", "SUM")
"""Methods with a column."""


def grid(cells: Sequence[CellState], width: int, height: int) -> Drawn:
    """A row per cell, in at most `height` lines of `width` cells.

    Where there is no room for all, the rows around the first cell that is not over are shown and the others counted.
    """
    rows, more = list(cells), []
    if len(cells) + 1 > height:
        at = next((n for n, one in enumerate(cells) if one.status != "complete"), len(cells) - 1)
        count = max(1, height - 2)
        first = max(0, min(at - count // 2, len(cells) - count))
        rows = rows[first : first + count]
        complete = sum(one.status == "complete" for one in cells)
        more = [cell(f"… {len(cells) - len(rows)} more; {complete} of {many(len(cells), 'cell')} complete", "dim")]
    if not rows:
        return []
    factors = dict.fromkeys(name for one in rows for name in one.factors)
    shares = [{row.name: row for row in one.standing.methods} for one in rows]
    columns = [
        TableColumn("cell", 0, [cell(one.name, "bold") for one in rows], least=10),
        *(
            TableColumn(name, 4 + n, [cell(one.factors.get(name, "")) for one in rows], least=8)
            for n, name in enumerate(factors)
        ),
        TableColumn("status", 1, [cell(one.status, STYLES.get(one.status, "dim")) for one in rows]),
        TableColumn("", 20, [bar(one.done / one.total if one.total else 0.0, BAR) for one in rows], extra=True),
        TableColumn(
            "done", 2, [cell(f"{100 * one.done // one.total} %" if one.total else "") for one in rows], right=True
        ),
        TableColumn(
            "TPs",
            19,
            [cell(f"{one.standing.finished}/{one.standing.tps}" if one.standing.tps else "", "dim") for one in rows],
            right=True,
        ),
        *(TableColumn(name, 3, [cell(_share(of.get(name))) for of in shares], right=True) for name in SHOWN),
    ]
    return [table(columns, width), *more]


def _share(row: ShareRow | None) -> str:
    """The share and its interval: `58 % 32-81`."""
    return "" if row is None else f"{percent(row.share, 0)} {100 * row.ci95[0]:.0f}-{100 * row.ci95[1]:.0f}"
