"""The LbT score of a teaching rationale, and the rules that choose an answer by it: MAX, SUM, AVG, SC and greedy.

This is the only definition; the dense score (dense.py) is the same mean over log-probabilities, and exam_table.py
scores many line-ups at once. Functions of records, without I/O. Exam scores are exact fractions, so equal scores are
ties.
Source: M1 in arXiv 2406.14629.
"""

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from fractions import Fraction
from math import fsum
from typing import Any, Literal, TypeVar

import msgspec

from broker.work_messages import AnswerForm
from scenarios.config.schema import Scoring
from scenarios.records.observe import Rationale, TeachingProblemRecord

Rule = Literal["greedy", "sc", "max", "sum", "avg"]
Merge = Literal["answers", "students"]
Same = Callable[[str, str, AnswerForm], bool]
"""Whether two answers are equivalent. Symmetric."""
Slot = tuple[Any, ...]
"""A mark that TRs of one TP have in common: the student, its EP, and for exam answers the number of the repeat."""
Scorer = Callable[[Iterable[Rationale], Sequence[str], Merge], Mapping[str, Fraction | float]]
"""The scores, by id, of the TRs of one TP for a line-up of students; TRs that cannot be compared are left out."""
Key = TypeVar("Key", bound=Hashable)
Mark = TypeVar("Mark")
Score = TypeVar("Score", Fraction, float)


class ChosenAnswer(msgspec.Struct, frozen=True):
    """The answer that a rule chooses for one TP."""

    answer: str | None
    """As tables show it. None: there was no answer to choose from."""
    correct: bool
    tied: bool = False
    """Several answers had the best score."""
    expected_correct: float = 0.0
    """The expected correctness if ties were broken at random: the mean over the answers with the best score."""
    hidden: float | None = None
    """Of a program: its S-score; None: it has none."""


class Group(msgspec.Struct, frozen=True):
    """The TRs of one TP whose answers are equivalent."""

    representative: Rationale
    """The first by repeat. Its answer and its grade stand for the group, even where the grader judged another spelling
    of the same answer differently (`mixed`)."""
    members: tuple[Rationale, ...]

    @property
    def correct(self) -> bool:
        """Whether the answer of this group is right."""
        return self.representative.correct

    @property
    def mixed(self) -> bool:
        """Whether the grader contradicts itself within the group."""
        return any(m.correct != self.correct for m in self.members)


class Assumption(msgspec.Struct, frozen=True):
    """The paper's assumption, measured: students learn more from a right TR than from a wrong one."""

    right_beats_wrong: float | None
    """Share of the pairs; None where there is no pair."""
    ties: float | None
    pairs: int


def material(rationale: Rationale) -> str:
    """What identical TRs have in common."""
    return rationale.material or rationale.id


def distinct(lesson: TeachingProblemRecord) -> list[Rationale]:
    """The TRs of a TP, identical ones once: their exams are the same."""
    return list({material(rationale): rationale for rationale in lesson.rationales}.values())


def exam_marks(rationale: Rationale) -> dict[Slot, bool]:
    """Whether each exam answer under a TR is right."""
    return {(exam.student, exam.ep, exam.repeat): exam.correct for exam in rationale.exams}


def on_common_slots(marks: Mapping[Key, Mapping[Slot, Mark]], students: Collection[str]) -> dict[Key, dict[Slot, Mark]]:
    """The marks by `students` that can be compared: those on the slots that every examined TR has.

    A TR lacks a mark where a request failed. EPs are not equally hard, so means over different EPs do not compare TRs.

    Args:
        marks: of the TRs of one TP.
        students: the line-up; marks by others are left out, and so are TRs without a mark by the line-up.
    """
    names = frozenset(students)
    own = {key: {slot: mark for slot, mark in of.items() if slot[0] in names} for key, of in marks.items()}
    examined = {key: of for key, of in own.items() if of}
    common = set.intersection(*map(set, examined.values())) if examined else set()
    return {key: {slot: mark for slot, mark in of.items() if slot in common} for key, of in examined.items()}


def mean_marks(
    marks: Mapping[Key, Mapping[Slot, Any]],
    students: Sequence[str],
    merge: Merge,
    mean: Callable[[Sequence[Any]], Score],
) -> dict[Key, Score]:
    """The score of each TR of one TP: the mean of its marks on common slots. Empty where there is no common slot.

    Args:
        marks: see `on_common_slots`.
        students: see `on_common_slots`.
        merge: answers: the mean over all marks. students: the mean of each student's mean.
        mean: how marks of this type, and their means, are averaged.
    """
    scores = {}
    for key, of in on_common_slots(marks, students).items():
        parts = [list(of.values())]
        if merge == "students":
            by_student: dict[str, list[Any]] = {name: [] for name in students}
            for slot, mark in of.items():
                by_student[slot[0]].append(mark)
            parts = list(by_student.values())
        if means := [mean(part) for part in parts if part]:
            scores[key] = mean(means)
    return scores


def exact_mean(numbers: Sequence[bool | Fraction]) -> Fraction:
    """The mean as a fraction."""
    return Fraction(sum(numbers), len(numbers))


def lbt_scores(rationales: Iterable[Rationale], students: Sequence[str], merge: Merge) -> dict[str, Fraction]:
    """The LbT scores of the TRs of one TP by id: the share of right exam answers. See `mean_marks`.

    TRs that were dropped have fewer exams (`exam.allocation`): each has the score of its own.
    """
    answered = [one for one in rationales if one.answer is not None]
    scores = mean_marks({one.id: exam_marks(one) for one in answered if not one.dropped}, students, merge, exact_mean)
    for one in answered:
        if one.dropped:
            scores |= mean_marks({one.id: exam_marks(one)}, students, merge, exact_mean)
    return scores


def lbt_score(rationale: Rationale, students: Sequence[str], merge: Merge) -> Fraction:
    """The LbT score of a TR by itself; 0 where none of `students` was examined."""
    return lbt_scores([rationale], students, merge).get(rationale.id, Fraction(0))


class Sheet:
    """One TP prepared for scoring: its answers grouped once."""

    def __init__(self, lesson: TeachingProblemRecord, same: Same) -> None:
        """Group the answers of `lesson`: each joins the first group, by repeat, whose representative it equals."""
        self.lesson = lesson
        rows: list[list[Rationale]] = []
        # Equal strings are never compared twice: `same` may call a slow grader.
        known: dict[str, list[Rationale]] = {}
        for rationale in sorted(lesson.rationales, key=lambda r: (r.repeat, r.id)):
            if rationale.answer is None:
                continue
            answer = rationale.compared
            if answer not in known:
                for row in rows:
                    if same(row[0].compared, answer, lesson.form):
                        known[answer] = row
                        break
                else:
                    known[answer] = []
                    rows.append(known[answer])
            known[answer].append(rationale)
        self.groups = tuple(Group(row[0], tuple(row)) for row in rows)
        self._scores: tuple[object, Mapping[str, Fraction | float]] = (None, {})

    def choose(
        self, rule: Rule, students: Sequence[str], scoring: Scoring, scorer: Scorer = lbt_scores
    ) -> ChosenAnswer:
        """The answer that `rule` chooses. On a TP that has no exams (`abstains`) MAX, SUM and AVG choose as SC does.

        Args:
            rule: How scores become a choice.
            students: The line-up whose exams count.
            scoring: How students are merged and ties are broken.
            scorer: What MAX, SUM and AVG rank by.
        """
        if rule == "greedy":
            greedy = self.lesson.greedy
            if greedy is None or greedy.answer is None:
                return ChosenAnswer(None, False)
            return ChosenAnswer(greedy.shown, greedy.correct, False, float(greedy.correct), greedy.hidden)
        if (found := self._chosen(rule, students, scoring, scorer)) is None:
            return ChosenAnswer(None, False)
        chosen, tied = found
        expected = sum(group.correct for group in tied) / len(tied)
        answer = chosen.representative
        return ChosenAnswer(answer.shown, chosen.correct, len(tied) > 1, expected, answer.hidden)

    def chosen_group(self, rule: Rule, students: Sequence[str], scoring: Scoring) -> Group | None:
        """The answer that a rule other than greedy chooses, with its TRs; None: no TR has an answer."""
        found = self._chosen(rule, students, scoring, lbt_scores)
        return found[0] if found else None

    def _chosen(
        self, rule: Rule, students: Sequence[str], scoring: Scoring, scorer: Scorer
    ) -> tuple[Group, list[Group]] | None:
        """The chosen answer, and all those with the best score."""
        if not self.groups:
            return None
        if self.lesson.abstains:
            rule = "sc"
        asked = (students, scoring.merge, scorer)
        if rule != "sc" and self._scores[0] != asked:  # several rules ask for the same scores one after the other
            compared = [one for one in self.lesson.rationales if not one.dropped]
            self._scores = (asked, scorer(compared, students, scoring.merge))
        scores = [_score(group, self._scores[1], rule) for group in self.groups]
        best = max(scores)
        tied = [group for group, score in zip(self.groups, scores, strict=True) if score == best]
        # Groups stand in the order of their first repeat and max() keeps the first: the smallest repeat wins.
        return tied[0] if scoring.ties == "first" else max(tied, key=lambda group: len(group.members)), tied


def _score(group: Group, scores: Mapping[str, Fraction | float], rule: Rule) -> Fraction | float:
    """The score of one answer under one rule; `scores` are those of its TRs, by id."""
    if rule == "sc":
        return Fraction(len(group.members))
    # A TR without a score adds nothing to MAX and SUM, and is not part of AVG's mean.
    examined = [scores[member.id] for member in group.members if member.id in scores]
    if not examined:
        return Fraction(0)
    if rule == "max":
        return max(examined)
    # fsum: the order of floats must not decide between equal sums.
    total = fsum(examined) if isinstance(examined[0], float) else sum(examined)
    return total if rule == "sum" else total / len(examined)


def assumption(
    lessons: Sequence[TeachingProblemRecord], students: Sequence[str], merge: Merge, scorer: Scorer = lbt_scores
) -> Assumption:
    """Within each TP, how often a right TR scores higher than a wrong one.

    Over all pairs of TRs that have a score, each TR by its own grade.
    """
    wins = ties = pairs = 0
    for lesson in lessons:
        tallies: dict[bool, Counter[Fraction | float]] = {True: Counter(), False: Counter()}
        scores = scorer(lesson.rationales, students, merge)
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
