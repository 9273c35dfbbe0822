"""Further TRs of every TP for self-consistency at M1's cost (`lesson.equal_cost`). They are never examined."""

from collections.abc import Collection
from typing import NamedTuple

from scenarios.levels.asker import Asker
from scenarios.levels.base import Request, Result, Setup
from scenarios.records.observe import Rationale, TeachingProblemRecord
from scenarios.scoring.equal_cost import further
from scenarios.tasks.problems import Problem

STAGE = "votes"


class _AwaitedVote(NamedTuple):
    """One further TR that is awaited."""

    tp: str
    slot: int
    """Its place among the TRs of its TP, after those that are examined."""


class Votes:
    """The further TRs of a class.

    Args:
        setup: what the level is made from.
        asker: builds the requests.
    """

    def __init__(self, setup: Setup, asker: Asker) -> None:
        self._asker = asker
        self._lesson = setup.scenario.lesson
        self._awaited: dict[str, _AwaitedVote] = {}
        """By request id."""
        self._votes: dict[str, dict[int, Rationale]] = {}
        """By TP and slot; a TP is there once its further TRs are asked."""
        self.requests = 0
        """Number of requests so far."""

    def ask(self, tp: Problem, record: TeachingProblemRecord, asked: Collection[str]) -> tuple[Request, ...]:
        """Request the further TRs of a complete TP, once.

        They are the next repeats of the same question, so a class with more rationales asks the same.

        Args:
            tp: the TP.
            record: its TRs and exams.
            asked: the request ids of its TRs. A TR that was asked again has a repeat beyond those of the first time.
        """
        if tp.id in self._votes:
            return ()
        self._votes[tp.id] = {}
        requests: dict[str, Request] = {}
        repeat, wanted = self._lesson.rationales, further(record)
        while len(requests) < wanted:
            request = self._asker.teach(tp, STAGE, self._lesson.sampling, repeat=repeat)
            if request.id not in asked:
                requests.setdefault(request.id, request)
            repeat += 1
        for number, id in enumerate(requests):
            self._awaited[id] = _AwaitedVote(tp.id, self._lesson.rationales + number)
        self.requests += len(requests)
        return tuple(requests.values())

    def awaits(self, request_id: str) -> bool:
        """Whether this is the request of a further TR without a result."""
        return request_id in self._awaited

    def receive(self, result: Result, *, correct: bool) -> None:
        """Keep a further TR; one that failed is no vote."""
        tp, slot = self._awaited.pop(result.request_id)
        if not result.failed:
            self._votes[tp][slot] = rationale_of(result, slot, correct=correct)

    @property
    def finished(self) -> bool:
        """Whether all that were asked have arrived or failed."""
        return not self._awaited

    def of(self, tp: str) -> tuple[Rationale, ...]:
        """The further TRs of a TP, in the order of their repeats."""
        return tuple(vote for _, vote in sorted(self._votes.get(tp, {}).items()))


def rationale_of(result: Result, repeat: int, *, correct: bool) -> Rationale:
    """The TR of a result, without exams."""
    return Rationale(
        id=result.request_id,
        repeat=repeat,
        answer=result.answer,
        correct=correct,
        completion_tokens=result.completion_tokens,
        exams=(),
        ended=result.finish_reason != "length",
        prompt_tokens=result.prompt_tokens,
        cached_prompt_tokens=result.cached_prompt_tokens,
        behaviour=result.behaviour,
        hidden=result.hidden,
    )
