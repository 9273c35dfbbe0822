"""Draws what the levels after the first came to: rounds, trainings, and teachers that are measured. Pure.

Where these sections stand, and how much room they get, is scenarios/monitor/view.py; what lines are made of, lines.py.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from scenarios.monitor.lines import Column, Line, Piece, roughly, table
from scenarios.monitor.state import RoundRow, Snapshot
from scenarios.report.formatting import percent

HEIGHTS = " ▁▂▃▄▅▆▇█"
ROOM = 80
"""Cells of a line from which figures have little columns beside them."""
CURVE = 12
"""Cells of a curve."""
TRAINING = {"training": "good", "waiting": "warn", "failed": "bad", "no pairs": "warn", "trained": "dim"}


def score(value: float | None, width: int) -> Piece:
    """A score from 0 to 1, with a little column where a line of `width` has room for it."""
    return ("", "") if value is None else (f"{_column(value)}{value:.2f}" if width >= ROOM else f"{value:.2f}", "")


def share(value: float | None, width: int) -> Piece:
    """A share or an F1 as the report writes it, with a little column where a line of `width` has room for it."""
    if value is None:
        return "", ""
    return (f"{_column(value)}{percent(value)}" if width >= ROOM else percent(value, 0)), ""


def _column(value: float) -> str:
    return f"{HEIGHTS[round(value * 8)]} "


def curve(values: Sequence[float], cells: int) -> str:
    """`values` as little columns between their smallest and their largest; many in one cell by their mean."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return ""
    cells = min(cells, len(known))
    edges = [len(known) * n // cells for n in range(cells + 1)]
    means = [sum(value / (b - a) for value in known[a:b]) for a, b in pairwise(edges)]
    low = min(means)
    span = max(means) / 2 - low / 2  # halves: a loss may be so large that a difference is not finite
    return "".join(HEIGHTS[1 + round(7 * ((mean / 2 - low / 2) / span))] if span else HEIGHTS[4] for mean in means)


def rounds_table(snapshot: Snapshot, height: int, width: int) -> list[Line]:
    """A row per round of level 3, the latest where there is no room for all; `height` lines with the titles."""
    rows = latest_rounds(snapshot.learning.rounds, height - 1)
    several = any(row.run > 1 for row in snapshot.learning.rounds)
    compared = any(row.arm != "class" for row in snapshot.learning.rounds)
    learners = dict.fromkeys(name for row in rows for name in row.students)
    columns = [
        Column("run", 40, [(str(row.run) if several else "", "dim") for row in rows], right=True),
        Column("search", 2, [(row.arm if compared else "", "bold") for row in rows]),
        Column("round", 0, [(str(row.number) if row.number else "start", "bold") for row in rows], right=True),
        Column("sets", 50, [(str(row.sets), "dim") for row in rows], right=True, extra=True),
        Column("training", 1, [share(row.train, width) for row in rows], right=True),
        Column("held out", 1, [share(row.held_out, width) for row in rows], right=True),
        *(
            Column(name, 4 + n, [share(row.students.get(name), width) for row in rows], right=True)
            for n, name in enumerate(learners)
        ),
    ]
    return table(columns, width, range(len(rows)))


def latest_rounds(rows: Sequence[RoundRow], count: int) -> list[RoundRow]:
    """The last round of every search before any other, and later rounds before earlier ones; in their order."""
    last = {(row.run, row.arm): row.number for row in rows}
    places = sorted(
        range(len(rows)), key=lambda n: (last[rows[n].run, rows[n].arm] == rows[n].number, rows[n].number, n)
    )
    return [rows[n] for n in sorted(places[-count:])] if count > 0 else []


def training_table(snapshot: Snapshot, height: int, width: int) -> list[Line]:
    """A row per training of level 2, those that are not over first to stay. No name loses the number of its seed."""
    trainings = snapshot.learning.trainings
    rows = [trainings[n] for n in _kept([row.status == "training" for row in trainings], height)]

    def number(value: float | None, form: str) -> Piece:
        return ("", "") if value is None else (form.format(value), "")

    columns = [
        Column("round", 9, [(str(row.round), "dim") for row in rows], right=True),
        Column("arm", 0, [(", ".join(row.arms), "bold") for row in rows], least=14),
        Column("pairs", 10, [(f"{row.pairs:,}", "dim") for row in rows], right=True, extra=True),
        Column("state", 3, [(row.status, TRAINING.get(row.status, "")) for row in rows]),
        Column("step", 1, [(f"{row.step}/{row.steps}" if row.step else "", "") for row in rows], right=True),
        Column("", 8, [(curve(row.losses, CURVE), "bar") for row in rows], right=True),
        Column("loss", 2, [number(row.losses[-1] if row.losses else None, "{:.3f}") for row in rows], right=True),
        Column("margin", 5, [number(row.margin, "{:+.3f}") for row in rows], right=True),
        Column(
            "preferred",
            6,
            [(percent(row.accuracy, 0) if row.accuracy is not None else "", "") for row in rows],
            right=True,
        ),
        Column("left", 4, [(roughly(row.left_s), "") if row.left_s else ("", "") for row in rows], right=True),
    ]
    return table(columns, width, range(len(rows)))


def teachers_table(snapshot: Snapshot, height: int, width: int) -> list[Line]:
    """A row per teacher of level 2, as far as it is measured."""
    teachers = snapshot.learning.teachers
    rows = [teachers[n] for n in _kept([False] * len(teachers), height)]
    columns = [
        Column("round", 9, [(str(row.round), "dim") for row in rows], right=True),
        Column("teacher", 0, [(row.name, "bold") for row in rows], least=18),
        Column("problems", 8, [(f"{row.problems}/{row.of}", "dim") for row in rows], right=True),
        Column("greedy", 1, [share(row.greedy, width) for row in rows], right=True),
        Column("sampled", 2, [share(row.sampled, width) for row in rows], right=True),
        Column("LbT", 3, [score(row.lbt, width) for row in rows], right=True),
    ]
    return table(columns, width, range(len(rows)))


def _kept(first: Sequence[bool], height: int) -> list[int]:
    """Which of so many rows there is room for under a line of titles: the latest, and the `first` before all others."""
    count = max(0, height - 1)
    places = sorted(range(len(first)), key=lambda n: (first[n], n))
    return sorted(places[-count:]) if count else []
