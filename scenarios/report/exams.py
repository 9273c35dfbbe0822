"""Which exam problems the TPs of a class have, where they are not other draws of the TPs themselves."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec

from scenarios.config.schema import Exam
from scenarios.records.observe import InventedExam, TeachingProblemRecord
from scenarios.report.formatting import many


class NearestProblems(msgspec.Struct, frozen=True):
    """How near the retrieved EPs of one TP are."""

    tp: str
    similarities: list[float]
    """Cosine similarity of each EP to the TP, the nearest first."""
    examined: bool
    """False: they were not near enough, and the TP has no exams."""


class ExamSource(msgspec.Struct, frozen=True):
    """Where the EPs come from."""

    maker: str
    bank: str = ""
    """Name of the file; empty: the task's other problems."""
    embedding: str = ""
    """This and what follows: by retrieval alone."""
    abstain_below: float | None = None
    nearest: list[NearestProblems] = []
    """By TP."""
    median_similarity: float | None = None
    """Of the nearest EP of each TP."""
    invented: dict[str, InventedExam] = {}
    """By TP: the EPs that an agent wrote."""


def exam_source(exam: Exam, lessons: Sequence[TeachingProblemRecord]) -> ExamSource | None:
    """Where the EPs of a class come from; None with `exam.maker: variants`, and where no problem is taught."""
    if exam.maker == "variants" or not lessons:
        return None
    bank = Path(exam.bank or "").name
    if exam.maker == "fixed":
        return ExamSource("fixed", bank)
    if exam.maker == "invented":
        return ExamSource("invented", invented={one.tp: one.invented for one in lessons if one.invented})
    nearest = [NearestProblems(one.tp, list(one.similarities), not one.abstains) for one in lessons]
    firsts = [one.similarities[0] for one in nearest if one.similarities]
    middle = round(median(firsts), 6) if firsts else None
    return ExamSource(exam.maker, bank, exam.embedding, exam.abstain_below, nearest, middle)


def exam_source_sentence(source: ExamSource | None) -> str:
    """The same in words; empty if there is nothing to say."""
    if source is None:
        return ""
    if source.maker == "invented":
        return _invented([*source.invented.values()])
    of = source.bank or "the task's other problems"
    if source.maker == "fixed":
        return f"Every problem has the same exam problems, drawn from {of}."
    firsts = [one.similarities[0] for one in source.nearest if one.similarities]
    said = f"Exam problems are the nearest of {of} by {source.embedding}"
    if firsts and source.median_similarity is not None:
        said += (
            f"; the similarity of the nearest is {source.median_similarity:.2f} at the median "
            f"({min(firsts):.2f} to {max(firsts):.2f})"
        )
    without = sum(not one.examined for one in source.nearest)
    if source.abstain_below is not None:
        said += f". Below {source.abstain_below:g} there are no exams and SC chooses: {many(without, 'problem')}"
    return f"{said}."


def _invented(exams: Sequence[InventedExam]) -> str:
    """Who wrote the EPs of a class, and how many of what was written are used."""
    if not exams:
        return ""
    agreeing = [one.agreeing for exam in exams for one in exam.problems]
    most = max(len(exam.problems) for exam in exams)
    fewer, none = (sum(0 < len(one.problems) < most for one in exams), sum(not one.problems for one in exams))
    total = InventedExam(
        exams[0].writer,
        candidates=sum(one.candidates for one in exams),
        unusable=sum(one.unusable for one in exams),
        duplicates=sum(one.duplicates for one in exams),
        disputed=sum(one.disputed for one in exams),
    )
    others = total.candidates - total.unusable - total.duplicates - total.disputed
    said = f"Exam problems were {invention(total)}; {len(agreeing):,} of the other {others:,} are used"
    if agreeing:
        said += (
            f". Their gold answers are those that more than half of the writer's {exams[0].answers} answers gave "
            f"(on average {sum(agreeing) / len(agreeing):.1f} of {exams[0].answers}), and may be wrong"
        )
    if fewer:
        said += f". {many(fewer, 'problem')} with fewer than {most}"
    if none:
        said += f". {many(none, 'problem')} without any: SC chooses there"
    return f"{said}."


def invention(exam: InventedExam) -> str:
    """Who wrote EPs, and what became of them: `written by teacher: 6, of which 1 unusable, ...`."""
    return (
        f"written by {exam.writer}: {exam.candidates:,}, of which {exam.unusable:,} empty, cut off or failed, "
        f"{many(exam.duplicates, 'near duplicate')} and {exam.disputed:,} without an agreed answer"
    )
