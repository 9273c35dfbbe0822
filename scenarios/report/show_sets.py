"""What `show` finds of level 3: the exemplar sets of all rounds, and one set with what led to it."""

import msgspec

from scenarios.records.confusion import Confusion
from scenarios.records.iterate import ArmRun, Iteration
from scenarios.report.iterate import ShownExemplar, shown_exemplars
from scenarios.report.recorded import RecordedClass
from scenarios.store import prompts
from scenarios.store.prompts import Parts


class SetLine(msgspec.Struct, frozen=True):
    """A set in one round."""

    arm: str
    run: int
    """From 1."""
    round: int
    """0: the start."""
    key: str
    origin: str
    """description, training or revision."""
    f1_train: float | None
    """Of the teacher's own answers to training items; None: there are none."""
    f1_held_out: float | None
    """None: it was never the best set."""
    kept: bool


class SetExams(msgspec.Struct, frozen=True):
    """The answers of one student with a set, in one round."""

    arm: str
    run: int
    round: int
    student: str
    right: int
    n: int
    f1: float | None


class SetOrigin(msgspec.Struct, frozen=True):
    """One revision that made a set."""

    arm: str
    run: int
    round: int
    request: str
    """Request id of the text that was used."""
    parent: str
    """Key of the set that was revised; empty: there was none."""
    reasons: list[str]
    mistakes: int
    """Wrong answers that the teacher was shown."""
    text: str
    prompt: Parts


class SetView(msgspec.Struct, frozen=True):
    """A set, where it came from and how it did."""

    key: str
    exemplars: list[ShownExemplar]
    rounds: list[SetLine]
    made_by: list[SetOrigin]
    exams: list[SetExams]


def set_lines(iteration: Iteration | None) -> list[SetLine]:
    """Every set of every round in which it was scored."""
    return [
        _line(course, done.number, key, kept=key in done.selected)
        for course in (iteration.courses if iteration else ())
        for done in course.rounds
        for key in done.scored
    ]


def find_set(one: RecordedClass, key: str) -> SetView:
    """One set; `key` is that of a line of `set_lines`."""
    courses = one.outcome.iteration.courses if one.outcome.iteration else ()
    (found, *_) = [course.sets[key] for course in courses if key in course.sets]
    made_by, exams = [], []
    for course in courses:
        for done in course.rounds:
            for revision in done.revisions:
                if revision.made == key:
                    made_by += [
                        SetOrigin(
                            arm=course.arm,
                            run=course.run + 1,
                            round=done.number,
                            request=record.request_id,
                            parent=revision.parent,
                            reasons=list(revision.reasons),
                            mistakes=len(revision.failures),
                            text=record.text,
                            prompt=prompts.read(one.store.query, record.prompt),
                        )
                        for record in one.store.results("request_id = ?", revision.request)
                    ]
            for student, answers in done.students.get(key, {}).items():
                tally = (answers.right, answers.n, answers.f1)
                exams.append(SetExams(course.arm, course.run + 1, done.number, student, *tally))
    lines = [line for line in set_lines(one.outcome.iteration) if line.key == key]
    return SetView(key, shown_exemplars(found), lines, made_by, exams)


def _line(course: ArmRun, number: int, key: str, *, kept: bool) -> SetLine:
    train, held_out = course.train.get(key, Confusion()), course.held_out.get(key)
    return SetLine(
        arm=course.arm,
        run=course.run + 1,
        round=number,
        key=key,
        origin=course.sets[key].origin,
        f1_train=train.f1,
        f1_held_out=held_out.f1 if held_out else None,
        kept=kept,
    )
