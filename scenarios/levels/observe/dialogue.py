"""Questions before the exam (`exam.questions`): under a TR every student asks one, and the teacher answers it.

Owns what is asked for that, and in which order; the exams that follow, with the dialogue or without, are observe.py's.
A student whose question fails or says nothing, or gets no answer, sits its exam without a dialogue.
"""

from typing import NamedTuple

from broker.protocol import digest
from broker.work_messages import Ask, Exchange, Exemplar, Explain
from scenarios.levels.asker import Asker
from scenarios.levels.base import Request, Result, Setup, TextOf
from scenarios.levels.flow import Flow, Flows, ask
from scenarios.tasks.problems import Problem


class Talk(NamedTuple):
    """A question and its answer."""

    question: str
    """Request id."""
    answer: str
    key: str
    """Digest of both texts: the same words are the same dialogue."""


class DialogueOutcome(NamedTuple):
    """What became of one student's question about one TR."""

    tp: str
    material: str
    """Digest of the TR's text."""
    student: str
    talk: Talk | None
    """None: it sits its exam without."""
    completions: int
    """Texts that came of it: none, a question, or both. An answer that serves two students counts for one."""
    tokens: int


class Dialogues:
    """All dialogues of a class.

    Args:
        setup: what it is made from.
        asker: builds the requests.
    """

    def __init__(self, setup: Setup, asker: Asker) -> None:
        scenario = setup.scenario
        self._asker = asker
        self._teacher = scenario.teacher.name
        self._asking, self._explaining = scenario.exam.sampling, scenario.lesson.sampling
        self._ask_keys = {
            student.name: asker.key("Ask", student.name, self._asking, scenario.seed) for student in scenario.students
        }
        self._explain_key = asker.key("Explain", self._teacher, self._explaining, scenario.seed)
        self._flows = Flows()
        self._ended: list[DialogueOutcome] = []
        self._talks: dict[tuple[str, str], Talk] = {}
        """By request id of the TR and student."""
        self._questions: dict[str, str] = {}
        """By request id of the answer: that of a question which it answers."""
        self.spared = 0
        """Dialogues that needed no answer of their own: nothing was asked, or another student asked the same."""

    def begin(self, tp: Problem, tr: str, material: str, student: str) -> None:
        """Let a student ask about a TR, and the teacher answer."""
        self._flows.start(self._dialogue(tp, tr, material, student))

    def awaits(self, request_id: str) -> bool:
        """Whether it is a question or an answer that was asked for."""
        return self._flows.asked(request_id)

    def receive(self, result: Result) -> tuple[DialogueOutcome, ...]:
        """The dialogues that this ends."""
        self._flows.receive(result)
        ended, self._ended = tuple(self._ended), []
        return ended

    def take(self) -> tuple[Request, ...]:
        """What became due since the last call."""
        return self._flows.take()

    @property
    def finished(self) -> bool:
        """Whether every dialogue has ended."""
        return self._flows.finished

    def message(self, request: Request, material: tuple[Exemplar, ...], text_of: TextOf) -> Ask | Explain:
        """The question that is asked for, or its answer."""
        if request.kind == "Ask":
            return Ask(material=material, sampling=request.sampling)
        question = text_of(self._questions[request.id])
        return Explain(material=material, question=question, sampling=request.sampling)

    def exchange(self, tr: str, student: str, text_of: TextOf) -> tuple[Exchange, ...]:
        """What this student's exams under this TR come with."""
        talk = self._talks.get((tr, student))
        return (Exchange(text_of(talk.question), text_of(talk.answer)),) if talk else ()

    def _dialogue(self, tp: Problem, tr: str, material: str, student: str) -> Flow[None]:
        asking = self._request("Ask", student, tp, tr, digest(self._ask_keys[student], tp.text, material), "ask")
        (asked,) = yield from ask([asking])
        if not _says(asked):
            self.spared += 1
            self._end(tp, material, student, None, [asked])
            return
        key = digest(self._explain_key, tp.text, material, asked.text)
        explaining = self._request("Explain", self._teacher, tp, tr, key, "explain")
        shared = self._flows.asked(explaining.id)
        self.spared += shared
        self._questions.setdefault(explaining.id, asking.id)
        (explained,) = yield from ask([explaining])
        talk = None
        if _says(explained):
            talk = Talk(asking.id, explaining.id, digest(asked.text, explained.text))
            self._talks[tr, student] = talk
        self._end(tp, material, student, talk, [asked] if shared else [asked, explained])

    def _end(self, tp: Problem, material: str, student: str, talk: Talk | None, own: list[Result]) -> None:
        came = [result for result in own if not result.failed]
        tokens = sum(result.completion_tokens for result in came)
        self._ended.append(DialogueOutcome(tp.id, material, student, talk, len(came), tokens))

    def _request(self, kind: str, to: str, tp: Problem, tr: str, key: str, stage: str) -> Request:
        sampling = self._explaining if kind == "Explain" else self._asking
        return self._asker.request(kind, to, stage, sampling, key, tp=tp.id, tr=tr, step=len(self._ask_keys))


def _says(result: Result) -> bool:
    return not result.failed and bool(result.text.strip())
