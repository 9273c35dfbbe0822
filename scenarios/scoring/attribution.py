"""Whose mistakes taught the teacher: the revisions that each student's failures led to, and what they gained.

A revision is attributed to the students whose wrong answers the teacher was shown for it, in equal parts per answer.
Its gain is the F1 of its set minus the F1 of the set that it was written from.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from scenarios.records.confusion import Confusion
from scenarios.records.iterate import ArmRun, IterateRoundRecord, Revision


class StudentEffect(msgspec.Struct, frozen=True):
    """The effect of one student's failures, over all runs of the class."""

    name: str
    failures: int
    """Its wrong answers that the teacher was shown, each counted once."""
    revisions: float
    """Revisions that they led to; a revision from several students' failures counts for each in part."""
    kept: float
    """Of these, the revisions whose set was kept in its round."""
    gain_train: float
    """The gains of the kept ones in the teacher's F1 on training items, added up."""
    in_final: float
    """Revisions in the lineage of the last best set."""
    final_gain_train: float
    """Their gains, added up."""
    final_gain_test: float | None
    """Likewise on held-out items; null where none of these sets was examined there."""


def effects(courses: Sequence[ArmRun]) -> list[StudentEffect]:
    """The effect of each student, in the order of their names."""
    names = sorted({name for course in courses for round in course.rounds for by in round.students.values()
                    for name in by})  # fmt: skip
    return [_effect(name, courses) for name in names]


def _effect(name: str, courses: Sequence[ArmRun]) -> StudentEffect:
    shown: set[tuple[int, str]] = set()
    revisions = kept = gain = in_final = final_train = 0.0
    final_test: list[float] = []
    for course in courses:
        final = {id(revision) for revision in _final_lineage(course)}
        for round, revision in _revisions(course):
            part = _part(name, revision)
            if not part:
                continue
            shown |= {(course.run, case.exam) for case in revision.failures if case.student == name}
            revisions += part
            # A set that came twice was kept once: by the first revision that made it.
            first = next(one for one in round.revisions if one.made == revision.made)
            if revision.made in round.selected and revision is first and revision.made not in round.taught:
                kept += part
                gain += part * (_gain(course.train, revision) or 0.0)
            if id(revision) in final:
                in_final += part
                final_train += part * (_gain(course.train, revision) or 0.0)
                if (gained := _gain(course.held_out, revision)) is not None:
                    final_test.append(part * gained)
    return StudentEffect(
        name, len(shown), revisions, kept, gain, in_final, final_train, sum(final_test) if final_test else None
    )


def lineage(rounds: Sequence[IterateRoundRecord], key: str) -> list[tuple[int, Revision]]:
    """The revisions that led to a set, latest first, each with its round; the last is the writing of a first set.

    Where several revisions of a round made the same set, the first of them counts.
    """
    steps: list[tuple[int, Revision]] = []
    for round in reversed(rounds):
        made = next((one for one in round.revisions if one.made == key), None) if key else None
        # A set that was taught in this round was made in an earlier one.
        if made is not None and key not in round.taught:
            steps.append((round.number, made))
            key = made.parent
    return steps


def _final_lineage(course: ArmRun) -> list[Revision]:
    last = course.rounds[-1].selected if course.rounds else ()
    return [revision for _, revision in lineage(course.rounds, last[0])] if last else []


def _revisions(course: ArmRun) -> Iterator[tuple[IterateRoundRecord, Revision]]:
    for round in course.rounds:
        for revision in round.revisions:
            yield round, revision


def _part(name: str, revision: Revision) -> float:
    """The share of the shown failures that are this student's."""
    if not revision.failures:
        return 0.0
    return sum(case.student == name for case in revision.failures) / len(revision.failures)


def _gain(answers: Mapping[str, Confusion], revision: Revision) -> float | None:
    if revision.made not in answers or revision.parent not in answers:
        return None
    after, before = answers[revision.made].f1, answers[revision.parent].f1
    return None if after is None or before is None else after - before
