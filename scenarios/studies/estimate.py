"""What `plan` of a study estimates: the time that is left, from its finished classes, and what its size can show."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from scenarios.monitor.texts import roughly
from scenarios.report.formatting import many
from scenarios.report.layout import Ruled
from scenarios.scoring.power import about, problems_needed
from scenarios.studies.load import CellClass
from scenarios.studies.pooling import Difference

POINTS = (0.05, 0.1, 0.2)
LOSSES = (0.02, 0.1)
"""Shares of the problems on which the better side is worse: of line-ups that mostly agree, and of such that do not."""
MOST = 1000


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Time and numbers of requests and tokens."""

    classes: int
    seconds: float
    requests: float
    prompt_tokens: float
    completion_tokens: float


class MeasuredCells(msgspec.Struct, frozen=True, kw_only=True):
    """What the finished classes of a study took, and what the others will take at that rate."""

    finished: Spent
    left: Spent


class ShownBy(msgspec.Struct, frozen=True):
    """How many distinct problems show a difference with 80 % power, at a p-value below 5 %."""

    difference: float
    worse: float
    """The share of the problems on which the better side is worse."""
    problems: int | None
    """None: more than MOST."""


def measured(planned: Sequence[Mapping[str, Any]], summaries: Sequence[Mapping[str, Any]]) -> MeasuredCells | None:
    """The time and the tokens that are left, from the classes that are finished; None: none is.

    A class that is left takes the part of its plan, and the time a request, of the finished classes with its factors;
    where there are none, of all.

    Args:
        planned: of each class `factors`, `requests`, `prompt_tokens` and `completion_tokens`, at most.
        summaries: summary.json of each class in the same order; empty where it is not finished.
    """
    spent = [_spent(one) for one in summaries]
    finished = [n for n, one in enumerate(spent) if one]
    if not finished:
        return None
    left = []
    for plan, own in zip(planned, spent, strict=True):
        if own:
            continue
        alike = [n for n in finished if planned[n]["factors"] == plan["factors"]] or finished
        took = _total([one for n in alike if (one := spent[n])])
        shares = {
            name: plan[name] * getattr(took, name) / max(1, sum(planned[n][name] for n in alike))
            for name in ("requests", "prompt_tokens", "completion_tokens")
        }
        left.append(Spent(classes=1, seconds=took.seconds * shares["requests"] / max(1, took.requests), **shares))
    return MeasuredCells(finished=_total([one for one in spent if one]), left=_total(left))


def _spent(summary: Mapping[str, Any]) -> Spent | None:
    if not summary:
        return None
    tokens = {name: sum(agent[name] for agent in summary["agents"]) for name in ("prompt_tokens", "completion_tokens")}
    return Spent(classes=1, seconds=summary["wall_seconds"], requests=summary["counts"]["requests"], **tokens)


def _total(parts: Sequence[Spent]) -> Spent:
    return Spent(**{name: sum(getattr(one, name) for one in parts) for name in Spent.__struct_fields__})


def in_words(found: MeasuredCells | None) -> str:
    """How long the study takes, in a sentence or two."""
    if found is None:
        return (
            "How long it takes is not known: no class is finished, so there is no measured rate. Once one is, "
            "`plan` on the folder of the study estimates the rest."
        )
    took = f"{many(found.finished.classes, 'class', 'classes')} took {roughly(found.finished.seconds)}"
    if not (left := found.left).classes:
        return f"All is done: {took}."
    others = f"the {left.classes:,} others take" if left.classes > 1 else "the other one takes"
    return (
        f"{took}; at that rate {others} about {roughly(left.seconds)}: "
        f"{left.requests:,.0f} requests, {left.prompt_tokens:,.0f} prompt tokens and {left.completion_tokens:,.0f} "
        "completion tokens."
    )


def needed(one: Difference) -> str:
    """How many problems would show a primary comparison as it is so far. Its p-value waits for the end of the study."""
    takes = "no number of problems would show it" if one.needed is None else f"{about(one.needed)} show it"
    return (
        f"{one.a} - {one.b} is {100 * one.difference:+.1f} points so far, on {many(one.n, 'problem')}; if that is the "
        f"true difference, {takes}."
    )


def most_problems(classes: Sequence[CellClass]) -> int:
    """How many distinct problems a study has at most: classes with one task and one seed share theirs."""
    sizes = {msgspec.json.encode((one.scenario.task, one.cell.seed)): one.scenario.task.problems for one in classes}
    return sum(sizes.values())


def power() -> list[ShownBy]:
    """How many problems show a few differences."""
    return [
        ShownBy(points, worse, problems_needed(points + worse, worse, most=MOST))
        for points in POINTS
        for worse in LOSSES
    ]


def power_table(rows: Sequence[ShownBy], most: int) -> Ruled:
    """The table of `power`, with what a study of at most so many problems has."""
    table = Ruled(
        "How many distinct problems show a difference (80 % power, p < 0.05)",
        f"This study has at most {many(most, 'distinct problem')}. With several primary comparisons it takes more.",
    )
    table.add_columns("points", *(f"worse on {100 * worse:.0f} %" for worse in LOSSES))
    for points in POINTS:
        found = [one.problems for one in rows if one.difference == points]
        table.add_row(f"{100 * points:.0f}", *(f"{n:,}" if n else f"over {MOST:,}" for n in found))
    return table
