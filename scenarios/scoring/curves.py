"""Accuracy by the number of rationales, of exams, of tokens and by money, from the records, without new calls.

With n of the N TRs of a TP a class would have drawn any n of them, so the accuracy is the mean over random subsets of
TRs; with fewer EAs under each TR likewise over random shares of the exams. Subsets are drawn from the seed and the TP's
id. The points of one TR and of all TRs are exact. LbT scores are those of the whole class: on the exams that all TRs
of a TP have in common.
"""

import re
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from broker.protocol import digest
from scenarios.config.prices import Prices
from scenarios.config.schema import Scoring
from scenarios.records.observe import TeachingProblemRecord
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
PAPER = 24
"""TRs per TP at which the paper compares M1 with SC of 256."""
DIGITS = 6


class CurveValue(msgspec.Struct, frozen=True):
    """One method at one point of a curve."""

    accuracy: float
    ci95: tuple[float, float]
    """Wilson; over TPs."""
    tokens: float
    """Completion tokens per TP that the method needs here, prompts left out; of exams, their share of all EAs."""
    sd: float = 0.0
    """Standard deviation of the accuracy over random subsets, on the same TPs; 0 where there is one subset."""
    prompt_tokens: float = 0.0
    """Per TP, likewise; those from a cache in full."""
    money: float | None = None
    """Per TP, at the prices of `engine_args`, cached prompts in full; agents without prices cost nothing. None where no
    agent has prices."""


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


class PartCurve(msgspec.Struct, frozen=True):
    """The TPs of one level or subject."""

    name: str
    """Empty: the source names none."""
    rationales: list[CurvePoint]


class AccuracyCurves(msgspec.Struct, frozen=True):
    """How the accuracy of each method depends on what is spent, and on the TPs."""

    rationales: list[CurvePoint]
    """By TRs per TP, with all their exams."""
    exams: list[CurvePoint]
    """By EAs per TR, taken as evenly over the students as it goes, with all TRs."""
    difficulty: list[DifficultyThird]
    """Thirds without a TP are left out."""
    levels: list[PartCurve] = []
    """By TRs per TP, for the TPs of each level; empty where the source names none, as are the subjects."""
    subjects: list[PartCurve] = []


def curves(
    sheets: Sequence[Sheet],
    students: Sequence[str],
    scoring: Scoring,
    seed: int,
    labels: Mapping[str, Sequence[str]] | None = None,
    prices: Mapping[str, Prices] | None = None,
) -> AccuracyCurves | None:
    """The curves of a class with everybody's exams; None without exams.

    Args:
        sheets: the TPs that count.
        students: everybody.
        scoring: how exams become a choice.
        seed: of the subsets.
        labels: level and subject of each TP; default: none.
        prices: of the agents that cost something; the teacher's is under the empty name, too.
    """
    import numpy as np

    if not any(rationale.exams for sheet in sheets for rationale in sheet.lesson.rationales):
        return None
    tables = [ExamTable(sheet, students, scoring) for sheet in sheets]
    most = max(len(sheet.lesson.rationales) for sheet in sheets)
    everybody = np.ones((1, len(students)), dtype=bool)
    common = [table.common(everybody)[0][0] for table in tables]
    sizes, exams = doubling(most), doubling(max(int(one.sum()) for one in common))
    sizes = sorted({*sizes, PAPER}) if most > PAPER else sizes
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
    prices = prices or {}
    return AccuracyCurves(
        _curve(by_size, prices),
        _curve(by_exams, prices),
        _thirds(rows, prices),
        *(_parts(by_size, labels or {}, place, prices) for place in range(2)),
    )


def _curve(by_size: Mapping[int, Sequence[Row]], prices: Mapping[str, Prices]) -> list[CurvePoint]:
    return [CurvePoint(size, len(found), _values(found, prices)) for size, found in by_size.items() if found]


def _parts(
    by_size: Mapping[int, Sequence[Row]], labels: Mapping[str, Sequence[str]], place: int, prices: Mapping[str, Prices]
) -> list[PartCurve]:
    """A curve for each level (`place` 0) or subject (1); a part without a name comes last."""
    named = {tp: of[place] for tp, of in labels.items() if of[place]}
    names = {named.get(row[0].lesson.tp, "") for rows in by_size.values() for row in rows}
    if not any(names):
        return []
    return [
        PartCurve(
            name,
            _curve(
                {n: [r for r in rows if named.get(r[0].lesson.tp, "") == name] for n, rows in by_size.items()}, prices
            ),
        )
        for name in sorted(names, key=label_order)
    ]


def label_order(name: str) -> tuple[Any, ...]:
    """Levels and subjects in the order of their names, numbers by value; that without a name last."""
    words = [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", name)]
    return not name, words


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


def _values(rows: Sequence[Row], prices: Mapping[str, Prices]) -> dict[str, CurveValue]:
    """The methods that have a value on every TP."""
    n = len(rows)
    spent = [_spent(sheet.lesson, of_trs, of_exams, prices) for sheet, _, of_trs, of_exams in rows]
    greedy, trs, exams = (_Spent(*map(sum, zip(*column, strict=True))) for column in zip(*spent, strict=True))
    found = {}
    for name in ("greedy", *RULES):
        values = [of_methods[name] for _, of_methods, _, _ in rows if name in of_methods]
        if len(values) == n:
            all_of_it = _Spent(*map(sum, zip(trs, exams, strict=True)))
            cost = {"greedy": greedy, "sc": trs}.get(name, all_of_it)
            sd = sqrt(sum(value * (1 - value) for value in values)) / n  # the subsets of TPs are independent
            low, high = wilson(sum(values), n)
            ci95 = (round(low, DIGITS), round(high, DIGITS))
            found[name] = CurveValue(
                accuracy=round(sum(values) / n, DIGITS),
                ci95=ci95,
                tokens=round(cost.completion / n, 1),
                sd=round(sd, DIGITS),
                prompt_tokens=round(cost.prompt / n, 1),
                money=cost.money / n if prices else None,
            )
    return found


class _Spent(NamedTuple):
    """Tokens and money."""

    completion: float
    prompt: float
    money: float


def _spent(
    lesson: TeachingProblemRecord, of_trs: float, of_exams: float, prices: Mapping[str, Prices]
) -> tuple[_Spent, _Spent, _Spent]:
    """What the greedy answer to a TP costs, these shares of its TRs, and of its exams."""

    def paid(name: str, completion: float, prompt: float) -> _Spent:
        price = prices.get(name, Prices())
        return _Spent(completion, prompt, price.of(prompt, completion))

    trs = lesson.rationales
    completion, prompt = sum(one.completion_tokens for one in trs), sum(one.prompt_tokens for one in trs)
    greedy = lesson.greedy
    by_student = [paid(one.student, one.completion_tokens, one.prompt_tokens) for one in lesson.exam_costs]
    answered = [paid("", one.completion_tokens, one.prompt_tokens) for one in lesson.explanation_costs]
    money = sum(one.money for one in (*by_student, *answered))
    # What its exam problems took does not depend on the number of TRs or exams.
    invented = lesson.tokens_of_exam_maker
    writer = lesson.invented.writer if lesson.invented else ""
    fixed = paid(writer, invented.completion_tokens, invented.prompt_tokens)
    return (
        paid("", greedy.completion_tokens, greedy.prompt_tokens) if greedy else _Spent(0, 0, 0),
        paid("", of_trs * completion, of_trs * prompt),
        _Spent(
            of_exams * lesson.exam_tokens + fixed.completion,
            of_exams * lesson.exam_prompt_tokens + fixed.prompt,
            of_exams * money + fixed.money,
        ),
    )


def _thirds(rows: Sequence[Row], prices: Mapping[str, Prices]) -> list[DifficultyThird]:
    """TPs by the share of their TRs that are right."""
    by_third: dict[int, list[Row]] = {0: [], 1: [], 2: []}
    for row in rows:
        rationales = row[0].lesson.rationales
        right = sum(one.correct for one in rationales)
        # Whole numbers, so that a third is a third.
        by_third[min(2, 3 * right // len(rationales)) if rationales else 0].append(row)
    return [
        DifficultyThird(third / 3, (third + 1) / 3, len(found), _values(found, prices))
        for third, found in by_third.items()
        if found
    ]
