"""Level 1's figures by TP: how the exams under its TRs went, which TR is the best so far, and what each method chooses.

Scores and rules are those of scenarios/scoring/lbt.py. Only a TP with a new result is summed up again; the rules choose
once all its results are in.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from fractions import Fraction

from msgspec.structs import replace

from broker.work_messages import AnswerForm
from scenarios.config.schema import Scenario
from scenarios.levels.base import Request, Result
from scenarios.levels.observe.self_debug import REPAIR, REPAIRS
from scenarios.monitor.kinds import kinds
from scenarios.monitor.state import Best, LessonRow, RunningResults, ShareRow
from scenarios.records.observe import ExamAnswer, Rationale, TeachingProblemRecord
from scenarios.report.allocation import exams_per_rationale
from scenarios.scoring.lbt import Merge, Rule, Sheet, exact_mean
from scenarios.scoring.statistics import clustered, wilson
from scenarios.tasks.grading.answers import ClassGrader

RULES: dict[str, Rule] = {"SC": "sc", "MAX": "max", "SUM": "sum"}


class _ExaminedText:
    """The TRs of one TP that have the same text. They are examined once and counted as often as they came."""

    def __init__(self, first: Rationale) -> None:
        self.rationales = [first]
        self.exams: list[ExamAnswer] = []
        self.exam_results = 0
        """Failed exams, too."""
        self.right = Counter[str]()
        """Right ones among `exams`, by student."""
        self.sat = Counter[str]()
        self.repaired: str | None = None
        """The repaired program where it is right; it is that of further TRs with this text, too."""

    @property
    def rationale(self) -> Rationale:
        """The TR that came first."""
        return self.rationales[0]

    def add(self, student: str, right: bool, *, again: bool = False) -> None:
        """Count an exam answer; `again`: its repair, of one that was wrong."""
        self.right[student] += right
        self.sat[student] += not again

    def score(self, merge: Merge) -> Fraction:
        """The LbT score of `exams`, as in scoring/lbt.py, of one TR by itself."""
        if merge == "answers":
            return Fraction(self.right.total(), self.sat.total())
        return exact_mean([Fraction(self.right[name], n) for name, n in self.sat.items()])


class _LessonProgress:
    """One TP."""

    def __init__(self) -> None:
        self.texts: dict[int, _ExaminedText] = {}
        self.failed = 0
        self.greedy: bool | None = None
        self.grades = 0
        self.right = Counter[str]()
        """Right exam answers by student, or in a large class by kind of student."""
        self.answered = Counter[str]()
        self.last = ""
        self.chosen: dict[str, bool] | None = None
        """Whether the answer of each method is right; None: results are missing."""


class Lessons:
    """The TRs and exams of a class by TP.

    Args:
        scenario: the class.
        forms: of the answers of each TP.
        answerers: by agent; students with the same one and the same sampling take
            different repeats.
        abstaining: the TPs that have no exams.
    """

    def __init__(
        self,
        scenario: Scenario,
        forms: Mapping[str, AnswerForm],
        answerers: Mapping[str, str],
        abstaining: Collection[str] = (),
    ) -> None:
        self._scoring = scenario.scoring
        self._rationales = scenario.lesson.rationales
        self._students = tuple(student.name for student in scenario.students)
        self._kind_of = kinds(scenario)
        self._kinds = tuple(dict.fromkeys(self._kind_of[name] for name in self._students))
        """The students, or in a large class their kinds."""
        self._scenario = scenario
        self._forms = forms
        self._abstaining = abstaining
        group_of = {
            one.name: (answerers.get(one.name, one.name), scenario.sampling_of(one)) for one in scenario.students
        }
        group_sizes = Counter(group_of.values())
        self._slots = {name: scenario.exam.repeats * group_sizes[group] for name, group in group_of.items()}
        """By student: after so many repeats, a failed exam was asked again."""
        self.grader = ClassGrader()
        self._lessons: dict[str, _LessonProgress] = defaultdict(_LessonProgress)
        self._text_of: dict[str, _ExaminedText] = {}
        """By request id of the TR."""
        self._standing: RunningResults | None = RunningResults()
        """None: something changed since the last call."""

    def add(self, request: Request, result: Result, at: str) -> None:
        """Add one result of level 1 that is committed at the time `at`: a TR, an EA, a repair of either, or a grade."""
        lesson = self._lessons[request.tp]
        lesson.last = max(lesson.last, at)
        if request.stage == "exam":
            self._add_exam(lesson, request, result)
        elif request.stage == "greedy":
            lesson.greedy = None if result.failed else result.counts_as_right(self._scoring)
        elif request.stage in REPAIRS.values():
            if result.counts_as_right(self._scoring):
                self._repair(lesson, request, result.answer)
        elif request.stage == "grade":
            lesson.grades += 1
        elif result.failed:
            lesson.failed += 1
        else:
            self._add_rationale(lesson, request, result)

    def _add_rationale(self, lesson: _LessonProgress, request: Request, result: Result) -> None:
        right = result.counts_as_right(self._scoring)
        answer, behaviour = result.answer, result.behaviour
        rationale = Rationale(
            request.id, request.repeat, answer, right, result.completion_tokens, (), behaviour=behaviour
        )
        if (text := lesson.texts.get(key := hash(result.text))) is None:
            text = lesson.texts[key] = _ExaminedText(rationale)
        else:
            text.rationales.append(_repaired(rationale, text))
        self._text_of[request.id] = text

    def _add_exam(self, lesson: _LessonProgress, request: Request, result: Result) -> None:
        text = self._text_of[request.tr]
        text.exam_results += 1
        if not result.failed:
            right = result.counts_as_right(self._scoring)
            student = request.to
            text.exams.append(ExamAnswer(student, request.ep, request.repeat % self._slots[student], right))
            text.add(student, right)
            kind = self._kind_of[student]
            if right:
                lesson.right[kind] += 1
            lesson.answered[kind] += 1
            self._standing = None

    def _repair(self, lesson: _LessonProgress, request: Request, answer: str | None) -> None:
        """A TR or EA that was wrong is right now. One that got better, and is wrong still, is left as it was."""
        lesson.chosen = self._standing = None
        text = self._text_of.get(request.tr)
        if text is None:
            lesson.greedy = True
        elif request.stage == REPAIR:
            text.repaired = answer
            text.rationales = [_repaired(one, text) for one in text.rationales]
        else:
            slot = request.to, request.ep, request.repeat % self._slots[request.to]
            text.exams = [replace(one, correct=True) if one.slot == slot else one for one in text.exams]
            text.add(request.to, True, again=True)
            lesson.right[self._kind_of[request.to]] += 1

    def row(self, tp: str, record: TeachingProblemRecord | None = None, not_asked: int = 0) -> LessonRow:
        """Sum up one TP.

        Args:
            tp: its id.
            record: what the level knows of it, where its exams are not those of the scenario.
            not_asked: its exams that are not asked, since their students were dropped.
        """
        lesson = self._lessons[tp]
        texts = lesson.texts.values()
        arrived = lesson.failed + sum(len(text.rationales) for text in texts)
        to_examine = sum(text.rationale.answer is not None for text in texts) + max(0, self._rationales - arrived)
        per_text = exams_per_rationale(self._scenario, record or self._record(tp, _LessonProgress()))
        exams, exams_total = sum(text.exam_results for text in texts), to_examine * per_text
        exams_total -= not_asked + (record.saved.exams if record else 0)
        if arrived >= self._rationales and exams >= exams_total and lesson.chosen is None:
            lesson.chosen = self._choose(record or self._record(tp, lesson))
            self._standing = None
        return LessonRow(
            tp=tp,
            rationales=arrived,
            exams=exams,
            exams_total=exams_total,
            grades=lesson.grades,
            scores={student: lesson.right[student] / n for student, n in lesson.answered.items()},
            greedy=lesson.greedy,
            best=self._best(lesson, per_text),
            last=lesson.last,
        )

    def standing(self) -> RunningResults:
        """How often each method is right on the finished TPs, and each student in all exams so far."""
        if self._standing is None:
            finished = [one for one in self._lessons.values() if one.chosen is not None]
            marks: dict[str, list[bool]] = {"greedy": [one.greedy for one in finished if one.greedy is not None]}
            marks |= {name: [one.chosen[name] for one in finished if one.chosen] for name in RULES}
            exams = {
                name: [(one.right[name], one.answered[name]) for one in self._lessons.values()] for name in self._kinds
            }
            self._standing = RunningResults(
                len(finished),
                len(self._forms),
                tuple(
                    ShareRow(name, sum(right) / len(right), wilson(sum(right), len(right)), len(right))
                    for name, right in marks.items()
                    if right
                ),
                tuple(
                    ShareRow(name, sum(right for right, _ in groups) / n, clustered(groups), n)
                    for name, groups in exams.items()
                    if (n := sum(n for _, n in groups))
                ),
            )
        return self._standing

    def _choose(self, record: TeachingProblemRecord) -> dict[str, bool]:
        """Whether the answer that each rule chooses is right."""
        sheet = Sheet(record, self._same)
        return {name: sheet.choose(rule, self._students, self._scoring).correct for name, rule in RULES.items()}

    def _record(self, tp: str, lesson: _LessonProgress) -> TeachingProblemRecord:
        rationales = [
            replace(one, exams=exams)
            for text in lesson.texts.values()
            for exams in [tuple(text.exams)]
            for one in text.rationales
        ]
        abstains = tp in self._abstaining
        return TeachingProblemRecord(tp, self._forms[tp], None, tuple(rationales), abstains=abstains)

    def _same(self, one: str, other: str, form: AnswerForm) -> bool:
        # Comparing formulas takes a process of its own. Here they are the same if they are spelt the same; the report
        # looks closer.
        return form != "latex" and self.grader.same(one, other, form)

    def _best(self, lesson: _LessonProgress, exams: int) -> Best | None:
        """The TR with the highest LbT score; those with all their `exams` come first."""
        votes = Counter[str]()
        for text in lesson.texts.values():
            votes[text.rationale.compared] += len(text.rationales)
        ranked = [
            (
                text.exam_results >= exams,
                text.score(self._scoring.merge),
                votes[text.rationale.compared] if self._scoring.ties == "votes" else 0,
                -min(one.repeat for one in text.rationales),
                text.rationale,
            )
            for text in lesson.texts.values()
            if text.exams
        ]
        if not ranked:
            return None
        complete, score, _, _, rationale = max(ranked, key=lambda one: one[:4])
        return Best(rationale.shown or "", float(score), rationale.correct, complete)


def _repaired(rationale: Rationale, text: _ExaminedText) -> Rationale:
    return rationale if text.repaired is None else replace(rationale, answer=text.repaired, correct=True)
