"""Draws a snapshot of a class: pure, from data to lines.

Sections and columns are left out by priority where the terminal is small. How texts are made harmless and lines
are cut to size is scenarios/monitor/lines.py; what is known of the class, scenarios/monitor/snapshot.py.
"""

from collections.abc import Sequence

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
from scenarios.monitor.snapshot import AgentRow, LessonRow, Snapshot, spending

STATES = {
    "running": "good", "ready": "good", "complete": "good", "starting": "warn", "waiting": "warn", "draining": "warn",
    "stopped": "warn", "loading": "warn", "restarting": "warn", "joined": "good", "restart": "warn", "drain": "warn",
    "retry": "warn", "stranger": "warn", "interrupted": "bad", "lost": "bad", "gone": "bad", "failed": "bad",
}  # fmt: skip
LEVELS = {1: "observe", 3: "iterate"}
ROOMY = 16
"""Lines from which sections have titles and stages bars."""
HEIGHTS = " ▁▂▃▄▅▆▇█"
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

    def score(value: float | None) -> Piece:
        if value is None:
            return "", ""
        glyph = f"{HEIGHTS[round(value * 8)]} " if width >= 80 else ""
        return f"{glyph}{value:.2f}", ""

    best = [row.best for row in rows]
    columns = [
        Column("TP", 0, [(row.tp, "bold") for row in rows], least=8, tail=True),
        Column("TRs", 50, [(str(row.rationales), "dim") for row in rows], right=True, extra=True),
        Column("exams", 3, [(f"{row.exams}/{row.exams_total}", "dim") for row in rows], right=True),
        *(
            Column(name, 4 + n, [score(row.scores.get(name)) for row in rows], right=True)
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


def header(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    """Who is at it and how far."""
    status: Line = ((f"● {snapshot.status}", STATES.get(snapshot.status, "")),)
    named: Line = ((snapshot.scenario, "bold"),)
    level = f"  level {snapshot.level}" + (f", {LEVELS[snapshot.level]}" if snapshot.level in LEVELS else "")
    if size_of(named) + len(level) + size_of(status) + 4 <= width:
        named = (*named, (level, "dim"))
    failed = f"{snapshot.failed} failed"
    times = f"elapsed {duration(snapshot.elapsed_s)}" if width >= 60 else duration(snapshot.elapsed_s)
    if snapshot.left_s:
        times += f" · about {roughly(snapshot.left_s)} left"
    right: Line = ((failed, "bad"), (" · ", "dim"), (times, "")) if snapshot.failed else ((times, ""),)
    task: Line = ((snapshot.task + f" · {snapshot.teaching_problems} TPs" * (snapshot.teaching_problems > 0), ""),)
    simulated = "simulated: no language model"
    if snapshot.simulated and len(snapshot.simulated) < len(snapshot.agents):
        simulated += f" in {', '.join(snapshot.simulated)}"
    warning: Line = ((simulated, "warn"),)
    lines = [spread(named, status, width)]
    if snapshot.simulated and height < ROOMY:
        return [*lines, spread(warning, right if size_of(warning) + size_of(right) + 4 <= width else (), width)]
    lines.append(spread(task, right, width))
    return [*lines, spread(warning, (), width)] if snapshot.simulated else lines


def stages(snapshot: Snapshot, width: int, height: int) -> list[Line]:
    """A bar per stage, or one line for all."""
    counts = [f"{stage.done:,} / {stage.total:,}" for stage in snapshot.stages]
    shares = [stage.done / stage.total for stage in snapshot.stages]
    names = [stage.name for stage in snapshot.stages]
    if height < ROOMY:
        forms = (
            [f"{name} {count.replace(' ', '')}" for name, count in zip(names, counts, strict=True)],
            [f"{name} {int(share * 100)} %" for name, share in zip(names, shares, strict=True)],
        )
        texts = ["  ".join(form) for form in forms]
        return [spread(((next((t for t in texts if len(t) <= width - 4), texts[1]), ""),), (), width)]
    size, widest = max(map(len, counts), default=0), max(map(len, names), default=0)
    lines: list[Line] = []
    for name, share, count in zip(names, shares, counts, strict=True):
        figures = f"  {count:>{size}}" + (f"  {int(share * 100):3} %" if width >= 50 else "")
        room = max(0, width - 4 - widest - len(figures))
        lines.append(cut(((f" {name:<{widest}}  ", ""), *bar(share, room), (figures, "")), width))
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


def so_far(snapshot: Snapshot, shown: int) -> list[str]:
    """The gradebook in a few words: how often the teacher is right alone, and by its best TR."""
    parts = [f"{shown} of {len(snapshot.lessons)} lessons shown"] if shown < len(snapshot.lessons) else []
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
    # Each section's lines, without its title: at least and at most.
    wants = {
        "agents": (min(5, len(snapshot.agents) + 1), len(snapshot.agents) + 1),
        "gradebook": (2, len(snapshot.lessons) + 1 if snapshot.lessons else 0),
        "events": (1, min(len(snapshot.events), 3)),
    }
    share = dict.fromkeys(wants, 0)
    for name, (least, most) in wants.items():
        if most >= least and room >= least + title:
            share[name] = least
            room -= least + title
    # Three events before the last rows of long tables, and more of them where room is left.
    for name, most in (
        ("agents", min(wants["agents"][1], height // 3)),
        ("events", wants["events"][1]),
        ("gradebook", wants["gradebook"][1]),
        ("agents", wants["agents"][1]),
        ("events", len(snapshot.events)),
    ):
        if share[name]:
            more = max(0, min(most - share[name], room))
            share[name] += more
            room -= more
    if share["agents"]:
        lines += [rule("agents", [], width)] * title + agents_table(
            snapshot.agents, width, share["agents"], snapshot.over
        )
    if share["gradebook"]:
        rows = latest(snapshot.lessons, share["gradebook"] - 1)
        lines += [rule("gradebook", so_far(snapshot, len(rows)), width)] * title
        lines += lessons_table(snapshot, rows, width)
    if share["events"]:
        lines += [rule("events", [hint] if hint else [], width)] * title + events(snapshot, width, share["events"])
    return Frame(tuple(lines[:height]))
