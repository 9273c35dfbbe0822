"""What the teacher writes at level 3: asked for, parsed strictly, and asked for once more where it cannot be used."""

from collections.abc import Callable, Sequence, Set
from typing import Generic, NamedTuple, TypeVar

from scenarios.config.iterate_schema import Iterate
from scenarios.levels.base import Request, Result
from scenarios.levels.flow import Flow
from scenarios.levels.iterate.exemplars import Unusable, read_reasons, read_set
from scenarios.levels.iterate.requests import RUN, ExemplarSetRequests, RejectedText
from scenarios.records.iterate import ExemplarSet, FailureCase, Revision

FAILED = "failed"
"""A request without a result, among the causes why something was dropped."""

T = TypeVar("T")
Ask = Callable[[Sequence[Request]], Flow[list[Result]]]


class Written(NamedTuple, Generic[T]):
    """What came of asking the teacher for a text."""

    request: str
    """Id of the last request."""
    content: T | None
    """None: it was dropped."""
    dropped: str
    """Why there is no content."""
    repaired: str
    """What was wrong with the first text; empty: nothing, or it failed."""


def write(ask: Ask, request: Callable[[RejectedText | None], Request], read: Callable[[str], T]) -> Flow[Written[T]]:
    """Ask for a text, and once more where it cannot be used.

    Args:
        ask: gets the result of a request.
        request: makes the request; for the second one it is given the rejected text.
        read: parses the text; raises `Unusable`.
    """
    rejected, cause, first_cause, id = None, "", "", ""
    for _ in range(2):
        asked = request(rejected)
        id = asked.id
        (result,) = yield from ask([asked])
        if result.failed:
            return Written(id, None, FAILED, first_cause)
        try:
            return Written(id, read(result.text), "", first_cause)
        except Unusable as error:
            rejected, cause, first_cause = RejectedText(id, str(error)), error.cause, first_cause or error.cause
    return Written(id, None, cause, first_cause)


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
        requests: makes the requests.
        ask: gets their results.
        run: number of the independent run.
        forbidden: folded texts that no set may hold.
        unseen: folded texts that the teacher was not shown before the first round, so no first set may hold them.
    """

    def __init__(
        self,
        settings: Iterate,
        requests: ExemplarSetRequests,
        ask: Ask,
        *,
        run: int,
        forbidden: Set[str],
        unseen: Set[str],
    ) -> None:
        self._settings = settings
        self._requests = requests
        self._ask = ask
        self._first_repeat = run * RUN
        self._forbidden = forbidden
        self._forbidden_at_first = forbidden | unseen

    def reflect(
        self, material: ExemplarSet, failures: tuple[FailureCase, ...], repeat: int, round: int
    ) -> Flow[Reflection]:
        """Ask for reasons why the set misled the students on these items."""
        repeat += self._first_repeat
        written = yield from write(
            self._ask,
            lambda rejected: self._requests.reflect(material, failures, repeat=repeat, round=round, rejected=rejected),
            lambda text: read_reasons(text, self._settings.reasons),
        )
        return Reflection(failures, written.content or (), written.dropped)

    def revise(
        self,
        material: ExemplarSet | None,
        failures: tuple[FailureCase, ...],
        reasons: tuple[str, ...],
        repeat: int,
        round: int,
    ) -> Flow[tuple[Revision, ExemplarSet | None]]:
        """Ask for a new set; without material, from the description of the task alone."""
        repeat += self._first_repeat
        forbidden = self._forbidden if material else self._forbidden_at_first
        written = yield from write(
            self._ask,
            lambda rejected: self._requests.revise(
                material, failures, reasons, repeat=repeat, round=round, rejected=rejected
            ),
            lambda text: read_set(text, self._settings.exemplars, forbidden),
        )
        made = ExemplarSet.of(written.content, "revision" if material else "description") if written.content else None
        revision = Revision(
            written.request,
            material.key if material else "",
            failures,
            reasons,
            made=made.key if made else "",
            dropped=written.dropped,
            repaired=written.repaired,
        )
        return revision, made
