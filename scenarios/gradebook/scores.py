"""What the exams say about a lesson's answers, and which answer each rule hands in.

Pure: lessons in, choices out; no store, no grader, no prose. Scores are exact fractions, so equal scores are
ties and not accidents of rounding. The rules are M1's (arXiv 2406.14629): MAX, SUM, AVG over LbT scores, and the
baselines greedy and SC. Exams are held as bit masks over the TP's seats, so that another line-up of students, or
a smaller share of their exams, is scored again without going through the records.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from math import lcm
from typing import Literal, NamedTuple

import msgspec

from broker.messages import AnswerForm, digest
from scenarios.gradebook.lessons import Lesson, Rationale
from scenarios.schema import Scoring

Rule = Literal["greedy", "sc", "max", "sum", "avg"]
Merge = Literal["answers", "students"]
Same = Callable[[str, str, AnswerForm], bool]
"""Whether two answers are equivalent. Symmetric."""
Parts = tuple[tuple[int, int], ...]
"""(right, sat) counts whose shares are averaged: one per student, or one for all EAs."""
Tally = Counter[Parts]
ALL_SUBSETS = 6
"""With more students than this there are too many subsets to show."""
DRAWS = 20
"""How many random shares of the exams an equal-budget figure is averaged over."""


class Choice(msgspec.Struct, frozen=True):
    """The answer that a rule hands in for one TP."""

    answer: str | None
    """None: there was no answer to choose from."""
    correct: bool
    tied: bool = False
    """Several answers had the best score: something other than the score decided."""
    expected_correct: float = 0.0
    """The expected correctness if ties were broken at random: the mean over the answers with the best score."""


class Seat(NamedTuple):
    """One exam that was sat under the TRs of a TP: whose, which, and for which time."""

    student: str
    ep: str
    repeat: int


class Marks(NamedTuple):
    """The exams of one TR, as masks over the seats of its TP."""

    sat: int
    right: int


class Group(msgspec.Struct, frozen=True):
    """The TRs of one TP whose answers are equivalent."""

    representative: Rationale
    """The first by repeat. Its answer is the one handed in, so its grade counts for the group, even where the
    grader judged another spelling of the same answer otherwise (`mixed`)."""
    members: tuple[Rationale, ...]
    marks: tuple[tuple[Marks, int], ...]
    """Distinct marks, and how many members have them."""

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


class LineUp(msgspec.Struct, frozen=True):
    """A subset of the students, as if only they had sat the exams."""

    students: tuple[str, ...]
    m1_max: float | None
    """Accuracy; None where no TP is finished."""
    m1_sum: float | None
    exams_per_rationale: float
    """EAs per TR it uses, the mean over the TRs with an answer."""
    m1_max_equal: float | None
    """With as many EAs per TR as the smallest line-up has: the mean over DRAWS random shares of its exams."""
    m1_sum_equal: float | None


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
    parts = [(right, sat) for right, sat in counts.values()]
    if merge == "answers":
        parts = [(sum(right for right, _ in parts), sum(sat for _, sat in parts))]
    return _mean(tuple(parts))


@lru_cache(maxsize=4096)
def _mean(parts: Parts) -> Fraction:
    """The mean of (right, sat) shares, of those with anything sat."""
    shares = [Fraction(right, sat) for right, sat in parts if sat]
    return sum(shares, Fraction(0)) / len(shares) if shares else Fraction(0)


class Sheet:
    """One lesson prepared for scoring: answers grouped once, exams as masks."""

    def __init__(self, lesson: Lesson, same: Same) -> None:
        """Group the answers of `lesson`: each joins the first group, by repeat, whose representative it equals."""
        self.lesson = lesson
        seats = {Seat(e.student, e.ep, e.repeat) for r in lesson.rationales for e in r.exams}
        self.seats = tuple(sorted(seats))
        self._bits = {seat: 1 << i for i, seat in enumerate(self.seats)}
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
        self._tallied: tuple[tuple[int, ...], list[Tally]] = ((), [])
        self.groups = tuple(
            Group(row[0], tuple(row), tuple(sorted(Counter(self._marks(r) for r in row).items()))) for row in rows
        )

    def _marks(self, rationale: Rationale) -> Marks:
        sat = right = 0
        for exam in rationale.exams:
            bit = self._bits[Seat(exam.student, exam.ep, exam.repeat)]
            sat |= bit
            right |= bit if exam.correct else 0
        return Marks(sat, right)

    def choose(self, rule: Rule, students: Sequence[str], scoring: Scoring, within: int = -1) -> Choice:
        """The answer that `rule` hands in.

        Args:
            rule: How scores become a choice.
            students: The line-up whose exams count.
            scoring: How students are merged and ties are broken.
            within: Mask of the seats that count; all of them by default.
        """
        if rule == "greedy":
            greedy = self.lesson.greedy
            if greedy is None or greedy.answer is None:
                return Choice(None, False)
            return Choice(greedy.answer, greedy.correct, False, float(greedy.correct))
        masks = [self.mask((student,)) & within for student in students]
        tallies = self._tally(tuple(masks) if scoring.merge == "students" else (sum(masks),))
        scores = [_score(group, tally, rule) for group, tally in zip(self.groups, tallies, strict=True)]
        return self.best(scores, scoring)

    def best(self, scores: Sequence[Fraction] | Sequence[float], scoring: Scoring) -> Choice:
        """The answer with the best score; `scores` are in the order of the groups."""
        if not self.groups:
            return Choice(None, False)
        best = max(scores)
        tied = [group for group, score in zip(self.groups, scores, strict=True) if score == best]
        # Groups stand in the order of their first repeat and max() keeps the first: the smallest repeat wins.
        chosen = tied[0] if scoring.ties == "first" else max(tied, key=lambda group: len(group.members))
        expected = sum(group.correct for group in tied) / len(tied)
        return Choice(chosen.representative.answer, chosen.correct, len(tied) > 1, expected)

    def _tally(self, masks: tuple[int, ...]) -> list[Tally]:
        """Per group, how many TRs came to which (right, sat) counts under these masks."""
        if masks != self._tallied[0]:  # several rules ask for the same one after the other
            tallies = []
            for group in self.groups:
                tally: Tally = Counter()
                for (sat, right), times in group.marks:
                    tally[tuple([((right & mask).bit_count(), (sat & mask).bit_count()) for mask in masks])] += times
                tallies.append(tally)
            self._tallied = (masks, tallies)
        return self._tallied[1]

    def mask(self, students: Sequence[str]) -> int:
        """The seats of these students."""
        return sum(bit for seat, bit in self._bits.items() if seat.student in students)

    def share(self, students: Sequence[str], size: int, seed: int, draw: int) -> int:
        """A random share of the line-up's seats: `size` of them, as evenly over the students as it goes.

        The same seats for every TR of the TP, as a smaller exam would have had. Drawn by hashing the seed, the
        number of the draw and the seat's own ids, so that it depends on nothing else.
        """
        order: list[tuple[int, str, int]] = []
        for student in students:
            own = [(digest(seed, draw, self.lesson.tp, *s), bit) for s, bit in self._bits.items() if s[0] == student]
            order += [(rank, key, bit) for rank, (key, bit) in enumerate(sorted(own))]
        return sum(bit for _, _, bit in sorted(order)[:size])


def _score(group: Group, tally: Tally, rule: Rule) -> Fraction:
    """The score of one answer under one rule."""
    if rule == "sc":
        return Fraction(len(group.members))
    # A TR that nobody was examined under adds nothing to MAX and SUM, and is not part of AVG's mean.
    examined = [(_mean(parts), times) for parts, times in tally.items() if any(sat for _, sat in parts)]
    if rule == "max":
        return max((score for score, _ in examined), default=Fraction(0))
    # One common denominator: adding fractions one by one takes most of the time of a large class.
    common = lcm(*(score.denominator for score, _ in examined))
    numerator = sum(score.numerator * (common // score.denominator) * times for score, times in examined)
    total = Fraction(numerator, common)
    return total if rule == "sum" else total / max(sum(times for _, times in examined), 1)


def choose(lesson: Lesson, rule: Rule, students: Sequence[str], scoring: Scoring, same: Same) -> Choice:
    """The answer that `rule` hands in for one lesson; with many rules or line-ups, make one `Sheet` instead."""
    return Sheet(lesson, same).choose(rule, students, scoring)


def assumption(lessons: Sequence[Lesson], students: Sequence[str], scoring: Scoring) -> Assumption:
    """Within each TP, how often the LbT score of a right TR beats that of a wrong one.

    Over all pairs of TRs with answers that one of `students` was examined under, each TR by its own grade.
    """
    wins = ties = pairs = 0
    for lesson in lessons:
        tallies: dict[bool, Counter[Fraction]] = {True: Counter(), False: Counter()}
        for rationale in lesson.rationales:
            if rationale.answer is not None and any(e.student in students for e in rationale.exams):
                tallies[rationale.correct][lbt_score(rationale, students, scoring.merge)] += 1
        for right, times in tallies[True].items():
            wins += times * sum(n for wrong, n in tallies[False].items() if right > wrong)
            ties += times * tallies[False][right]
        pairs += tallies[True].total() * tallies[False].total()
    return Assumption(wins / pairs, ties / pairs, pairs) if pairs else Assumption(None, None, 0)


def best_possible(lessons: Sequence[Lesson]) -> float | None:
    """Share of the TPs with at least one right TA: what a rule that always chose right would reach."""
    if not lessons:
        return None
    return sum(any(r.correct and r.answer is not None for r in lesson.rationales) for lesson in lessons) / len(lessons)


def lineups(students: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset, small ones first, else in the given order.

    With more than ALL_SUBSETS students only the singles, the pairs, and everybody.
    """
    sizes = range(1, len(students) + 1) if len(students) <= ALL_SUBSETS else (1, 2, len(students))
    return [subset for size in sizes for subset in combinations(students, size)]


def compare_lineups(sheets: Sequence[Sheet], students: Sequence[str], scoring: Scoring, seed: int) -> list[LineUp]:
    """MAX and SUM of every line-up from the same records, as they are and with equal numbers of EAs.

    Two students sit twice the exams of one. So each line-up is also cut down, per TP, to the EAs per TR of the
    smallest line-up shown (that sat any), and the accuracy averaged over DRAWS such shares.
    """
    subsets = lineups(students)
    budgets = _budgets(sheets, subsets)
    rules: tuple[Rule, Rule] = ("max", "sum")
    table = []
    for subset in subsets:
        full = {rule: Fraction(0) for rule in rules}
        equal = {rule: Fraction(0) for rule in rules}
        for sheet, budget in zip(sheets, budgets, strict=True):
            whole = {rule: Fraction(sheet.choose(rule, subset, scoring).correct) for rule in rules}
            cut = whole
            if sheet.mask(subset).bit_count() > budget:
                shares = [sheet.share(subset, budget, seed, draw) for draw in range(DRAWS)]
                cut = {
                    rule: Fraction(sum(sheet.choose(rule, subset, scoring, share).correct for share in shares), DRAWS)
                    for rule in rules
                }
            for rule in rules:
                full[rule] += whole[rule]
                equal[rule] += cut[rule]
        n = len(sheets)
        table.append(
            LineUp(
                students=subset,
                m1_max=float(full["max"] / n) if n else None,
                m1_sum=float(full["sum"] / n) if n else None,
                exams_per_rationale=_exams_per_rationale(sheets, subset),
                m1_max_equal=float(equal["max"] / n) if n else None,
                m1_sum_equal=float(equal["sum"] / n) if n else None,
            )
        )
    return table


def _budgets(sheets: Sequence[Sheet], subsets: Sequence[Sequence[str]]) -> list[int]:
    """Per TP, the seats of the smallest of these line-ups that has any."""
    return [min((n for subset in subsets if (n := sheet.mask(subset).bit_count())), default=0) for sheet in sheets]


def _exams_per_rationale(sheets: Sequence[Sheet], students: Sequence[str]) -> float:
    exams = rationales = 0
    for sheet in sheets:
        mask = sheet.mask(students)
        for group in sheet.groups:
            rationales += len(group.members)
            exams += sum((marks.sat & mask).bit_count() * times for marks, times in group.marks)
    return exams / rationales if rationales else 0.0
