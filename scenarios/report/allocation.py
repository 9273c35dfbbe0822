"""What `exam.allocation` saved in a class, and what the summary leaves out since it would need every exam answer."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from scenarios.config.schema import Scenario
from scenarios.records.observe import TeachingProblemRecord
from scenarios.report.formatting import many, percent
from scenarios.scoring.lbt import distinct

LEFT_OUT = (
    "lineups", "students.m1_max", "students.m1_sum", "shapley", "agreement", "abilities", "curves", "fidelity",
    "equal_up", "assumption", "signals", "methods.m1_*.tie_share", "methods.m1_*.accuracy_random_ties",
)  # fmt: skip
"""Fields of the summary that are empty."""


class AllocatedExams(msgspec.Struct, frozen=True, kw_only=True):
    """The exams of the TPs that count, where not all were asked. Those under identical TRs count once."""

    allocation: Literal["lossless", "halving"]
    full: int
    """Exams that a full class would have asked."""
    asked: int
    """Failed ones included."""
    saved_by_agreement: int
    """All TRs of a TP have one answer."""
    saved_by_certainty: int
    """No EA could change the choice any more."""
    saved_by_halving: int
    """Other answers did better, by confidence bounds."""
    dropped_rationales: int
    """Distinct TRs with fewer exams than others of their TP: their scores rest on fewer EAs."""
    left_out: tuple[str, ...] = LEFT_OUT
    """Fields of this summary that are empty, since they need every EA."""


def allocated(scenario: Scenario, lessons: Sequence[TeachingProblemRecord]) -> AllocatedExams | None:
    """What was saved on these TPs; None: the class asks all exams."""
    if scenario.exam.allocation == "full":
        return None
    rationales = [(lesson, one) for lesson in lessons if not lesson.abstains for one in distinct(lesson)]
    saved = [lesson.saved for lesson in lessons]
    full = sum(exams_per_rationale(scenario, of) for of, one in rationales if one.answer is not None)
    return AllocatedExams(
        allocation=scenario.exam.allocation,
        full=full,
        asked=full - sum(one.exams for one in saved),
        saved_by_agreement=sum(one.by_agreement for one in saved),
        saved_by_certainty=sum(one.by_certainty for one in saved),
        saved_by_halving=sum(one.by_halving for one in saved),
        dropped_rationales=sum(one.dropped for _, one in rationales),
    )


def exams_per_rationale(scenario: Scenario, lesson: TeachingProblemRecord) -> int:
    """The exams under one TR of a TP in a full class."""
    return len(scenario.students) * exam_problems(scenario, lesson) * scenario.exam.repeats


def exam_problems(scenario: Scenario, lesson: TeachingProblemRecord) -> int:
    """The number of EPs of a TP."""
    if lesson.abstains:
        return 0
    return len(lesson.invented.problems) if lesson.invented else scenario.exam.problems


def sentences(found: AllocatedExams) -> str:
    """What was saved, by which reason, and what is left out."""
    if not found.full:
        return ""
    shares = {
        "by agreement (all rationales of a problem have one answer)": found.saved_by_agreement,
        "by certainty (no exam could change the choice any more)": found.saved_by_certainty,
        "by halving (other answers did better, by confidence bounds)": found.saved_by_halving,
    }
    saved = ", ".join(f"{n:,} {why}" for why, n in shares.items() if n or "halving" not in why)
    dropped = (
        f" Exam scores of {many(found.dropped_rationales, 'dropped rationale')} rest on fewer answers than the others."
        if found.dropped_rationales
        else ""
    )
    return (
        f"exam.allocation: {found.allocation} asked {found.asked:,} of the {many(found.full, 'exam')} of a full class "
        f"({percent(found.asked / found.full)}); saved were {saved}.{dropped} Left out, since they need every exam "
        "answer: line-ups, single students' choices, what each student adds, agreement, abilities, curves, ties, and "
        "whether right rationales teach better. More exams were asked where the choice was hard, so students' shares "
        "of right answers are not those of a full class."
    )
