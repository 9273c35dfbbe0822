"""What level 1 knows of one TP: its TRs, their exams, and what is awaited."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from broker.work_messages import Feedback
from scenarios.levels.base import FeedbackDue, Result
from scenarios.records.observe import (
    ExamAnswer,
    ExamCost,
    ExamGrade,
    ExplanationCost,
    Rationale,
    Saved,
    TeachingProblemRecord,
)
from scenarios.tasks.problems import ProblemGroup


class RationaleState:
    """One distinct TR text of a TP, and its exams."""

    def __init__(self, tr: str) -> None:
        self.tr = tr
        """Request id of the first TR with this text."""
        self.answers: list[ExamAnswer] = []
        self.grades: list[ExamGrade] = []
        self.pending = 0
        """Number of exams and dialogues that are awaited."""
        self.talks = 0
        self.silent = 0
        self.dropped = False
        """Whether its exams ended early (`exam.allocation: halving`)."""


class ProblemState:
    """One TP, its TRs and their exams."""

    def __init__(self, item: ProblemGroup, rationales: int) -> None:
        self.item = item
        self.greedy: Rationale | None = None
        self.rationales: dict[int, tuple[Rationale, str]] = {}
        """By repeat: the TR without its exams, and the digest of its text."""
        self.materials: dict[str, RationaleState] = {}
        """By digest of the text."""
        self.awaited_rationales = rationales
        self.asked: set[str] = set()
        """Request ids of all sampled TRs."""
        self.saved = Saved()
        self.exam_tokens = 0
        self.exam_prompt_tokens = 0
        self.exam_cached_prompt_tokens = 0
        self._paid: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        """By student: prompt and completion tokens."""
        self._shared: dict[str, tuple[Result, set[str]]] = {}
        """By request id: the teacher's answer to a question, and the students who asked it."""

    def pay(self, student: str, result: Result) -> None:
        """Add the tokens of a student's exam answer or question."""
        prompt, completion = self._paid[student]
        self._paid[student] = prompt + result.prompt_tokens, completion + result.completion_tokens
        self._count(result)

    def share(self, student: str, result: Result) -> bool:
        """Add the tokens of an answer to a question, once for all students who ask the same; whether they are new."""
        new = result.request_id not in self._shared
        if new:
            self._shared[result.request_id] = result, set()
            self._count(result)
        self._shared[result.request_id][1].add(student)
        return new

    def _count(self, result: Result) -> None:
        self.exam_tokens += result.completion_tokens
        self.exam_prompt_tokens += result.prompt_tokens
        self.exam_cached_prompt_tokens += result.cached_prompt_tokens

    @property
    def over(self) -> bool:
        """Whether all sampled TRs and exams have arrived or failed."""
        return not self.awaited_rationales and not any(m.pending for m in self.materials.values())

    def feedback(self, about: str, answers: Sequence[ExamAnswer]) -> Feedback:
        """The feedback on some exams under this TP; `about`: what they were about, a TR or the TP."""
        asked, right = Counter[str](), Counter[str]()
        for answer in answers:
            asked[answer.student] += 1
            right[answer.student] += answer.correct
        texts = {ep.id: ep.text for ep in self.item.eps}
        failed = sorted({answer.ep for answer in answers if not answer.correct})
        scores = {student: round(right[student] / asked[student], 4) for student in sorted(asked)}
        return Feedback(about=about, lbt_scores=scores, failed=tuple(texts[ep] for ep in failed))

    def feedback_to_students(self, students: Iterable[str]) -> tuple[FeedbackDue, ...]:
        """Once the TP is complete, the feedback of each student who was examined, on the exams under all its TRs."""
        if not self.over:
            return ()
        by_student: dict[str, list[ExamAnswer]] = {name: [] for name in students}
        for material in self.materials.values():
            for answer in material.answers:
                if answer.student in by_student:
                    by_student[answer.student].append(answer)
        return tuple(FeedbackDue(name, self.feedback(self.item.tp.id, own)) for name, own in by_student.items() if own)

    def record(self, votes: tuple[Rationale, ...] = ()) -> TeachingProblemRecord:
        """Everything that is known now; `votes` are its further TRs."""
        rationales = []
        for _, (rationale, key) in sorted(self.rationales.items()):
            material = self.materials.get(key)
            exams = tuple(sorted(material.answers, key=msgspec.structs.astuple)) if material else ()
            grades = tuple(sorted(material.grades, key=msgspec.structs.astuple)) if material else ()
            talks, silent, dropped = (material.talks, material.silent, material.dropped) if material else (0, 0, False)
            rationales.append(
                msgspec.structs.replace(
                    rationale, exams=exams, material=key, grades=grades, talks=talks, silent=silent, dropped=dropped
                )
            )
        explained: defaultdict[tuple[str, ...], tuple[int, int]] = defaultdict(lambda: (0, 0))
        for result, students in self._shared.values():
            prompt, completion = explained[together := tuple(sorted(students))]
            explained[together] = prompt + result.prompt_tokens, completion + result.completion_tokens
        tp = self.item.tp
        return TeachingProblemRecord(
            tp=tp.id,
            form=tp.form,
            greedy=self.greedy,
            rationales=tuple(rationales),
            exam_tokens=self.exam_tokens,
            exam_prompt_tokens=self.exam_prompt_tokens,
            exam_cached_prompt_tokens=self.exam_cached_prompt_tokens,
            exam_costs=tuple(ExamCost(student, *tokens) for student, tokens in sorted(self._paid.items())),
            explanation_costs=tuple(
                ExplanationCost(students, *tokens) for students, tokens in sorted(explained.items())
            ),
            votes=votes,
            similarities=self.item.similarities,
            abstains=self.item.abstains,
            invented=self.item.invented,
            saved=self.saved,
        )
