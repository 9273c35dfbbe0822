"""Self-debugging of programs at level 1 (`lesson.self_debug`, `exam.self_debug`; paper, section 3).

An agent whose program fails a visible case is asked once to review and repair it. `ObserveLevel` gets the result after
the repair: with the better of the two programs, and with the tokens of both.
"""

from collections.abc import Mapping
from typing import NamedTuple

from msgspec.structs import replace

from broker.protocol import digest
from broker.work_messages import Examine, Message, Teach
from scenarios.levels.asker import Asker
from scenarios.levels.base import Outcome, Request, Result, Setup, Step, TextOf
from scenarios.levels.observe.level import ObserveLevel
from scenarios.tasks.grading.program_text import with_program
from scenarios.tasks.programs import block, count_failing

REPAIR, EXAM_REPAIR = "repair", "exam_repair"
"""The stages of repairs: of TRs, greedy ones included, and of EAs."""
REPAIRS = {"Teach": REPAIR, "Examine": EXAM_REPAIR}
SHOWN = 3
"""Failing cases that a repair is shown."""


class _Attempt(NamedTuple):
    """A TR or EA whose program fails a visible case."""

    request: Request
    result: Result


class SelfDebugLevel:
    """The state machine of level 1 with repaired programs.

    Args:
        setup: what the level is made from.
    """

    def __init__(self, setup: Setup) -> None:
        self._level = ObserveLevel(setup)
        self._asker = Asker(setup)
        lesson, exam = setup.scenario.lesson, setup.scenario.exam
        self._stages = {"greedy", "teach"} if lesson.self_debug else set[str]()
        self._stages |= {"exam"} if exam.self_debug else set()
        self._common = setup.scenario.seed, setup.bank.demonstrations
        self._tps = {item.tp.id: item.tp for item in setup.bank.items}
        self._awaited: dict[str, Request] = {}
        """TRs and EAs whose programs are repaired where they fail."""
        self._attempts: dict[str, list[_Attempt]] = {}
        """By request id of a repair without a result: TRs with the same text share one."""
        self._repairs: dict[str, Result] = {}
        """Results of repairs of TRs, for further TRs with the same text."""
        self._repaired: dict[str, tuple[str, str]] = {}
        """By request id of a TR: the function, and the repaired program that is taught."""
        self._asked = dict.fromkeys(REPAIRS.values(), 0)

    def begin(self) -> Step:
        """What level 1 requests first."""
        return self._noted(self._level.begin())

    def receive(self, result: Result) -> Step:
        """A program that fails makes its repair due; its repair, what the TR or EA makes due."""
        if (attempts := self._attempts.pop(result.request_id, None)) is not None:
            if attempts[0].request.kind == "Teach":
                self._repairs[result.request_id] = result
            return sum((self._settle(one, result) for one in attempts), Step())
        request = self._awaited.pop(result.request_id, None)
        if request is None or not result.failing:
            return self._noted(self._level.receive(result))
        attempt = _Attempt(request, result)
        repair = self._repair(attempt)
        if (known := self._repairs.get(repair.id)) is not None:
            return self._settle(attempt, known)
        waiting = self._attempts.setdefault(repair.id, [])
        waiting.append(attempt)
        if len(waiting) > 1:
            return Step()
        self._asked[repair.stage] += 1
        return Step(requests=(repair,))

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The message of a request; students see the repaired programs of TRs."""
        attempts = self._attempts.get(request.id)
        asked = attempts[0].request if attempts else request

        def taught(id: str) -> str:
            return with_program(text_of(id), *self._repaired[id]) if id in self._repaired else text_of(id)

        message = self._level.message(asked, taught)
        if attempts and isinstance(message, Teach | Examine):
            return replace(message, complaint=_shown(attempts[0].result.failing), previous=text_of(asked.id))
        return message

    @property
    def finished(self) -> bool:
        """Whether level 1 awaits nothing: it awaits a TR or EA until its repair is there, too."""
        return self._level.finished

    def totals(self) -> Mapping[str, int]:
        """Requests per stage. Repairs are those asked so far: how many programs will fail is not known."""
        return {**self._level.totals(), **self._asked}

    def outcome(self) -> Outcome:
        """Everything that is known now; a TR or EA is part of it once its repair is there."""
        return self._level.outcome()

    def _noted(self, step: Step) -> Step:
        self._awaited |= {request.id: request for request in step.requests if request.stage in self._stages}
        return step

    def _repair(self, attempt: _Attempt) -> Request:
        """The request for a repair: its TR is the TR that is repaired, or it has TR, EP and repeat of the EA."""
        request, result = attempt
        of_tr, tp = request.kind == "Teach", self._tps[request.tp]
        # TRs with the same text are taught once, so they share a repair. An EA has its own: its id says what was asked.
        what = (*self._common, request.sampling, tp.text, tp.form) if of_tr else (request.id,)
        repair = self._asker.request(
            request.kind,
            request.to,
            REPAIRS[request.kind],
            request.sampling,
            digest(self._asker.key(request.kind, request.to, REPAIR, *what), result.text, result.failing),
            tp=request.tp,
            tr=request.id if of_tr else request.tr,
            ep=request.ep,
            shared=True,
        )
        return repair if of_tr else replace(repair, repeat=request.repeat)

    def _settle(self, attempt: _Attempt, repair: Result) -> Step:
        """Give level 1 the better of two programs, the first one where they are equally good."""
        request, first = attempt
        both = replace(
            first,
            completion_tokens=first.completion_tokens + repair.completion_tokens,
            prompt_tokens=first.prompt_tokens + repair.prompt_tokens,
            cached_prompt_tokens=first.cached_prompt_tokens + repair.cached_prompt_tokens,
        )
        if repair.answer is not None and count_failing(repair.failing) < count_failing(first.failing):
            both = replace(
                both,
                # Other TRs with the same program have other exams: their strategies differ.
                text=f"{first.text}\n{block('', repair.answer)}",
                answer=repair.answer,
                correct=repair.correct,
                finish_reason=repair.finish_reason,
                behaviour=repair.behaviour,
                hidden=repair.hidden,
            )
            if request.kind == "Teach":
                self._repaired[first.request_id] = self._tps[request.tp].function, repair.answer
        return self._noted(self._level.receive(both))


def _shown(failing: str) -> str:
    lines = failing.split("\n")
    more = [f"{len(lines) - SHOWN} more fail"] if len(lines) > SHOWN else []
    return "\n".join([*lines[:SHOWN], *more])
