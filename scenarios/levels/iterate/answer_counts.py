"""Counts the answers of each agent at level 3, those it was asked for and those it shares with other agents."""

from collections import Counter, defaultdict

from scenarios.levels.base import Result, Step
from scenarios.records.iterate import Answers


class AnswerCounts:
    """Counts exam answers by agent and stage, each once, however many arms, runs and rounds use it."""

    def __init__(self) -> None:
        self._wanted: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        """Request ids by the agent they stand for, and stage."""
        self._agent: dict[str, str] = {}
        """By request id: the agent that is asked, which may be another one with the same answers."""
        self._answered: set[str] = set()
        self._unparsable: set[str] = set()

    def asked(self, step: Step) -> None:
        """Count the requests of a step, shared ones included."""
        for request in (*step.requests, *step.shared):
            if request.kind == "Examine":
                self._agent.setdefault(request.id, request.to)
                self._wanted[request.to, request.stage].add(request.id)

    def answered(self, result: Result) -> None:
        """Count a result; one that failed is no answer."""
        if result.request_id in self._agent and not result.failed:
            self._answered.add(result.request_id)
            if result.answer is None:
                self._unparsable.add(result.request_id)

    def all(self) -> tuple[Answers, ...]:
        """All counts so far."""
        found = []
        for (agent, stage), wanted in sorted(self._wanted.items()):
            ids = wanted & self._answered
            shared = Counter(self._agent[id] for id in ids if self._agent[id] != agent)
            found.append(Answers(agent, stage, len(ids), len(ids & self._unparsable), dict(sorted(shared.items()))))
        return tuple(found)
