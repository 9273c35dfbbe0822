"""Level 1, observing (M1): the teacher's TRs are judged by how well students do who were taught with them.

For each TP the teacher writes one greedy and n sampled TRs. Each distinct TR with an answer is taught to every student,
who then solves every EP, with repeats (paper, section 3). scenarios/scoring/lbt.py turns the exams into a choice.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import NamedTuple

import msgspec

from broker.protocol import digest
from broker.work_messages import Exemplar, Grade, Message, Teach
from scenarios.levels.asker import UNSAMPLED, Asker
from scenarios.levels.base import FeedbackDue, Outcome, Request, Result, Setup, Step, TextOf
from scenarios.levels.observe.baselines import Baselines
from scenarios.levels.observe.dialogue import Dialogue, DialogueOutcome, Dialogues
from scenarios.levels.observe.exam_message import exam_message
from scenarios.levels.observe.problem_state import ProblemState, RationaleState
from scenarios.levels.observe.rounds import Rounds
from scenarios.levels.observe.votes import STAGE as VOTES
from scenarios.levels.observe.votes import Votes, rationale_of
from scenarios.records.observe import ExamAnswer, ExamGrade, TeachingProblemRecord
from scenarios.tasks import programs
from scenarios.tasks.problems import Problem, ProblemGroup


class _AwaitedExam(NamedTuple):
    """One exam answer that is awaited."""

    lesson: ProblemState
    material: RationaleState
    student: str
    ep: int
    repeat: int


class _AwaitedGrade(NamedTuple):
    """One log-probability that is awaited."""

    material: RationaleState
    student: str
    ep: str


class ObserveLevel:
    """The state machine of level 1.

    Args:
        setup: what the level is made from.
        invented: the TPs with the EPs that an agent wrote for them (`exam.maker: invented`).
    """

    def __init__(self, setup: Setup, invented: tuple[ProblemGroup, ...] = ()) -> None:
        scenario, bank = setup.scenario, setup.bank.with_exams(invented)
        self._invented = invented
        self._asker = asker = Asker(setup)
        # Nothing is drawn for a grade: students that differ in their sampling alone would ask the same.
        self._grade_asker = Asker(setup, own_sampling=False)
        self._teacher = scenario.teacher.name
        self._scenario = scenario
        self._bank = bank
        self._problems = {p.id: p for item in bank.items for p in (item.tp, *item.eps)}
        lesson, exam = scenario.lesson, scenario.exam
        shared = (scenario.seed, bank.demonstrations)
        self._greedy = msgspec.structs.replace(lesson.sampling, temperature=0.0)
        self._greedy_is_sampled = lesson.greedy and self._greedy == lesson.sampling
        """At temperature 0 the greedy TR and the only sampled one are one request."""
        of_programs = any(problem.form == "code" for problem in bank.problems)
        self._shortened = () if lesson.material == "rationale" else ("program" if of_programs else "answer",)
        """Part of the ids of exams whose material is not a whole TR."""
        self._sampling = {s.name: scenario.sampling_of(s) for s in scenario.students}
        self._exam_keys = {
            name: asker.key("Examine", name, sampling, *shared) for name, sampling in self._sampling.items()
        }
        self._grade_keys = {s.name: asker.key("Grade", s.name, *shared) for s in scenario.students}
        self._dialogues = Dialogues(setup, asker) if exam.questions else None
        self._votes = Votes(setup, asker) if lesson.equal_cost else None
        self._rounds = Rounds(setup) if exam.allocation != "full" else None
        self._baselines = Baselines(setup, asker) if scenario.baselines else None
        self._lessons = [ProblemState(item, lesson.rationales) for item in bank.items]
        self._by_tp = {lesson.item.tp.id: lesson for lesson in self._lessons}
        self._awaited_rationales: dict[str, tuple[ProblemState, int | None]] = {}
        """By request id: the TP and the repeat; None: the greedy one."""
        self._answers: dict[str, str] = {}
        """By request id of a TR that is taught: its answer."""
        self._awaited_exams: dict[str, _AwaitedExam] = {}
        self._awaited_grades: dict[str, _AwaitedGrade] = {}

    def begin(self) -> Step:
        """Request every TR: TP by TP, the greedy one first; then what baselines need at once."""
        requests = [request for lesson in self._lessons for request in self._teach(lesson)]
        if self._baselines:
            requests += [request for lesson in self._lessons for request in self._baselines.due(lesson)]
        return Step(requests=tuple(requests))

    def receive(self, result: Result) -> Step:
        """A TR makes its exams due; the last exam of a TR makes feedback due, and of a TP its further TRs."""
        if (rationale := self._awaited_rationales.pop(result.request_id, None)) is not None:
            return self._with_baselines(rationale[0], self._receive_rationale(result, *rationale))
        if (exam := self._awaited_exams.pop(result.request_id, None)) is not None:
            return self._with_baselines(exam.lesson, self._receive_exam(result, exam))
        if self._dialogues and self._dialogues.awaits(result.request_id):
            exams = [exam for ended in self._dialogues.receive(result) for exam in self._receive_dialogue(ended)]
            return Step(requests=(*self._dialogues.take(), *exams))
        if self._votes and self._votes.awaits(result.request_id):
            self._votes.receive(result, correct=self.is_correct(result))
            return Step()
        if self._baselines and self._baselines.awaits(result.request_id):
            self._baselines.receive(result, correct=self.is_correct(result))
            return Step()
        if (grade := self._awaited_grades.pop(result.request_id, None)) is not None and result.score is not None:
            grade.material.grades.append(ExamGrade(grade.student, grade.ep, result.score))
        return Step()

    @property
    def finished(self) -> bool:
        """Whether every TR, exam answer and grade has arrived or failed."""
        awaited = bool(self._awaited_rationales or self._awaited_exams or self._awaited_grades)
        parts = (self._dialogues, self._votes, self._baselines)
        return not awaited and all(part is None or part.finished for part in parts)

    def totals(self) -> Mapping[str, int]:
        """Requests per stage. A TR that is awaited counts as distinct and usable."""
        lesson, exam = self._scenario.lesson, self._scenario.exam
        materials = [(len(one.materials) + one.awaited_rationales, len(one.item.eps)) for one in self._lessons]
        per_repeat = sum(number * eps for number, eps in materials) * len(self._scenario.students)
        dialogues = sum(number for number, eps in materials if eps) * len(self._scenario.students)
        return {
            "greedy": len(self._lessons) * (lesson.greedy and not self._greedy_is_sampled),
            "teach": len(self._lessons) * lesson.rationales,
            **({"ask": dialogues, "explain": dialogues - self._dialogues.spared} if self._dialogues else {}),
            "exam": per_repeat * exam.repeats - sum(one.saved.exams for one in self._lessons),
            **({"grade": per_repeat} if exam.score == "logprob" else {}),
            **({VOTES: self._votes.requests} if self._votes else {}),
            **(self._baselines.totals(self._lessons) if self._baselines else {}),
        }

    # --- for levels that continue this one --------------------------------------------------------------

    def lesson(self, tp: str) -> TeachingProblemRecord | None:
        """The record of one TP, once all its sampled TRs and exams have arrived; None before."""
        lesson = self._by_tp[tp]
        return self._record(lesson) if lesson.over else None

    def _record(self, lesson: ProblemState) -> TeachingProblemRecord:
        record = lesson.record(self._votes.of(lesson.item.tp.id) if self._votes else ())
        return self._baselines.added_to(record) if self._baselines else record

    def reopen(self, tp: str, rationales: int) -> None:
        """Keep this TP open for so many more TRs, each announced with `expect`."""
        self._by_tp[tp].awaited_rationales += rationales

    def expect(self, tp: str, request_id: str, repeat: int) -> None:
        """Treat the result of this request as another TR of the TP."""
        self._awaited_rationales[request_id] = (self._by_tp[tp], repeat)

    def outcome(self) -> Outcome:
        """Everything that is known now, TP by TP: the input of scoring."""
        return Outcome(invented=self._invented, lessons=tuple(self._record(lesson) for lesson in self._lessons))

    def message(self, request: Request, text_of: TextOf) -> Message:
        """The message of a request. Only that of a `Grade` holds a gold solution."""
        tp, demonstrations = self._problems[request.tp], self._bank.demonstrations
        if request.kind == "Teach":
            return Teach(problem=tp.text, answer_form=tp.form, sampling=request.sampling, demonstrations=demonstrations)
        if self._baselines and request.kind == "Judge":
            return self._baselines.message(request, tp, text_of)
        # A student that answers a TP alone has none.
        material = (Exemplar(tp.text, self._taught(request.tr, text_of)),) if request.tr else ()
        if self._dialogues and request.kind in ("Ask", "Explain"):
            return self._dialogues.message(request, material, text_of)
        ep = self._problems[request.ep]
        if request.kind == "Grade":
            return Grade(
                problem=ep.text,
                answer_form=ep.form,
                solution=ep.worked,
                material=material,
                demonstrations=demonstrations,
            )
        dialogue = self._dialogues.exchange(request.tr, request.to, text_of) if self._dialogues else ()
        return exam_message(ep.text, ep.form, request.sampling, material, demonstrations, dialogue)

    def _taught(self, tr: str, text_of: TextOf) -> str:
        """What students see of a TR: a whole solution, or its answer alone, in the form in which solutions end."""
        if self._scenario.lesson.material == "rationale":
            return text_of(tr)
        answer = self._answers[tr]
        return programs.block("", answer).strip() if "program" in self._shortened else f"Answer: {answer}"

    # --- requests ---------------------------------------------------------------------------------------

    def _teach(self, lesson: ProblemState) -> list[Request]:
        tp, settings = lesson.item.tp, self._scenario.lesson
        requests: list[Request] = []
        if settings.greedy and not self._greedy_is_sampled:
            requests.append(self._asker.teach(tp, "greedy", self._greedy))
            self._awaited_rationales[requests[0].id] = (lesson, None)
        n = settings.rationales
        for slot in range(n):
            request = self._asker.teach(tp, "teach", settings.sampling, repeat=slot, step=n)
            self._awaited_rationales[request.id] = (lesson, slot)
            lesson.asked.add(request.id)
            requests.append(request)
        return requests

    def _ask(
        self, lesson: ProblemState, material: RationaleState, key: str, dialogues: Dialogues
    ) -> tuple[Request, ...]:
        """Start a dialogue of every student about a TR."""
        for student in self._exam_keys:
            dialogues.begin(lesson.item.tp, material.tr, key, student)
            material.pending += 1
        return dialogues.take()

    def _receive_dialogue(self, ended: DialogueOutcome) -> list[Request]:
        """The exams of a student whose dialogue is over."""
        lesson = self._by_tp[ended.tp]
        material = lesson.materials[ended.material]
        material.silent += ended.dialogue is None
        if not ended.question.failed:
            material.talks += 1
            lesson.pay(ended.student, ended.question)
        if ended.answer is not None and not ended.answer.failed:
            material.talks += lesson.share(ended.student, ended.answer)
        exams = self._examine(lesson, material, ended.material, (ended.student,), ended.dialogue)
        material.pending -= 1
        return exams

    def _examine(
        self,
        lesson: ProblemState,
        material: RationaleState,
        key: str,
        students: Iterable[str],
        dialogue: Dialogue | None = None,
        only: tuple[int, int] | None = None,
    ) -> list[Request]:
        """The exams of students under a TR: all, or `only` those with this number of the EP and of the repeat."""
        exam, tp = self._scenario.exam, lesson.item.tp
        seen = (dialogue.key,) if dialogue else self._shortened
        requests = []
        ep_keys: dict[str, list[str]] = {}
        """By key of a student, which identical students share."""
        for student in students:
            identical, own = self._asker.identical(student), self._exam_keys[student]
            if own not in ep_keys:
                ep_keys[own] = [digest(own, tp.text, key, ep.text, ep.form, *seen) for ep in lesson.item.eps]
            for number, ep in enumerate(lesson.item.eps):
                for slot in range(exam.repeats):
                    if only not in (None, (number, slot)):
                        continue
                    request = self._asker.request(
                        "Examine",
                        student,
                        "exam",
                        self._sampling[student],
                        ep_keys[own][number],
                        tp=tp.id,
                        tr=material.tr,
                        ep=ep.id,
                        repeat=slot * identical,
                        step=exam.repeats * identical,
                    )
                    self._awaited_exams[request.id] = _AwaitedExam(lesson, material, student, number, slot)
                    requests.append(request)
                if exam.score == "logprob":
                    requests.append(self._grade(lesson, material, key, student, ep))
            material.pending += 1 if only else len(lesson.item.eps) * exam.repeats
        return requests

    def _grade(self, lesson: ProblemState, material: RationaleState, key: str, student: str, ep: Problem) -> Request:
        tp, step = lesson.item.tp, self._grade_asker.identical(student)
        grade_key = digest(self._grade_keys[student], tp.text, key, ep.text, ep.form, ep.worked, *self._shortened)
        request = self._grade_asker.request(
            "Grade", student, "grade", UNSAMPLED, grade_key, tp=tp.id, tr=material.tr, ep=ep.id, step=step
        )
        self._awaited_grades[request.id] = _AwaitedGrade(material, student, ep.id)
        return request

    def _with_baselines(self, lesson: ProblemState, step: Step) -> Step:
        """`step`, what baselines need and, once a TP is complete, its further TRs."""
        more = self._baselines.due(lesson) if self._baselines else ()
        if self._votes and lesson.over:
            more += self._votes.ask(lesson.item.tp, lesson.record(), lesson.asked)
        return msgspec.structs.replace(step, requests=(*step.requests, *more)) if more else step

    # --- results ----------------------------------------------------------------------------------------

    def _receive_rationale(self, result: Result, lesson: ProblemState, slot: int | None) -> Step:
        rationale = rationale_of(result, -1 if slot is None else slot, correct=self.is_correct(result))
        if slot is None:
            lesson.greedy = None if result.failed else rationale
            return Step()
        lesson.awaited_rationales -= 1
        if result.failed:
            return self._go_on(lesson)
        key = digest(result.text)
        lesson.rationales[slot] = (rationale, key)
        if self._greedy_is_sampled and result.request_id in lesson.asked:
            lesson.greedy = msgspec.structs.replace(rationale, repeat=-1)
        if result.answer is None or key in lesson.materials:
            return self._go_on(lesson)
        material = lesson.materials[key] = RationaleState(result.request_id)
        self._answers[result.request_id] = result.answer
        if self._rounds:
            return self._go_on(lesson)
        if lesson.item.abstains:
            return Step(feedback=lesson.feedback_to_students(self._exam_keys))
        if self._dialogues:
            return Step(requests=self._ask(lesson, material, key, self._dialogues))
        return Step(requests=tuple(self._examine(lesson, material, key, self._exam_keys)))

    def _receive_exam(self, result: Result, exam: _AwaitedExam) -> Step:
        lesson, material, student, number, slot = exam
        material.pending -= 1
        if not result.failed:
            ep = lesson.item.eps[number].id
            material.answers.append(ExamAnswer(student, ep, slot, self.is_correct(result)))
            lesson.pay(student, result)
        if material.pending:
            return Step()
        if self._rounds:
            return self._go_on(lesson)
        to_teacher = FeedbackDue(self._teacher, lesson.feedback(material.tr, material.answers))
        return Step(feedback=(to_teacher, *lesson.feedback_to_students(self._exam_keys)))

    def _go_on(self, lesson: ProblemState) -> Step:
        """The next round of a TP, where its exams come in rounds; or its feedback, once it is complete."""
        if self._rounds is None or not lesson.over:
            return Step(feedback=lesson.feedback_to_students(self._exam_keys))
        if due := self._rounds.next(lesson):
            exams = [
                self._examine(lesson, lesson.materials[key], key, self._exam_keys, only=(due.ep, due.repeat))
                for key in due.materials
            ]
            return Step(requests=tuple(chain.from_iterable(exams)))
        examined = [one for one in lesson.materials.values() if one.answers]
        about = [FeedbackDue(self._teacher, lesson.feedback(one.tr, one.answers)) for one in examined]
        return Step(feedback=(*about, *lesson.feedback_to_students(self._exam_keys)))

    def is_correct(self, result: Result) -> bool:
        """Whether an answer counts as correct under `scoring.cut_off`."""
        return result.counts_as_right(self._scenario.scoring)
