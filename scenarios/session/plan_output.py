"""Prints the plan of a class: for people or as JSON, with the estimate of its time where it was asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from scenarios.config.schema import Scenario
from scenarios.report.console import print_json, say
from scenarios.session.plan import PlanRow, tables, to_dict
from scenarios.session.request_counts import Counts
from scenarios.session.time_estimate import TimeEstimate, table

if TYPE_CHECKING:
    from rich.console import Console


def print_plan(
    scenario: Scenario,
    counted: Counts,
    rows: Sequence[PlanRow],
    estimated: TimeEstimate | None,
    training: Any,
    warnings: Sequence[str],
    keys: Sequence[str],
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
        out: the console for the plan.
        err: the console for warnings.
        as_json: print JSON.
    """
    if as_json:
        plan = to_dict(scenario, counted, rows) | {"training": training, "warnings": warnings, "keys": keys}
        print_json(plan | ({"estimate": msgspec.to_builtins(estimated)} if estimated else {}))
        return
    words = [training.in_words(scenario.teacher.name)] if training else []
    out.print(tables(scenario, counted, rows, [*words, *keys]))
    if estimated:
        out.print(table(estimated))
    say(err, *(f"Warning: {warning}" for warning in warnings), style="yellow")
