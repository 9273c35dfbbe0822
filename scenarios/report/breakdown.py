"""How right SC and M1 MAX are by level and by subject, where the source of the problems names these (MATH)."""

from collections.abc import Mapping, Sequence

import msgspec

from scenarios.records.observe import TeachingProblemRecord
from scenarios.report.formatting import interval, percent
from scenarios.report.layout import Ruled, tabulated
from scenarios.scoring.curves import label_order
from scenarios.scoring.lbt import ChosenAnswer
from scenarios.scoring.statistics import wilson
from scenarios.store.sqlite import Store

LABELS = ("level", "subject")
UNKNOWN = "not named"
"""In the report, for problems whose source names no level or subject."""


class PartAccuracy(msgspec.Struct, frozen=True):
    """The TPs of one level or subject."""

    name: str
    """Empty: the source names none."""
    n: int
    sc: float
    sc_ci95: tuple[float, float]
    """Wilson, over TPs, as is the other interval."""
    m1_max: float | None
    """None where nothing was examined."""
    m1_max_ci95: tuple[float, float] | None


class Breakdown(msgspec.Struct, frozen=True):
    """Each is empty where no TP has such a label."""

    by_level: list[PartAccuracy] = []
    by_subject: list[PartAccuracy] = []


def labels(store: Store) -> dict[str, tuple[str, str]]:
    """By problem: its level and its subject, empty where the source names none."""
    columns = ", ".join(store.column(label, "problem") for label in LABELS)
    rows = store.rows(f"SELECT id, {columns} FROM problem")  # noqa: S608 - our own names
    return {id: (str(level or ""), str(subject or "")) for id, level, subject in rows}


def breakdown(
    lessons: Sequence[TeachingProblemRecord],
    chosen: Mapping[str, Sequence[ChosenAnswer]],
    named: Mapping[str, tuple[str, str]],
) -> Breakdown:
    """Both tables.

    Args:
        lessons: the TPs that count.
        chosen: by method, the answer to each of them, in their order.
        named: the labels of each TP.
    """
    by = [_parts([named.get(one.tp, ("", ""))[place] for one in lessons], chosen) for place in range(len(LABELS))]
    return Breakdown(*by)


def _parts(names: Sequence[str], chosen: Mapping[str, Sequence[ChosenAnswer]]) -> list[PartAccuracy]:
    """The parts in the order of their names, numbers by value; that without a name last."""
    if not any(names):
        return []
    found = []
    for part in sorted(set(names), key=label_order):
        places = [place for place, name in enumerate(names) if name == part]
        n, sc = len(places), sum(chosen["sc"][place].correct for place in places)
        by_max = [chosen["m1_max"][place].correct for place in places] if "m1_max" in chosen else []
        found.append(
            PartAccuracy(
                name=part,
                n=n,
                sc=sc / n,
                sc_ci95=wilson(sc, n),
                m1_max=sum(by_max) / n if by_max else None,
                m1_max_ci95=wilson(sum(by_max), n) if by_max else None,
            )
        )
    return found


def tables(by_level: Sequence[PartAccuracy], by_subject: Sequence[PartAccuracy]) -> list[Ruled]:
    """A table for each that has parts."""
    return [
        tabulated(
            f"By {label}",
            parts,
            [
                (label, lambda part: part.name or UNKNOWN),
                ("problems", lambda part: f"{part.n:,}"),
                ("SC", lambda part: percent(part.sc)),
                ("95 %", lambda part: interval(part.sc_ci95)),
                ("M1 MAX", lambda part: percent(part.m1_max)),
                ("95 %", lambda part: interval(part.m1_max_ci95)),
            ],
            fold=True,
        )
        for label, parts in zip(LABELS, (by_level, by_subject), strict=True)
        if parts
    ]
