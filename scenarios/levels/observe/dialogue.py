"""Questions before the exam (`exam.questions`): every student asks one about a TR, and the teacher answers it.

A student whose question fails or is empty, or gets no answer, takes its exam without a dialogue.
"""

from typing import NamedTuple

from broker.protocol import digest
from broker.work_messages import Ask, Exchange, Exemplar, Explain
from scenarios.levels.asker import Asker
from scenarios.levels.base import Request, Result, Setup, TextOf
from scenarios.levels.flow import Flow, Flows, ask
from scenarios.tasks.problems import Problem


class Dialogue(NamedTuple):
    """A question and its answer."""

    question: str
    """Request id."""
    answer: str
    """Request id."""
    key: str
    """Digest of both texts: equal texts are the same dialogue."""


class DialogueOutcome(NamedTuple):
    """How one student's dialogue about one TR ended."""

    tp: str
    material: str
    """Digest of the TR's text."""
    student: str
    dialogue: Dialogue | None
    """None: the student takes its exam without one."""
    question: Result
    answer: Result | None
    """None: nothing was asked. Students who ask the same have the same result."""


class Dialogues:
    """All dialogues of a class.

    Args:
        setup: what the level is made from.
        asker: builds the requests.
    """

    def __init__(self, setup: Setup, asker: Asker) -> None:
        scenario = setup.scenario
        self._asker = asker
        self._teacher = scenario.teacher.name
        self._explain_sampling = scenario.lesson.sampling
        self._ask_sampling = {student.name: scenario.sampling_of(student) for student in scenario.students}
        self._ask_keys = {
            name: asker.key("Ask", name, sampling, scenario.seed) for name, sampling in self._ask_sampling.items()
        }
        self._explain_key = asker.key("Explain", self._teacher, self._explain_sampling, scenario.seed)
        self._flows = Flows()
        self._ended: list[DialogueOutcome] = []
        self._dialogues: dict[tuple[str, str], Dialogue] = {}
        """By request id of the TR and student."""
        self._questions: dict[str, str] = {}
        """By request id of the answer: that of the question."""
        self.spared = 0
        """Number of dialogues without an answer: nothing was asked, or another student asked the same."""

    def begin(self, tp: Problem, tr: str, material: str, student: str) -> None:
        """Start the dialogue of a student about a TR."""
        self._flows.start(self._dialogue(tp, tr, material, student))

    def awaits(self, request_id: str) -> bool:
        """Whether this is the request of a question or an answer."""
        return self._flows.asked(request_id)

    def receive(self, result: Result) -> tuple[DialogueOutcome, ...]:
        """The dialogues that this result ends."""
        self._flows.receive(result)
        ended, self._ended = tuple(self._ended), []
        return ended

    def take(self) -> tuple[Request, ...]:
        """Requests that became due since the last call."""
        return self._flows.take()

    @property
    def finished(self) -> bool:
        """Whether every dialogue has ended."""
        return self._flows.finished

    def message(self, request: Request, material: tuple[Exemplar, ...], text_of: TextOf) -> Ask | Explain:
        """The message of a request for a question or an answer."""
        if request.kind == "Ask":
            return Ask(material=material, sampling=request.sampling)
        question = text_of(self._questions[request.id])
        return Explain(material=material, question=question, sampling=request.sampling)

    def exchange(self, tr: str, student: str, text_of: TextOf) -> tuple[Exchange, ...]:
        """The dialogue that is part of this student's exams under this TR."""
        found = self._dialogues.get((tr, student))
        return (Exchange(text_of(found.question), text_of(found.answer)),) if found else ()

    def _dialogue(self, tp: Problem, tr: str, material: str, student: str) -> Flow[None]:
        asking = self._request("Ask", student, tp, tr, digest(self._ask_keys[student], tp.text, material), "ask")
        (asked,) = yield from ask([asking])
        if not _has_text(asked):
            self.spared += 1
            self._ended.append(DialogueOutcome(tp.id, material, student, None, asked, None))
            return
        key = digest(self._explain_key, tp.text, material, asked.text)
        explaining = self._request("Explain", self._teacher, tp, tr, key, "explain")
        self.spared += self._flows.asked(explaining.id)
        self._questions.setdefault(explaining.id, asking.id)
        (explained,) = yield from ask([explaining])
        dialogue = None
        if _has_text(explained):
            dialogue = Dialogue(asking.id, explaining.id, digest(asked.text, explained.text))
            self._dialogues[tr, student] = dialogue
        self._ended.append(DialogueOutcome(tp.id, material, student, dialogue, asked, explained))

    def _request(self, kind: str, to: str, tp: Problem, tr: str, key: str, stage: str) -> Request:
        sampling = self._explain_sampling if kind == "Explain" else self._ask_sampling[to]
        return self._asker.request(kind, to, stage, sampling, key, tp=tp.id, tr=tr, step=len(self._ask_keys))


def _has_text(result: Result) -> bool:
    return not result.failed and bool(result.text.strip())
