"""What is said at level 3: requests with their ids, and the messages that they stand for.

An id is a digest of what is asked of whom: kind, answerer, material, item, sampling, repeat; never of a round. So
the same set and item is one question to an agent, in whatever round, baseline or independent run it comes up, and
one question to two agents that would answer alike. When something is asked is scenarios/levels/iterate/search.py.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from broker.protocol import digest
from broker.work_messages import Examine, Message, Mistake, Reflect, Revise, Sampling
from scenarios.levels.base import Request, Setup
from scenarios.records.iterate import ExemplarSet, FailureCase
from scenarios.tasks.problems import Labelled, Problem

RUN = 10_000
"""Independent runs draw other texts: their repeats are so far apart."""
LEVEL = 3

Stage = Literal["exam", "score", "test"]
"""Exams: of the students, of the teacher on training items, of the teacher on held-out items."""


class Complaint(NamedTuple):
    """What is wrong with an earlier answer to the same question."""

    request: str
    """Id of the earlier one."""
    text: str


class Questions:
    """Makes the requests of one class.

    Args:
        setup: what it is made from.
        labelled: what it classifies.
    """

    def __init__(self, setup: Setup, labelled: Labelled) -> None:
        scenario = setup.scenario
        self._setup = setup
        self._settings = scenario.iterate
        self._task = labelled.description
        self._items = {p.id: p for part in (labelled.train, labelled.dev, labelled.test) for p in part}
        self._item_keys = {id: digest(p.text, p.form) for id, p in self._items.items()}
        self.teacher = scenario.teacher.name
        who = {**setup.answerers, self.teacher: setup.teacher}
        shared = (scenario.seed, self._task)
        self._exam_keys = {
            agent.name: digest("Examine", who[agent.name], self._settings.answering, *shared)
            for agent in scenario.agents
        }
        writing = (who[self.teacher], self._settings.writing, *shared)
        self._writing_keys = {kind: digest(kind, *writing) for kind in ("Reflect", "Revise")}
        self._draws = 0 if always_the_same(self._settings.answering) else 1
        # Students who would answer alike sit other repeats; the teacher, as its own student, sits its own exam.
        alike = Counter[str]()
        self._repeats: dict[str, int] = {self.teacher: 0}
        for student in scenario.students:
            key = self._exam_keys[student.name]
            self._repeats[student.name] = alike[key] * self._draws
            alike[key] += 1
        self._alike = max(alike.values(), default=1)
        self._sets: dict[str, ExemplarSet] = {}
        self._written: dict[str, Callable[[Callable[[str], str]], Message]] = {}
        """How the messages of Reflect and Revise are made from the texts of earlier results, by request id."""

    def exams(
        self, who: str, material: ExemplarSet, items: Sequence[Problem], stage: Stage, run: int, round: int
    ) -> list[Request]:
        """Every one of `items` with `material` as examples."""
        self._sets[material.key] = material
        key = digest(self._exam_keys[who], material.key)
        first = self._repeats[who] + run * RUN * self._draws
        weights = self._setup.weights if who == self.teacher else ""
        requests = []
        for item in items:
            id, repeat = self._setup.unused(digest(key, self._item_keys[item.id]), first, self._alike)
            requests.append(
                Request(
                    id,
                    "Examine",
                    who,
                    stage,
                    self._settings.answering,
                    tr=material.key,
                    ep=item.id,
                    repeat=repeat,
                    round=round,
                    level=LEVEL,
                    weights=weights,
                )
            )
        return requests

    def reflect(
        self,
        material: ExemplarSet,
        failures: tuple[FailureCase, ...],
        *,
        repeat: int,
        round: int,
        complaint: Complaint | None = None,
    ) -> Request:
        """Why did this set mislead the students on these items?"""
        settings = self._settings
        key = digest(self._writing_keys["Reflect"], material.key, failures, settings.reasons, complaint)
        request = self._written_request("Reflect", "reflect", key, material.key, repeat, round)

        def message(text_of: Callable[[str], str]) -> Message:
            return Reflect(
                task=self._task,
                answer_form="yes_no",
                material=material.exemplars,
                mistakes=self._mistakes(failures, text_of),
                reasons=settings.reasons,
                sampling=settings.writing,
                complaint=complaint.text if complaint else "",
                previous=text_of(complaint.request) if complaint else "",
            )

        self._written[request.id] = message
        return request

    def revise(
        self,
        material: ExemplarSet | None,
        failures: tuple[FailureCase, ...],
        reasons: tuple[str, ...],
        *,
        repeat: int,
        round: int,
        complaint: Complaint | None = None,
    ) -> Request:
        """Write a new set; without material, from the description alone."""
        settings = self._settings
        parent = material.key if material else ""
        key = digest(self._writing_keys["Revise"], parent, failures, reasons, settings.exemplars, complaint)
        request = self._written_request("Revise", "write", key, parent, repeat, round)

        def message(text_of: Callable[[str], str]) -> Message:
            return Revise(
                task=self._task,
                answer_form="yes_no",
                material=material.exemplars if material else (),
                mistakes=self._mistakes(failures, text_of),
                reasons=reasons,
                count=settings.exemplars,
                sampling=settings.writing,
                complaint=complaint.text if complaint else "",
                previous=text_of(complaint.request) if complaint else "",
            )

        self._written[request.id] = message
        return request

    def message(self, request: Request, text_of: Callable[[str], str]) -> Message:
        """The texts that a request refers to. No gold answer of an item is among them."""
        if request.kind != "Examine":
            return self._written[request.id](text_of)
        item = self._items[request.ep]
        return Examine(
            problem=item.text,
            answer_form=item.form,
            sampling=request.sampling,
            material=self._sets[request.tr].exemplars,
            task=self._task,
        )

    def text(self, item: str) -> str:
        """Of an item, by its id."""
        return self._items[item].text

    def _mistakes(self, failures: tuple[FailureCase, ...], text_of: Callable[[str], str]) -> tuple[Mistake, ...]:
        return tuple(
            Mistake(problem=self._items[one.item].text, rationale=text_of(one.exam), student=one.student)
            for one in failures
        )

    def _written_request(self, kind: str, stage: str, key: str, material: str, repeat: int, round: int) -> Request:
        id, repeat = self._setup.unused(key, repeat, RUN // 2)
        return Request(
            id,
            kind,
            self.teacher,
            stage,
            self._settings.writing,
            tr=material,
            repeat=repeat,
            round=round,
            level=LEVEL,
            weights=self._setup.weights,
        )


def always_the_same(sampling: Sampling) -> bool:
    """Whether it draws the same text every time."""
    return sampling.temperature == 0 or sampling.top_k == 1
