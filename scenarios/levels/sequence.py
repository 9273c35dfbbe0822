"""Several levels one after the other, as one level: each begins with the outcome of those before it."""

from collections.abc import Callable, Mapping, Sequence

from broker.work_messages import Message
from scenarios.levels.base import Level, MessageWithFile, Outcome, Request, Result, Setup, Step, TextOf
from scenarios.levels.iterate.level import IterateLevel
from scenarios.levels.learn.level import LearnLevel
from scenarios.levels.observe.invention import InventLevel
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.observe.self_debug import SelfDebugLevel
from scenarios.levels.rewrite.level import RewriteLevel


class LevelSequence:
    """Levels one after the other.

    Args:
        parts: each makes a level from the outcome of those before it; the first from an empty outcome.
    """

    def __init__(self, parts: Sequence[Callable[[Outcome], Level]]) -> None:
        self._next_parts = list(parts)
        self._begun: list[Level] = []
        self._level_of: dict[str, Level] = {}
        """The level of every request without a result, by request id."""

    def begin(self) -> Step:
        """The requests of the first level."""
        return self._next()

    def receive(self, result: Result) -> Step:
        """Pass a result to its level; the last result of a level makes the next one begin."""
        level = self._level_of.pop(result.request_id, None)
        if level is None:
            return Step()
        step = level.receive(result)
        self._register(step, level)
        if level is not self._begun[-1] or not level.finished:
            return step
        return step + self._next()

    def message(self, request: Request, text_of: TextOf) -> Message | MessageWithFile:
        """The message of a request, made by its level."""
        return self._level_of[request.id].message(request, text_of)

    @property
    def finished(self) -> bool:
        """Whether the last level is finished."""
        return not self._next_parts and all(level.finished for level in self._begun)

    def totals(self) -> Mapping[str, int]:
        """Requests per stage of the levels that have begun; the others are not known yet."""
        totals: dict[str, int] = {}
        for level in self._begun:
            for stage, requests in level.totals().items():
                totals[stage] = totals.get(stage, 0) + requests
        return totals

    def outcome(self) -> Outcome:
        """The outcome of all levels so far: each adds to the outcome it began with."""
        return self._begun[-1].outcome() if self._begun else Outcome()

    def _next(self) -> Step:
        """Begin levels until one has requests."""
        due = Step()
        while self._next_parts and (not self._begun or self._begun[-1].finished):
            level = self._next_parts.pop(0)(self.outcome())
            self._begun.append(level)
            step = level.begin()
            self._register(step, level)
            due += step
        return due

    def _register(self, step: Step, level: Level) -> None:
        for request in step.requests:
            self._level_of[request.id] = level


def make(setup: Setup) -> Level:
    """The level or levels of a scenario, before their first request."""
    begin: dict[int, Callable[[Outcome], Level]] = {
        1: lambda before: SelfDebugLevel(setup) if setup.scenario.self_debugs else ObserveLevel(setup, before.invented),
        2: lambda before: LearnLevel(setup.with_weights(before.weights), before),
        3: lambda before: (
            RewriteLevel(setup) if setup.scenario.rewrites else IterateLevel(setup.with_weights(before.weights), before)
        ),
    }
    first = [lambda _: InventLevel(setup)] if setup.scenario.exam.maker == "invented" else []
    return LevelSequence([*first, *(begin[number] for number in setup.scenario.levels)])
