"""Level 3 for rationales (paper, appendix E): the teacher rewrites its TRs, for each student from its own mistakes.

Level 1 comes first (scenarios/levels/observe/level.py does all of it). Once every exam of a TP is there, the best of
its TRs that a student failed an exam with are rewritten: per TR and student the teacher says what misled this student
on the exam problems it got wrong, and writes the TR anew. What it writes is one more TR of the TP, and is examined by
all students as any other. How that becomes choices, and a comparison, is scenarios/report/rewrite.py.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from broker.work_messages import Message
from scenarios.levels.base import Outcome, Request, Result, Setup, Step, TextOf
from scenarios.levels.flow import Flow, Flows, ask
from scenarios.levels.iterate.author import write
from scenarios.levels.iterate.budget import originals
from scenarios.levels.iterate.exemplars import read_reasons
from scenarios.levels.iterate.requests import LEVEL
from scenarios.levels.observe.level import ObserveLevel
from scenarios.levels.rewrite.requests import Original, RewriteRequests
from scenarios.records.iterate import FailureCase
from scenarios.records.observe import TeachingProblemRecord
from scenarios.records.rewrite import Rewriting, Rewritten, Tailored
from scenarios.scoring.lbt import lbt_scores


class RewriteLevel:
    """The state machine of level 3 for rationales.

    Args:
        setup: what it is made from.
    """

    def __init__(self, setup: Setup) -> None:
        scenario, bank = setup.scenario, setup.bank
        self._scenario = scenario
        self._students = [student.name for student in scenario.students]
        self._problems = {item.tp.id: item.tp for item in bank.items}
        self._position = {ep.id: number for item in bank.items for number, ep in enumerate(item.eps)}
        self._originals = originals(scenario)
        self._observe = ObserveLevel(setup)
        self._requests = RewriteRequests(setup)
        self._flows = Flows()
        self._open: dict[str, Request] = {}
        """Asked by level 1, and not answered yet."""
        self._wrong: dict[tuple[str, str], list[Request]] = defaultdict(list)
        """Exams that a student failed, by request id of the TR."""
        self._first: dict[str, TeachingProblemRecord] = {}
        """What level 1 made of a TP, once that is over."""
        self._tailored: dict[str, dict[int, Tailored]] = {tp: {} for tp in self._problems}
        """By TP, in the order they were planned in."""
        self._planned = Counter[str]()
        """TRs to be rewritten for a student, by TP."""
        self._rewritten: set[str] = set()
        """Requests that new TRs come of."""
        self._asked: dict[str, Counter[str]] = {tp: Counter() for tp in self._problems}
        """What the teacher was asked besides level 1, by TP and stage."""

    def begin(self) -> Step:
        """Level 1's beginning."""
        return self._step(self._observe.begin(), None)

    def receive(self, result: Result) -> Step:
        """Go on with whatever waited for this result."""
        request = self._open.pop(result.request_id, None)
        if request and request.kind == "Examine" and not result.failed and not self._observe.graded(result):
            self._wrong[request.tr, request.to].append(request)
        step = self._observe.receive(result)
        self._flows.receive(result)
        return self._step(step, request)

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The texts that a request refers to. No gold answer is among them."""
        asks = self._requests if request.stage in ("reflect", "write") else self._observe
        return asks.message(request, text_of)

    @property
    def finished(self) -> bool:
        """Whether everything is there, or has failed for good."""
        return self._observe.finished and self._flows.finished

    def totals(self) -> Mapping[str, int]:
        """Requests per stage. A TP whose first exams are not over counts as one with mistakes everywhere."""
        settings, exam = self._scenario.iterate, self._scenario.exam
        open_tps = [tp for tp in self._problems if tp not in self._first]
        most = min(settings.beam, self._originals) * len(self._students)
        planned = self._planned.total() + most * len(open_tps)
        asked = sum(self._asked.values(), Counter[str]())
        told = dict(self._observe.totals())
        told["reflect"] = max(asked["reflect"], planned)
        told["write"] = planned * settings.revisions
        per_rationale = len(self._students) * exam.problems * exam.repeats
        told["exam"] += most * len(open_tps) * settings.revisions * per_rationale
        for stage in ("ask", "explain"):
            if stage in told:
                told[stage] += most * len(open_tps) * settings.revisions * len(self._students)
        if "grade" in told:
            told["grade"] += most * len(open_tps) * settings.revisions * len(self._students) * exam.problems
        return told

    def outcome(self) -> Outcome:
        """All that is known now: level 1 as if there were no more, and what was rewritten."""
        lessons, rewritten = [], []
        sampled = self._scenario.lesson.rationales
        for lesson in self._observe.outcome().lessons:
            first = self._first.get(lesson.tp, lesson)
            # Grades may come later than the exams, and change nothing of what is rewritten.
            sampled_ones = tuple(r for r in lesson.rationales if r.repeat < sampled)
            lessons.append(msgspec.structs.replace(lesson, rationales=sampled_ones, exam_tokens=first.exam_tokens))
            over = lesson.tp in self._first and self._observe.lesson(lesson.tp) is not None
            tailored = tuple(one for _, one in sorted(self._tailored[lesson.tp].items()))
            reflections = self._asked[lesson.tp]["reflect"]
            rewritten.append(Rewritten(lesson, sampled, self._originals, tailored, reflections, over))
        return Outcome(lessons=tuple(lessons), rewriting=Rewriting(tuple(rewritten)))

    # --- what is rewritten ------------------------------------------------------------------------------

    def _step(self, step: Step, answered: Request | None) -> Step:
        """Rewrite a TP that has just been examined; all that is due then."""
        if answered and answered.tp not in self._first:
            first = self._observe.lesson(answered.tp)
            if first is not None:
                self._first[answered.tp] = first
                self._begin(first)
        asked = self._flows.take()
        for request in asked:
            self._asked[request.tp][request.stage] += 1
        exams = [self._of_this_level(request) for request in step.requests]
        self._open |= {request.id: request for request in (*exams, *asked)}
        return msgspec.structs.replace(step, requests=(*exams, *asked))

    def _of_this_level(self, request: Request) -> Request:
        rewritten = request.tr in self._rewritten
        return msgspec.structs.replace(request, level=LEVEL, round=1) if rewritten else request

    def _begin(self, lesson: TeachingProblemRecord) -> None:
        plans = [
            (original, student, failures)
            for original in self._chosen(lesson)
            for student in self._students
            if (failures := self._failures(lesson, original, student))
        ]
        times = self._scenario.iterate.revisions
        self._planned[lesson.tp] = len(plans)
        self._observe.reopen(lesson.tp, len(plans) * times)
        for number, (original, student, failures) in enumerate(plans):
            repeats = range(times * number, times * (number + 1))
            self._flows.start(self._rewrite(original, student, failures, number, repeats))

    def _chosen(self, lesson: TeachingProblemRecord) -> list[Original]:
        """The TRs that are rewritten: different ones with a failed exam, best LbT score first, then as they came."""
        merge = self._scenario.scoring.merge
        different = {r.material: r for r in reversed(lesson.rationales) if r.exams and r.repeat < self._originals}
        failed = [r for r in different.values() if not all(exam.correct for exam in r.exams)]
        scores = lbt_scores(different.values(), self._students, merge)
        failed.sort(key=lambda r: (-scores.get(r.id, 0), r.repeat))
        tp = self._problems[lesson.tp]
        return [Original(tp, r.id, r.material) for r in failed[: self._scenario.iterate.beam]]

    def _failures(self, lesson: TeachingProblemRecord, original: Original, student: str) -> tuple[FailureCase, ...]:
        """What a student got wrong with a TR: each exam problem once before any comes twice."""
        # Of TRs with one text any may have been the one that was examined.
        alike = [rationale.id for rationale in lesson.rationales if rationale.material == original.key]
        wrong = [request for id in alike for request in self._wrong.get((id, student), ())]
        wrong.sort(key=lambda request: (request.repeat, self._position[request.ep]))
        return tuple(
            FailureCase(request.ep, student, request.id) for request in wrong[: self._scenario.iterate.mistakes]
        )

    def _rewrite(
        self, original: Original, student: str, failures: Sequence[FailureCase], number: int, repeats: range
    ) -> Flow[None]:
        """Reasons, then new TRs; they go to level 1 as they come."""
        written = yield from write(
            ask,
            lambda rejected: self._requests.reflect(original, failures, rejected),
            lambda text: read_reasons(text, self._scenario.iterate.reasons),
        )
        reasons = written.content or ()  # without any, the solution is written anew all the same
        requests = [self._requests.revise(original, failures, reasons, n) for n in range(len(repeats))]
        slots = [self._scenario.lesson.rationales + n for n in repeats]
        for request, slot in zip(requests, slots, strict=True):
            self._rewritten.add(request.id)
            self._observe.expect(original.tp.id, request.id, slot)
        exams = tuple(failure.exam for failure in failures)
        self._tailored[original.tp.id][number] = Tailored(original.key, student, exams, reasons, tuple(slots))
        yield from ask(requests)
