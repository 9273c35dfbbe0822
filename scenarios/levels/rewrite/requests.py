"""What is said when rationales are rewritten: requests with their ids, and the messages that they stand for.

An id is a digest of what is asked of whom, as everywhere: of the TR's text and not of its request, since the same
text may come twice. When something is asked is scenarios/levels/rewrite/level.py.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from broker.protocol import digest
from broker.work_messages import Exemplar, Message, Mistake, Reflect, Revise
from scenarios.levels.base import Request, Setup
from scenarios.levels.iterate.requests import LEVEL, RUN, Complaint
from scenarios.tasks.problems import Problem

TASK = "Solve problems of the kind that the example shows."
"""What the exams are about: all that can be said of any problems."""


class Original(NamedTuple):
    """A TR that is rewritten."""

    tp: Problem
    id: str
    """Of the request it came of."""
    key: str
    """Digest of its text."""


class FailedExam(NamedTuple):
    """An exam that a student failed with it."""

    exam: str
    """Request id."""
    ep: str


class RewriteQuestions:
    """Makes the requests of one class.

    Args:
        setup: what it is made from.
    """

    def __init__(self, setup: Setup) -> None:
        scenario, bank = setup.scenario, setup.bank
        self._setup = setup
        self._settings = scenario.iterate
        self._teacher = scenario.teacher.name
        self._demonstrations = bank.demonstrations
        self._texts = {problem.id: problem.text for problem in bank.problems}
        self._keys = {
            kind: digest(
                kind, "rationale", setup.teacher, self._settings.writing, scenario.seed, TASK, bank.demonstrations
            )
            for kind in ("Reflect", "Revise")
        }
        self._messages: dict[str, Callable[[Callable[[str], str]], Message]] = {}

    def reflect(
        self, original: Original, student: str, failures: Sequence[FailedExam], complaint: Complaint | None = None
    ) -> Request:
        """What misled this student?"""
        settings, tp = self._settings, original.tp
        key = digest(self._keys["Reflect"], *self._about(original, failures), settings.reasons, complaint)
        request = self._request("Reflect", "reflect", original, key, 0)

        def message(text_of: Callable[[str], str]) -> Message:
            return Reflect(
                task=TASK,
                answer_form=tp.form,
                material=(Exemplar(tp.text, text_of(original.id)),),
                mistakes=self._mistakes(student, failures, text_of),
                reasons=settings.reasons,
                sampling=settings.writing,
                complaint=complaint.text if complaint else "",
                previous=text_of(complaint.request) if complaint else "",
            )

        self._messages[request.id] = message
        return request

    def revise(
        self, original: Original, student: str, failures: Sequence[FailedExam], reasons: tuple[str, ...], repeat: int
    ) -> Request:
        """Write the solution anew, so that it does not mislead this student."""
        settings, tp = self._settings, original.tp
        key = digest(self._keys["Revise"], *self._about(original, failures), reasons)
        request = self._request("Revise", "write", original, key, repeat)

        def message(text_of: Callable[[str], str]) -> Message:
            return Revise(
                task=TASK,
                answer_form=tp.form,
                problem=tp.text,
                material=(Exemplar(tp.text, text_of(original.id)),),
                mistakes=self._mistakes(student, failures, text_of),
                reasons=reasons,
                demonstrations=self._demonstrations,
                sampling=settings.writing,
            )

        self._messages[request.id] = message
        return request

    def message(self, request: Request, text_of: Callable[[str], str]) -> Message:
        """The texts that a request refers to. No gold answer is among them: of an EP only what the student said."""
        return self._messages[request.id](text_of)

    def _about(self, original: Original, failures: Sequence[FailedExam]) -> tuple[object, ...]:
        return original.tp.text, original.tp.form, original.key, tuple(failure.exam for failure in failures)

    def _mistakes(
        self, student: str, failures: Sequence[FailedExam], text_of: Callable[[str], str]
    ) -> tuple[Mistake, ...]:
        return tuple(Mistake(self._texts[one.ep], text_of(one.exam), student) for one in failures)

    def _request(self, kind: str, stage: str, original: Original, key: str, repeat: int) -> Request:
        # One that was given up is asked anew so far on that it is no other slot's request.
        id, repeat = self._setup.unused(key, repeat, RUN)
        return Request(
            id,
            kind,
            self._teacher,
            stage,
            self._settings.writing,
            tp=original.tp.id,
            tr=original.id,
            repeat=repeat,
            round=1,
            level=LEVEL,
            weights=self._setup.weights,
        )
