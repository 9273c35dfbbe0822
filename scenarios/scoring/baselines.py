"""Rules that M1 is compared with, which choose from the same TRs without looking at the exams.

How right each is on one TP, from 0 to 1: where several TRs could be picked, the mean over them. Like M1 they pick among
the TRs with an answer.
"""

from collections.abc import Callable, Iterable, Sequence

from scenarios.config.schema import Scoring
from scenarios.records.observe import Rationale
from scenarios.scoring.lbt import Group, Sheet, lbt_scores, material

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
    candidates = _candidates(sheet)
    if not candidates:
        return 0.0
    answer = sheet.choose("max", students, scoring).answer
    scores = lbt_scores(sheet.lesson.rationales, students, scoring.merge)
    chosen = [rationale for rationale, group in candidates if group.representative.answer == answer]
    picked = max(chosen, key=lambda rationale: scores.get(rationale.id, 0))  # with equal scores the first by repeat
    others = [one for one in candidates if material(one[0]) != material(picked)]
    length = picked.completion_tokens
    return _expected(_least(others or candidates, lambda rationale: abs(rationale.completion_tokens - length)))


def _candidates(sheet: Sheet) -> list[Candidate]:
    return [(member, group) for group in sheet.groups for member in group.members]


def _least(candidates: Sequence[Candidate], size: Callable[[Rationale], int]) -> list[Candidate]:
    least = min((size(rationale) for rationale, _ in candidates), default=0)
    return [one for one in candidates if size(one[0]) == least]


def _expected(candidates: Iterable[Candidate]) -> float:
    """The share of them whose answer is right; 0 where there is none."""
    right = [group.correct for _, group in candidates]
    return sum(right) / len(right) if right else 0.0
