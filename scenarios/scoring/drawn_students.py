"""The students that a large class is analysed by: line-ups, Shapley values and the like are about so many at most.

What compares every two students takes memory and time by the square of their number, and nobody reads a thousand rows.
The methods, the counts and each student's share of right exam answers are of all students in any class.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from broker.protocol import digest
from scenarios.records.observe import TeachingProblemRecord

MOST = 64
"""Students that are analysed; of a class with more, so many are drawn by hashing the seed and the names."""


def drawn_students(students: Sequence[str], seed: int) -> tuple[str, ...]:
    """The students that are analysed, in the order of the class: all, or MOST of them."""
    if len(students) <= MOST:
        return tuple(students)
    drawn = set(sorted(students, key=lambda name: digest(seed, "analysed", name))[:MOST])
    return tuple(name for name in students if name in drawn)


def examined_by(lesson: TeachingProblemRecord, students: Sequence[str]) -> TeachingProblemRecord:
    """A TP as if only these students had taken its exams, with the tokens of their exams and dialogues."""
    names = frozenset(students)
    asked = ((one, tuple(name for name in one.students if name in names)) for one in lesson.explanation_costs)
    paid = lesson.exam_cost(names)
    return replace(
        lesson,
        rationales=tuple(
            replace(
                one,
                exams=tuple(exam for exam in one.exams if exam.student in names),
                grades=tuple(grade for grade in one.grades if grade.student in names),
            )
            for one in lesson.rationales
        ),
        exam_costs=tuple(cost for cost in lesson.exam_costs if cost.student in names),
        explanation_costs=tuple(replace(one, students=who) for one, who in asked if who),
        exam_tokens=paid.completion_tokens,
        exam_prompt_tokens=paid.prompt_tokens,
    )
