"""What the exams say about a lesson's answers, and which answer each rule hands in.

Pure: lessons in, choices out; no store, no grader, no prose. Scores are exact fractions, so equal scores are
ties and not accidents of rounding. The rules are M1's (arXiv 2406.14629): MAX, SUM, AVG over LbT scores, and the
baselines greedy and SC. Other line-ups of students are scored in lineups.py.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal

import msgspec
from msgspec.structs import replace

from broker.work_messages import AnswerForm
from scenarios.config.schema import Scoring
from scenarios.records.observe import Rationale, TeachingProblemRecord

Rule = Literal["greedy", "sc", "max", "sum", "avg"]
Merge = Literal["answers", "students"]
Same = Callable[[str, str, AnswerForm], bool]
"""Whether two answers are equivalent. Symmetric."""


class ChosenAnswer(msgspec.Struct, frozen=True):
    """The answer that a rule hands in for one TP."""

    answer: str | None
    """None: there was no answer to choose from."""
    correct: bool
    tied: bool = False
    """Several answers had the best score: something other than the score decided."""
    expected_correct: float = 0.0
    """The expected correctness if ties were broken at random: the mean over the answers with the best score."""


class Group(msgspec.Struct, frozen=True):
    """The TRs of one TP whose answers are equivalent."""

    representative: Rationale
    """The first by repeat. Its answer is the one handed in, so its grade counts for the group, even where the
    grader judged another spelling of the same answer otherwise (`mixed`)."""
    members: tuple[Rationale, ...]

    @property
    def correct(self) -> bool:
        """Whether the answer this group would hand in is right."""
        return self.representative.correct

    @property
    def mixed(self) -> bool:
        """Whether the grader contradicts itself within the group."""
        return any(m.correct != self.correct for m in self.members)


class Assumption(msgspec.Struct, frozen=True):
    """The paper's assumption, measured: teaching a right TR makes better students than teaching a wrong one."""

    right_beats_wrong: float | None
    """Share of the pairs; None where there is no pair."""
    ties: float | None
    pairs: int


def lbt_score(rationale: Rationale, students: Sequence[str], merge: Merge) -> Fraction:
    """The LbT score of one TR among `students`; 0 where none of them was examined.

    Args:
        rationale: The TR with its EAs.
        students: The line-up; EAs of others do not count.
        merge: answers: the mean over all EAs. students: the mean of each student's mean, over those who sat.
    """
    counts = {student: [0, 0] for student in students}
    for exam in rationale.exams:
        if exam.student in counts:
            counts[exam.student][0] += exam.correct
            counts[exam.student][1] += 1
    parts = [(right, sat) for right, sat in counts.values() if sat]
    if merge == "answers":
        parts = [(sum(right for right, _ in parts), sum(sat for _, sat in parts))] if parts else []
    return sum((Fraction(right, sat) for right, sat in parts), Fraction(0)) / max(len(parts), 1)


def on_common_slots(rationales: Iterable[Rationale], students: Collection[str]) -> list[Rationale]:
    """The TRs with an answer that one of `students` was examined under, with those of their EAs that all of them have.

    Where a request failed, a TR lacks an EA. EPs are not equally hard, so means over different EAs do not compare TRs.

    Args:
        rationales: TRs of one TP.
        students: The line-up; EAs of others are left out.
    """
    own = {
        one.id: replace(one, exams=tuple(exam for exam in one.exams if exam.student in students))
        for one in rationales
        if one.answer is not None
    }
    examined = [one for one in own.values() if one.exams]
    if not examined:
        return []
    common = set.intersection(*({exam.slot for exam in one.exams} for one in examined))
    return [replace(one, exams=tuple(exam for exam in one.exams if exam.slot in common)) for one in examined]


def lbt_scores(rationales: Iterable[Rationale], students: Sequence[str], merge: Merge) -> dict[str, Fraction]:
    """The LbT scores, by id, of the TRs of one TP that can be compared: on the EAs that all of them have.

    Empty where no student sat the same exam under all of them.
    """
    compared = on_common_slots(rationales, students)
    return {one.id: lbt_score(one, students, merge) for one in compared if one.exams}


class Sheet:
    """One lesson prepared for scoring: answers grouped once."""

    def __init__(self, lesson: TeachingProblemRecord, same: Same) -> None:
        """Group the answers of `lesson`: each joins the first group, by repeat, whose representative it equals."""
        self.lesson = lesson
        rows: list[list[Rationale]] = []
        # Equal strings are never compared twice: `same` may be a call into a slow grader.
        known: dict[str, list[Rationale]] = {}
        for rationale in sorted(lesson.rationales, key=lambda r: (r.repeat, r.id)):
            answer = rationale.answer
            if answer is None:
                continue
            if answer not in known:
                for row in rows:
                    if same(row[0].answer or "", answer, lesson.form):
                        known[answer] = row
                        break
                else:
                    known[answer] = []
                    rows.append(known[answer])
            known[answer].append(rationale)
        self.groups = tuple(Group(row[0], tuple(row)) for row in rows)
        self._scores: tuple[tuple[Sequence[str], Merge], dict[str, Fraction]] = (((), "answers"), {})

    def choose(self, rule: Rule, students: Sequence[str], scoring: Scoring) -> ChosenAnswer:
        """The answer that `rule` hands in.

        Args:
            rule: How scores become a choice.
            students: The line-up whose exams count.
            scoring: How students are merged and ties are broken.
        """
        if rule == "greedy":
            greedy = self.lesson.greedy
            if greedy is None or greedy.answer is None:
                return ChosenAnswer(None, False)
            return ChosenAnswer(greedy.answer, greedy.correct, False, float(greedy.correct))
        if self._scores[0] != (students, scoring.merge):  # several rules ask for the same ones one after the other
            self._scores = ((students, scoring.merge), lbt_scores(self.lesson.rationales, students, scoring.merge))
        return self.best([_score(group, self._scores[1], rule) for group in self.groups], scoring)

    def best(self, scores: Sequence[Fraction] | Sequence[float], scoring: Scoring) -> ChosenAnswer:
        """The answer with the best score; `scores` are in the order of the groups."""
        if not self.groups:
            return ChosenAnswer(None, False)
        best = max(scores)
        tied = [group for group, score in zip(self.groups, scores, strict=True) if score == best]
        # Groups stand in the order of their first repeat and max() keeps the first: the smallest repeat wins.
        chosen = tied[0] if scoring.ties == "first" else max(tied, key=lambda group: len(group.members))
        expected = sum(group.correct for group in tied) / len(tied)
        return ChosenAnswer(chosen.representative.answer, chosen.correct, len(tied) > 1, expected)


def _score(group: Group, scores: Mapping[str, Fraction], rule: Rule) -> Fraction:
    """The score of one answer under one rule; `scores` are those of its TRs, by id."""
    if rule == "sc":
        return Fraction(len(group.members))
    # A TR without a score adds nothing to MAX and SUM, and is not part of AVG's mean.
    examined = [scores[member.id] for member in group.members if member.id in scores]
    if rule == "max":
        return max(examined, default=Fraction(0))
    total = sum(examined, Fraction(0))
    return total if rule == "sum" else total / max(len(examined), 1)


def choose(
    lesson: TeachingProblemRecord, rule: Rule, students: Sequence[str], scoring: Scoring, same: Same
) -> ChosenAnswer:
    """The answer that `rule` hands in for one lesson; with many rules or line-ups, make one `Sheet` instead."""
    return Sheet(lesson, same).choose(rule, students, scoring)


def assumption(lessons: Sequence[TeachingProblemRecord], students: Sequence[str], scoring: Scoring) -> Assumption:
    """Within each TP, how often the LbT score of a right TR beats that of a wrong one.

    Over all pairs of TRs that have a score among `students`, each TR by its own grade.
    """
    wins = ties = pairs = 0
    for lesson in lessons:
        tallies: dict[bool, Counter[Fraction]] = {True: Counter(), False: Counter()}
        scores = lbt_scores(lesson.rationales, students, scoring.merge)
        for rationale in lesson.rationales:
            if rationale.id in scores:
                tallies[rationale.correct][scores[rationale.id]] += 1
        for right, times in tallies[True].items():
            wins += times * sum(n for wrong, n in tallies[False].items() if right > wrong)
            ties += times * tallies[False][right]
        pairs += tallies[True].total() * tallies[False].total()
    return Assumption(wins / pairs, ties / pairs, pairs) if pairs else Assumption(None, None, 0)


def best_possible(lessons: Sequence[TeachingProblemRecord]) -> float | None:
    """Share of the TPs with at least one right TA: what a rule that always chose right would reach."""
    if not lessons:
        return None
    return sum(any(r.correct and r.answer is not None for r in lesson.rationales) for lesson in lessons) / len(lessons)
