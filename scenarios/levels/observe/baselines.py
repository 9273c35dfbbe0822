"""Requests of the baselines of M1 (`baselines`): students alone, self-evaluation, universal self-consistency.

None of them decides another request. Each is asked as often as one student's exams under one TR (`draws`).
"""

from collections import defaultdict
from typing import NamedTuple

import msgspec

from broker.protocol import digest
from broker.work_messages import Judge, Sampling
from scenarios.levels.asker import Asker
from scenarios.levels.base import Request, Result, Setup, TextOf
from scenarios.levels.observe.problem_state import ProblemState
from scenarios.levels.observe.votes import rationale_of
from scenarios.records.observe import (
    AloneAnswers,
    ExamAnswer,
    Rationale,
    TeachingProblemRecord,
    Tokens,
    UniversalChoice,
)
from scenarios.scoring.baselines import draws
from scenarios.tasks.grading.answers import parse
from scenarios.tasks.problems import Problem

ALONE, RATE, UNIVERSAL = "alone", "rate", "universal"
"""The stages."""


class _Awaited(NamedTuple):
    """One result that is awaited."""

    stage: str
    tp: str
    about: str = ""
    """The student, or the digest of the TR's text."""
    repeat: int = 0


class _Results:
    """What has arrived about one TP."""

    def __init__(self) -> None:
        self.alone: dict[str, dict[int, Rationale]] = {}
        """By student and repeat."""
        self.ratings: dict[str, list[ExamAnswer]] = {}
        """By digest of the TR's text; it is there once they are asked."""
        self.rating_tokens = Tokens()
        self.universal: UniversalChoice | None = None
        self.compared = False
        """Whether the choice among its TRs is asked, or needs no asking."""
        self.unread = 0


class Baselines:
    """The baselines of a class.

    Args:
        setup: what the level is made from.
        asker: builds the requests.
    """

    def __init__(self, setup: Setup, asker: Asker) -> None:
        scenario = setup.scenario
        self._asker, self._scenario = asker, scenario
        self._wanted = frozenset(scenario.baselines)
        self._teacher = scenario.teacher.name
        self._rating = scenario.lesson.sampling
        self._comparing = msgspec.structs.replace(scenario.lesson.sampling, temperature=0.0)
        self._answering = {student.name: scenario.sampling_of(student) for student in scenario.students}
        self._alone_keys = {
            name: asker.key("Examine", name, sampling, scenario.seed, setup.bank.demonstrations, "alone")
            for name, sampling in self._answering.items()
        }
        self._results: defaultdict[str, _Results] = defaultdict(_Results)
        """By TP; it is there once its first requests are asked."""
        self._awaited: dict[str, _Awaited] = {}
        self._shown: dict[str, tuple[str, ...]] = {}
        """By request for a choice: the TRs that it shows."""
        self._asked = dict.fromkeys((ALONE, RATE, UNIVERSAL), 0)

    def due(self, lesson: ProblemState) -> tuple[Request, ...]:
        """What has become due about a TP, each request once."""
        tp, requests = lesson.item.tp, list[Request]()
        if tp.id not in self._results and "students_alone" in self._wanted:
            requests += self._alone(tp)
        found = self._results[tp.id]
        if "self_evaluation" in self._wanted:
            for text, material in lesson.materials.items():
                if text not in found.ratings:
                    found.ratings[text] = []
                    requests += self._rate(tp, text, material.tr)
        if "universal" in self._wanted and not found.compared and not lesson.awaited_rationales:
            found.compared = True
            requests += self._compare(lesson, found)
        for request in requests:
            self._asked[request.stage] += 1
        return tuple(requests)

    def awaits(self, request_id: str) -> bool:
        """Whether this is the request of a baseline without a result."""
        return request_id in self._awaited

    def receive(self, result: Result, *, correct: bool) -> None:
        """Keep a result; one that failed counts for nothing."""
        stage, tp, about, repeat = self._awaited.pop(result.request_id)
        if result.failed:
            return
        found = self._results[tp]
        if stage == ALONE:
            found.alone.setdefault(about, {})[repeat] = rationale_of(result, repeat, correct=correct)
            return
        judgement = parse(result.text, "yes_no" if stage == RATE else "number")
        spent = Tokens(result.completion_tokens, result.prompt_tokens, result.cached_prompt_tokens)
        if stage == RATE:
            found.ratings[about].append(ExamAnswer(self._teacher, "", repeat, judgement == "yes"))
            found.rating_tokens += spent
        else:
            shown = self._shown[result.request_id]
            numbered = {str(number): id for number, id in enumerate(shown, 1)}
            found.universal = UniversalChoice(numbered.get(judgement or "", ""), spent)
            judgement = found.universal.tr or None
        found.unread += judgement is None

    @property
    def finished(self) -> bool:
        """Whether all that were asked have arrived or failed."""
        return not self._awaited

    def totals(self, lessons: list[ProblemState]) -> dict[str, int]:
        """Requests per stage. A TR that is awaited counts as distinct and usable."""
        times = draws(self._scenario, self._rating)
        awaited = [lesson.awaited_rationales for lesson in lessons]
        totals = {
            ALONE: self._asked[ALONE],
            RATE: self._asked[RATE] + sum(awaited) * times * ("self_evaluation" in self._wanted),
            UNIVERSAL: self._asked[UNIVERSAL] + sum(map(bool, awaited)) * ("universal" in self._wanted),
        }
        return {stage: n for stage, n in totals.items() if n}

    def added_to(self, record: TeachingProblemRecord) -> TeachingProblemRecord:
        """The record of a TP with what has arrived for its baselines."""
        found = self._results.get(record.tp, _Results())
        ratings = {text: tuple(sorted(each, key=msgspec.structs.astuple)) for text, each in found.ratings.items()}
        return msgspec.structs.replace(
            record,
            rationales=tuple(
                msgspec.structs.replace(one, ratings=ratings.get(one.material, ())) for one in record.rationales
            ),
            alone=tuple(
                AloneAnswers(student, tuple(answer for _, answer in sorted(answers.items())))
                for student, answers in sorted(found.alone.items())
            ),
            rating_tokens=found.rating_tokens,
            universal=found.universal,
            unread_judgements=found.unread,
        )

    def message(self, request: Request, tp: Problem, text_of: TextOf) -> Judge:
        """The message of a request for a judgement."""
        shown = self._shown.get(request.id, (request.tr,))
        return Judge(problem=tp.text, solutions=tuple(map(text_of, shown)), sampling=request.sampling)

    # --- requests ---------------------------------------------------------------------------------------

    def _alone(self, tp: Problem) -> list[Request]:
        requests = []
        for student, sampling in self._answering.items():
            key = digest(self._alone_keys[student], tp.text, tp.form)
            identical, times = self._asker.identical(student), draws(self._scenario, sampling)
            for slot in range(times):
                request = self._asker.request(
                    "Examine", student, ALONE, sampling, key,
                    tp=tp.id, ep=tp.id, repeat=slot * identical, step=times * identical,
                )  # fmt: skip
                self._awaited[request.id] = _Awaited(ALONE, tp.id, student, slot)
                requests.append(request)
        return requests

    def _rate(self, tp: Problem, text: str, tr: str) -> list[Request]:
        key, times = self._judge_key(self._rating, tp, text), draws(self._scenario, self._rating)
        requests = []
        for slot in range(times):
            request = self._asker.request(
                "Judge", self._teacher, RATE, self._rating, key, tp=tp.id, tr=tr, repeat=slot, step=times
            )
            self._awaited[request.id] = _Awaited(RATE, tp.id, text, slot)
            requests.append(request)
        return requests

    def _compare(self, lesson: ProblemState, found: _Results) -> list[Request]:
        """The request for a choice; where no two TRs have an answer there is nothing to ask."""
        tp = lesson.item.tp
        shown = [(one.id, text) for _, (one, text) in sorted(lesson.rationales.items()) if one.answer is not None]
        if len(shown) < 2:
            found.universal = UniversalChoice(shown[0][0] if shown else "")
            return []
        key = self._judge_key(self._comparing, tp, *(text for _, text in shown))
        request = self._asker.request("Judge", self._teacher, UNIVERSAL, self._comparing, key, tp=tp.id)
        self._shown[request.id] = tuple(id for id, _ in shown)
        self._awaited[request.id] = _Awaited(UNIVERSAL, tp.id)
        return [request]

    def _judge_key(self, sampling: Sampling, tp: Problem, *texts: str) -> str:
        common = self._asker.key("Judge", self._teacher, sampling, self._scenario.seed)
        return digest(common, tp.text, *texts)
