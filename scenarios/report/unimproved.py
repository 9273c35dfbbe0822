"""Why level 3 improved nothing, where its last best set is not better on held-out items than the first one was."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from scenarios.records.iterate import ArmRun, Revision
from scenarios.report.formatting import causes, many, percent, points
from scenarios.report.iterate_arms import IterateArmSummary, Mean
from scenarios.scoring.f1_difference import F1Difference

Cause = Literal[
    "none kept",
    "no mistakes",
    "no reasons",
    "refused",
    "repeated",
    "none better in training",
    "training only",
    "students no better",
    "choices no better",
]


class Unimproved(msgspec.Struct, frozen=True):
    """Why nothing improved, over all runs of the class or all teaching problems."""

    cause: Cause
    """none kept: too few exams of any set were answered. no mistakes: of students. no reasons: no reflection could be
    used. refused: no new set (rationale) could be used. repeated: every one was there already. none better in training:
    no new set was better than the first one on training items. training only: better on training items, not on held-out
    ones. Of rationales, students no better: with the new ones they do no better in exams. choices no better: they do,
    but the chosen answers are not right more often."""
    sentence: str


def unimproved(
    courses: Sequence[ArmRun], start: IterateArmSummary, end: IterateArmSummary, gain: F1Difference | None
) -> Unimproved | None:
    """Why; None where held-out F1 rose, is not known of every run, or no round after the start is over.

    Args:
        courses: the class, run by run.
        start: its best set at the start.
        end: its last best set.
        gain: the last less the first, on held-out items.
    """
    begun = [course for course in courses if course.rounds]
    if begun and not any(course.rounds[-1].selected for course in begun):
        return Unimproved("none kept", "Nothing improved: of no set enough items were answered for it to be kept.")
    first, last = start.teacher_f1_test, end.teacher_f1_test
    if all(len(course.rounds) < 2 for course in begun) or first.n != last.n or _rose(first, last):
        return None
    return _why(begun, start, end, gain)


def _rose(first: Mean, last: Mean) -> bool:
    return first.mean is None or last.mean is None or last.mean > first.mean


def _why(
    courses: Sequence[ArmRun], start: IterateArmSummary, end: IterateArmSummary, gain: F1Difference | None
) -> Unimproved:
    rounds = [round for course in courses for round in course.rounds[1:]]
    revisions = [revision for round in rounds for revision in round.revisions]
    if not revisions:
        reflections = sum((Counter(round.dropped_reflections) for round in rounds), Counter[str]())
        if reflections:
            why = f"none of {many(reflections.total(), 'reflection')} had a reason in it ({causes(reflections)})"
            return Unimproved("no reasons", f"Nothing improved: {why}, so no set was revised.")
        return Unimproved("no mistakes", "Nothing improved: the students made no mistakes to learn from.")
    dropped = Counter(revision.dropped for revision in revisions if revision.dropped)
    if dropped.total() == len(revisions):
        why = f"none of {many(len(revisions), 'set')} asked for could be used ({causes(dropped)})"
        return Unimproved("refused", f"Nothing improved: {why}.")
    new = [(course, one) for course in courses for one in _new(course)]
    if not new:
        return Unimproved("repeated", "Nothing improved: every set that the teacher wrote was there already.")
    if not _rose(start.teacher_f1_train, end.teacher_f1_train):
        unusable = f" ({many(dropped.total(), 'other')} could not be used)" if dropped else ""
        better = sum(_gained(course, one) for course, one in new)
        why = (
            f"of {many(len(new), 'new set')}{unusable}, {better:,} had a higher F1 on training items than the set that "
            "it was written from, and none a higher one than the best of the first sets"
        )
        return Unimproved("none better in training", f"Nothing improved: {why}.")
    why = (
        f"rose from {percent(start.teacher_f1_train.mean)} to {percent(end.teacher_f1_train.mean)} on training items, "
        f"by which sets are kept, but on held-out items it went from {percent(start.teacher_f1_test.mean)} to "
        f"{percent(end.teacher_f1_test.mean)}"
    )
    why += f": {points(gain.difference, gain.ci95)}" if gain else ""
    return Unimproved("training only", f"Nothing improved on held-out items: the F1 of the best set {why}.")


def _new(course: ArmRun) -> list[Revision]:
    """The revisions whose set was not there before, each set once."""
    known = set(course.rounds[0].scored)
    new: dict[str, Revision] = {}
    for round in course.rounds[1:]:
        for revision in round.revisions:
            if revision.made and revision.made not in known:
                new.setdefault(revision.made, revision)
    return list(new.values())


def _gained(course: ArmRun, one: Revision) -> bool:
    if one.made not in course.train or one.parent not in course.train:
        return False
    return (course.train[one.made].f1 or 0.0) > (course.train[one.parent].f1 or 0.0)
