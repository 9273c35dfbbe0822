"""Draws a snapshot of a class in a terminal of any size.

Sections are left out by priority where the terminal is small, and so are columns (tables.py).
"""

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.text import Text

from scenarios.monitor.state import LessonRow, RoundRow, Snapshot, StageRow, TeacherRow, TrainingRow
from scenarios.monitor.tables import (
    STYLES,
    agents_table,
    lessons_table,
    rounds_table,
    teachers_table,
    training_table,
)
from scenarios.monitor.texts import bar, cell, duration, fitted, roughly, rule, spread
from scenarios.report.formatting import many

LEVELS = {1: "observe", 2: "learn", 3: "iterate"}
MANY = 4
"""Stages that have a bar each whatever the height."""
ROOMY = 16
"""Lines from which sections have titles and stages bars."""
PRIORITY = {3: ("agents", "rounds", "events", "measured", "gradebook", "training")}
"""Which sections stay longest where there is little room, by level; default: in the order they stand in."""
CANVAS = Console(file=io.StringIO(), width=80, legacy_windows=False)
"""Turns what rich draws into lines."""


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


class ViewSection(NamedTuple):
    """A part of the picture with a title."""

    data: object
    """What it shows, as far as it may change."""
    notes: list[str]
    """At the end of its title; the first give way."""
    draw: Callable[[], RenderableType]


Sections = dict[str, tuple[object, Frame]]
"""By name: what was drawn last, and its lines."""


def render(drawn: RenderableType, width: int, indent: str = "") -> Frame:
    """The lines of `drawn` in exactly `width` cells."""
    indent = indent if width > len(indent) else ""
    options = CANVAS.options.update(width=width - len(indent), no_wrap=True, overflow="ellipsis")
    lines = CANVAS.render_lines(drawn, options)
    first = [Segment(indent)] if indent else []
    return Frame(tuple(tuple(Segment.simplify([*first, *line])) for line in lines))


# --- the class ------------------------------------------------------------------------------------------


def levels(snapshot: Snapshot) -> str:
    """The level at work by its name, and the levels that the class goes through."""
    level = f"level {snapshot.level}" + (f", {LEVELS[snapshot.level]}" if snapshot.level in LEVELS else "")
    return level + (f" (of {', '.join(map(str, snapshot.course))})" if snapshot.course else "")


def task(snapshot: Snapshot, between: str) -> str:
    """What the class is about, and how much of it there is."""
    return f"{snapshot.task}{between}{snapshot.amount}" if snapshot.amount else snapshot.task


def header(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    """Which class it is and how it is going."""
    status = cell(f"● {snapshot.status}", STYLES.get(snapshot.status, ""))
    name = cell(snapshot.scenario, "bold")
    for more in (f"  {levels(snapshot)}", f" · {snapshot.at_work}" if snapshot.at_work else ""):
        addition = cell(more, "dim")
        if name.cell_len + addition.cell_len + status.cell_len + 4 <= width:
            name = Text.assemble(name, addition, no_wrap=True)
    times = f"elapsed {duration(snapshot.elapsed_s)}" if width >= 60 else duration(snapshot.elapsed_s)
    if snapshot.left_s:
        times += f" · about {roughly(snapshot.left_s)} left"
    failed = (f"{snapshot.failed} failed", "red") if snapshot.failed else ""
    right = Text.assemble(failed, (" · ", "dim") if failed else "", times)
    simulated = "simulated: no language model"
    if snapshot.simulated and len(snapshot.simulated) < len(snapshot.agents):
        simulated += f" in {', '.join(snapshot.simulated)}"
    warning = cell(simulated, "yellow")
    lines = [spread(name, status, width)]
    if snapshot.simulated and height < ROOMY:
        fits = warning.cell_len + right.cell_len + 4 <= width
        return [*lines, spread(warning, right if fits else Text(), width)]
    lines.append(spread(cell(task(snapshot, " · ")), right, width))
    return [*lines, spread(warning, Text(), width)] if snapshot.simulated else lines


def stages(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    """A bar per stage, or one line for all; of many stages only those under way have a bar."""
    shown, others = list(snapshot.stages), []
    if len(shown) > max(MANY, height // 5):
        shown = [stage for stage in snapshot.stages if stage.due or 0 < stage.done < stage.total]
        others = [stage for stage in snapshot.stages if stage not in shown]
    if height < ROOMY:
        return [spread(cell(_in_one_line(shown, others, width - 4)), Text(), width)]
    counts = [f"{stage.done:,} / {stage.total:,}" for stage in shown]
    size, widest = max(map(len, counts), default=0), max((len(stage.name) for stage in shown), default=0)
    times = [f"{roughly(stage.left_s)} left" if stage.left_s else "" for stage in shown]
    last = max(map(len, times), default=0) if width >= 80 else 0
    lines = []
    for stage, count, time in zip(shown, counts, times, strict=True):
        figures = f"  {count:>{size}}" + (f"  {stage.percent:3} %" if width >= 50 else "")
        figures += f"  {time:>{last}}" if last else ""
        progress = bar(stage.done / stage.total, max(0, width - 4 - widest - len(figures)))
        lines.append(Text.assemble(f" {stage.name:<{widest}}  ", progress, figures, no_wrap=True))
    return lines + _stages_without_bar(others, width)


def _in_one_line(shown: Sequence[StageRow], others: Sequence[StageRow], width: int) -> str:
    if others and not shown:
        done, total = sum(stage.done for stage in others), sum(stage.total for stage in others)
        return f"{done:,} of {many(total, 'request')}"
    counts = "  ".join(f"{stage.name} {stage.done:,}/{stage.total:,}" for stage in shown)
    return counts if len(counts) <= width else "  ".join(f"{stage.name} {stage.percent} %" for stage in shown)


def _stages_without_bar(stages: Sequence[StageRow], width: int) -> list[Text]:
    groups = {
        "done": [f"{stage.name} {stage.total:,}" for stage in stages if stage.done],
        "to come": [f"{stage.name} {stage.total:,}" for stage in stages if not stage.done],
    }
    return [spread(cell(f"{word}  {' · '.join(g)}", "dim"), Text(), width) for word, g in groups.items() if g]


# --- sections -------------------------------------------------------------------------------------------


def agents(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    """The agents, and how many there is no room for."""
    hidden = len(snapshot.agents) - (height - 1)
    if hidden <= 0:
        return agents_table(snapshot.agents, width, snapshot.over)
    rows = snapshot.agents[: max(0, height - 2)]
    more = cell(f"… {len(snapshot.agents) - len(rows)} more", "dim")
    return Group(agents_table(rows, width, snapshot.over), more) if rows else more


def events(snapshot: Snapshot, height: int) -> RenderableType:
    """The last events, oldest first."""
    rows = snapshot.events[-height:]
    agent = min(12, max(cell(row.agent).cell_len for row in rows))
    kind = min(11, max(cell(row.kind).cell_len for row in rows))
    return Group(
        *(
            Text.assemble(
                (f"{row.time}  ", "dim"),
                fitted(row.agent, "bold", agent),
                "  " if agent else "",
                fitted(row.kind, STYLES.get(row.kind, ""), kind),
                "  ",
                cell(row.detail),
                no_wrap=True,
                overflow="ellipsis",
            )
            for row in rows
        )
    )


def summary(snapshot: Snapshot) -> list[str]:
    """How often the teacher is right alone, and by its best TR."""
    alone = [row.greedy for row in snapshot.lessons if row.greedy is not None]
    best = [row.best.correct for row in snapshot.lessons if row.best and row.best.complete]
    parts = [f"greedy right {sum(alone)} of {len(alone)}"] if alone else []
    return [*parts, f"best TR right {sum(best)} of {len(best)}"] if best else parts


Row = TypeVar("Row", LessonRow, RoundRow, TrainingRow, TeacherRow)


def latest(rows: Sequence[Row], count: int, key: Callable[[Row], Any]) -> list[Row]:
    """The `count` rows with the largest keys, and later ones before earlier ones, in the order of `rows`."""
    places = sorted(range(len(rows)), key=lambda n: (key(rows[n]), n))
    return [rows[n] for n in sorted(places[-count:])] if count > 0 else []


def latest_rounds(rows: Sequence[RoundRow], count: int) -> list[RoundRow]:
    """The last round of every search before any other, then later rounds before earlier ones."""
    last = {(row.run, row.arm): row.number for row in rows}
    return latest(rows, count, lambda row: (last[row.run, row.arm] == row.number, row.number))


def shown_of(shown: Sequence[object], rows: Sequence[object], what: str) -> list[str]:
    """How many rows of a section are shown, if not all."""
    return [f"{len(shown)} of {len(rows)} {what} shown"] if len(shown) < len(rows) else []


def heights(snapshot: Snapshot, height: int, room: int) -> dict[str, int]:
    """The lines of each section, without its title; 0: it is not shown."""
    learning, agents = snapshot.learning, len(snapshot.agents) + 1
    title = 1 if height >= ROOMY else 0

    def rows(shown: Sequence[object]) -> int:
        return len(shown) + 1 if shown else 0

    # At least and at most.
    wants = {
        "agents": (min(5, agents), agents),
        "rounds": (max(2, min(4, rows(learning.rounds))), rows(learning.rounds)),
        "training": (2, rows(learning.trainings)),
        "measured": (2, rows(learning.teachers)),
        "gradebook": (2, rows(snapshot.lessons)),
        "events": (1, min(len(snapshot.events), 3)),
    }
    given = dict.fromkeys(wants, 0)
    for name in PRIORITY.get(snapshot.level, wants):
        least, most = wants[name]
        if most >= least and room >= least + title:
            given[name] = least
            room -= least + title
    # Three events before the last rows of long tables, and more of them if there is room left.
    for name, most in (
        ("agents", min(agents, height // 3)),
        *((name, min(wants[name][1], height // 4)) for name in ("training", "measured", "rounds")),
        ("events", wants["events"][1]),
        *((name, wants[name][1]) for name in ("rounds", "training", "measured", "gradebook", "agents")),
        ("events", len(snapshot.events)),
    ):
        if given[name]:
            more = max(0, min(most - given[name], room))
            given[name] += more
            room -= more
    return given


def view(snapshot: Snapshot, width: int, height: int, hint: str = "", drawn: Sections | None = None) -> Frame:
    """The monitor in at most `height` lines of `width` cells.

    Args:
        snapshot: the class.
        width: of the terminal.
        height: of the terminal.
        hint: which key does what; shown if there is room.
        drawn: the sections of the last picture; those that did not change are not drawn again.
    """
    drawn = {} if drawn is None else drawn
    top = header(snapshot, width, height) + stages(snapshot, width, height)
    lines = [line for text in top for line in render(text, width).lines]
    given = heights(snapshot, height, height - len(lines))
    learning = snapshot.learning
    lessons = latest(snapshot.lessons, given["gradebook"] - 1, lambda row: (row.exams > 0, row.last))
    rounds = latest_rounds(learning.rounds, given["rounds"] - 1)
    trainings = latest(learning.trainings, given["training"] - 1, lambda row: row.status == "training")
    teachers = latest(learning.teachers, given["measured"] - 1, lambda row: 0)
    sections = {
        "agents": ViewSection(snapshot.agents, [], lambda: agents(snapshot, width, given["agents"])),
        "rounds": ViewSection(
            rounds,
            ["F1 of the class Yes: the teacher, then students", *shown_of(rounds, learning.rounds, "rounds")],
            lambda: rounds_table(rounds, snapshot, width),
        ),
        "training": ViewSection(
            trainings, shown_of(trainings, learning.trainings, "trainings"), lambda: training_table(trainings, width)
        ),
        "measured": ViewSection(
            teachers,
            [
                "greedy and sampled: held-out problems right",
                "LbT: score of new TRs",
                *shown_of(teachers, learning.teachers, "teachers"),
            ],
            lambda: teachers_table(teachers, width),
        ),
        "gradebook": ViewSection(
            lessons,
            [*summary(snapshot), *shown_of(lessons, snapshot.lessons, "lessons")],
            lambda: lessons_table(lessons, snapshot.students, width),
        ),
        "events": ViewSection(snapshot.events, [hint] if hint else [], lambda: events(snapshot, given["events"])),
    }
    for name, section in sections.items():
        if not given[name]:
            continue
        key = (section.data, section.notes, given[name], width, snapshot.over)
        if drawn.get(name, (None, None))[0] != key:
            drawn[name] = (key, render(section.draw(), width, " "))
        if height >= ROOMY:
            lines += render(rule(name, section.notes, width), width).lines
        lines += drawn[name][1].lines[: given[name]]
    return Frame(tuple(lines[:height]))
