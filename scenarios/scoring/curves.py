"""Accuracy by the number of rationales, of exams and of tokens, and by difficulty: from the records, without new calls.

With n of the N TRs of a TP a class would have drawn any n of them, so the accuracy is the mean over random subsets of
TRs; with fewer EAs under each TR likewise over random shares of the exams. Subsets are drawn from the seed and the TP's
id. The points of one TR and of all TRs are exact. LbT scores are those of the whole class: on the exams that all TRs
of a TP have in common.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from broker.protocol import digest
from scenarios.config.schema import Scoring
from scenarios.scoring.exam_table import ExamTable
from scenarios.scoring.lbt import Rule, Sheet
from scenarios.scoring.statistics import wilson

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

RULES: dict[str, Rule] = {"sc": "sc", "m1_max": "max", "m1_sum": "sum", "m1_avg": "avg"}
"""By name in the summary, the rules that choose among TRs."""
BY_EXAMS = ("m1_max", "m1_sum", "m1_avg")
Row = tuple[Sheet, Mapping[str, float], float, float]
"""A TP, how right each method is on it, and the shares of its TRs and of its exams that are used."""
SUBSETS = 100
"""Random subsets of the TRs of a TP that a point is averaged over."""
DIGITS = 6


class CurveValue(msgspec.Struct, frozen=True):
    """One method at one point of a curve."""

    accuracy: float
    ci95: tuple[float, float]
    """Wilson; over TPs."""
    tokens: float
    """Completion tokens per TP that the method needs here, prompts left out; of exams, their share of all EAs."""


class CurvePoint(msgspec.Struct, frozen=True):
    """The methods with so many TRs per TP, or so many EAs per TR."""

    size: int
    n: int
    """TPs that have as many."""
    methods: dict[str, CurveValue]


class DifficultyThird(msgspec.Struct, frozen=True):
    """The methods on TPs of similar difficulty, measured by the teacher itself."""

    right_from: float
    """The share of right TAs of these TPs, at least."""
    right_to: float
    """Below this; the last third includes 1."""
    n: int
    methods: dict[str, CurveValue]


class AccuracyCurves(msgspec.Struct, frozen=True):
    """How the accuracy of each method depends on what is spent, and on the TPs."""

    rationales: list[CurvePoint]
    """By TRs per TP, with all their exams."""
    exams: list[CurvePoint]
    """By EAs per TR, taken as evenly over the students as it goes, with all TRs."""
    difficulty: list[DifficultyThird]
    """Thirds without a TP are left out."""


def curves(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, seed: int) -> AccuracyCurves | None:
    """The curves of a class with everybody's exams; None without exams."""
    import numpy as np

    if not any(rationale.exams for sheet in sheets for rationale in sheet.lesson.rationales):
        return None
    tables = [ExamTable(sheet, students, scoring) for sheet in sheets]
    most = max(len(sheet.lesson.rationales) for sheet in sheets)
    everybody = np.ones((1, len(students)), dtype=bool)
    common = [table.common(everybody)[0][0] for table in tables]
    sizes, exams = doubling(most), doubling(max(int(one.sum()) for one in common))
    whole = [_whole(sheet, students, scoring) for sheet in sheets]

    by_size: dict[int, list[Row]] = {size: [] for size in sizes}
    by_exams: dict[int, list[Row]] = {size: [] for size in exams}
    for sheet, table, slots, everything in zip(sheets, tables, common, whole, strict=True):
        n = len(sheet.lesson.rationales)
        drawn = _by_rationales(sheet, table, slots, [size for size in sizes if size < n], scoring, seed)
        greedy = {name: everything[name] for name in everything if name not in RULES}
        for size in sizes:
            if size <= n:
                by_size[size].append((sheet, drawn.get(size, everything) | greedy, size / n, size / n))
        has = int(slots.sum())
        fewer = [size for size in exams if size < has]
        for size, right in zip(fewer, table.by_exams(slots, fewer, seed), strict=True):
            by_exams[size].append((sheet, dict(zip(BY_EXAMS, right, strict=True)), 1.0, size / has))
        if has in by_exams:
            by_exams[has].append((sheet, {name: everything[name] for name in BY_EXAMS}, 1.0, 1.0))
    rows = [(sheet, values, 1.0, 1.0) for sheet, values in zip(sheets, whole, strict=True)]
    return AccuracyCurves(
        [CurvePoint(size, len(found), _values(found)) for size, found in by_size.items() if found],
        [CurvePoint(size, len(found), _values(found)) for size, found in by_exams.items() if found],
        _thirds(rows),
    )


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... up to `most`, and `most` itself."""
    return sorted({1 << power for power in range(most.bit_length())} | {most}) if most else []


def _whole(sheet: Sheet, students: Sequence[str], scoring: Scoring) -> dict[str, float]:
    """Whether each method chooses right with all that is recorded."""
    greedy: dict[str, Rule] = {"greedy": "greedy"} if sheet.lesson.greedy else {}
    return {name: float(sheet.choose(rule, students, scoring).correct) for name, rule in (greedy | RULES).items()}


def _by_rationales(
    sheet: Sheet, table: ExamTable, slots: "Array", sizes: Sequence[int], scoring: Scoring, seed: int
) -> dict[int, dict[str, float]]:
    """By size of the subset of TRs, the expected correctness of each rule."""
    import numpy as np

    n, correct = len(sheet.lesson.rationales), table.correct
    if not sizes or not len(correct):
        return {size: dict.fromkeys(RULES, 0.0) for size in sizes}
    row = table.rationales  # of each TR with an answer; TRs without one are drawn, too, and choose nothing
    group, answered = table.groups[row], len(row)
    score, examined = table.scores(slots[None])[row, 0], table.examined(slots)[row]
    rng = np.random.default_rng(int(digest(seed, "curve", sheet.lesson.tp)[:16], 16))
    place = rng.permuted(np.tile(np.arange(n), (SUBSETS, 1)), axis=1)[:, :answered]
    starts = np.unique(group, return_index=True)[1]
    first = np.minimum.reduceat(place, starts, axis=1)
    found = {1: dict.fromkeys(RULES, float(correct[group].sum() / n))} if 1 in sizes else {}
    for size in sizes:
        if size == 1:
            continue
        drawn = place < size
        votes, total, marked = (
            np.add.reduceat(cells, starts, axis=1, dtype=score.dtype)
            for cells in (drawn, drawn * score, drawn & examined)
        )
        best = np.maximum.reduceat(np.where(drawn, score, 0), starts, axis=1)
        scores = {"sc": votes, "m1_max": best, "m1_sum": total, "m1_avg": total / np.maximum(marked, 1)}
        found[size] = {}
        for name, of_groups in scores.items():
            tied = (votes > 0) & (of_groups == np.where(votes > 0, of_groups, -1).max(axis=1, keepdims=True))
            if scoring.ties == "votes":
                tied &= votes == np.where(tied, votes, 0).max(axis=1, keepdims=True)
            chosen = np.where(tied, first, n).argmin(axis=1)
            found[size][name] = float((correct[chosen] & tied.any(axis=1)).mean())
    return found


def _values(rows: Sequence[Row]) -> dict[str, CurveValue]:
    """The methods that have a value on every TP."""
    n = len(rows)
    lessons = [(sheet.lesson, of_trs, of_exams) for sheet, _, of_trs, of_exams in rows]
    trs = sum(share * sum(one.completion_tokens for one in lesson.rationales) for lesson, share, _ in lessons)
    exams = sum(share * lesson.exam_tokens for lesson, _, share in lessons)
    greedy = sum(lesson.greedy.completion_tokens for lesson, _, _ in lessons if lesson.greedy)
    found = {}
    for name in ("greedy", *RULES):
        values = [of_methods[name] for _, of_methods, _, _ in rows if name in of_methods]
        if len(values) == n:
            tokens = {"greedy": float(greedy), "sc": trs}.get(name, trs + exams) / n
            low, high = wilson(sum(values), n)
            ci95 = (round(low, DIGITS), round(high, DIGITS))
            found[name] = CurveValue(round(sum(values) / n, DIGITS), ci95, round(tokens, 1))
    return found


def _thirds(rows: Sequence[Row]) -> list[DifficultyThird]:
    """TPs by the share of their TRs that are right."""
    by_third: dict[int, list[Row]] = {0: [], 1: [], 2: []}
    for row in rows:
        rationales = row[0].lesson.rationales
        right = sum(one.correct for one in rationales)
        # Whole numbers, so that a third is a third.
        by_third[min(2, 3 * right // len(rationales)) if rationales else 0].append(row)
    return [
        DifficultyThird(third / 3, (third + 1) / 3, len(found), _values(found))
        for third, found in by_third.items()
        if found
    ]
