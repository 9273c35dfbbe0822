"""A line-up against one student with as many exams: is it who takes the exams, or only how many?

lineups.py cuts line-ups down to the smallest. Here one student is taken as often as the line-up has EAs, by its repeats
and its copies; where the records have too few, the repeats that would be needed are named.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import msgspec

from scenarios.config.schema import Scoring
from scenarios.scoring.exam_table import ExamTable, right_by_problem
from scenarios.scoring.lbt import Sheet
from scenarios.scoring.over_problems import OverProblems, over_problems


class EqualUp(msgspec.Struct, frozen=True):
    """A line-up against one student with as many EAs per TR."""

    line_up: tuple[str, ...]
    student: str
    """With its copies."""
    exams_per_rationale: float
    """EAs of the line-up on which TRs are compared, the mean over TPs."""
    m1_max: float | None
    """Of the one student with as many EAs: the mean over random draws. None: it has not as many."""
    m1_sum: float | None
    max_difference: OverProblems | None
    """Accuracy of the line-up minus that of the one student, by MAX."""
    sum_difference: OverProblems | None
    needs_repeats: int | None
    """The `exam.repeats` with which the student would have as many on every TP as the line-up has now. None: it has,
    or it has no EA on some TP, so that repeats do not help."""


def equal_up(
    sheets: Sequence[Sheet],
    students: Sequence[str],
    kinds: Mapping[str, str],
    line_up: Sequence[str],
    scoring: Scoring,
    seed: int,
) -> list[EqualUp]:
    """The line-up against each kind of student in it; empty where it has one kind only, or no exam.

    Args:
        sheets: the TPs.
        students: everybody with exams.
        kinds: by student, the first that answers as it does; see `fidelity.kinds`.
        line_up: some of the students.
        scoring: how students are merged and ties are broken.
        seed: of the random shares of exams.
    """
    import numpy as np

    own = sorted({kinds[name] for name in line_up}, key=list(students).index)
    if len(own) < 2 or not sheets:
        return []
    members = [[name for name in students if kinds[name] == kind] for kind in own]
    takes_part = np.array([[name in some for name in students] for some in (line_up, *members)], dtype=bool)
    whole = right_by_problem(sheets, students, takes_part[:1], scoring)[:, :, 0]
    sizes, right = np.zeros((len(sheets), 1 + len(own)), dtype=int), np.zeros((2, len(sheets), len(own)))
    for number, sheet in enumerate(sheets):
        table = ExamTable(sheet, students, scoring)
        common, _ = table.common(takes_part)
        sizes[number] = common.sum(axis=1)
        for kind in range(len(own)):
            if not sizes[number, 0]:  # without exams both choose alike
                right[:, number, kind] = whole[:, number]
            elif sizes[number, 1 + kind] >= sizes[number, 0]:
                ((of_max, of_sum, _),) = table.by_exams(common[1 + kind], [int(sizes[number, 0])], seed)
                right[:, number, kind] = of_max, of_sum
    if not sizes[:, 0].any():
        return []
    repeats = 1 + max((exam.repeat for s in sheets for r in s.lesson.rationales for exam in r.exams), default=0)
    found = []
    for kind, name in enumerate(own):
        mean = float(sizes[:, 0].mean())
        if (sizes[:, 1 + kind] < sizes[:, 0]).any():
            # It takes as many repeats on every TP, so the TP that lacks most decides.
            taken = [(int(wanted), int(has)) for wanted, has in sizes[:, [0, 1 + kind]] if wanted]
            helps = all(has for _, has in taken)
            needed = max(ceil(repeats * wanted / has) for wanted, has in taken) if helps else None
            found.append(EqualUp(tuple(line_up), name, mean, None, None, None, None, needed))
            continue
        of_max, of_sum = right[:, :, kind]
        by_max, by_sum = (over_problems((whole[rule] - right[rule, :, kind]).tolist(), seed) for rule in (0, 1))
        m1_max, m1_sum = float(of_max.mean()), float(of_sum.mean())
        found.append(EqualUp(tuple(line_up), name, mean, m1_max, m1_sum, by_max, by_sum, None))
    return found
