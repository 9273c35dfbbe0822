"""Why level 3 improved nothing, where its last best set is not better on held-out items than the first one was."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from scenarios.records.confusion import Confusion
from scenarios.records.iterate import ArmRun, Revision
from scenarios.report.formatting import causes, many, percent, points
from scenarios.scoring.f1_difference import F1Difference
from scenarios.scoring.statistics import mean

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


def unimproved(courses: Sequence[ArmRun], gain: F1Difference | None) -> Unimproved | None:
    """Why; None where held-out F1 rose, is not known, or no round after the start is over.

    Args:
        courses: the class, run by run.
        gain: its last best set less its first, on held-out items.
    """
    begun = [course for course in courses if course.rounds]
    if begun and not any(course.rounds[-1].selected for course in begun):
        return Unimproved("none kept", "Nothing improved: of no set enough items were answered for it to be kept.")
    ended = [course for course in begun if len(course.rounds) > 1]
    first, last = (_f1s(ended, place, "held_out") for place in (0, -1))
    if first is None or last is None or last > first:
        return None
    return _why(ended, first, last, gain)


def _why(courses: Sequence[ArmRun], first: float, last: float, gain: F1Difference | None) -> Unimproved:
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
    trained_first, trained_last = (_f1s(courses, place, "train") for place in (0, -1))
    if trained_first is None or trained_last is None or trained_last <= trained_first:
        unusable = f" ({many(dropped.total(), 'other')} could not be used)" if dropped else ""
        better = sum(_gained(course, one) for course, one in new)
        why = (
            f"of {many(len(new), 'new set')}{unusable}, {better:,} had a higher F1 on training items than the set that "
            "it was written from, and none a higher one than the best of the first sets"
        )
        return Unimproved("none better in training", f"Nothing improved: {why}.")
    why = (
        f"rose from {percent(trained_first)} to {percent(trained_last)} on training items, by which sets are kept, but "
        f"on held-out items it went from {percent(first)} to {percent(last)}"
    )
    why += f": {points(gain.difference, gain.ci95)}" if gain else ""
    return Unimproved("training only", f"Nothing improved on held-out items: the F1 of the best set {why}.")


def _f1s(courses: Sequence[ArmRun], place: Literal[0, -1], part: Literal["held_out", "train"]) -> float | None:
    """The mean F1 of the best set of the first or the last round, over runs in which both are known."""
    found = []
    for course in courses:
        answers: Mapping[str, Confusion] = getattr(course, part)
        keys = [course.rounds[n].selected[:1] for n in (0, -1)]
        if all(key and key[0] in answers for key in keys):
            found.append(answers[keys[place][0]].f1 or 0.0)
    return mean(found)


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
