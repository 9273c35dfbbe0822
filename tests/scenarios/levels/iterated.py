"""A class of level 3 for tests: a teacher and students who answer by hashing, and whoever plays it through."""

import random
from collections.abc import Callable
from typing import Any

from broker.work_messages import Reflect, Revise
from scenarios.config.iterate_schema import Iterate as Section
from scenarios.config.iterate_schema import LabelledTask
from scenarios.config.schema import Agent, Scenario
from scenarios.levels.base import FeedbackDue, Request, Result, RoundNews, Setup
from scenarios.levels.iterate.level import IterateLevel
from scenarios.tasks.problems import Bank, Labelled, Problem

STUDENTS = ("ada", "bob")
SMALL: dict[str, Any] = {
    "rounds": 2,
    "beam": 2,
    "exemplars": 4,
    "minibatch": 6,
    "reflections": 2,
    "mistakes": 2,
    "revisions": 3,
    "score_items": 10,
}


def scenario(students: tuple[str, ...] = STUDENTS, /, **settings: Any) -> Scenario:
    section = Section(**{"task": LabelledTask(), **SMALL, **settings})
    return Scenario(
        name="test",
        level=3,
        seed=3,
        teacher=Agent(name="teacher"),
        students=tuple(Agent(name=name) for name in students),
        iterate=section,
    )


def part(name: str, size: int) -> tuple[Problem, ...]:
    return tuple(Problem(f"{name}-{n}", f"text {n} of {name}", ("Yes", "No")[n % 2], "yes_no") for n in range(size))


def bank(train: int = 16, dev: int = 4, test: int = 6) -> Bank:
    texts = Labelled("made up", "Is it so?", part("train", train), part("dev", dev), part("test", test))
    return Bank("made up", (), (), labelled=texts)


def level(
    described: Scenario | None = None,
    of: Bank | None = None,
    identical: tuple[str, ...] = (),
    retried: frozenset[str] = frozenset(),
) -> IterateLevel:
    described = described or scenario()
    answerers = {agent.name: "alike" if agent.name in identical else f"is {agent.name}" for agent in described.agents}
    return IterateLevel(Setup(described, of or bank(), answerers, retried))


def a_set(draw: random.Random, count: int) -> str:
    """As a teacher would write it; from a few texts, so that sets may come twice."""
    texts = draw.sample(range(12), count)
    blocks = (
        f"Example {n}\nText: made up {text}\nAnswer: {('Yes', 'No')[text % 2]}" for n, text in enumerate(texts, 1)
    )
    return "\n\n".join(blocks)


def answer(request: Request, one: IterateLevel | None = None) -> Result:
    """What an agent would say: the same to the same request."""
    draw = random.Random(request.id)
    if request.kind == "Reflect":
        text = "1. They looked alike.\n2. None was short." if draw.random() < 0.8 else "no idea"
    elif request.kind == "Revise":
        text = a_set(draw, 4) if draw.random() < 0.8 else "Example 1\nText: alone\nAnswer: Yes"
    else:
        said = draw.choice(("yes", "yes", "no", "no", None))
        return Result(request.id, f"hm {said}", said, False, completion_tokens=3)
    return Result(request.id, text, None, False)


def able(request: Request) -> Result:
    """Nobody writes anything unusable, and every set is another."""
    draw = random.Random(request.id)
    if request.kind == "Reflect":
        return Result(request.id, "1. They looked alike.", None, False)
    if request.kind == "Revise":
        blocks = (f"Example {n}\nText: {n} of {request.id}\nAnswer: {('Yes', 'No')[n % 2]}" for n in range(4))
        return Result(request.id, "\n\n".join(blocks), None, False)
    return Result(request.id, "hm", draw.choice(("yes", "no")), False)


class Played:
    """A level played to its end."""

    def __init__(
        self,
        one: IterateLevel,
        say: Callable[[Request], Result] = answer,
        order: random.Random | None = None,
        most: int = 100_000,
    ) -> None:
        self.level = one
        self.asked: dict[str, Request] = {}
        self.results: dict[str, Result] = {}
        self.messages: dict[str, object] = {}
        self.told: list[FeedbackDue] = []
        self.news: list[RoundNews] = []
        step = one.begin()
        waiting: list[Request] = []
        while True:
            for request in step.requests:
                assert request.id not in self.asked, "asked twice"
                self.asked[request.id] = request
            waiting += step.requests
            self.told += step.feedback
            self.news += step.news
            if not waiting or len(self.results) >= most:
                break
            request = waiting.pop(order.randrange(len(waiting)) if order else 0)
            self.messages[request.id] = one.message(request, lambda id: self.results[id].text)
            self.results[request.id] = say(request)
            step = one.receive(self.results[request.id])

    def of(self, *stages: str) -> list[Request]:
        return [request for request in self.asked.values() if request.stage in stages]

    @property
    def reflections(self) -> list[Reflect]:
        return [one for one in self.messages.values() if isinstance(one, Reflect)]

    @property
    def revisions(self) -> list[Revise]:
        return [one for one in self.messages.values() if isinstance(one, Revise)]
