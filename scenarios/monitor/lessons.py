"""Level 1's figures by TP: how the exams under its TRs went, and which TR is the best so far.

The LbT score is that of scenarios/scoring/lbt.py. Only a TP with a new result is summed up again.
"""

from collections import Counter, defaultdict
from fractions import Fraction

from msgspec.structs import replace

from scenarios.config.schema import Scenario
from scenarios.levels.base import Request, Result
from scenarios.monitor.state import Best, LessonRow
from scenarios.records.observe import ExamAnswer, Rationale
from scenarios.scoring.lbt import lbt_score


class _ExaminedText:
    """The TRs of one TP that have the same text. They are examined once and counted as often as they came."""

    def __init__(self, rationale: Rationale) -> None:
        self.rationale = rationale
        self.count = 0
        self.first = rationale.repeat
        """The smallest repeat among them."""
        self.exams: list[ExamAnswer] = []
        self.exam_results = 0
        """Failed exams, too."""
        self.score: Fraction | None = None
        """The LbT score of `exams`; None: it is not computed yet."""


class _LessonProgress:
    """One TP."""

    def __init__(self) -> None:
        self.texts: dict[int, _ExaminedText] = {}
        self.failed = 0
        self.greedy: bool | None = None
        self.grades = 0
        self.right = Counter[str]()
        """Right exam answers by student."""
        self.answered = Counter[str]()
        self.last = ""


class Lessons:
    """The TRs and exams of a class by TP."""

    def __init__(self, scenario: Scenario) -> None:
        self._scoring = scenario.scoring
        self._rationales = scenario.lesson.rationales
        self._students = tuple(student.name for student in scenario.students)
        self._exams_per_text = len(self._students) * scenario.exam.problems * scenario.exam.repeats
        self._lessons: dict[str, _LessonProgress] = defaultdict(_LessonProgress)
        self._text_of: dict[str, _ExaminedText] = {}
        """By request id of the TR."""

    def add(self, request: Request, result: Result, at: str) -> None:
        """Add one result of the stages greedy, teach, exam and grade, committed at the time `at`."""
        lesson = self._lessons[request.tp]
        lesson.last = max(lesson.last, at)
        if request.stage == "greedy":
            lesson.greedy = None if result.failed else result.correct
        elif request.stage == "grade":
            lesson.grades += 1
        elif request.stage == "exam":
            self._add_exam(lesson, request, result)
        elif result.failed:
            lesson.failed += 1
        else:
            self._add_rationale(lesson, request, result)

    def _add_rationale(self, lesson: _LessonProgress, request: Request, result: Result) -> None:
        rationale = Rationale(request.id, request.repeat, result.answer, result.correct, result.completion_tokens, ())
        text = lesson.texts.setdefault(hash(result.text), _ExaminedText(rationale))
        text.count += 1
        text.first = min(text.first, request.repeat)
        self._text_of[request.id] = text

    def _add_exam(self, lesson: _LessonProgress, request: Request, result: Result) -> None:
        text = self._text_of[request.tr]
        text.exam_results += 1
        if not result.failed:
            text.exams.append(ExamAnswer(request.to, request.ep, request.repeat, result.correct))
            text.score = None
            lesson.right[request.to] += result.correct
            lesson.answered[request.to] += 1

    def row(self, tp: str) -> LessonRow:
        """Sum up one TP."""
        lesson = self._lessons[tp]
        texts = lesson.texts.values()
        arrived = lesson.failed + sum(text.count for text in texts)
        to_examine = sum(text.rationale.answer is not None for text in texts) + max(0, self._rationales - arrived)
        return LessonRow(
            tp=tp,
            rationales=arrived,
            exams=sum(text.exam_results for text in texts),
            exams_total=to_examine * self._exams_per_text,
            grades=lesson.grades,
            scores={student: lesson.right[student] / n for student, n in lesson.answered.items()},
            greedy=lesson.greedy,
            best=self._best(lesson),
            last=lesson.last,
        )

    def _best(self, lesson: _LessonProgress) -> Best | None:
        """The TR with the highest LbT score; those with all their exams come first."""
        votes = Counter[str | None]()
        for text in lesson.texts.values():
            votes[text.rationale.answer] += text.count
        ranked = [
            (
                text.exam_results >= self._exams_per_text,
                self._score(text),
                votes[text.rationale.answer] if self._scoring.ties == "votes" else 0,
                -text.first,
                text.rationale,
            )
            for text in lesson.texts.values()
            if text.exams
        ]
        if not ranked:
            return None
        complete, score, _, _, rationale = max(ranked, key=lambda one: one[:4])
        return Best(rationale.answer or "", float(score), rationale.correct, complete)

    def _score(self, text: _ExaminedText) -> Fraction:
        if text.score is None:
            examined = replace(text.rationale, exams=tuple(text.exams))
            text.score = lbt_score(examined, self._students, self._scoring.merge)
        return text.score
