"""Rules that M1 is compared with, which choose without looking at the exams.

Those that pick one TR need no request; how right they are on a TP is a share: where several TRs could be picked, the
mean over them. The choice by visible cases needs none either. The others need those of `baselines` in the scenario.
Like M1 all pick among answers that can be read.
"""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import msgspec

from broker.work_messages import Sampling
from scenarios.config.schema import Scenario, Scoring
from scenarios.records.observe import Rationale, TeachingProblemRecord
from scenarios.scoring.lbt import ChosenAnswer, Group, Merge, Same, Sheet, exact_mean, lbt_scores, material, mean_marks

Candidate = tuple[Rationale, Group]
"""A TR with an answer, and the group of its answer."""


def random_pick(sheet: Sheet) -> float:
    """The answer of a random TR."""
    return _expected(_candidates(sheet))


def shortest(sheet: Sheet) -> float:
    """The answer of the TR with the fewest tokens: what M1 would be if its exams only preferred short TRs."""
    return _expected(_least(_candidates(sheet), lambda rationale: rationale.completion_tokens))


def length_matched(sheet: Sheet, students: Sequence[str], scoring: Scoring) -> float:
    """The answer of another TR, as long as the one that M1 MAX picks: the nearest in tokens, with another text.

    If exams told TRs apart by their length alone, M1 MAX would be no better than this. A TR of median length would be
    no control for that: M1 MAX may prefer any length. Where all TRs have one text it is that TR.
    """
    if (chosen := sheet.chosen_group("max", students, scoring)) is None:
        return 0.0
    candidates = _candidates(sheet)
    scores = lbt_scores(sheet.lesson.rationales, students, scoring.merge)
    picked = max(
        chosen.members, key=lambda rationale: scores.get(rationale.id, 0)
    )  # with equal scores the first by repeat
    others = [one for one in candidates if material(one[0]) != material(picked)]
    length = picked.completion_tokens
    return _expected(_least(others or candidates, lambda rationale: abs(rationale.completion_tokens - length)))


def by_visible_cases(sheet: Sheet, same: Same, scoring: Scoring) -> ChosenAnswer:
    """A program that passes all visible cases: the one that most TRs agree on. Where none passes, the choice of SC.

    It is right wherever any TR is, as the cases that grade a program choose it: only its S-score can be compared.
    """
    passing = tuple(one for one in sheet.lesson.rationales if one.correct)
    kept = Sheet(msgspec.structs.replace(sheet.lesson, rationales=passing), same) if passing else sheet
    return kept.choose("sc", (), scoring)


def draws(scenario: Scenario, sampling: Sampling) -> int:
    """How often a student answers a TP alone, and a teacher judges a TR: as often as one student is examined on a TR.

    Once where every draw gives the same text.
    """
    if sampling.temperature == 0 or sampling.top_k == 1:
        return 1
    return scenario.exam.problems * scenario.exam.repeats


def has_baselines(scenario: Scenario, lesson: TeachingProblemRecord) -> bool:
    """Whether every result is there that `baselines` asks for about a TP."""
    alone = {of.student: len(of.answers) for of in lesson.alone}
    ratings = draws(scenario, scenario.lesson.sampling)
    return (
        (
            "students_alone" not in scenario.baselines
            or all(alone.get(one.name) == draws(scenario, scenario.sampling_of(one)) for one in scenario.students)
        )
        and (
            "self_evaluation" not in scenario.baselines
            or all(one.answer is None or len(one.ratings) == ratings for one in lesson.rationales)
        )
        and ("universal" not in scenario.baselines or lesson.universal is not None)
    )


def majority_alone(sheet: Sheet, same: Same, scoring: Scoring, student: str = "") -> ChosenAnswer:
    """The answer that most of the students' own answers to the TP agree on; of one student alone, if it is named."""
    answers = [answer for of in sheet.lesson.alone if student in ("", of.student) for answer in of.answers]
    return Sheet(msgspec.structs.replace(sheet.lesson, rationales=tuple(answers)), same).choose("sc", (), scoring)


def rating_scores(rationales: Iterable[Rationale], students: Sequence[str], merge: Merge) -> dict[str, Fraction]:
    """The share of its teacher's judgements by which a TR is right, by id; `students` has the teacher's name."""
    marks = {
        one.id: {rating.slot: rating.correct for rating in one.ratings} for one in rationales if one.answer is not None
    }
    return mean_marks(marks, students, merge, exact_mean)


def universal(sheet: Sheet) -> ChosenAnswer:
    """The answer of the TR that the teacher named; wrong where it named none."""
    named = sheet.lesson.universal.tr if sheet.lesson.universal else ""
    for rationale, group in _candidates(sheet):
        if rationale.id == named:
            one = group.representative
            return ChosenAnswer(one.shown, one.correct, expected_correct=float(one.correct), hidden=one.hidden)
    return ChosenAnswer(None, False)


def _candidates(sheet: Sheet) -> list[Candidate]:
    return [(member, group) for group in sheet.groups for member in group.members]


def _least(candidates: Sequence[Candidate], size: Callable[[Rationale], int]) -> list[Candidate]:
    least = min((size(rationale) for rationale, _ in candidates), default=0)
    return [one for one in candidates if size(one[0]) == least]


def _expected(candidates: Iterable[Candidate]) -> float:
    """The share of them whose answer is right; 0 where there is none."""
    right = [group.correct for _, group in candidates]
    return sum(right) / len(right) if right else 0.0
