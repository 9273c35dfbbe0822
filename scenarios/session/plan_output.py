"""Prints the plan of a class: for people or as JSON, with the estimate of its time where it was asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from scenarios.config.schema import Scenario
from scenarios.report.console import print_json, say
from scenarios.report.formatting import many, percent
from scenarios.session.plan import PlanRow, tables, to_dict
from scenarios.session.request_counts import Counts
from scenarios.session.time_estimate import TimeEstimate, called

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def print_plan(
    scenario: Scenario,
    counted: Counts,
    rows: Sequence[PlanRow],
    estimated: TimeEstimate | None,
    training: Any,
    warnings: Sequence[str],
    keys: Sequence[str],
    shared: Sequence[str],
    out: "Console",
    err: "Console",
    *,
    as_json: bool,
) -> None:
    """Print a plan.

    Args:
        scenario: the class.
        counted: its requests.
        rows: its agents.
        estimated: its time; None: not asked for.
        training: the forecast of its training, which has words for people; None: nothing is trained.
        warnings: what would keep it from running here now.
        keys: which key goes to which server.
        shared: which agents share processes.
        out: the console for the plan.
        err: the console for warnings.
        as_json: print JSON.
    """
    if as_json:
        plan = to_dict(scenario, counted, rows) | {"training": training, "warnings": warnings, "keys": keys}
        print_json(plan | ({"estimate": msgspec.to_builtins(estimated)} if estimated else {}))
        return
    words = [training.in_words(scenario.teacher.name)] if training else []
    out.print(tables(scenario, counted, rows, [*words, *shared, *keys]))
    if estimated:
        out.print(time_table(estimated))
    say(err, *(f"Warning: {warning}" for warning in warnings), style="yellow")


def time_table(found: TimeEstimate) -> "RenderableType":
    """The estimate for people."""
    from rich.console import Group
    from rich.text import Text

    from scenarios.report.layout import Ruled, Sentences, Trimmed

    rows = Ruled("How long it takes, estimated")
    rows.add_column("agent", fold=True)
    rows.add_column("device", fold=True)
    for heading in ("requests", "at once", "prompt\ntokens", "cached", "completion\ntokens", "busy", "idle"):
        rows.add_column(heading, right=True)
    for one in found.agents:
        rows.add_row(
            one.agent,
            called(*one.devices),
            f"{one.requests:,}",
            f"{one.requests_at_once:,.0f}",
            f"{one.prompt_tokens:,}",
            percent(one.cached_share, 0),
            f"{one.completion_tokens:,}",
            duration(one.hours),
            percent(one.idle_share, 0),
        )
    words = [
        f"Time: {duration(found.hours)}.{_gpu_words(found)}",
        "At once: requests of each process while it is busy. Idle: the share of the time in which it has none.",
    ]
    return Trimmed(
        Group(Text(), rows, *map(Sentences, words), Text("\nAssumed", style="bold"), *map(Sentences, found.assumptions))
    )


def _gpu_words(found: TimeEstimate) -> str:
    if not found.gpus:
        return ""
    words = f" {found.gpu_hours:,.1f} GPU-hours on {many(found.gpus, 'GPU')}, busy for {found.busy_gpu_hours:,.1f}."
    if unused := found.gpus_without_agents:
        words += f" No agent uses {called(*unused)}; with more replicas an agent would."
    return words


def duration(hours: float) -> str:
    """A time for people: `0.25 s`, `5.3 min`, `2.4 h`."""
    if hours * 60 < 2:
        return f"{hours * 3600:.3g} s"
    return f"{hours * 60:,.1f} min" if hours < 2 else f"{hours:,.1f} h"
