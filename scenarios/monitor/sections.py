"""The sections of the picture: what each shows in so many lines, and how it is drawn."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from rich.text import Text

from scenarios.monitor.controls import Look
from scenarios.monitor.frame import CANVAS, Drawn
from scenarios.monitor.results import results_table
from scenarios.monitor.state import AgentRow, LessonRow, RoundRow, Snapshot, TeacherRow, TrainingRow, spending
from scenarios.monitor.tables import (
    STYLES,
    agents_table,
    lessons_table,
    rounds_table,
    teachers_table,
    training_table,
)
from scenarios.monitor.texts import cell, duration, fitted
from scenarios.report.formatting import harmless, many, percent

PREVIEW = 4
"""Lines of a text beside others, with its heading."""


class ViewSection(NamedTuple):
    """A part of the picture with a title."""

    title: str
    data: object
    """What it shows, as far as it may change."""
    notes: list[str]
    """At the end of its title; the first give way."""
    draw: Callable[[], Drawn]


def section(name: str, snapshot: Snapshot, width: int, height: int, look: Look) -> ViewSection:
    """A section in `height` lines, without its title, of `width` cells."""
    learning = snapshot.learning
    if name == "start":
        return ViewSection(name, snapshot.start, [], lambda: start(snapshot, height))
    if name == "agents":
        chosen = look.agent if look.view == "agents" else None
        data = (snapshot.agents, chosen)
        return ViewSection(name, data, [], lambda: agents(snapshot, width, height, chosen))
    if name == "results":
        standing = snapshot.standing
        notes = ["students: all exams so far", f"{standing.finished} of {many(standing.tps, 'TP')} finished"]
        return ViewSection("results so far", standing, notes, lambda: results_table(standing, width - 1, height))
    if name == "rounds":
        rounds = latest_rounds(learning.rounds, height - 1)
        notes = ["F1 of the class Yes: the teacher, then students", *shown_of(rounds, learning.rounds, "rounds")]
        return ViewSection(name, rounds, notes, lambda: rounds_table(rounds, snapshot, width))
    if name == "training":
        trainings = latest(learning.trainings, height - 1, lambda row: row.status == "training")
        notes = shown_of(trainings, learning.trainings, "trainings")
        return ViewSection(name, trainings, notes, lambda: training_table(trainings, width))
    if name == "measured":
        teachers = latest(learning.teachers, height - 1, lambda row: 0)
        notes = ["greedy and sampled: held-out problems right", "LbT: score of new TRs"]
        notes += shown_of(teachers, learning.teachers, "teachers")
        return ViewSection(name, teachers, notes, lambda: teachers_table(teachers, width))
    if name == "gradebook":
        lessons = latest(snapshot.lessons, height - 1, lambda row: (row.exams > 0, row.last))
        notes = [*summary(snapshot), *shown_of(lessons, snapshot.lessons, "TPs")]
        return ViewSection(name, lessons, notes, lambda: lessons_table(lessons, snapshot.students, width))
    if name == "events":
        return ViewSection(name, snapshot.events, [], lambda: events(snapshot, height))
    if name == "texts":
        return ViewSection("latest texts", with_text(snapshot), [], lambda: texts(snapshot, width, height))
    row = snapshot.agents[min(look.agent or 0, len(snapshot.agents) - 1)]
    return ViewSection(harmless(row.name), row, [], lambda: detail(row, width, height))


def start(snapshot: Snapshot, height: int) -> Drawn:
    """What is done and what is under way; where there are few lines, what is under way."""
    rows = sorted(snapshot.start, key=lambda row: row.done)[:height] if height < len(snapshot.start) else snapshot.start
    name = min(16, max(cell(row.name).cell_len for row in rows))
    return [
        Text.assemble(
            ("✓ ", "green") if row.done else ("… ", "yellow"),
            (f"{'' if row.seconds is None else duration(row.seconds):>5}  ", "dim"),
            fitted(row.name, "bold", name),
            "  ",
            cell(row.words, "dim" if row.done else ""),
            no_wrap=True,
            overflow="ellipsis",
        )
        for row in rows
    ]


def agents(snapshot: Snapshot, width: int, height: int, chosen: int | None = None) -> Drawn:
    """The agents, and how many there is no room for."""
    hidden = len(snapshot.agents) - (height - 1)
    if hidden <= 0:
        return agents_table(snapshot.agents, width, snapshot.over, chosen)
    first = max(0, (chosen or 0) - max(0, height - 2) + 1)
    rows = snapshot.agents[first : first + max(0, height - 2)]
    more = cell(f"… {len(snapshot.agents) - len(rows)} more", "dim")
    chosen = None if chosen is None else chosen - first
    return [agents_table(rows, width, snapshot.over, chosen), more] if rows else more


def events(snapshot: Snapshot, height: int) -> Drawn:
    """The last events, oldest first."""
    rows = snapshot.events[-height:]
    agent = min(12, max(cell(row.agent).cell_len for row in rows))
    kind = min(11, max(cell(row.kind).cell_len for row in rows))
    return [
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
    ]


def summary(snapshot: Snapshot) -> list[str]:
    """How often the teacher is right alone, and by its top TR, the one with the highest LbT score."""
    alone = [row.greedy for row in snapshot.lessons if row.greedy is not None]
    best = [row.best.correct for row in snapshot.lessons if row.best and row.best.complete]
    parts = [f"greedy right {sum(alone)} of {len(alone)}"] if alone else []
    return [*parts, f"top TR right {sum(best)} of {len(best)}"] if best else parts


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


def with_text(snapshot: Snapshot) -> list[AgentRow]:
    """The agents with a text."""
    return [row for row in snapshot.agents if row.latest]


def texts(snapshot: Snapshot, width: int, height: int) -> Drawn:
    """The beginning of the last text of as many agents as there is room for."""
    rows = with_text(snapshot)[: max(1, height // PREVIEW)]
    lines = []
    for row in rows:
        if row.latest:
            lines += [Text.assemble(cell(row.name, "bold"), "  ", cell(row.latest.about, "dim"), no_wrap=True)]
            lines += paragraphs(row.latest.text, width - 4, height // len(rows) - 1)
    return lines


def detail(row: AgentRow, width: int, height: int) -> Drawn:
    """One agent: who it is, what it does, and its last text."""
    facts = [row.role, row.model, row.engine, row.device, row.state]
    figures = [
        many(row.done, "result"),
        many(row.tokens, "token"),
        "" if row.tokens_per_second is None else f"{row.tokens_per_second:.0f} tok/s",
        "" if row.queue is None else f"{row.queue:,} in its queue",
        "" if row.leases is None else many(row.leases, "lease"),
        "" if row.cached_share is None else f"{percent(row.cached_share, 0)} of prompt tokens cached",
        many(row.restarts, "restart"),
        spending(row.spent, row.budget) and f"spent {spending(row.spent, row.budget)}",
    ]
    lines = [cell(" · ".join(filter(None, facts))), cell(" · ".join(filter(None, figures)), "dim"), cell("")]
    if row.latest is None:
        return [*lines, cell("no text so far", "dim")]
    lines.append(cell(f"latest text: {row.latest.about}", "dim"))
    return [*lines, *paragraphs(row.latest.text, width - 4, height - len(lines))]


def paragraphs(text: str, width: int, most: int) -> list[Text]:
    """At most so many lines of a text, each harmless and of at most `width` cells."""
    lines = (line for one in text.splitlines() for line in Text(harmless(one)).wrap(CANVAS, max(8, width)))
    shown = list(islice(lines, max(0, most + 1)))
    if len(shown) > most > 0:
        shown = [*shown[: most - 1], cell("…", "dim")]
    return [Text.assemble("  ", line, no_wrap=True, overflow="ellipsis") for line in shown[: max(0, most)]]
