"""Draws a snapshot of a class: pure, from data to lines.

Sections and columns are left out by priority where the terminal is small. How texts are made harmless and lines
are cut to size is scenarios/monitor/lines.py; what is known of the class, scenarios/monitor/snapshot.py.
"""

from collections.abc import Callable, Sequence

from scenarios.monitor.lines import (
    Column,
    Frame,
    Line,
    Piece,
    bar,
    cut,
    duration,
    fit,
    roughly,
    rule,
    size_of,
    spread,
    table,
)
from scenarios.monitor.sections import rounds_table, score, teachers_table, training_table
from scenarios.monitor.state import AgentRow, LessonRow, Snapshot, StageRow, spending
from scenarios.report.formatting import many

STATES = {
    "running": "good", "ready": "good", "complete": "good", "finished": "good", "joined": "good", "training": "good",
    "left": "dim", "starting": "warn", "waiting": "warn", "draining": "warn", "stopped": "warn", "loading": "warn",
    "restarting": "warn", "restart": "warn", "drain": "warn", "retry": "warn", "stranger": "warn",
    "interrupted": "bad", "lost": "bad", "gone": "bad", "failed": "bad",
}  # fmt: skip
LEVELS = {1: "observe", 2: "learn", 3: "iterate"}
MANY = 4
"""Stages that have a bar each whatever the height."""
ROOMY = 16
"""Lines from which sections have titles and stages bars."""
PRIORITY = {3: ("agents", "rounds", "events", "measured", "gradebook", "training")}
"""Which sections stay longest where there is little room, by level; default: in the order they stand in."""
MARKS = {True: ("✓", "good"), False: ("✗", "bad"), None: ("", "")}


def agents_table(agents: Sequence[AgentRow], width: int, height: int, over: bool) -> list[Line]:
    """A row per agent, `height` lines with the titles. What no agent has any more, once all is over, has no column."""
    missing = ("", "") if over else ("\N{EN DASH}", "dim")

    def number(value: float | None, form: str = "{:.0f}") -> Piece:
        return missing if value is None else (form.format(value), "")

    columns = [
        Column("agent", 0, [(a.name, "bold") for a in agents]),
        Column("role", 9, [(a.role, "") for a in agents]),
        Column("model", 5, [(a.model, "") for a in agents], least=14),
        Column("engine", 10, [(a.engine, "dim") for a in agents], extra=True),
        Column("device", 8, [(a.device, "dim") for a in agents], least=9),
        Column("state", 1, [(a.state and f"{a.state:<8}", STATES.get(a.state, "")) for a in agents]),
        Column("queue", 3, [number(a.queue) for a in agents], right=True),
        Column("leases", 4, [number(a.leases) for a in agents], right=True),
        Column("tok/s", 2, [number(a.tokens_per_second) for a in agents], right=True),
        Column("spent", 3, [(spending(a.spent, a.budget), "") for a in agents], right=True),
        Column("cached", 6, [number(a.cached_share and a.cached_share * 100, "{:.0f} %") for a in agents], right=True),
        Column("restarts", 7, [(str(a.restarts), "warn" if a.restarts else "dim") for a in agents], right=True),
        Column("results", 11, [(f"{a.done:,}", "") for a in agents], right=True, extra=True),
        Column("tokens", 12, [(f"{a.tokens:,}", "") for a in agents], right=True, extra=True),
    ]
    room = max(0, height - 1)
    if len(agents) <= room:
        return table(columns, width, range(len(agents)))
    lines = table(columns, width, range(max(0, room - 1)))
    return [*lines, spread(((f"… {len(agents) - len(lines) + 1} more", "dim"),), (), width)][:height]


def lessons_table(snapshot: Snapshot, rows: Sequence[LessonRow], width: int) -> list[Line]:
    """A row per TP: how its exams went under this lesson, by student, and the best TR so far."""
    best = [row.best for row in rows]
    columns = [
        Column("TP", 0, [(row.tp, "bold") for row in rows], least=8, tail=True),
        Column("TRs", 50, [(str(row.rationales), "dim") for row in rows], right=True, extra=True),
        Column("exams", 3, [(f"{row.exams}/{row.exams_total}", "dim") for row in rows], right=True),
        *(
            Column(name, 4 + n, [score(row.scores.get(name), width) for row in rows], right=True)
            for n, name in enumerate(snapshot.students)
        ),
        Column("greedy", 40, [MARKS[row.greedy] for row in rows], right=True),
        Column("best TR", 1, [(f"{b.score:.2f}", "" if b.complete else "dim") if b else ("", "") for b in best],
               right=True),
        Column("", 1, [MARKS[b.correct if b else None] for b in best]),
        Column("its answer", 2, [(b.answer, "" if b.complete else "dim") if b else ("", "") for b in best], least=6),
    ]  # fmt: skip
    return table(columns, width, range(len(rows)))


# --- sections -------------------------------------------------------------------------------------------


def levels(snapshot: Snapshot) -> str:
    """The level at work, by its name, and those that the class goes through."""
    level = f"level {snapshot.level}" + (f", {LEVELS[snapshot.level]}" if snapshot.level in LEVELS else "")
    return level + (f" (of {', '.join(map(str, snapshot.course))})" if snapshot.course else "")


def task(snapshot: Snapshot, between: str) -> str:
    """What the class is about, and how much of it there is."""
    amount = snapshot.amount or (many(snapshot.teaching_problems, "TP") if snapshot.teaching_problems else "")
    return f"{snapshot.task}{between}{amount}" if amount else snapshot.task


def header(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    """Who is at it and how far."""
    status: Line = ((f"● {snapshot.status}", STATES.get(snapshot.status, "")),)
    named: Line = ((snapshot.scenario, "bold"),)
    level = f"  {levels(snapshot)}"
    for more in (level, f" · {snapshot.at_work}" if snapshot.at_work else ""):
        if size_of(named) + len(more) + size_of(status) + 4 <= width:
            named = (*named, (more, "dim"))
    failed = f"{snapshot.failed} failed"
    times = f"elapsed {duration(snapshot.elapsed_s)}" if width >= 60 else duration(snapshot.elapsed_s)
    if snapshot.left_s:
        times += f" · about {roughly(snapshot.left_s)} left"
    right: Line = ((failed, "bad"), (" · ", "dim"), (times, "")) if snapshot.failed else ((times, ""),)
    about: Line = ((task(snapshot, " · "), ""),)
    simulated = "simulated: no language model"
    if snapshot.simulated and len(snapshot.simulated) < len(snapshot.agents):
        simulated += f" in {', '.join(snapshot.simulated)}"
    warning: Line = ((simulated, "warn"),)
    lines = [spread(named, status, width)]
    if snapshot.simulated and height < ROOMY:
        return [*lines, spread(warning, right if size_of(warning) + size_of(right) + 4 <= width else (), width)]
    lines.append(spread(about, right, width))
    return [*lines, spread(warning, (), width)] if snapshot.simulated else lines


def stages(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    """A bar per stage, or one line for all; where there are many, a line for those that are over or to come."""
    shown, others = list(snapshot.stages), []
    if len(shown) > max(MANY, height // 5):
        shown = [stage for stage in snapshot.stages if stage.due or 0 < stage.done < stage.total]
        others = [stage for stage in snapshot.stages if stage not in shown]
    counts = [f"{stage.done:,} / {stage.total:,}" for stage in shown]
    names = [stage.name for stage in shown]
    if height < ROOMY and others and not shown:
        done, total = sum(stage.done for stage in others), sum(stage.total for stage in others)
        return [spread(((f"{done:,} of {many(total, 'request')}", ""),), (), width)]
    if height < ROOMY:
        forms = (
            [f"{name} {count.replace(' ', '')}" for name, count in zip(names, counts, strict=True)],
            [f"{stage.name} {stage.percent} %" for stage in shown],
        )
        texts = ["  ".join(form) for form in forms]
        return [spread(((next((t for t in texts if len(t) <= width - 4), texts[1]), ""),), (), width)]
    size, widest = max(map(len, counts), default=0), max(map(len, names), default=0)
    times = [f"{roughly(stage.left_s)} left" if stage.left_s else "" for stage in shown]
    last = max(map(len, times), default=0) if width >= 80 else 0
    lines: list[Line] = []
    for stage, count, time in zip(shown, counts, times, strict=True):
        figures = f"  {count:>{size}}" + (f"  {stage.percent:3} %" if width >= 50 else "")
        figures += f"  {time:>{last}}" if last else ""
        room = max(0, width - 4 - widest - len(figures))
        progress = bar(stage.done / stage.total, room)
        lines.append(cut(((f" {stage.name:<{widest}}  ", ""), *progress, (figures, "")), width))
    return lines + rest_of_stages(others, width)


def rest_of_stages(others: Sequence[StageRow], width: int) -> list[Line]:
    """The stages without a bar, in a line or two."""
    over = [f"{stage.name} {stage.total:,}" for stage in others if stage.done]
    to_come = [f"{stage.name} {stage.total:,}" for stage in others if not stage.done]
    lines = []
    for word, names in (("done", over), ("to come", to_come)):
        if names:
            lines.append(spread(((f"{word}  ", "dim"), (" · ".join(names), "dim")), (), width))
    return lines


def events(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    """What happened last, oldest first."""
    rows = snapshot.events[len(snapshot.events) - min(height, len(snapshot.events)) :]
    agent = min(12, max((size_of(((e.agent, ""),)) for e in rows), default=0))
    kind = min(11, max((size_of(((e.kind, ""),)) for e in rows), default=0))
    return [
        cut(
            (
                (f" {e.time}  ", "dim"),
                (fit(e.agent, agent) + "  " if agent else "", "bold"),
                (fit(e.kind, kind) + "  ", STATES.get(e.kind, "")),
                (e.detail, ""),
            ),
            width,
        )
        for e in rows
    ]


def of_all(shown: int, rows: Sequence[object], what: str) -> list[str]:
    """How many rows of a section are shown, where it is not all of them."""
    return [f"{shown} of {len(rows)} {what} shown"] if shown < len(rows) else []


def so_far(snapshot: Snapshot) -> list[str]:
    """The gradebook in a few words: how often the teacher is right alone, and by its best TR."""
    parts = []
    alone = [row.greedy for row in snapshot.lessons if row.greedy is not None]
    best = [row.best.correct for row in snapshot.lessons if row.best and row.best.complete]
    if alone:
        parts.append(f"greedy right {sum(alone)} of {len(alone)}")
    if best:
        parts.append(f"best TR right {sum(best)} of {len(best)}")
    return parts


def latest(rows: Sequence[LessonRow], count: int) -> list[LessonRow]:
    """The `count` lessons that exams came from last, in the order of the task."""
    newest = sorted(range(len(rows)), key=lambda n: (rows[n].exams > 0, rows[n].last, n))[-count:] if count else []
    return [rows[n] for n in sorted(newest)]


def view(snapshot: Snapshot, width: int, height: int, hint: str = "") -> Frame:
    """The monitor in at most `height` lines of `width` cells.

    Args:
        snapshot: what is known.
        width: of the terminal.
        height: of the terminal.
        hint: which key does what; shown where there is room.
    """
    lines = header(snapshot, width, height) + stages(snapshot, width, height)
    title = 1 if height >= ROOMY else 0
    room = height - len(lines)
    learning = snapshot.learning
    # Each section's lines, without its title: at least and at most.
    wants = {
        "agents": (min(5, len(snapshot.agents) + 1), len(snapshot.agents) + 1),
        "rounds": (max(2, min(4, len(learning.rounds) + 1)), len(learning.rounds) + 1 if learning.rounds else 0),
        "training": (2, len(learning.trainings) + 1 if learning.trainings else 0),
        "measured": (2, len(learning.teachers) + 1 if learning.teachers else 0),
        "gradebook": (2, len(snapshot.lessons) + 1 if snapshot.lessons else 0),
        "events": (1, min(len(snapshot.events), 3)),
    }
    given = dict.fromkeys(wants, 0)
    for name in PRIORITY.get(snapshot.level, wants):
        least, most = wants[name]
        if most >= least and room >= least + title:
            given[name] = least
            room -= least + title
    # Three events before the last rows of long tables, and more of them where room is left.
    for name, most in (
        ("agents", min(wants["agents"][1], height // 3)),
        *((name, min(wants[name][1], height // 4)) for name in ("training", "measured", "rounds")),
        ("events", wants["events"][1]),
        *((name, wants[name][1]) for name in ("rounds", "training", "measured", "gradebook", "agents")),
        ("events", len(snapshot.events)),
    ):
        if given[name]:
            more = max(0, min(most - given[name], room))
            given[name] += more
            room -= more
    lessons = latest(snapshot.lessons, max(0, given["gradebook"] - 1))
    draw: dict[str, tuple[list[str], Callable[[], list[Line]]]] = {
        "agents": ([], lambda: agents_table(snapshot.agents, width, given["agents"], snapshot.over)),
        "rounds": (["F1 of the class Yes: the teacher, then students",
                    *of_all(given["rounds"] - 1, learning.rounds, "rounds")],
                   lambda: rounds_table(snapshot, given["rounds"], width)),
        "training": (of_all(given["training"] - 1, learning.trainings, "trainings"),
                     lambda: training_table(snapshot, given["training"], width)),
        "measured": (["greedy and sampled: held-out problems right", "LbT: score of new TRs",
                      *of_all(given["measured"] - 1, learning.teachers, "teachers")],
                     lambda: teachers_table(snapshot, given["measured"], width)),
        "gradebook": ([*so_far(snapshot), *of_all(len(lessons), snapshot.lessons, "lessons")],
                      lambda: lessons_table(snapshot, lessons, width)),
        "events": ([hint] if hint else [], lambda: events(snapshot, width, given["events"])),
    }  # fmt: skip
    for name, (notes, section) in draw.items():
        if given[name]:
            lines += [rule(name, notes, width)] * title + section()
    return Frame(tuple(lines[:height]))
