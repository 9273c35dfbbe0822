"""The top of the picture: which class it is, how it is going, and a bar per stage."""

from collections.abc import Sequence

from rich.text import Text

from scenarios.monitor.state import Snapshot, StageRow
from scenarios.monitor.tables import STYLES
from scenarios.monitor.texts import bar, cell, duration, roughly, spread
from scenarios.report.formatting import many

LEVELS = {1: "observe", 2: "learn", 3: "iterate"}
NO_SANDBOX = "no sandbox: programs of models run with your rights"
MANY = 4
"""Stages that have a bar each whatever the height."""
ROOMY = 16
"""Lines from which sections have titles and stages bars."""


def levels(snapshot: Snapshot) -> str:
    """The level at work by its name, and the levels that the class goes through."""
    level = f"level {snapshot.level}" + (f", {LEVELS[snapshot.level]}" if snapshot.level in LEVELS else "")
    return level + (f" (of {', '.join(map(str, snapshot.course))})" if snapshot.course else "")


def task(snapshot: Snapshot, between: str) -> str:
    """What the class is about, and how much of it there is."""
    return f"{snapshot.task}{between}{snapshot.amount}" if snapshot.amount else snapshot.task


def header(snapshot: Snapshot, width: int, height: int, *, paused: bool = False) -> list[Text]:
    """Which class it is and how it is going."""
    status = cell(f"● {snapshot.status}", STYLES.get(snapshot.status, ""))
    if snapshot.read < 1:
        status.append(f", {100 * snapshot.read:.0f} % read", "yellow")
    if paused:
        status.append(", picture paused", "yellow")
    name = cell(snapshot.scenario, "bold")
    for more in (f"  {levels(snapshot)}", f" · {snapshot.at_work}" if snapshot.at_work else ""):
        addition = cell(more, "dim")
        if name.cell_len + addition.cell_len + status.cell_len + 4 <= width:
            name = Text.assemble(name, addition, no_wrap=True)
    times = f"elapsed {duration(snapshot.elapsed_s)}" if width >= 60 else duration(snapshot.elapsed_s)
    if snapshot.paused_s >= 1:
        times += f" · paused {duration(snapshot.paused_s)}"
    if (budget := snapshot.changes.budget) is not None:
        times += f" · {snapshot.tokens:,} of {budget:,} tokens"
    if snapshot.left_s:
        times += f" · about {roughly(snapshot.left_s)} left"
    failed = (f"{snapshot.failed} failed", "red") if snapshot.failed else ""
    right = Text.assemble(failed, (" · ", "dim") if failed else "", times)
    simulated = "simulated: no language model"
    if snapshot.simulated and len(snapshot.simulated) < len(snapshot.agents):
        simulated += f" in {', '.join(snapshot.simulated)}"
    warning = cell(simulated, "yellow")
    lines = [spread(name, status, width)]
    if snapshot.unprotected:
        lines.append(spread(cell(NO_SANDBOX, "bold red"), Text(), width))
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
