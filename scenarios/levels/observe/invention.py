"""Invented exam problems (`exam.maker: invented`), before level 1: an agent writes EPs for every TP and answers each.

An EP is a problem on whose answer the writer agrees with itself. It may still be wrong, and no one else checks it.
"""

from collections.abc import Mapping

import msgspec

from broker.protocol import digest
from broker.work_messages import Examine, Invent, Message, Sampling
from scenarios.config.schema import Agent, Scenario
from scenarios.levels.asker import Asker
from scenarios.levels.base import Outcome, Request, Result, Setup, Step, TextOf
from scenarios.levels.flow import Flow, Flows, ask
from scenarios.levels.observe.problem_state import ProblemState
from scenarios.records.observe import InventedExam, InventedProblem, Tokens
from scenarios.tasks.inventions import agreed, fingerprint, read_problem
from scenarios.tasks.problems import Problem, ProblemGroup

INVENT, AGREE = "invent", "agree"
"""The stages: writing the problems, and answering them."""


def writer(scenario: Scenario) -> tuple[Agent, Sampling]:
    """The agent that writes the EPs and answers them, and how it draws."""
    for student in scenario.students:
        if student.name == scenario.exam.invent.by:
            return student, scenario.sampling_of(student)
    return scenario.teacher, scenario.lesson.sampling


class InventLevel:
    """Has the EPs of all TPs written. All candidates of a TP are asked for, so no order of arrival decides.

    Args:
        setup: what the level is made from.
    """

    def __init__(self, setup: Setup) -> None:
        scenario = setup.scenario
        self._setup, self._invent, self._exams = setup, scenario.exam.invent, scenario.exam.problems
        agent, self._sampling = writer(scenario)
        self._writer = agent.name
        self._asker = asker = Asker(setup)
        shared = (self._sampling, scenario.seed)
        self._invent_key = asker.key("Invent", self._writer, *shared)
        # As a student's answer to a TP without a rationale (`baselines`).
        self._answer_key = asker.key("Examine", self._writer, *shared, setup.bank.demonstrations, "alone")
        self._problems = {item.tp.id: item.tp for item in setup.bank.items}
        """TPs and candidates, by id."""
        self._new: list[Problem] = []
        """What `Step.problems` says next."""
        self._unread = set(self._problems)
        """TPs whose candidates are awaited."""
        self._answers = 0
        """Requests for answers so far: two TPs may share a candidate."""
        self._flows = Flows()
        self._groups: dict[str, ProblemGroup] = {}

    def begin(self) -> Step:
        """Request every candidate, TP by TP."""
        for item in self._setup.bank.items:
            self._flows.start(self._invented(item.tp))
        return self._step()

    def receive(self, result: Result) -> Step:
        """The last candidate of a TP makes the answers to all of them due."""
        self._flows.receive(result)
        return self._step()

    @property
    def finished(self) -> bool:
        """Whether all EPs are known."""
        return self._flows.finished

    def totals(self) -> Mapping[str, int]:
        """Requests per stage. A candidate that is awaited counts as usable."""
        of_each = self._invent.candidates
        awaited = len(self._unread) * of_each * self._invent.answers
        return {INVENT: len(self._setup.bank.items) * of_each, AGREE: self._answers + awaited}

    def outcome(self) -> Outcome:
        """All TPs, still without TRs, and the exam problems of those that have theirs."""
        items, rationales = self._setup.bank.items, self._setup.scenario.lesson.rationales
        return Outcome(
            invented=tuple(self._groups[one.tp.id] for one in items if one.tp.id in self._groups),
            lessons=tuple(ProblemState(one, rationales).record() for one in items),
        )

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The message of a request: an `Invent`, or an exam without teaching material."""
        problem = self._problems[request.ep or request.tp]
        if request.kind == "Invent":
            return Invent(problem=problem.text, answer_form=problem.form, sampling=request.sampling)
        return Examine(
            problem=problem.text,
            answer_form=problem.form,
            sampling=request.sampling,
            material=(),
            demonstrations=self._setup.bank.demonstrations,
        )

    def _step(self) -> Step:
        new, self._new = tuple(self._new), []
        due = self._flows.take()
        self._answers += sum(request.stage == AGREE for request in due)
        return Step(requests=due, problems=new)

    def _invented(self, tp: Problem) -> Flow[None]:
        """Have the EPs of one TP written and answered."""
        written = yield from ask(self._draws("Invent", INVENT, self._invent_key, tp, self._invent.candidates))
        candidates, unusable, duplicates = self._read(tp, written)
        self._unread.discard(tp.id)
        self._register(candidates)
        n = self._invent.answers
        results = yield from ask(
            request
            for candidate in candidates
            for request in self._draws("Examine", AGREE, self._answer_key, tp, n, candidate)
        )
        eps, agreements = list[Problem](), list[InventedProblem]()
        for number, candidate in enumerate(candidates):
            given = [one.answer for one in results[number * n : (number + 1) * n] if one.answer is not None]
            answer, agreeing = agreed(given, n, lambda a, b: self._setup.same(a, b, tp.form))
            if agreeing:
                eps.append(msgspec.structs.replace(candidate, answer=answer))
                agreements.append(InventedProblem(candidate.id, agreeing))
        chosen = tuple(eps[: self._exams])
        exam = InventedExam(
            writer=self._writer,
            problems=tuple(agreements[: self._exams]),
            candidates=len(written),
            unusable=unusable,
            duplicates=duplicates,
            disputed=len(candidates) - len(eps),
            answers=n,
            tokens=_tokens([*written, *results]),
        )
        self._register(chosen)
        self._groups[tp.id] = ProblemGroup(tp, chosen, invented=exam)

    def _register(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self._problems |= {one.id: one for one in problems}
        self._new += problems

    def _read(self, tp: Problem, written: list[Result]) -> tuple[list[Problem], int, int]:
        """The candidates that are answered, and the numbers of unusable ones and of near duplicates."""
        known, candidates = [fingerprint(tp.text)], list[Problem]()
        unusable = duplicates = 0
        for number, result in enumerate(written, 1):
            text = "" if result.failed else read_problem(result.text, tp.text, ended=result.finish_reason != "length")
            found = fingerprint(text)
            if not text:
                unusable += 1
            elif any(map(found.duplicates, known)):
                duplicates += 1
            else:
                known.append(found)
                candidates.append(Problem(f"{tp.id}/ep/invented-{number}", text, "", tp.form))
        return candidates, unusable, duplicates

    def _draws(
        self, kind: str, stage: str, key: str, tp: Problem, n: int, candidate: Problem | None = None
    ) -> list[Request]:
        """Requests for `n` draws about a TP, or about a candidate for its exam."""
        about, ep = candidate or tp, candidate.id if candidate else ""
        key = digest(key, about.text, about.form)
        return [
            self._asker.request(
                kind, self._writer, stage, self._sampling, key, tp=tp.id, ep=ep, repeat=repeat, step=n, shared=True
            )
            for repeat in range(n)
        ]


def _tokens(results: list[Result]) -> Tokens:
    paid = [Tokens(one.completion_tokens, one.prompt_tokens, one.cached_prompt_tokens) for one in results]
    return sum(paid, Tokens())
