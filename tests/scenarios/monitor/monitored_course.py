"""A class with levels after the first for the monitor's tests: played by its own level, with made-up answers."""

import json
import random
from collections import deque

from broker.protocol import digest
from scenarios.config.iterate_schema import Iterate, LabelledTask
from scenarios.config.schema import Agent, Exam, Learn, Lesson, LevelNumber, Scenario, Task
from scenarios.levels.base import Request, Step
from scenarios.levels.results import result_of
from scenarios.session.news import line
from scenarios.session.run_dir import RunFolder
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.problems import Bank, Labelled, Problem, ProblemGroup
from tests.scenarios.levels.iterated import SMALL, part
from tests.scenarios.levels.iterated import answer as answer_iterate
from tests.scenarios.monitor.monitored import begin

STEPS = 8
"""Of a training."""


def course(
    level: LevelNumber | tuple[LevelNumber, ...], students: tuple[str, ...] = ("ada", "bob"), **iterate: object
) -> Scenario:
    """Three TPs, three TRs each, two EPs; two held-out problems; two rounds of level 3."""
    return Scenario(
        name="small",
        level=level,
        seed=3,
        task=Task(family="x", problems=3) if level != 3 else Task(),
        teacher=Agent(name="teacher", model="qwen", engine="transformers"),
        students=tuple(Agent(name=name, model="qwen", engine="transformers") for name in students),
        lesson=Lesson(rationales=3),
        exam=Exam(problems=2),
        learn=Learn(held_out=2, samples=2, rationales=1, gap=0.1),
        iterate=Iterate(**{"task": LabelledTask(), **SMALL, **iterate}),
    )


def bank(described: Scenario) -> Bank:
    """Its problems."""

    def problem(id: str) -> Problem:
        return Problem(id, f"text of {id}", "1", "number")

    items = tuple(ProblemGroup(problem(f"tp{n}"), (problem(f"tp{n}-a"), problem(f"tp{n}-b"))) for n in range(3))
    texts = Labelled("texts", "Is it so?", part("train", 16), part("dev", 4), part("test", 6))
    levels = set(described.levels)
    return Bank(
        "sums" if levels & {1, 2} else "texts",
        items if levels & {1, 2} else (),
        (),
        held_out=(problem("held-0"), problem("held-1")) if 2 in levels else (),
        labelled=texts if 3 in levels else None,
    )


class Played:
    """A class that is played request by request into a gradebook."""

    def __init__(self, store: Store, described: Scenario, *, fails: float = 0.0, resumed: bool = False) -> None:
        self.store = store
        self.described = described
        self._fails = fails
        self._order = random.Random(7)
        if not resumed:
            store.keep_bank(bank(described))
            store.keep_answerers({agent.name: digest(agent.name) for agent in described.agents})
        begin(store, described)
        kept = store.bank()
        assert kept is not None
        self.level = RunFolder(store.path.parent).level(described, kept, store, ClassGrader().same)
        self._due: deque[Request] = deque()
        self._take(self.level.begin())

    def play(self, most: int = 10**9, *, until: str = "", group: int = 40) -> int:
        """Answer at most so many requests, or until one of the stage `until` comes up; returns how many."""
        count = 0
        while self._due and count < most and self._due[0].stage != until:
            taken = [self._due.popleft()]
            while self._due and self._due[0].stage == taken[0].stage and len(taken) < min(group, most - count):
                taken.append(self._due.popleft())
            records = [self._record(request) for request in taken]
            self.store.record(records, grader="test", version="1")
            for record in records:
                if record.failed:
                    self.store.note(record.agent, "failed", f"{record.request_id} {record.failed}: no luck")
                self._take(self.level.receive(result_of(record)))
            self.store.keep_totals(self.level.totals())
            count += len(taken)
        return count

    def finish(self) -> None:
        """Play it to its end."""
        self.play()
        assert self.level.finished
        self.store.note("", "complete")

    def step(self, step: int, *, loss: float | None = 0.5, steps: int = STEPS) -> str:
        """The training that is due takes a step; returns its request."""
        request = next(one for one in self._due if one.kind == "Train")
        figures = {"loss": loss, "reward_margin": 0.1 * step, "reward_accuracy": 0.75}
        self.store.note("teacher", "progress", json.dumps([request.id, step, steps, figures]))
        return request.id

    @property
    def due(self) -> list[Request]:
        """What is asked and not answered."""
        return list(self._due)

    def _take(self, step: Step) -> None:
        for request in step.requests:
            if (known := self.store.find(request.id)) is not None:
                self._take(self.level.receive(result_of(known)))
            else:
                self._due.append(request)
        for news in step.news:
            self.store.note("", "round", line(news))

    def _record(self, request: Request) -> Record:
        draw = random.Random(request.id)
        failed = "engine" if draw.random() < self._fails else ""
        text, answer = request.id, "1" if draw.random() < 0.9 else None
        if request.level == 3:
            said = answer_iterate(request)
            text, answer = said.text, said.answer
        elif request.kind == "Teach":
            text = f"way {draw.randrange(6)} by {request.weights}"
        elif request.kind == "Grade":
            text, answer = "", None
        elif request.kind == "Train":
            text, answer = json.dumps({"pairs": 3.0, "steps": float(STEPS)}), digest("weights", request.id)
        return Record(
            request_id=request.id, kind=request.kind, level=request.level, round=request.round, agent=request.to,
            stage=request.stage, tp=request.tp, tr=request.tr, ep=request.ep, repeat=request.repeat,
            text="" if failed else text, answer=None if failed else answer, failed=failed, weights=request.weights,
            prompt_tokens=10, completion_tokens=2, score=-0.5 if request.kind == "Grade" and not failed else None,
            correct=draw.random() < 0.6 if request.kind in ("Teach", "Examine") and not failed else None,
        )  # fmt: skip
