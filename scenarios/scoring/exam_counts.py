"""The exams of one TP as counts: how many EAs each student has under each TR on each EP, and how many are right.

Repeats of one student on one EP under one TR are draws of the same answer, so their order says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scenarios.records.observe import Rationale, TeachingProblemRecord
from scenarios.scoring.lbt import material

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ExamCounts:
    """Counts of one TP: students x TRs x EPs."""

    tp: str
    trs: tuple[str, ...]
    """Examined TRs by id; identical ones once."""
    correct: tuple[bool, ...]
    """Whether the answer of each TR is right."""
    eps: tuple[str, ...]
    asked: "Array"
    right: "Array"


def exam_counts(lesson: TeachingProblemRecord, students: Sequence[str]) -> ExamCounts:
    """The EAs of `students`; those of others are left out."""
    import numpy as np

    first: dict[str, Rationale] = {}
    for one in sorted(lesson.rationales, key=lambda tr: (tr.repeat, tr.id)):
        first.setdefault(material(one), one)
    trs = [one for one in first.values() if one.exams]
    eps = sorted({exam.ep for one in trs for exam in one.exams})
    of_student, of_ep = ({name: i for i, name in enumerate(names)} for names in (students, eps))
    answers = [
        (of_student[exam.student], row, of_ep[exam.ep], exam.correct)
        for row, one in enumerate(trs)
        for exam in one.exams
        if exam.student in of_student
    ]
    cells = np.array(answers, dtype=np.int64).reshape(-1, 4)
    asked, right = np.zeros((2, len(students), len(trs), len(eps)), dtype=np.int64)
    np.add.at(asked, tuple(cells[:, :3].T), 1)
    np.add.at(right, tuple(cells[:, :3].T), cells[:, 3])
    return ExamCounts(
        lesson.tp, tuple(one.id for one in trs), tuple(one.correct for one in trs), tuple(eps), asked, right
    )
