"""Several levels one after the other, as one level: each begins with what came of those before it.

A course asks nothing itself. It only passes on: results to the level at work, and outcomes to the next.
"""

from collections.abc import Callable, Mapping, Sequence

from broker.work_messages import Message
from scenarios.levels.base import Level, MessageWithFile, Outcome, Request, Result, Setup, Step, TextOf
from scenarios.levels.iterate.level import IterateLevel
from scenarios.levels.learn.level import LearnLevel
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.rewrite.level import RewriteLevel

Begin = Callable[[Outcome], Level]
"""Makes a level from the outcome of those before it."""


class LevelSequence:
    """Levels in a row.

    Args:
        parts: how each is made; the first from an empty outcome.
    """

    def __init__(self, parts: Sequence[Begin]) -> None:
        self._to_come = list(parts)
        self._begun: list[Level] = []
        self._whose: dict[str, Level] = {}
        """Of every request that was made due: its level."""

    def begin(self) -> Step:
        """What the first level asks."""
        return self._next()

    def receive(self, result: Result) -> Step:
        """What the level at work makes of it; the last result of a level makes the next one begin."""
        level = self._whose.get(result.request_id)
        if level is None:
            return Step()
        step = level.receive(result)
        self._note(step, level)
        if level is not self._begun[-1] or not level.finished:
            return step
        more = self._next()
        return _both(step, more)

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """As the level that asks it says it."""
        return self._whose[request.id].message(request, text_of)

    @property
    def finished(self) -> bool:
        """Whether the last level is."""
        return not self._to_come and all(level.finished for level in self._begun)

    def totals(self) -> Mapping[str, int]:
        """Of the levels that have begun: nobody knows yet what the others will need."""
        totals: dict[str, int] = {}
        for level in self._begun:
            for stage, requests in level.totals().items():
                totals[stage] = totals.get(stage, 0) + requests
        return totals

    def outcome(self) -> Outcome:
        """Of all levels so far: each carries on what it was begun with."""
        return self._begun[-1].outcome() if self._begun else Outcome()

    def _next(self) -> Step:
        """Begin levels until one has something to ask."""
        due = Step()
        while self._to_come and (not self._begun or self._begun[-1].finished):
            level = self._to_come.pop(0)(self.outcome())
            self._begun.append(level)
            step = level.begin()
            self._note(step, level)
            due = _both(due, step)
        return due

    def _note(self, step: Step, level: Level) -> None:
        self._whose |= {request.id: level for request in step.requests}


def _both(one: Step, other: Step) -> Step:
    return Step(
        requests=(*one.requests, *other.requests),
        feedback=(*one.feedback, *other.feedback),
        news=(*one.news, *other.news),
        shared=(*one.shared, *other.shared),
    )


def make(setup: Setup) -> Level:
    """The level or levels that its scenario asks for, fresh."""
    begin: dict[int, Begin] = {
        1: lambda _: ObserveLevel(setup),
        2: lambda before: LearnLevel(setup.with_weights(before.weights), before),
        3: lambda before: (
            RewriteLevel(setup) if setup.scenario.rewrites else IterateLevel(setup.with_weights(before.weights), before)
        ),
    }
    return LevelSequence([begin[number] for number in setup.scenario.levels])
