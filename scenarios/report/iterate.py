"""The level-3 part of the summary for sets of exemplars: rounds, baselines, whose mistakes taught, and why."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from scenarios.records.confusion import Confusion, pool
from scenarios.records.iterate import ArmRun, ExemplarSet, IterateRoundRecord, Iteration, Revision
from scenarios.report.iterate_arms import (
    START,
    ArmComparison,
    ArmProgress,
    EqualRequests,
    IterateArmSummary,
    Mean,
    arm_comparisons,
    arm_progress,
    arm_summaries,
    equal_requests,
)
from scenarios.report.rewrite import RewriteSummary
from scenarios.report.unimproved import Unimproved, unimproved
from scenarios.scoring.attribution import StudentEffect, effects
from scenarios.scoring.reasons import OwnErrors, Reason, own_errors, reasons

KEY_DIGITS = 12
"""How many digits of a set's key the summary has."""


class F1(msgspec.Struct, frozen=True):
    """F1 and other shares of some answers; null where there are none."""

    f1: float | None
    """Of the positive class."""
    macro: float | None
    micro: float | None
    """With one label per item this is accuracy."""
    neither_share: float | None
    """Answers that were neither yes nor no; they count as wrong."""
    n: int

    @staticmethod
    def of(answers: Confusion | None) -> "F1":
        """The shares of these answers."""
        one = answers or Confusion()
        return F1(one.f1, one.macro, one.micro, one.neither_share, one.n)


class ShownExemplar(msgspec.Struct, frozen=True):
    """An exemplar."""

    text: str
    answer: str
    reason: str = ""


class SetSummary(msgspec.Struct, frozen=True):
    """One set in one round."""

    key: str
    origin: str
    """description, training or revision."""
    parents: list[str]
    """The sets of this round that it was revised from."""
    train: F1
    """The teacher's own answers."""
    held_out: F1 | None
    """Likewise; null: it was never the best set, and so not examined."""
    students: dict[str, F1]
    """Of the students who took this round's exam with it."""
    kept: bool


class IterateRoundSummary(msgspec.Struct, frozen=True):
    """One round of one run of the class; round 0 is the start."""

    run: int
    """From 1."""
    round: int
    teacher_f1_train: float | None
    """With the best set; it selects sets."""
    teacher_f1_test: float | None
    """With the same set, on dev and test; it selects nothing."""
    students: dict[str, float | None]
    """F1 by student, over all sets of the round."""
    exemplars: list[ShownExemplar]
    """The best set."""
    best: str
    """Its key."""
    train: F1
    test: F1
    student_answers: dict[str, F1]
    sets: list[SetSummary]
    reflections: int
    dropped_reflections: dict[str, int]
    """By cause."""
    revisions: int
    """Sets that the teacher was asked for."""
    repaired: dict[str, int]
    """Those asked for a second time, by the fault of the first text."""
    dropped: dict[str, int]
    """Those without a set, by cause."""
    repeated: int
    """Those whose set was there before, or came twice."""
    learning: list[str] = []
    """The students whose mistakes the teacher was shown; with a curriculum, in the order in which they joined."""


class RoundMean(msgspec.Struct, frozen=True):
    """A round over all independent runs."""

    round: int
    teacher_f1_train: Mean
    teacher_f1_test: Mean


class IterateSummary(msgspec.Struct, frozen=True):
    """`levels["3"]`."""

    rounds: list[IterateRoundSummary] = []
    """Run by run."""
    by_round: list[RoundMean] = []
    arms: list[IterateArmSummary] = []
    students: list[StudentEffect] = []
    reasons: list[Reason] = []
    own_errors: OwnErrors = OwnErrors()
    rationales: RewriteSummary | None = None
    """Of iterate.material: rationale; then the rest is empty."""
    equal_requests: EqualRequests | None = None
    """Where there are baselines."""
    comparisons: list[ArmComparison] = []
    """The class less each other arm, on the same held-out items."""
    progress: list[ArmProgress] = []
    """F1 by the number of requests."""
    unimproved: Unimproved | None = None
    """Why the last best set is not better on held-out items than the first; null where it is."""


def summarize_rounds(iteration: Iteration | None) -> IterateSummary:
    """The summary of level 3; empty where there is none."""
    if iteration is None:
        return IterateSummary()
    own = [course for course in iteration.courses if course.arm == "class"]
    rounds = [_round(course, number) for course in own for number in range(len(course.rounds))]
    numbers = sorted({one.round for one in rounds})
    by_round = [
        RoundMean(
            number,
            Mean.of([one.teacher_f1_train for one in rounds if one.round == number]),
            Mean.of([one.teacher_f1_test for one in rounds if one.round == number]),
        )
        for number in numbers
    ]
    comparisons, arms = arm_comparisons(iteration), arm_summaries(iteration)
    gain = next((one for one in comparisons if one.b == START), None)
    return IterateSummary(
        rounds,
        by_round,
        arms,
        effects(own),
        reasons(own),
        own_errors(own),
        equal_requests=equal_requests(iteration),
        comparisons=comparisons,
        progress=arm_progress(iteration),
        unimproved=unimproved(own, arms[0], arms[1], gain) if own else None,
    )


def exam_results(iteration: Iteration | None) -> dict[str, list[tuple[int, int]]]:
    """By student: right and all exam answers to each item, in all rounds of the class itself, without baselines."""
    results: dict[str, dict[str, list[bool]]] = {}
    courses = iteration.courses if iteration else ()
    rounds = [round for course in courses if course.arm == "class" for round in course.rounds]
    for by_student in (by_student for round in rounds for by_student in round.answers.values()):
        for name, answers in by_student.items():
            by_item = results.setdefault(name, {})
            for items, right in ((answers.right, True), (answers.wrong, False)):
                for item in items:
                    by_item.setdefault(item, []).append(right)
    return {name: [(sum(of), len(of)) for of in by_item.values()] for name, by_item in results.items()}


def _round(course: ArmRun, number: int) -> IterateRoundSummary:
    round = course.rounds[number]
    best = round.selected[0] if round.selected else ""
    train, held_out = F1.of(course.train.get(best)), F1.of(course.held_out.get(best))
    pooled = {name: F1.of(answers) for name, answers in pool(round.students).items()}
    parents: dict[str, list[str]] = {}
    for revision in round.revisions:
        if revision.made and revision.parent:
            parents.setdefault(revision.made, []).append(revision.parent)
    sets = [
        SetSummary(
            key=key[:KEY_DIGITS],
            origin=course.sets[key].origin,
            parents=sorted({parent[:KEY_DIGITS] for parent in parents.get(key, ())}),
            train=F1.of(course.train.get(key)),
            held_out=F1.of(course.held_out[key]) if key in course.held_out else None,
            students={name: F1.of(answers) for name, answers in round.students.get(key, {}).items()},
            kept=key in round.selected,
        )
        for key in round.scored
    ]
    return IterateRoundSummary(
        run=course.run + 1,
        round=round.number,
        teacher_f1_train=train.f1,
        teacher_f1_test=held_out.f1,
        students={name: one.f1 for name, one in pooled.items()},
        exemplars=shown_exemplars(course.sets[best]) if best else [],
        best=best[:KEY_DIGITS],
        train=train,
        test=held_out,
        student_answers=pooled,
        sets=sets,
        reflections=round.reflections,
        dropped_reflections=round.dropped_reflections,
        revisions=len(round.revisions),
        repaired=_tally([revision.repaired for revision in round.revisions]),
        dropped=_tally([revision.dropped for revision in round.revisions]),
        repeated=_repeated(course.rounds[:number], round.revisions),
        learning=list(round.learning),
    )


def _repeated(before: Sequence[IterateRoundRecord], revisions: Sequence[Revision]) -> int:
    """Revisions that made a set which was there already, or which another one made first."""
    known = {key for round in before for key in round.scored}
    made = [revision.made for revision in revisions if revision.made]
    return len(made) - len(set(made) - known)


def _tally(causes: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(cause for cause in causes if cause).items()))


def shown_exemplars(material: ExemplarSet) -> list[ShownExemplar]:
    """The exemplars of a set, for people."""
    return [ShownExemplar(one.problem, one.answer, one.rationale) for one in material.exemplars]
