"""Sums per agent and per lesson, as the monitor shows them, whoever reads the results: ledger.py or shadow.py. Pure."""

from collections import defaultdict
from dataclasses import dataclass, field

from scenarios.config.schema import Scenario
from scenarios.monitor.snapshot import Best, LessonRow


@dataclass(slots=True)
class Tally:
    """What one agent did."""

    done: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def add(self, other: "Tally", sign: int = 1) -> None:
        """Add `other`, or take it away."""
        self.done += sign * other.done
        self.failed += sign * other.failed
        self.prompt_tokens += sign * other.prompt_tokens
        self.cached_tokens += sign * other.cached_tokens
        self.completion_tokens += sign * other.completion_tokens


@dataclass(slots=True)
class Sat:
    """The exams one student sat under one TR, or the solutions it graded there."""

    tally: Tally
    given_up: int
    """Failures that are asked again under another id: they no longer count."""
    right: float

    @property
    def graded(self) -> int:
        """How many there is a grade of."""
        return self.tally.done - self.tally.failed


@dataclass(slots=True)
class _RationaleView:
    """The TRs of one TP that have the same text: examined once, counted as often as they came."""

    answer: str | None
    correct: bool
    first: int
    """The smallest repeat among them."""
    ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _ProblemView:
    materials: dict[int, _RationaleView] = field(default_factory=dict)
    failed: int = 0
    greedy: bool | None = None
    last: str = ""


class Lessons:
    """The TRs and exams of a class, TP by TP."""

    def __init__(self, scenario: Scenario) -> None:
        self._merge = scenario.scoring.merge
        self._ties = scenario.scoring.ties
        self._rationales = scenario.lesson.rationales
        self._per_tr = len(scenario.students) * scenario.exam.problems * scenario.exam.repeats
        self._lessons: dict[str, _ProblemView] = defaultdict(_ProblemView)
        self.lesson_of: dict[str, str] = {}
        """TP of every TR, the greedy ones and failed ones too."""
        self.exams: dict[str, dict[tuple[str, str], Sat]] = {}
        """By TR, then by student and stage: exam, or grade."""

    def came(self, request_id: str, tp: str, at: str) -> None:
        """A TR of this TP was committed."""
        self.lesson_of[request_id] = tp
        self.touch(tp, at)

    def touch(self, tp: str, at: str) -> None:
        """Something of this TP was committed."""
        self._lessons[tp].last = max(self._lessons[tp].last, at)

    def greedy(self, tp: str, correct: bool | None) -> None:
        """The greedy answer; None: it failed."""
        self._lessons[tp].greedy = correct

    def failed(self, tp: str) -> None:
        """A TR that will not be there."""
        self._lessons[tp].failed += 1

    def rationale(self, request_id: str, tp: str, repeat: int, text: str, answer: str | None, correct: bool) -> None:
        """A TR to examine, unless there was one like it or it has no answer."""
        material = self._lessons[tp].materials.setdefault(hash(text), _RationaleView(answer, correct, repeat))
        material.first = min(material.first, repeat)
        material.ids.append(request_id)

    def row(self, tp: str) -> LessonRow:
        """What is known of this TP now."""
        lesson = self._lessons[tp]
        votes: dict[str | None, int] = defaultdict(int)
        for material in lesson.materials.values():
            votes[material.answer] += len(material.ids)
        right: dict[str, float] = defaultdict(float)
        graded: dict[str, int] = defaultdict(int)
        best: Best | None = None
        best_key: tuple[float, ...] = ()
        exams = grades = 0
        for material in lesson.materials.values():
            under = [one for i in material.ids for one in self.exams.get(i, {}).items()]
            grades += sum(s.tally.done - s.given_up for (_, stage), s in under if stage == "grade")
            sat = [(name, s) for (name, stage), s in under if stage != "grade"]
            done = sum(s.tally.done - s.given_up for _, s in sat)
            exams += done
            for name, s in sat:
                right[name] += s.right
                graded[name] += s.graded
            score = self._score([s for _, s in sat if s.graded])
            if score is None:
                continue
            complete = done >= self._per_tr
            support = votes[material.answer] if self._ties == "votes" else 0
            key = (complete, score, support, -material.first)
            if best is None or key > best_key:
                best_key = key
                best = Best(material.answer or "", score, material.correct, complete)
        came = lesson.failed + sum(len(m.ids) for m in lesson.materials.values())
        examined = sum(m.answer is not None for m in lesson.materials.values())
        return LessonRow(
            tp=tp,
            rationales=came,
            exams=exams,
            exams_total=(examined + max(0, self._rationales - came)) * self._per_tr,
            grades=grades,
            scores={name: right[name] / n for name, n in graded.items() if n},
            greedy=lesson.greedy,
            best=best,
            last=lesson.last,
        )

    def _score(self, sat: list[Sat]) -> float | None:
        if not sat:
            return None
        if self._merge == "students":
            return sum(s.right / s.graded for s in sat) / len(sat)
        return sum(s.right for s in sat) / sum(s.graded for s in sat)
