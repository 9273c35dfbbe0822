"""Why students failed, and whether the teacher fails for the same reasons: the paper's table A18, computed.

The teacher names the reasons. A reason counts for every mistake of the reflection that names it (with `iterate.mix`,
of all reflections on its set). The teacher's own errors are those with the best set of the start; the last best set
removes those that it answers right. Only training items are compared that the students were asked, and the teacher
with both sets. text_clusters.py groups reasons that say the same.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from scenarios.records.iterate import ArmRun, FailureCase, OwnAnswers
from scenarios.scoring.text_clusters import groups

REASONS = 30
"""How many are reported: the most frequent ones."""

Item = tuple[int, str]
"""A training item in an independent run: the number of the run, and the item's id."""


class Reason(msgspec.Struct, frozen=True):
    """A reason that the teacher gave, and others that say nearly the same."""

    reason: str
    """The most central wording."""
    count: int
    """Reflections it was given in."""
    wordings: int
    students: dict[str, int]
    """In how many of these a failure of that student was shown."""
    kept: int
    """Sets written with it that were kept in their round."""
    items: int
    """Training items whose mistakes, by any student, led to it; an item counts in every independent run."""
    items_by_student: dict[str, int]
    compared: int
    """Of these, those among `own_errors.items`."""
    errors: int
    """Of the compared ones, those that the teacher itself had wrong at the start."""
    share: float | None
    """Of all the teacher's own errors; one may have several reasons. Null: it made none. By chance it would be the
    share of `compared` in `own_errors.items`."""
    removed: int
    """Of these errors, those that the last best set has right."""
    new: int
    """Of its items, those that the teacher had right at the start, and has wrong with the last best set."""


class OwnErrors(msgspec.Struct, frozen=True):
    """The teacher's own errors on training items that the students were asked, too.

    The last set was selected on these items, among others: with new ones it would remove fewer.
    """

    items: int = 0
    """Answered by the teacher with both sets; the n of all shares."""
    errors: int = 0
    """With the start's best set."""
    without_reason: int = 0
    """Of these, those on items that led to no reason."""
    removed: int = 0
    """Of `errors`, those that the last best set has right."""
    new: int = 0
    """Items that were right at the start, and are wrong with the last best set."""


class _Given(NamedTuple):
    """The reflection that a reason was given in."""

    run: int
    round: int
    parent: str
    failures: tuple[FailureCase, ...]


class _Compared(NamedTuple):
    """The teacher's own answers to items that its students were asked."""

    items: frozenset[Item]
    before: frozenset[Item]
    """Wrong with the start's best set."""
    after: frozenset[Item]
    """Wrong with the last best set."""


def reasons(courses: Sequence[ArmRun]) -> list[Reason]:
    """The most frequent reasons, first those given most often."""
    given: dict[str, set[_Given]] = {}
    kept = Counter[str]()
    for course in courses:
        for round in course.rounds:
            for revision in round.revisions:
                reflection = _Given(course.run, round.number, revision.parent, revision.failures)
                for reason in revision.reasons:
                    given.setdefault(reason, set()).add(reflection)
                    kept[reason] += bool(revision.made) and revision.made in round.selected
    compared = _compared(courses)
    found = []
    for group in groups({reason: len(reflections) for reason, reflections in given.items()}):
        reflections = {one for reason in group for one in given[reason]}
        found.append(_reason(group, reflections, sum(kept[reason] for reason in group), compared))
    return sorted(found, key=lambda one: (-one.count, one.reason))[:REASONS]


def own_errors(courses: Sequence[ArmRun]) -> OwnErrors:
    """The errors that the teacher itself makes, and how many of them the last best set removes."""
    items, before, after = _compared(courses)
    reasoned = {
        (course.run, case.item)
        for course in courses
        for round in course.rounds
        for revision in round.revisions
        if revision.reasons
        for case in revision.failures
    }
    return OwnErrors(len(items), len(before), len(before - reasoned), len(before - after), len(after - before))


def _reason(group: Sequence[str], reflections: set[_Given], kept: int, compared: _Compared) -> Reason:
    mistakes = {(case.student, (one.run, case.item)) for one in reflections for case in one.failures}
    items = {item for _, item in mistakes}
    errors = items & compared.before
    students = Counter(name for one in reflections for name in {case.student for case in one.failures})
    return Reason(
        reason=group[0],
        count=len(reflections),
        wordings=len(group),
        students=dict(sorted(students.items())),
        kept=kept,
        items=len(items),
        items_by_student=dict(sorted(Counter(name for name, _ in mistakes).items())),
        compared=len(items & compared.items),
        errors=len(errors),
        share=len(errors) / len(compared.before) if compared.before else None,
        removed=len(errors - compared.after),
        new=len(items & compared.after - compared.before),
    )


def _compared(courses: Sequence[ArmRun]) -> _Compared:
    items, before, after = set[Item](), set[Item](), set[Item]()
    for course in courses:
        if course.rounds and course.rounds[0].selected and course.rounds[-1].selected:
            first, last = (course.own.get(course.rounds[n].selected[0], OwnAnswers()) for n in (0, -1))
            asked = {item for round in course.rounds for item in round.items}
            both = asked & {*first.right, *first.wrong} & {*last.right, *last.wrong}
            items |= {(course.run, item) for item in both}
            before |= {(course.run, item) for item in both & {*first.wrong}}
            after |= {(course.run, item) for item in both & {*last.wrong}}
    return _Compared(frozenset(items), frozenset(before), frozenset(after))
