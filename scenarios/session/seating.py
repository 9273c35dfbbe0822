"""The table of where the agents of a class run; of a large class, a row for agents that are alike."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scenarios.session.plan import PlanRow

MOST_ROWS = 24
"""Agents that have a row each; of a class with more, those alike share one."""


def grouped(rows: Sequence["PlanRow"]) -> Sequence["PlanRow"]:
    """The rows, or of more than MOST_ROWS one for those that differ in their name alone."""
    if len(rows) <= MOST_ROWS:
        return rows
    names: dict[PlanRow, list[str]] = {}
    for row in rows:
        names.setdefault(msgspec.structs.replace(row, name=""), []).append(row.name)
    return [
        msgspec.structs.replace(row, name=f"{alike[0]} and {len(alike) - 1:,} more" if alike[1:] else alike[0])
        for row, alike in names.items()
    ]


def seating(rows: Sequence["PlanRow"]) -> "RenderableType":
    """The seats of the agents as tables, with the reasons for them and the memory that each agent uses."""
    from rich.console import Group
    from rich.text import Text

    from scenarios.report.formatting import harmless, several
    from scenarios.report.layout import Ruled, Sentences, Trimmed

    all_rows, rows = rows, grouped(rows)
    seats = Ruled("Where the agents run")
    for heading in ("agent", "role", "model", "size", "engine", "device"):
        seats.add_column(heading, fold=heading in ("agent", "model", "device"))
    for row in rows:
        seats.add_row(*map(harmless, (row.name, row.role, row.model, row.size, row.engine, row.device)))
    whys = dict.fromkeys(row.why for row in rows if row.why)
    reasons = [Sentences(f"{several([row.name for row in rows if row.why == why])}: {why}") for why in whys]
    memory = Ruled("Estimated memory, in GB (10^9 bytes)")
    memory.add_column("agent", fold=True)
    total = "total" if rows is all_rows else "total\nof each"
    for heading in ("weights", "KV cache", "engine", total, "share of\nits GPUs"):
        memory.add_column(heading, right=True)
    for row in (row for row in rows if row.weights_mb):
        mbs = (row.weights_mb, row.cache_mb, row.engine_mb)
        share = "-" if row.memory_share is None else f"{row.memory_share * 100:.0f} %"
        memory.add_row(harmless(row.name), *(f"{mb / 1000:.1f}" for mb in (*mbs, sum(mbs))), share)
    taking: list[RenderableType] = [Text(), memory] if memory.row_count else []
    return Trimmed(Group(seats, *reasons, *taking))
