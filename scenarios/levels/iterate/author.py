"""What the teacher writes at level 3: asked for, read strictly, asked for once more where it cannot be used.

Whatever cannot be used then is dropped, with its cause for the counts. What is read how is exemplars.py, what is
asked questions.py, and what for rounds.py.
"""

from collections.abc import Callable, Sequence, Set
from typing import NamedTuple

from scenarios.config.schema import Iterate
from scenarios.levels.base import Request, Result
from scenarios.levels.flow import Flow
from scenarios.levels.iterate.exemplars import Unusable, read_reasons, read_set
from scenarios.levels.iterate.requests import RUN, Complaint, Questions
from scenarios.records.iterate import ExemplarSet, FailureCase, Revision

FAILED = "failed"
"""A request without a result, among the causes why something was dropped."""


class Reflection(NamedTuple):
    """What the teacher made of some mistakes."""

    failures: tuple[FailureCase, ...]
    reasons: tuple[str, ...]
    dropped: str = ""
    """Why there are no reasons."""


class Author:
    """The teacher as a writer.

    Args:
        settings: `scenario.iterate`.
        questions: makes the requests.
        ask: gets their results.
        run: which independent run.
        forbidden: folded texts that no set may hold.
        unseen: folded texts that it cannot have from us before it was shown any: no first set may hold them either.
    """

    def __init__(
        self,
        settings: Iterate,
        questions: Questions,
        ask: Callable[[Sequence[Request]], Flow[list[Result]]],
        *,
        run: int,
        forbidden: Set[str],
        unseen: Set[str],
    ) -> None:
        self._settings = settings
        self._questions = questions
        self._ask = ask
        self._first = run * RUN
        self._forbidden = forbidden
        self._forbidden_at_first = forbidden | unseen

    def reflect(
        self, material: ExemplarSet, failures: tuple[FailureCase, ...], repeat: int, number: int
    ) -> Flow[Reflection]:
        """Reasons why the set misled the students on these items."""
        complaint, cause = None, ""
        for _ in range(2):
            request = self._questions.reflect(
                material, failures, repeat=self._first + repeat, round=number, complaint=complaint
            )
            (result,) = yield from self._ask([request])
            if result.failed:
                return Reflection(failures, (), FAILED)
            try:
                return Reflection(failures, read_reasons(result.text, self._settings.reasons))
            except Unusable as error:
                complaint, cause = Complaint(request.id, str(error)), error.cause
        return Reflection(failures, (), cause)

    def write(
        self,
        material: ExemplarSet | None,
        failures: tuple[FailureCase, ...],
        reasons: tuple[str, ...],
        repeat: int,
        number: int,
    ) -> Flow[tuple[Revision, ExemplarSet | None]]:
        """A new set; without material, from the description of the task alone."""
        parent = material.key if material else ""
        forbidden = self._forbidden if material else self._forbidden_at_first
        complaint, repaired, cause, id = None, "", "", ""
        for _ in range(2):
            request = self._questions.revise(
                material, failures, reasons, repeat=self._first + repeat, round=number, complaint=complaint
            )
            id = request.id
            (result,) = yield from self._ask([request])
            if result.failed:
                cause = FAILED
                break
            try:
                exemplars = read_set(result.text, self._settings.exemplars, forbidden)
            except Unusable as error:
                complaint, cause, repaired = Complaint(id, str(error)), error.cause, repaired or error.cause
                continue
            made = ExemplarSet.of(exemplars, "revision" if material else "description")
            return Revision(id, parent, failures, reasons, made=made.key, repaired=repaired), made
        return Revision(id, parent, failures, reasons, dropped=cause, repaired=repaired), None
