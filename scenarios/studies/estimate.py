"""What `plan` of a study estimates: the time that is left, from its finished classes, and what its size can show."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from scenarios.monitor.texts import roughly
from scenarios.report.formatting import many
from scenarios.report.layout import Ruled
from scenarios.scoring.power import MOST as MOST_TRIED
from scenarios.scoring.power import about, problems_needed
from scenarios.scoring.statistics import LEVEL
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
    """What the finished classes of a study took, and what the others will still take at that rate."""

    finished: Spent
    recorded: Spent
    """Of classes that have begun and are not finished; `left` is without it."""
    left: Spent


class ShownBy(msgspec.Struct, frozen=True):
    """How many distinct problems show a difference with 80 % power, at a p-value below 5 % after correction."""

    difference: float
    worse: float
    """The share of the problems on which the better side is worse."""
    problems: int | None
    """None: more than MOST."""


def measured(
    planned: Sequence[Mapping[str, Any]], finished: Sequence[Spent | None], begun: Sequence[Spent | None]
) -> MeasuredCells | None:
    """The time and the tokens that are left, from what is recorded; None: nothing is.

    A class that is left takes the part of its plan, and the time a request, of the finished classes with its factors;
    where there are none, of all. What it has recorded already is subtracted. Before a class is finished, the rate is
    that of the classes that have begun, and each takes its whole plan.

    Args:
        planned: of each class `factors`, `requests`, `prompt_tokens` and `completion_tokens`, at most.
        finished: what each took, in the same order; None: it is not finished.
        begun: what each class that is not finished has recorded; None: it is finished, or has not begun.
    """
    done = [n for n, one in enumerate(finished) if one]
    so_far = _total([one for one in begun if one])
    if not done and not so_far.requests:
        return None
    left = []
    for plan, own, has in zip(planned, finished, begun, strict=True):
        if own:
            continue
        alike = [n for n in done if planned[n]["factors"] == plan["factors"]] or done
        took = _total([one for n in alike if (one := finished[n])]) if alike else so_far
        rest = {}
        for name in ("requests", "prompt_tokens", "completion_tokens"):
            of_plan = getattr(took, name) / max(1, sum(planned[n][name] for n in alike)) if alike else 1.0
            rest[name] = max(0.0, plan[name] * of_plan - (getattr(has, name) if has else 0))
        left.append(Spent(classes=1, seconds=took.seconds * rest["requests"] / max(1, took.requests), **rest))
    return MeasuredCells(finished=_total([one for one in finished if one]), recorded=so_far, left=_total(left))


def _total(parts: Sequence[Spent]) -> Spent:
    return Spent(**{name: sum(getattr(one, name) for one in parts) for name in Spent.__struct_fields__})


def in_words(found: MeasuredCells | None) -> str:
    """How long the study takes, in a sentence or two."""
    if found is None:
        return (
            "How long it takes is not known: no request was answered yet. Once some are, `plan` on the folder of the "
            "study estimates the time that is left."
        )
    done, begun, left = found.finished, found.recorded, found.left
    parts = [f"{many(done.classes, 'class', 'classes')} took {roughly(done.seconds)}"] if done.classes else []
    if not left.classes:
        return f"All is done: {parts[0]}."
    if begun.requests:
        unfinished = many(begun.classes, "unfinished class", "unfinished classes")
        parts.append(f"{unfinished} recorded {many(int(begun.requests), 'request')} in {roughly(begun.seconds)}")
    about = "about" if done.classes else "at most about"
    rest = "the rest takes" if begun.requests else "the other one takes"
    others = rest if begun.requests or left.classes == 1 else f"the {left.classes:,} others take"
    return (
        f"{' and '.join(parts)}; at that rate {others} {about} {roughly(left.seconds)}: "
        f"{left.requests:,.0f} requests, {left.prompt_tokens:,.0f} prompt tokens and {left.completion_tokens:,.0f} "
        "completion tokens."
    )


def needed(one: Difference) -> str:
    """How many problems would show a primary comparison as it is so far. Its p-value waits for the end of the study."""
    among = f" among {many(one.comparisons, 'comparison')}" if one.comparisons > 1 else ""
    if one.needed is None:
        takes = f"not even {MOST_TRIED:,} problems show it" if abs(one.difference) > 1e-9 else "there is none to show"
    else:
        takes = f"{about(one.needed)} show it{among}"
    return (
        f"{one.a} - {one.b} is {100 * one.difference:+.1f} points so far, on {many(one.n, 'problem')}; if that is the "
        f"true difference, {takes}."
    )


def most_problems(classes: Sequence[CellClass]) -> int:
    """How many distinct problems a study has at most: classes with one task and one seed share theirs."""
    sizes = {msgspec.json.encode((one.scenario.task, one.cell.seed)): one.scenario.task.problems for one in classes}
    return sum(sizes.values())


def power(comparisons: int = 1) -> list[ShownBy]:
    """How many problems show a few differences, where so many comparisons are corrected together."""
    return [
        ShownBy(points, worse, problems_needed(points + worse, worse, most=MOST, level=LEVEL / max(1, comparisons)))
        for points in POINTS
        for worse in LOSSES
    ]


def power_table(rows: Sequence[ShownBy], most: int, comparisons: int = 1) -> Ruled:
    """The table of `power`, with what a study of at most so many problems has."""
    title = "How many distinct problems show a difference"
    note = (
        f"points: the difference A - B. worse: the share of problems on which A is worse. This study has at most "
        f"{most:,} distinct problems."
    )
    if comparisons > 1:
        title += f" among {comparisons} comparisons (80 % power, p < 0.05 after correction)"
        note += f" Computed for p < 0.05 / {comparisons}, which the correction (Holm) requires of the smallest p-value."
    else:
        title += " (80 % power, p < 0.05)"
    table = Ruled(title, note)
    table.add_columns("points", *(f"worse on {100 * worse:.0f} %" for worse in LOSSES))
    for points in POINTS:
        found = [one.problems for one in rows if one.difference == points]
        table.add_row(f"{100 * points:.0f}", *(f"{n:,}" if n else f"over {MOST:,}" for n in found))
    return table
