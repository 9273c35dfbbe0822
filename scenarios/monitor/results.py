"""The results so far: how often each method is right and each student, with 95 % intervals."""

from rich.text import Text

from scenarios.monitor.frame import Drawn
from scenarios.monitor.state import RunningResults, ShareRow
from scenarios.monitor.tables import TableColumn, table
from scenarios.monitor.texts import cell
from scenarios.report.formatting import interval, many, percent

SHORT = 3
"""Lines of the short form."""
AXIS = range(17, 42)
"""Cells from 0 to 100 %, at least and at most."""


def lines(standing: RunningResults) -> int:
    """Lines of the long form; 0: there is nothing to show."""
    rows = len(standing.methods) + len(standing.students)
    return rows + 1 if rows else 0


def results_table(standing: RunningResults, width: int, height: int) -> Drawn:
    """A row for each method and student, with its interval as a line; a column for each where that is too high."""
    rows = [*standing.methods, *standing.students]
    if height < lines(standing):
        named = [(row, "bold" if row in standing.methods else "") for row in rows]
        first = TableColumn("", 0, [cell("right", "dim"), cell("95 %", "dim")])
        return table([first, *(_short(n, row, style) for n, (row, style) in enumerate(named, 1))], width)
    counts = [many(row.n, "TP") for row in standing.methods] + [many(row.n, "EA") for row in standing.students]
    columns = [
        TableColumn("", 0, [cell(row.name, "bold" if row in standing.methods else "") for row in rows]),
        TableColumn("right", 1, [cell(percent(row.share)) for row in rows], right=True),
        TableColumn("95 %", 2, [cell(interval(row.ci95)) for row in rows], right=True),
        TableColumn("of", 3, [cell(count, "dim") for count in counts], right=True, extra=True),
    ]
    used = sum(column.width + 2 for column in columns)
    if (cells := min(width - 3 - used, AXIS[-1])) in AXIS:
        columns.append(TableColumn(axis(cells), 9, [dot_plot(row, cells) for row in rows]))
    return table(columns, width)


def axis(cells: int) -> str:
    """The heading of the dot plots."""
    middle = cells // 2
    return f"{'0':<{middle}}{'50':<{cells - middle - 3}}100"


def dot_plot(row: ShareRow, cells: int) -> Text:
    """The interval as a line with a dot at the share, from 0 to 100 %."""
    low, dot, high = (round(share * (cells - 1)) for share in (row.ci95[0], row.share, row.ci95[1]))
    marks = ["─" if low <= n <= high else " " for n in range(cells)]
    marks[cells // 2] = "┊" if marks[cells // 2] == " " else "┼"
    marks[dot] = "●"
    return Text("".join(marks), "cyan", no_wrap=True)


def in_words(standing: RunningResults) -> str:
    """The results of the methods as a line: `12 of 30 TPs finished: greedy 50.0 % (25 to 75 %), SC ...`."""
    shares = ", ".join(f"{row.name} {percent(row.share)} ({interval(row.ci95)})" for row in standing.methods)
    return f"{standing.finished} of {many(standing.tps, 'TP')} finished: {shares}"


def _short(n: int, row: ShareRow, style: str) -> TableColumn:
    low, high = (f"{100 * end:.0f}" for end in row.ci95)
    return TableColumn(row.name, n, [cell(percent(row.share, 0), style), cell(f"{low}-{high}", "dim")], right=True)
