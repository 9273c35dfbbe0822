"""The requests of level 3 and the messages that they stand for.

The same set and item is one question to an agent, in whatever round, baseline or independent run it comes up. When
something is asked is decided in search.py.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from broker.protocol import digest
from broker.work_messages import AnswerForm, Examine, Exemplar, Message, Mistake, Reflect, Revise, Sampling
from scenarios.config.iterate_schema import Iterate
from scenarios.levels.asker import Asker
from scenarios.levels.base import Request, Setup, TextOf
from scenarios.records.iterate import ExemplarSet, FailureCase
from scenarios.tasks.problems import Labelled, Problem

RUN = 10_000
"""Distance between the repeats of two independent runs, which draw different texts."""
LEVEL = 3

Stage = Literal["exam", "score", "test"]
"""Exams: of the students, of the teacher on training items, of the teacher on held-out items."""


class RejectedText(NamedTuple):
    """An earlier answer to the same question that could not be used."""

    request: str
    """Its request id."""
    reason: str


class WritingRequests:
    """Requests in which the teacher writes: why material misled students, and new material (paper, M3 steps 3, 4).

    Args:
        asker: builds the requests.
        settings: `scenario.iterate`.
        teacher: name of the agent that writes.
        task: describes what the exams ask.
        texts: text of each problem that a student can fail, by id.
    """

    def __init__(self, asker: Asker, settings: Iterate, teacher: str, task: str, texts: Mapping[str, str]) -> None:
        self._asker = asker
        self._settings = settings
        self.teacher = teacher
        self._task = task
        self._texts = texts
        self._messages: dict[str, Callable[[TextOf], Message]] = {}
        """Makes the message of a request from the texts of earlier results, by request id."""

    def text(self, problem: str) -> str:
        """Text of a problem, by its id."""
        return self._texts[problem]

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The message of a request. It holds no gold answer, only what students answered."""
        return self._messages[request.id](text_of)

    def _write(
        self,
        message_type: type[Reflect] | type[Revise],
        key: str,
        answer_form: AnswerForm,
        material: Callable[[TextOf], tuple[Exemplar, ...]],
        failures: Sequence[FailureCase],
        rejected: RejectedText | None,
        fields: Mapping[str, Any],
        **reference: Any,
    ) -> Request:
        """Make a request and note how its message is made.

        `material` makes the material that misled students from the texts of earlier results; `fields` are those of
        the message that only one of the two types has; `key` and `reference` go to `Asker.request`.
        """
        stage = "reflect" if message_type is Reflect else "write"
        sampling = self._settings.writing
        request = self._asker.request(message_type.__name__, self.teacher, stage, sampling, key, **reference)

        def message(text_of: TextOf) -> Message:
            return message_type(
                task=self._task,
                answer_form=answer_form,
                material=material(text_of),
                mistakes=tuple(
                    Mistake(problem=self._texts[one.item], rationale=text_of(one.exam), student=one.student)
                    for one in failures
                ),
                sampling=sampling,
                complaint=rejected.reason if rejected else "",
                previous=text_of(rejected.request) if rejected else "",
                **fields,
            )

        self._messages[request.id] = message
        return request


class ExemplarSetRequests(WritingRequests):
    """The requests of a class that works with sets of exemplars.

    Args:
        setup: what the level is made from.
        labelled: the items to classify.
    """

    def __init__(self, setup: Setup, labelled: Labelled) -> None:
        scenario, settings, asker = setup.scenario, setup.scenario.iterate, Asker(setup, LEVEL, own_sampling=False)
        self._items = {p.id: p for part in (labelled.train, labelled.dev, labelled.test) for p in part}
        texts = {id: item.text for id, item in self._items.items()}
        super().__init__(asker, settings, scenario.teacher.name, labelled.description, texts)
        self._item_keys = {id: digest(p.text, p.form) for id, p in self._items.items()}
        common = (scenario.seed, labelled.description)
        self._exam_keys = {name: asker.key("Examine", name, settings.answering, *common) for name in scenario.pools}
        self._writing_keys = {
            kind: asker.key(kind, self.teacher, settings.writing, *common) for kind in ("Reflect", "Revise")
        }
        self._greedy = is_deterministic(settings.answering)
        self._sets: dict[str, ExemplarSet] = {}

    def exams(
        self, agent: str, material: ExemplarSet, items: Sequence[Problem], stage: Stage, run: int, round: int
    ) -> list[Request]:
        """An exam on every one of `items` with `material` as examples."""
        self._sets[material.key] = material
        key = digest(self._exam_keys[agent], material.key)
        return [
            self._asker.request(
                "Examine",
                agent,
                stage,
                self._settings.answering,
                digest(key, self._item_keys[item.id]),
                tr=material.key,
                ep=item.id,
                round=round,
                repeat=0 if self._greedy else run * RUN,
                step=self._asker.largest_group,
                shared=self._greedy,
            )
            for item in items
        ]

    def reflect(
        self,
        material: ExemplarSet,
        failures: tuple[FailureCase, ...],
        *,
        repeat: int,
        round: int,
        rejected: RejectedText | None = None,
    ) -> Request:
        """Ask why this set misled the students on these items."""
        reasons = self._settings.reasons
        key = digest(self._writing_keys["Reflect"], material.key, failures, reasons, rejected)
        return self._write_about(Reflect, key, material, failures, rejected, {"reasons": reasons}, repeat, round)

    def revise(
        self,
        material: ExemplarSet | None,
        failures: tuple[FailureCase, ...],
        reasons: tuple[str, ...],
        *,
        repeat: int,
        round: int,
        rejected: RejectedText | None = None,
    ) -> Request:
        """Ask for a new set; without material, from the task's description alone."""
        parent, count = material.key if material else "", self._settings.exemplars
        key = digest(self._writing_keys["Revise"], parent, failures, reasons, count, rejected)
        fields = {"reasons": reasons, "count": count}
        return self._write_about(Revise, key, material, failures, rejected, fields, repeat, round)

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The message of a request. It holds no gold answer."""
        if request.kind != "Examine":
            return super().message(request, text_of)
        item = self._items[request.ep]
        return Examine(
            problem=item.text,
            answer_form=item.form,
            sampling=request.sampling,
            material=self._sets[request.tr].exemplars,
            task=self._task,
        )

    def _write_about(
        self,
        message_type: type[Reflect] | type[Revise],
        key: str,
        material: ExemplarSet | None,
        failures: Sequence[FailureCase],
        rejected: RejectedText | None,
        fields: Mapping[str, Any],
        repeat: int,
        round: int,
    ) -> Request:
        exemplars = material.exemplars if material else ()
        return self._write(
            message_type,
            key,
            "yes_no",
            lambda _: exemplars,
            failures,
            rejected,
            fields,
            tr=material.key if material else "",
            round=round,
            repeat=repeat,
            step=RUN // 2,
        )


def is_deterministic(sampling: Sampling) -> bool:
    """Whether the same request always draws the same text."""
    return sampling.temperature == 0 or sampling.top_k == 1
