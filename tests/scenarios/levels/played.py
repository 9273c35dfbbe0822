"""Plays a level for tests, to its end: in the order in which requests become due, or in a random one."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Generic, TypeVar

from scenarios.config.schema import Agent, Scenario, Task
from scenarios.levels.base import FeedbackDue, Level, Request, Result, RoundNews
from scenarios.tasks.problems import Bank, Problem, ProblemGroup

L = TypeVar("L", bound=Level)
STUDENTS = ("ada", "bob")
ANSWERERS = {name: f"is {name}" for name in ("teacher", *STUDENTS)}


def small_scenario(students: Sequence[str] = STUDENTS, /, **more: Any) -> Scenario:
    """A class without a model."""
    named = tuple(Agent(name=name) for name in students)
    values: dict[str, Any] = {"task": Task(family="x"), "teacher": Agent(name="teacher"), "students": named} | more
    return Scenario(name="test", **values)


def bank(tps: int = 2, eps: int = 2) -> Bank:
    """TPs tp0/0, tp1/0 ..., each with EPs tp0/1, tp0/2 ..."""
    items = []
    for n in range(tps):
        tp, *own = [Problem(f"tp{n}/{k}", f"What is {n} and {k}?", f"gold-{n}{k}", "number") for k in range(eps + 1)]
        items.append(ProblemGroup(tp, tuple(own)))
    return Bank("made up", tuple(items), ())


class Played(Generic[L]):
    """A level that was played to its end, or until it had `most` results."""

    def __init__(
        self, level: L, answer: Callable[[Request], Result], order: Random | None = None, most: int = 100_000
    ) -> None:
        self.level = level
        self.asked: dict[str, Request] = {}
        self.results: dict[str, Result] = {}
        """In the order in which they arrived."""
        self.messages: dict[str, object] = {}
        self.feedback: list[FeedbackDue] = []
        self.news: list[RoundNews] = []
        self.totals: list[dict[str, int]] = []
        """After each step."""
        step = level.begin()
        due: list[Request] = []
        while True:
            for request in step.requests:
                assert request.id not in self.asked, "asked twice"
                self.asked[request.id] = request
            due += step.requests
            self.feedback += step.feedback
            self.news += step.news
            self.totals.append(dict(level.totals()))
            assert level.finished is not bool(due)
            if not due or len(self.results) >= most:
                break
            request = due.pop(order.randrange(len(due)) if order else 0)
            self.messages[request.id] = level.message(request, lambda id: self.results[id].text)
            self.results[request.id] = answer(request)
            step = level.receive(self.results[request.id])

    def of(self, *stages: str) -> list[Request]:
        """The requests of these stages."""
        return [request for request in self.asked.values() if request.stage in stages]
