"""The tables of the monitor, as lines of cells. Columns without room are left out, those of low priority first."""

from collections.abc import Sequence

import msgspec
from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from scenarios.monitor.frame import Frame, fitted_segments
from scenarios.monitor.state import AgentRow, LessonRow, RoundRow, Snapshot, TeacherRow, TrainingRow, spending
from scenarios.monitor.texts import cell, curve, roughly, score, share, tail
from scenarios.report.formatting import percent

STYLES = {
    "running": "green", "ready": "green", "complete": "green", "finished": "green", "joined": "green",
    "training": "green", "left": "dim", "trained": "dim", "starting": "yellow", "waiting": "yellow",
    "paused": "yellow", "dropped": "yellow", "budget": "yellow",
    "draining": "yellow", "stopped": "yellow", "loading": "yellow", "restarting": "yellow", "restart": "yellow",
    "drain": "yellow", "retry": "yellow", "stranger": "yellow", "no pairs": "yellow",
    "interrupted": "red", "lost": "red", "gone": "red", "failed": "red",
}  # fmt: skip
"""Of states, and of the kinds of events."""
CURVE = 12
"""Cells of a curve of losses."""
MARK = 5
"""Cells for the number of columns that are left out."""
RESTARTED = {True: "yellow", False: "dim"}
RIGHT = {True: ("✓", "green"), False: ("✗", "red"), None: ("", "")}


class TableColumn(msgspec.Struct, frozen=True):
    """A column of a table."""

    title: str
    priority: int
    """Columns with large numbers are left out first."""
    cells: Sequence[Text]
    right: bool = False
    least: int = 0
    """Cells to which it may shrink; 0: it has the width of its content."""
    extra: bool = False
    """Shown only if all other columns have the width of their content."""

    @property
    def width(self) -> int:
        """Cells of its content."""
        return max(cell_len(self.title), *(text.cell_len for text in self.cells))

    @property
    def least_width(self) -> int:
        """Cells that it needs."""
        return min(self.width, max(self.least, cell_len(self.title))) if self.least else self.width


def table(columns: Sequence[TableColumn], width: int) -> Frame:
    """The columns under their titles; those without content are left out.

    The number of columns without room stands at the end of the titles: `…+2`. If the last column is aligned to the
    left, it needs room for its title only and takes all that is left.
    """
    filled = [column for column in columns if any(column.cells)]
    loose = filled[-1] if filled and not filled[-1].right else None
    room = width - 2
    shown = _shown(filled, loose, room)
    if hidden := len(filled) - len(shown):
        room -= MARK
        shown = _shown(filled, loose, room)
        hidden = len(filled) - len(shown)
    gap = 2 if _needed(shown, loose, 2, least=True) <= room else 1
    widths = _widths(shown, loose, room - gap * (len(shown) - 1))
    blank, dim = Segment(" " * gap), Style(dim=True)
    lines = []
    for n in range(-1, max((len(column.cells) for column in shown), default=0)):
        line: list[Segment] = []
        for column, cells in zip(shown, widths, strict=True):
            text = column.cells[n] if n >= 0 else cell(column.title, "dim")
            line += (*([blank] if line else []), *fitted_segments(text, cells, right=column.right))
        if n < 0 and hidden:
            line.append(Segment(f" …+{hidden}", dim))
        lines.append(tuple(line))
    return Frame(tuple(lines))


def _widths(columns: Sequence[TableColumn], loose: TableColumn | None, room: int) -> list[int]:
    """The cells of each column in so many cells: the widest that may shrink do so first."""
    widths = [0 if column is loose else column.width for column in columns]
    least = [0 if column is loose else column.least_width for column in columns]
    title = _title_width(columns, loose)
    while sum(widths) > room - title and (slack := [n for n, cells in enumerate(widths) if cells > least[n]]):
        widths[max(slack, key=lambda n: widths[n])] -= 1
    if loose in columns:
        widths[-1] = max(0, room - sum(widths))
    elif len(widths) == 1:
        widths[0] = max(0, min(widths[0], room))
    return widths


def _shown(columns: Sequence[TableColumn], loose: TableColumn | None, room: int) -> list[TableColumn]:
    """The columns that there is room for."""
    shown = list(columns)
    while _needed(shown, loose, 2, least=False) > room and (extras := [column for column in shown if column.extra]):
        shown.remove(max(extras, key=lambda column: column.priority))
    while _needed(shown, loose, 1, least=True) > room and len(shown) > 1:
        shown.remove(max(shown, key=lambda column: column.priority))
    return shown


def _needed(columns: Sequence[TableColumn], loose: TableColumn | None, gap: int, *, least: bool) -> int:
    """Cells of the columns side by side."""
    widths = (column.least_width if least else column.width for column in columns if column is not loose)
    return sum(widths) + gap * (len(columns) - 1) + _title_width(columns, loose)


def _title_width(columns: Sequence[TableColumn], loose: TableColumn | None) -> int:
    """The cells that the loose column needs: those of its title, if it is shown."""
    return cell_len(loose.title) if loose is not None and loose in columns else 0


def agents_table(agents: Sequence[AgentRow], width: int, over: bool, chosen: int | None = None) -> Frame:
    """A row per agent; the chosen one is marked. What no agent has when the class is over has no column."""

    def number(value: float | None, form: str = "{:.0f}") -> Text:
        if value is None:
            return cell("" if over else "\N{EN DASH}", "dim")
        return cell(form.format(value))

    columns = [
        TableColumn("", 0, [cell("▸" if n == chosen else "") for n in range(len(agents))]),
        TableColumn("agent", 0, [cell(a.name, "bold") for a in agents]),
        TableColumn("role", 9, [cell(a.role) for a in agents]),
        TableColumn("model", 5, [cell(a.model) for a in agents], least=14),
        TableColumn("engine", 10, [cell(a.engine, "dim") for a in agents], extra=True),
        TableColumn("device", 8, [cell(a.device, "dim") for a in agents], least=9),
        TableColumn("state", 1, [cell(a.state and f"{a.state:<8}", STYLES.get(a.state, "")) for a in agents]),
        TableColumn("queue", 3, [number(a.queue) for a in agents], right=True),
        TableColumn("leases", 4, [number(a.leases) for a in agents], right=True),
        TableColumn("tok/s", 2, [number(a.tokens_per_second) for a in agents], right=True),
        TableColumn("spent", 3, [cell(spending(a.spent, a.budget)) for a in agents], right=True),
        TableColumn(
            "cached", 6, [number(a.cached_share and a.cached_share * 100, "{:.0f} %") for a in agents], right=True
        ),
        TableColumn(
            "restarts", 7, [cell(str(a.restarts), "yellow" if a.restarts else "dim") for a in agents], right=True
        ),
        TableColumn("results", 11, [cell(f"{a.done:,}") for a in agents], right=True, extra=True),
        TableColumn("tokens", 12, [cell(f"{a.tokens:,}") for a in agents], right=True, extra=True),
    ]
    return table(columns, width)


def lessons_table(rows: Sequence[LessonRow], students: Sequence[str], width: int) -> Frame:
    """A row per TP: its exams by student, and the top TR so far."""
    best = [row.best for row in rows]
    styles = ["" if b and b.complete else "dim" for b in best]
    scores = [cell(f"{b.score:.2f}" if b else "", style) for b, style in zip(best, styles, strict=True)]
    answers = [cell(b.answer if b else "", style) for b, style in zip(best, styles, strict=True)]
    columns = [
        TableColumn("TP", 0, [cell(tail(row.tp, max(8, width // 5)), "bold") for row in rows]),
        TableColumn("TRs", 50, [cell(str(row.rationales), "dim") for row in rows], right=True, extra=True),
        TableColumn("exams", 3, [cell(f"{row.exams}/{row.exams_total}", "dim") for row in rows], right=True),
        *(
            TableColumn(name, 4 + n, [score(row.scores.get(name), width) for row in rows], right=True)
            for n, name in enumerate(students)
        ),
        TableColumn("greedy", 40, [cell(*RIGHT[row.greedy]) for row in rows], right=True),
        TableColumn("top TR", 1, scores, right=True),
        TableColumn("", 1, [cell(*RIGHT[b.correct if b else None]) for b in best]),
        TableColumn("its answer", 2, answers, least=6),
    ]  # fmt: skip
    return table(columns, width)


def rounds_table(rows: Sequence[RoundRow], snapshot: Snapshot, width: int) -> Frame:
    """A row per round of level 3."""
    several = any(row.run > 1 for row in snapshot.learning.rounds)
    compared = any(row.arm != "class" for row in snapshot.learning.rounds)
    students = dict.fromkeys(name for row in rows for name in row.students)
    columns = [
        TableColumn("run", 40, [cell(str(row.run) if several else "", "dim") for row in rows], right=True),
        TableColumn("search", 2, [cell(row.arm if compared else "", "bold") for row in rows]),
        TableColumn("round", 0, [cell(str(row.number) if row.number else "start", "bold") for row in rows], right=True),
        TableColumn("sets", 50, [cell(str(row.sets), "dim") for row in rows], right=True, extra=True),
        TableColumn("training", 1, [share(row.train, width) for row in rows], right=True),
        TableColumn("held out", 1, [share(row.held_out, width) for row in rows], right=True),
        *(
            TableColumn(name, 4 + n, [share(row.students.get(name), width) for row in rows], right=True)
            for n, name in enumerate(students)
        ),
    ]
    return table(columns, width)


def training_table(rows: Sequence[TrainingRow], width: int) -> Frame:
    """A row per training of level 2. The names of the arms keep the numbers of their seeds."""

    def number(value: float | None, form: str) -> Text:
        return cell("" if value is None else form.format(value))

    columns = [
        TableColumn("round", 9, [cell(str(row.round), "dim") for row in rows], right=True),
        TableColumn("arm", 0, [cell(", ".join(row.arms), "bold") for row in rows], least=14),
        TableColumn("pairs", 10, [cell(f"{row.pairs:,}", "dim") for row in rows], right=True, extra=True),
        TableColumn("state", 3, [cell(row.status, STYLES.get(row.status, "")) for row in rows]),
        TableColumn("step", 1, [cell(f"{row.step}/{row.steps}" if row.step else "") for row in rows], right=True),
        TableColumn("", 8, [cell(curve(row.losses, CURVE), "cyan") for row in rows], right=True),
        TableColumn("loss", 2, [number(row.losses[-1] if row.losses else None, "{:.3f}") for row in rows], right=True),
        TableColumn("margin", 5, [number(row.margin, "{:+.3f}") for row in rows], right=True),
        TableColumn("preferred", 6, [cell("" if row.accuracy is None else percent(row.accuracy, 0)) for row in rows],
                    right=True),
        TableColumn("left", 4, [cell(roughly(row.left_s) if row.left_s else "") for row in rows], right=True),
    ]  # fmt: skip
    return table(columns, width)


def teachers_table(rows: Sequence[TeacherRow], width: int) -> Frame:
    """A row per teacher of level 2, as far as it is measured."""
    columns = [
        TableColumn("round", 9, [cell(str(row.round), "dim") for row in rows], right=True),
        TableColumn("teacher", 0, [cell(row.name, "bold") for row in rows], least=18),
        TableColumn("problems", 8, [cell(f"{row.problems}/{row.of}", "dim") for row in rows], right=True),
        TableColumn("greedy", 1, [share(row.greedy, width) for row in rows], right=True),
        TableColumn("sampled", 2, [share(row.sampled, width) for row in rows], right=True),
        TableColumn("LbT", 3, [score(row.lbt, width) for row in rows], right=True),
    ]
    return table(columns, width)
