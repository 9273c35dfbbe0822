"""A class of level 3 for tests: a teacher and students who answer by hashing, and whoever plays it through."""

import random
from collections.abc import Callable
from typing import Any

from broker.work_messages import Reflect, Revise
from scenarios.config.iterate_schema import Iterate as Section
from scenarios.config.iterate_schema import LabelledTask
from scenarios.config.schema import Agent, Scenario
from scenarios.levels.base import Request, Result, Setup
from scenarios.levels.iterate.level import IterateLevel
from scenarios.tasks.problems import Bank, Labelled, Problem
from tests.scenarios.levels import played

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


class Played(played.Played[IterateLevel]):
    """A level played to its end, or until it has `most` results."""

    def __init__(
        self,
        one: IterateLevel,
        say: Callable[[Request], Result] = answer,
        order: random.Random | None = None,
        most: int = 100_000,
    ) -> None:
        super().__init__(one, say, order, most)

    @property
    def reflections(self) -> list[Reflect]:
        return [one for one in self.messages.values() if isinstance(one, Reflect)]

    @property
    def revisions(self) -> list[Revise]:
        return [one for one in self.messages.values() if isinstance(one, Revise)]
