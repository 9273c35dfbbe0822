"""Arranges a snapshot of a class in a terminal of any size: below one another, or in two columns where it is wide.

Sections are left out by priority where the terminal is small, and so are columns (tables.py).
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from rich.text import Text

from scenarios.monitor.controls import HELP, Look
from scenarios.monitor.frame import Frame, Line, beside, render
from scenarios.monitor.grid import grid
from scenarios.monitor.header import ROOMY, header, stages
from scenarios.monitor.results import SHORT
from scenarios.monitor.results import lines as lines_of_results
from scenarios.monitor.sections import PREVIEW, section, with_text
from scenarios.monitor.state import Snapshot
from scenarios.monitor.texts import cell, rule
from scenarios.report.formatting import many

WIDE = 150
"""Cells from which there are two columns."""
TALL = 34
"""Lines from which the results have their long form before other tables grow."""
ORDER = ("start", "agents", "results", "rounds", "training", "measured", "gradebook", "events", "texts")
LEFT = ("start", "results", "events")
RIGHT = ("rounds", "training", "measured", "gradebook", "texts")
SHOWN = {"lessons": ("results", "rounds", "training", "measured", "gradebook"), "agents": ("agents", "detail"),
         "log": ("events",)}  # fmt: skip
"""By view: its sections, from top to bottom; the overview has all but the detail."""
FIRST = ("agents", "detail", "start", "rounds", "training", "measured", "gradebook", "results", "events")
FIRST_AT = {
    2: ("agents", "detail", "start", "rounds", "training", "measured", "gradebook", "events"),
    3: ("agents", "detail", "start", "rounds", "events", "measured", "gradebook", "training"),
}
"""Which sections stay longest where there is little room, by level."""
LAST = ("results", "texts")
"""Sections that get what is left, if they have nothing yet."""

Sections = dict[str, tuple[object, Frame]]
"""By name: what was drawn last, and its lines."""


def wants(snapshot: Snapshot) -> dict[str, tuple[int, int]]:
    """The lines of each section, without its title: at least and at most."""
    learning, agents = snapshot.learning, len(snapshot.agents) + 1

    def rows(shown: Sequence[object]) -> int:
        return len(shown) + 1 if shown else 0

    results = lines_of_results(snapshot.standing)
    start, texts = len(snapshot.start), PREVIEW * len(with_text(snapshot))
    return {
        "start": (min(3, start) or 1, start),
        "agents": (min(5, agents), agents),
        "results": (SHORT, results),
        "rounds": (max(2, min(4, rows(learning.rounds))), rows(learning.rounds)),
        "training": (2, rows(learning.trainings)),
        "measured": (2, rows(learning.teachers)),
        "gradebook": (2, rows(snapshot.lessons)),
        "events": (1, len(snapshot.events)),
        "texts": (PREVIEW, texts),
        "detail": (3, 500 if snapshot.agents else 0),
    }


def heights(snapshot: Snapshot, names: Sequence[str], room: int, height: int) -> dict[str, int]:
    """The lines of each section among `names`, without its title; 0: it is not shown.

    Args:
        snapshot: the class.
        names: of the sections.
        room: lines that there are.
        height: of the terminal.
    """
    wanted = wants(snapshot)
    title = 1 if height >= ROOMY else 0
    given = dict.fromkeys(names, 0)
    for name in FIRST_AT.get(snapshot.level, FIRST):
        least, most = wanted[name]
        if name in given and most >= least and room >= least + title:
            given[name] = least
            room -= least + title
    everything = {name: most for name, (_, most) in wanted.items()}
    several = "texts" in given  # the latest texts and more events also want room
    part = max(height // 2, height - 30) if several and "agents" not in given else 10**6
    # Three events before the last rows of long tables, and more of them if there is room left.
    for name, most in (
        ("agents", height // 3),
        *((name, height // 4) for name in ("training", "measured", "rounds")),
        ("events", 3),
        ("start", everything["start"]),
        *([("results", everything["results"])] if height >= TALL and snapshot.level < 2 else []),
        *((name, part) for name in ("rounds", "training", "measured", "gradebook")),
        ("agents", everything["agents"]),
        ("results", everything["results"]),
        ("events", 12 if several else everything["events"]),
        *((name, everything[name]) for name in ("texts", "detail", *RIGHT, "events")),
    ):
        least = wanted[name][0]
        if name in LAST and given.get(name) == 0 and everything[name] and room >= least + title:
            given[name] = least
            room -= least + title
        if given.get(name):
            more = max(0, min(min(most, everything[name]) - given[name], room))
            if name == "results" and given[name] + more < everything[name]:
                continue  # its long form, or the short one
            given[name] += more
            room -= more
    return given


def view(
    snapshot: Snapshot,
    width: int,
    height: int,
    hint: str = "",
    drawn: Sections | None = None,
    look: Look = Look(),  # noqa: B008 - frozen
) -> Frame:
    """The monitor in at most `height` lines of `width` cells.

    Args:
        snapshot: the class.
        width: of the terminal.
        height: of the terminal.
        hint: which key does what; shown if there is room.
        drawn: the sections of the last picture; those that did not change are not drawn again.
        look: what the keys have chosen.
    """
    if snapshot.cells:
        above = _study(snapshot, width, height) if look.view == "overview" and not look.help else []
        below = view(replace(snapshot, cells=()), width, height - len(above), hint, drawn, look)
        return Frame((*above, *below.lines))
    drawn = {} if drawn is None else drawn
    top = header(snapshot, width, height, paused=look.paused)
    if look.help:
        return Frame((*_lines(top, width), *_help(width, hint))[:height])
    if look.view == "overview" or height < ROOMY:
        top += stages(snapshot, width, height)
    lines = _lines(top, width)
    names = SHOWN.get(look.view, ORDER)
    if look.view == "overview" and width >= WIDE and height >= ROOMY:
        table = heights(snapshot, ("agents",), (height - len(lines)) // 2, height)
        lines += _stack(snapshot, table, width, height, look, "", drawn)
        lines += _columns(snapshot, width, height, height - len(lines), look, hint, drawn)
    else:
        given = heights(snapshot, names, height - len(lines), height)
        lines += _stack(snapshot, given, width, height, look, hint, drawn)
        if not any(given.values()):
            lines += _lines([rule(look.view, [hint], width), cell(" nothing to show so far", "dim")], width)
    return Frame(tuple(lines[:height]))


def _study(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    """The classes of the study, above the one that is shown; nothing where there is little room."""
    if height < TALL - 10:
        return []
    complete = sum(one.status == "complete" for one in snapshot.cells)
    title = rule(
        "the study's classes", [f"{complete} of {many(len(snapshot.cells), 'class', 'classes')} complete"], width
    )
    drawn = render(grid(snapshot.cells, width - 1, max(4, height // 4)), width, " ")
    return [*_lines([title], width), *drawn.lines]


def _columns(
    snapshot: Snapshot, width: int, height: int, room: int, look: Look, hint: str, drawn: Sections
) -> list[Line]:
    """Two columns; the events are on the right as long as there is nothing else."""
    left, right = heights(snapshot, LEFT, room, height), heights(snapshot, RIGHT, room, height)
    if not any(right.values()):
        left, right = heights(snapshot, LEFT[:-1], room, height), heights(snapshot, LEFT[-1:], room, height)
    if not any(left.values()):
        return _stack(snapshot, right, width, height, look, hint, drawn)
    wide = max(width * 9 // 20, width - 120)
    hints = (hint, "") if left.get("events") else ("", hint)
    columns = (_stack(snapshot, left, wide, height, look, hints[0], drawn),
               _stack(snapshot, right, width - wide - 1, height, look, hints[1], drawn))  # fmt: skip
    return beside(*columns, wide)


def _stack(
    snapshot: Snapshot, given: Mapping[str, int], width: int, height: int, look: Look, hint: str, drawn: Sections
) -> list[Line]:
    """Sections below one another, with the hint in the title of the last one."""
    lines: list[Line] = []
    shown = [name for name, count in given.items() if count]
    for name in shown:
        one = section(name, snapshot, width, given[name], look)
        notes = [*one.notes, hint] if hint and name == shown[-1] else one.notes
        key = (one.data, notes, given[name], width, snapshot.over)
        if drawn.get(name, (None, None))[0] != key:
            drawn[name] = (key, render(one.draw(), width, " "))
        if height >= ROOMY:
            lines += render(rule(one.title, notes, width), width).lines
        lines += drawn[name][1].lines[: given[name]]
    return lines


def _lines(texts: Sequence[Text], width: int) -> list[Line]:
    return [line for text in texts for line in render(text, width).lines]


def _help(width: int, hint: str) -> list[Line]:
    keys = [*HELP, *([("", hint)] if hint else [])]
    texts = [Text.assemble(cell(f" {key:<16}", "bold"), cell(words), no_wrap=True) for key, words in keys]
    return _lines([rule("keys", ["any key leaves this"], width), *texts], width)
