"""The answers that MAX and SUM choose with other line-ups of students, from the same exams, and how line-ups compare.

exam_table.py scores all line-ups of a TP at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Literal

import msgspec

from broker.protocol import digest
from scenarios.config.schema import Scoring
from scenarios.scoring.drawn_students import MOST
from scenarios.scoring.exam_table import DRAWS, ExamTable, examined
from scenarios.scoring.lbt import Sheet
from scenarios.scoring.statistics import paired, wilson

ALL_SUBSETS = 6
"""With more students than this there are too many subsets to show."""
PAIRS = 100
"""With more pairs of students than this, so many of them are compared."""

Students = tuple[str, ...]
"""A line-up. Nobody stands for SC, which needs no exams."""
Interval = tuple[float, float]


class LineUpDifference(msgspec.Struct, frozen=True):
    """A line-up less another one on the same TPs; see statistics.Paired."""

    rule: Literal["m1_max", "m1_sum"]
    against: Literal["sc", "best_single", "without_one"]
    """without_one: the same line-up without one of its students."""
    students: Students
    """The other line-up."""
    difference: float
    ci95: Interval
    wins: int
    losses: int
    p_value: float


class LineUp(msgspec.Struct, frozen=True):
    """A subset of the students, as if only they had taken the exams."""

    students: Students
    m1_max: float | None
    """Accuracy; None where no TP is finished, and where no exam of these students can be compared."""
    m1_sum: float | None
    exams_per_rationale: float
    """EAs per TR it compares, the mean over the TRs with an answer."""
    m1_max_equal: float | None
    """With as many EAs per TR as the smallest line-up has: the mean over DRAWS random shares of its exams."""
    m1_sum_equal: float | None
    m1_max_ci95: Interval | None = None
    """Wilson; over TPs. None where there is no accuracy."""
    m1_sum_ci95: Interval | None = None
    m1_max_equal_ci95: Interval | None = None
    """Also Wilson: a TP counts by the share of its draws that is right, so it is wider than need be."""
    m1_sum_equal_ci95: Interval | None = None
    best_single: bool = False
    """The student with the highest MAX alone, the first of several. It was chosen by these very figures, so on other
    problems it will be worse than here, and differences to it are biased against the other line-ups."""
    differences: list[LineUpDifference] = []
    """To SC, to the best single student, and to the line-up without each of its students; p is not corrected."""


class ProblemResults(msgspec.Struct, frozen=True):
    """What one line-up chose on each TP, in the order of the TPs: values from 0 (wrong) to 1 (right)."""

    m1_max: list[float]
    m1_sum: list[float]
    m1_max_equal: list[float]
    """The share of DRAWS random shares of its exams with which the choice is right."""
    m1_sum_equal: list[float]
    exams: int
    """EAs that are compared, over all TRs."""


def lineups(students: Sequence[str], seed: int) -> list[Students]:
    """Every non-empty subset, small ones first, else in the given order.

    With more than ALL_SUBSETS students only the singles, the pairs, and everybody; with more than PAIRS pairs, so many
    of them, drawn by hashing the seed and the names.
    """
    if len(students) <= ALL_SUBSETS:
        return [subset for size in range(1, len(students) + 1) for subset in combinations(students, size)]
    pairs = list(combinations(students, 2))
    drawn = set(sorted(pairs, key=lambda pair: digest(seed, "line-up", *pair))[:PAIRS])
    return [*((name,) for name in students), *(pair for pair in pairs if pair in drawn), tuple(students)]


def shown(students: int) -> str:
    """Which line-ups `lineups` gives for so many students, in words."""
    if students > MOST:
        return f"of {MOST} of the {students:,} students, drawn by the seed: {shown(MOST)} of them"
    if students <= ALL_SUBSETS:
        return "all"
    pairs = comb(students, 2)
    some = f"{PAIRS} of {pairs:,} pairs, drawn by the seed" if pairs > PAIRS else "pairs"
    return f"singles, {some}, and everybody"


def results_by_problem(
    sheets: Sequence[Sheet], wanted: Sequence[Students], scoring: Scoring, seed: int
) -> dict[Students, ProblemResults]:
    """What each line-up would have chosen on each TP, so that any two of them can be paired.

    All of it is on the slots that the TRs of a TP have in common: see `on_common_slots`. Two students take twice the
    exams of one. So each line-up is also cut down, per TP, to the EAs per TR of the smallest one (that took any).

    Args:
        sheets: the TPs.
        wanted: the line-ups; one whose students have no exam on any TP chooses as SC does.
        scoring: how students are merged and ties are broken.
        seed: of the shares of exams.
    """
    import numpy as np

    students = list(dict.fromkeys(name for one in wanted for name in one)) or [""]  # a column is needed
    takes_part = np.array([[name in one for name in students] for one in wanted], dtype=bool)
    takes_part = takes_part.reshape(len(wanted), len(students))
    nobody = ~examined(sheets, students, takes_part)
    values = np.zeros((len(sheets), 4, len(wanted)))
    exams = np.zeros(len(wanted), dtype=np.int64)
    for place, sheet in enumerate(sheets):
        table = ExamTable(sheet, students, scoring)
        common, used = table.common(takes_part)
        exams += used
        values[place] = table.right(common, seed) / np.array([[1], [1], [DRAWS], [DRAWS]])
        values[place][:, nobody] = sheet.choose("sc", (), scoring).correct
    by_lineup = values.transpose(2, 1, 0).tolist()  # line-ups x 4 x TPs
    return {
        one: ProblemResults(m1_max, m1_sum, m1_max_equal, m1_sum_equal, used)
        for one, (m1_max, m1_sum, m1_max_equal, m1_sum_equal), used in zip(
            wanted, by_lineup, exams.tolist(), strict=True
        )
    }


def compare_lineups(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, seed: int) -> list[LineUp]:
    """MAX and SUM of every line-up from the same records, as they are and with equal numbers of EAs."""
    shown_ones = lineups(students, seed)
    without_one = [rest for one in shown_ones for rest in _without_one(one)]
    found = results_by_problem(sheets, list(dict.fromkeys([*shown_ones, *without_one, ()])), scoring, seed)
    # Without exams MAX and SUM would only count votes.
    found = {one: results for one, results in found.items() if results.exams or not one}
    singles = [one for one in shown_ones if len(one) == 1 and one in found] if sheets else []
    best = max(singles, key=lambda one: sum(found[one].m1_max), default=None)
    rationales = sum(len(group.members) for sheet in sheets for group in sheet.groups)
    return [_line_up(one, found, best, rationales, seed) for one in shown_ones]


def _without_one(one: Students) -> list[Students]:
    return [one[:place] + one[place + 1 :] for place in range(len(one))] if len(one) > 1 else []


def _line_up(
    one: Students, found: Mapping[Students, ProblemResults], best: Students | None, rationales: int, seed: int
) -> LineUp:
    if one not in found or not found[one].m1_max:
        return LineUp(one, None, None, 0.0, None, None)
    results = found[one]
    n = len(results.m1_max)
    columns = (results.m1_max, results.m1_sum, results.m1_max_equal, results.m1_sum_equal)
    sums = [sum(column) for column in columns]
    accuracies, intervals = [total / n for total in sums], [wilson(total, n) for total in sums]
    return LineUp(
        students=one,
        m1_max=accuracies[0],
        m1_sum=accuracies[1],
        exams_per_rationale=results.exams / rationales,
        m1_max_equal=accuracies[2],
        m1_sum_equal=accuracies[3],
        m1_max_ci95=intervals[0],
        m1_sum_ci95=intervals[1],
        m1_max_equal_ci95=intervals[2],
        m1_sum_equal_ci95=intervals[3],
        best_single=one == best,
        differences=list(_differences(one, found, best, seed)),
    )


def _differences(
    one: Students, found: Mapping[Students, ProblemResults], best: Students | None, seed: int
) -> Iterator[LineUpDifference]:
    others: list[tuple[Literal["sc", "best_single", "without_one"], Students]] = [("sc", ())]
    others += [("best_single", best)] if best is not None and one != best else []
    others += [("without_one", rest) for rest in _without_one(one) if rest in found]
    for against, other in others:
        for rule in ("m1_max", "m1_sum"):
            pair = paired(getattr(found[one], rule), getattr(found[other], rule), seed)
            yield LineUpDifference(
                rule, against, other, pair.difference, pair.ci95, pair.wins, pair.losses, pair.p_value
            )
