"""Level 1, observing (M1): the teacher's TRs are judged by how well students do who were taught with them.

For each TP the teacher is asked once greedily and n times with sampling; each TR with an answer is put to every
student, on every EP, with repeats (paper, section 3). This file decides what is due and keeps what came; how
exams become a choice is scenarios/scoring/lbt.py, and what students may ask before them dialogue.py.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from broker.protocol import digest
from broker.work_messages import Examine, Exemplar, Feedback, Grade, Message, Sampling, Teach
from scenarios.levels.base import FeedbackDue, Outcome, Request, Result, Setup, Step
from scenarios.levels.observe.dialogue import DialogueOutcome, Dialogues, Talk
from scenarios.records.observe import ExamAnswer, ExamGrade, Rationale, TeachingProblemRecord
from scenarios.tasks.problems import Problem, ProblemGroup

UNSAMPLED = Sampling(temperature=0.0, max_tokens=0)
"""Of a Grade: nothing is drawn."""


class _Sitting(NamedTuple):
    """One exam answer that is awaited."""

    lesson: "_ProblemState"
    material: "_RationaleState"
    student: str
    ep: int
    repeat: int


class _Grading(NamedTuple):
    """One log-probability that is awaited."""

    material: "_RationaleState"
    student: str
    ep: str


class _RationaleState:
    """One distinct TR text of a TP, and its exams."""

    def __init__(self, tr: str) -> None:
        self.tr = tr
        self.answers: list[ExamAnswer] = []
        self.grades: list[ExamGrade] = []
        self.pending = 0
        """Exams and dialogues that are awaited."""
        self.talks = 0
        self.silent = 0


class _ProblemState:
    """One TP while its class goes on."""

    def __init__(self, item: ProblemGroup, rationales: int) -> None:
        self.item = item
        self.greedy: Rationale | None = None
        self.rationales: dict[int, tuple[Rationale, str]] = {}
        """By repeat: the TR without its exams, and the key of its material."""
        self.materials: dict[str, _RationaleState] = {}
        self.awaited_rationales = rationales
        self.exam_tokens = 0

    @property
    def over(self) -> bool:
        return not self.awaited_rationales and not any(m.pending for m in self.materials.values())


class ObserveLevel:
    """The state machine of level 1.

    Args:
        setup: what it is made from.
    """

    def __init__(self, setup: Setup) -> None:
        scenario, bank, answerers = setup.scenario, setup.bank, setup.answerers
        self._setup = setup
        self._scenario = scenario
        self._bank = bank
        self._problems = {p.id: p for item in bank.items for p in (item.tp, *item.eps)}
        lesson, exam = scenario.lesson, scenario.exam
        shared = (scenario.seed, bank.demonstrations)
        self._greedy = msgspec.structs.replace(lesson.sampling, temperature=0.0)
        self._greedy_key = digest("Teach", setup.teacher, self._greedy, *shared)
        self._teach_key = digest("Teach", setup.teacher, lesson.sampling, *shared)
        self._exam_keys = {
            s.name: digest("Examine", answerers[s.name], exam.sampling, *shared) for s in scenario.students
        }
        self._grade_keys = {s.name: digest("Grade", answerers[s.name], *shared) for s in scenario.students}
        # Students who would answer alike (same model, persona, engine) sit other repeats of the same question.
        self._alike = Counter(self._exam_keys.values())
        self._first_repeat: dict[str, int] = {}
        seen = Counter[str]()
        for student, key in self._exam_keys.items():
            self._first_repeat[student] = seen[key]
            seen[key] += 1
        self._dialogues = Dialogues(setup, self._first_repeat) if exam.questions else None
        self._lessons = [_ProblemState(item, lesson.rationales) for item in bank.items]
        self._by_tp = {lesson.item.tp.id: lesson for lesson in self._lessons}
        self._rationales: dict[str, tuple[_ProblemState, int | None]] = {}
        """Awaited TRs by request id, with their repeat; None: the greedy one."""
        self._sittings: dict[str, _Sitting] = {}
        self._gradings: dict[str, _Grading] = {}

    def begin(self) -> Step:
        """Ask for every TR: TP by TP, the greedy one first."""
        return Step(requests=tuple(r for lesson in self._lessons for r in self._teach(lesson)))

    def receive(self, result: Result) -> Step:
        """A TR makes its exams due; the last exam of a TR makes feedback due."""
        if (awaited := self._rationales.pop(result.request_id, None)) is not None:
            return self._receive_rationale(result, *awaited)
        if (sitting := self._sittings.pop(result.request_id, None)) is not None:
            return self._receive_exam(result, sitting)
        if self._dialogues and self._dialogues.awaits(result.request_id):
            exams = [exam for ended in self._dialogues.receive(result) for exam in self._after(ended)]
            return Step(requests=(*self._dialogues.take(), *exams))
        if (grading := self._gradings.pop(result.request_id, None)) is not None and result.score is not None:
            grading.material.grades.append(ExamGrade(grading.student, grading.ep, result.score))
        return Step()

    @property
    def finished(self) -> bool:
        """Whether every TR and every exam answer is there, or has failed for good."""
        talking = self._dialogues is not None and not self._dialogues.finished
        return not (self._rationales or self._sittings or self._gradings or talking)

    def totals(self) -> Mapping[str, int]:
        """Requests per stage. A TR not seen yet counts as one that will be examined."""
        lesson, exam = self._scenario.lesson, self._scenario.exam
        materials = [(len(one.materials) + one.awaited_rationales, len(one.item.eps)) for one in self._lessons]
        per_repeat = sum(number * eps for number, eps in materials) * len(self._scenario.students)
        dialogues = sum(number for number, _ in materials) * len(self._scenario.students)
        return {
            "greedy": len(self._lessons) * lesson.greedy,
            "teach": len(self._lessons) * lesson.rationales,
            **({"ask": dialogues, "explain": dialogues - self._dialogues.spared} if self._dialogues else {}),
            "exam": per_repeat * exam.repeats,
            **({"grade": per_repeat} if exam.score == "logprob" else {}),
        }

    # --- for levels that go on from this one ------------------------------------------------------------

    def lesson(self, tp: str) -> TeachingProblemRecord | None:
        """What came of one TP, once all its sampled TRs and exams are there; None before."""
        lesson = self._by_tp[tp]
        return self._outcome(lesson) if lesson.over else None

    def reopen(self, tp: str, rationales: int) -> None:
        """So many more TRs of this TP will come, each by `expect`; until then it is not over."""
        self._by_tp[tp].awaited_rationales += rationales

    def expect(self, tp: str, request_id: str, repeat: int) -> None:
        """What comes of this request is one of them: examined, and told of, as any other."""
        self._rationales[request_id] = (self._by_tp[tp], repeat)

    def outcome(self) -> Outcome:
        """All that is known now, TP by TP: what scoring works on."""
        return Outcome(lessons=tuple(self._outcome(lesson) for lesson in self._lessons))

    def message(self, request: Request, text_of: Callable[[str], str]) -> Message:
        """The texts that a request refers to. No gold answer is among them, but for the solution of a `Grade`."""
        tp, demonstrations = self._problems[request.tp], self._bank.demonstrations
        if request.kind == "Teach":
            return Teach(problem=tp.text, answer_form=tp.form, sampling=request.sampling, demonstrations=demonstrations)
        material = (Exemplar(tp.text, text_of(request.tr)),)
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
        return Examine(
            problem=ep.text,
            answer_form=ep.form,
            sampling=request.sampling,
            material=material,
            demonstrations=demonstrations,
            dialogue=self._dialogues.exchange(request.tr, request.to, text_of) if self._dialogues else (),
        )

    # --- asking -----------------------------------------------------------------------------------------

    def _teach(self, lesson: _ProblemState) -> list[Request]:
        tp = lesson.item.tp
        sampling, n = self._scenario.lesson.sampling, self._scenario.lesson.rationales
        requests: list[Request] = []

        def ask(id: str, repeat: int, stage: str, sampling: Sampling) -> None:
            to, weights = self._scenario.teacher.name, self._setup.weights
            requests.append(Request(id, "Teach", to, stage, sampling, tp.id, repeat=repeat, weights=weights))

        if self._scenario.lesson.greedy:
            id, repeat = self._setup.unused(digest(self._greedy_key, tp.text, tp.form))
            self._rationales[id] = (lesson, None)
            ask(id, repeat, "greedy", self._greedy)
        key = digest(self._teach_key, tp.text, tp.form)
        for slot in range(n):
            id, repeat = self._setup.unused(key, slot, n)
            self._rationales[id] = (lesson, slot)
            ask(id, repeat, "teach", sampling)
        return requests

    def _ask(
        self, lesson: _ProblemState, material: _RationaleState, key: str, dialogues: Dialogues
    ) -> tuple[Request, ...]:
        """Let every student ask about a TR."""
        for student in self._exam_keys:
            dialogues.begin(lesson.item.tp, material.tr, key, student)
            material.pending += 1
        return dialogues.take()

    def _after(self, ended: DialogueOutcome) -> list[Request]:
        """The exams of a student whose question is answered, or will not be."""
        lesson = self._by_tp[ended.tp]
        material = lesson.materials[ended.material]
        material.talks += ended.completions
        material.silent += ended.talk is None
        lesson.exam_tokens += ended.tokens
        exams = self._examine(lesson, material, ended.material, (ended.student,), ended.talk)
        material.pending -= 1
        return exams

    def _examine(
        self,
        lesson: _ProblemState,
        material: _RationaleState,
        key: str,
        students: Iterable[str],
        talk: Talk | None = None,
    ) -> list[Request]:
        exam, tp = self._scenario.exam, lesson.item.tp
        told = (talk.key,) if talk else ()
        requests = []
        for student in students:
            student_key = self._exam_keys[student]
            first, alike = self._first_repeat[student], self._alike[student_key]
            for number, ep in enumerate(lesson.item.eps):
                ep_key = digest(student_key, tp.text, key, ep.text, ep.form, *told)
                for slot in range(exam.repeats):
                    id, repeat = self._setup.unused(ep_key, slot * alike + first, exam.repeats * alike)
                    self._sittings[id] = _Sitting(lesson, material, student, number, slot)
                    requests.append(
                        Request(
                            id,
                            "Examine",
                            student,
                            "exam",
                            exam.sampling,
                            tp.id,
                            tr=material.tr,
                            ep=ep.id,
                            repeat=repeat,
                        )
                    )
                if exam.score == "logprob":
                    requests.append(self._grade(lesson, material, key, student, ep))
            material.pending += len(lesson.item.eps) * exam.repeats
        return requests

    def _grade(self, lesson: _ProblemState, material: _RationaleState, key: str, student: str, ep: Problem) -> Request:
        tp, alike = lesson.item.tp, self._alike[self._exam_keys[student]]
        told = digest(self._grade_keys[student], tp.text, key, ep.text, ep.form, ep.worked)
        # Asked once; that of another student who answers alike is one repeat on, as with exams.
        id, repeat = self._setup.unused(told, self._first_repeat[student], alike)
        self._gradings[id] = _Grading(material, student, ep.id)
        return Request(id, "Grade", student, "grade", UNSAMPLED, tp.id, tr=material.tr, ep=ep.id, repeat=repeat)

    # --- receiving --------------------------------------------------------------------------------------

    def _receive_rationale(self, result: Result, lesson: _ProblemState, slot: int | None) -> Step:
        rationale = Rationale(
            id=result.request_id,
            repeat=-1 if slot is None else slot,
            answer=result.answer,
            correct=self.graded(result),
            completion_tokens=result.completion_tokens,
            exams=(),
            ended=result.finish_reason != "length",
        )
        if slot is None:
            lesson.greedy = None if result.failed else rationale
            return Step()
        lesson.awaited_rationales -= 1
        if result.failed:
            return Step(feedback=self._farewell(lesson))
        key = digest(result.text)
        lesson.rationales[slot] = (rationale, key)
        if result.answer is None or key in lesson.materials:
            return Step(feedback=self._farewell(lesson))
        material = lesson.materials[key] = _RationaleState(result.request_id)
        if self._dialogues:
            return Step(requests=self._ask(lesson, material, key, self._dialogues))
        return Step(requests=tuple(self._examine(lesson, material, key, self._exam_keys)))

    def _receive_exam(self, result: Result, sitting: _Sitting) -> Step:
        lesson, material, student, number, slot = sitting
        material.pending -= 1
        if not result.failed:
            ep = lesson.item.eps[number].id
            material.answers.append(ExamAnswer(student, ep, slot, self.graded(result)))
            lesson.exam_tokens += result.completion_tokens
        if material.pending:
            return Step()
        told = FeedbackDue(self._scenario.teacher.name, self._feedback(lesson, material.tr, material.answers))
        return Step(feedback=(told, *self._farewell(lesson)))

    def graded(self, result: Result) -> bool:
        """Whether an answer counts as right, as `scoring` has it."""
        cut_off = result.finish_reason == "length" and self._scenario.scoring.cut_off == "wrong"
        return result.correct and not cut_off

    # --- telling ----------------------------------------------------------------------------------------

    def _feedback(self, lesson: _ProblemState, about: str, answers: list[ExamAnswer]) -> Feedback:
        asked, right = Counter[str](), Counter[str]()
        for answer in answers:
            asked[answer.student] += 1
            right[answer.student] += answer.correct
        texts = {ep.id: ep.text for ep in lesson.item.eps}
        failed = sorted({answer.ep for answer in answers if not answer.correct})
        scores = {student: round(right[student] / asked[student], 4) for student in sorted(asked)}
        return Feedback(about=about, lbt_scores=scores, failed=tuple(texts[ep] for ep in failed))

    def _farewell(self, lesson: _ProblemState) -> tuple[FeedbackDue, ...]:
        """Once a TP is over, every student hears how it fared under all its TRs."""
        if not lesson.over:
            return ()
        answers = [answer for material in lesson.materials.values() for answer in material.answers]
        told = []
        for student in self._exam_keys:
            own = [answer for answer in answers if answer.student == student]
            if own:
                told.append(FeedbackDue(student, self._feedback(lesson, lesson.item.tp.id, own)))
        return tuple(told)

    # --- outcome ----------------------------------------------------------------------------------------

    def _outcome(self, lesson: _ProblemState) -> TeachingProblemRecord:
        rationales = []
        for _, (rationale, key) in sorted(lesson.rationales.items()):
            material = lesson.materials.get(key)
            exams = tuple(sorted(material.answers, key=msgspec.structs.astuple)) if material else ()
            grades = tuple(sorted(material.grades, key=msgspec.structs.astuple)) if material else ()
            talks, silent = (material.talks, material.silent) if material else (0, 0)
            rationales.append(
                msgspec.structs.replace(rationale, exams=exams, material=key, grades=grades, talks=talks, silent=silent)
            )
        tp = lesson.item.tp
        return TeachingProblemRecord(tp.id, tp.form, lesson.greedy, tuple(rationales), lesson.exam_tokens)
