"""Level 3 for rationales (paper, appendix E): the teacher rewrites its TRs, for each student from its own mistakes.

`ObserveLevel` runs level 1 first. Once every exam of a TP has arrived, the best of its TRs with a failed exam are
rewritten: per TR and student the teacher says what misled this student on the exam problems it got wrong, and writes
the TR again. The new text is one more TR of the TP, and is examined like any other.
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
        setup: what the level is made from.
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
        """Requests that are not answered yet."""
        self._wrong: dict[tuple[str, str], list[Request]] = defaultdict(list)
        """Exams that a student failed, by request id of the TR."""
        self._first: dict[str, TeachingProblemRecord] = {}
        """The record of level 1, by TP, once it is complete."""
        self._tailored: dict[str, dict[int, Tailored]] = {tp: {} for tp in self._problems}
        """By TP, in the order of planning."""
        self._planned = Counter[str]()
        """Number of rewrites, each of a TR for a student, by TP."""
        self._rewritten: set[str] = set()
        """Requests of new TRs."""
        self._asked: dict[str, Counter[str]] = {tp: Counter() for tp in self._problems}
        """Number of requests beyond level 1, by TP and stage."""

    def begin(self) -> Step:
        """The first requests of level 1."""
        return self._step(self._observe.begin(), None)

    def receive(self, result: Result) -> Step:
        """Continue level 1 and the rewrites that waited for this result."""
        request = self._open.pop(result.request_id, None)
        if request and request.kind == "Examine" and not result.failed and not self._observe.is_correct(result):
            self._wrong[request.tr, request.to].append(request)
        step = self._observe.receive(result)
        self._flows.receive(result)
        return self._step(step, request)

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The message of a request. It holds no gold answer."""
        maker = self._requests if request.stage in ("reflect", "write") else self._observe
        return maker.message(request, text_of)

    @property
    def finished(self) -> bool:
        """Whether every result has arrived or failed."""
        return self._observe.finished and self._flows.finished

    def totals(self) -> Mapping[str, int]:
        """Requests per stage. A TP that level 1 has not completed counts as if every exam had mistakes."""
        settings, exam = self._scenario.iterate, self._scenario.exam
        open_tps = len(self._problems) - len(self._first)
        expected = open_tps * min(settings.beam, self._originals) * len(self._students)
        planned = self._planned.total() + expected
        reflections = sum(asked["reflect"] for asked in self._asked.values())
        totals = dict(self._observe.totals())
        totals["reflect"] = max(reflections, planned)
        totals["write"] = planned * settings.revisions
        per_student = {"exam": exam.problems * exam.repeats, "ask": 1, "explain": 1, "grade": exam.problems}
        for stage in totals.keys() & per_student.keys():
            totals[stage] += expected * settings.revisions * len(self._students) * per_student[stage]
        return totals

    def outcome(self) -> Outcome:
        """Everything that is known now: the TRs of level 1, and those that were rewritten."""
        lessons, rewritten = [], []
        sampled = self._scenario.lesson.rationales
        for lesson in self._observe.outcome().lessons:
            first = self._first.get(lesson.tp, lesson)
            # From the current record: grades may arrive after the exams, when the TP was complete.
            sampled_ones = tuple(r for r in lesson.rationales if r.repeat < sampled)
            lessons.append(
                msgspec.structs.replace(
                    lesson,
                    rationales=sampled_ones,
                    exam_tokens=first.exam_tokens,
                    exam_prompt_tokens=first.exam_prompt_tokens,
                    exam_cached_prompt_tokens=first.exam_cached_prompt_tokens,
                    exam_costs=first.exam_costs,
                    explanation_costs=first.explanation_costs,
                )
            )
            over = lesson.tp in self._first and self._observe.lesson(lesson.tp) is not None
            tailored = tuple(one for _, one in sorted(self._tailored[lesson.tp].items()))
            reflections = self._asked[lesson.tp]["reflect"]
            rewritten.append(Rewritten(lesson, sampled, self._originals, tailored, reflections, over))
        return Outcome(lessons=tuple(lessons), rewriting=Rewriting(tuple(rewritten)))

    # --- rewriting ------------------------------------------------------------------------------------

    def _step(self, step: Step, answered: Request | None) -> Step:
        """Plan the rewrites of a TP that level 1 has just completed; returns everything that is due."""
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
        """The TRs that are rewritten: distinct ones with a failed exam, best LbT score first, then by repeat."""
        merge = self._scenario.scoring.merge
        different = {r.material: r for r in reversed(lesson.rationales) if r.exams and r.repeat < self._originals}
        failed = [r for r in different.values() if not all(exam.correct for exam in r.exams)]
        scores = lbt_scores(different.values(), self._students, merge)
        failed.sort(key=lambda r: (-scores.get(r.id, 0), r.repeat))
        tp = self._problems[lesson.tp]
        return [Original(tp, r.id, r.material) for r in failed[: self._scenario.iterate.beam]]

    def _failures(self, lesson: TeachingProblemRecord, original: Original, student: str) -> tuple[FailureCase, ...]:
        """The exams that a student failed with a TR: each exam problem once before any comes twice."""
        # Of TRs with equal texts, whichever arrived first was examined.
        equal = [rationale.id for rationale in lesson.rationales if rationale.material == original.key]
        wrong = [request for id in equal for request in self._wrong.get((id, student), ())]
        wrong.sort(key=lambda request: (request.repeat, self._position[request.ep]))
        return tuple(
            FailureCase(request.ep, student, request.id) for request in wrong[: self._scenario.iterate.mistakes]
        )

    def _rewrite(
        self, original: Original, student: str, failures: Sequence[FailureCase], number: int, repeats: range
    ) -> Flow[None]:
        """Ask for reasons, then for new TRs, which level 1 examines as they arrive."""
        written = yield from write(
            ask,
            lambda rejected: self._requests.reflect(original, failures, rejected),
            lambda text: read_reasons(text, self._scenario.iterate.reasons),
        )
        reasons = written.content or ()  # without any, the solution is rewritten all the same
        requests = [self._requests.revise(original, failures, reasons, n) for n in range(len(repeats))]
        slots = [self._scenario.lesson.rationales + n for n in repeats]
        for request, slot in zip(requests, slots, strict=True):
            self._rewritten.add(request.id)
            self._observe.expect(original.tp.id, request.id, slot)
        exams = tuple(failure.exam for failure in failures)
        self._tailored[original.tp.id][number] = Tailored(original.key, student, exams, reasons, tuple(slots))
        yield from ask(requests)
