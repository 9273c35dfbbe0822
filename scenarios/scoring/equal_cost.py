"""Self-consistency at M1's cost (`lesson.equal_cost`): how many TRs the tokens of M1 would have bought.

M1 spends tokens on TRs and their exams. The same tokens buy more TRs, whose votes are the fair baseline (SC). A line-up
of some students costs less than all of them, so the TRs that are sampled for all are enough for every line-up.
"""

from collections.abc import Collection
from typing import NamedTuple

import msgspec

from scenarios.records.observe import TeachingProblemRecord

MOST = 512
"""Most further TRs of one TP."""


class Affordable(NamedTuple):
    """How many TRs of one TP the tokens of its TRs and exams buy, at what its TRs took on average."""

    by_tokens: int
    """For all tokens; those of prompts count in full, cached or not."""
    by_completion: int
    """For completion tokens alone."""
    capped: bool
    """Whether either is cut to the TRs that there are and MOST more."""


def affordable(lesson: TeachingProblemRecord, students: Collection[str] | None = None) -> Affordable:
    """What M1's tokens would have bought. Without TRs, or where no tokens were counted, the TRs that there are.

    Args:
        lesson: the TP.
        students: the line-up whose exams and dialogues are paid; default: all students.
    """
    there = len(lesson.rationales)
    prompt = sum(one.prompt_tokens for one in lesson.rationales)
    completion = sum(one.completion_tokens for one in lesson.rationales)
    exam_prompt, exam_completion = lesson.exam_prompt_tokens, lesson.exam_tokens
    if students is not None:
        paid = lesson.exam_cost(students)
        exam_prompt, exam_completion = paid.prompt_tokens, paid.completion_tokens
    exam_prompt += lesson.tokens_of_exam_maker.prompt_tokens
    exam_completion += lesson.tokens_of_exam_maker.completion_tokens
    exams = exam_prompt + exam_completion
    wanted = (_bought(there, prompt + completion, exams), _bought(there, completion, exam_completion))
    by_tokens, by_completion = (min(number, there + MOST) for number in wanted)
    return Affordable(by_tokens, by_completion, (by_tokens, by_completion) != wanted)


def further(lesson: TeachingProblemRecord) -> int:
    """How many further TRs of a complete TP are sampled: enough for both counts."""
    bought = affordable(lesson)
    return max(bought.by_tokens, bought.by_completion) - len(lesson.rationales)


def with_votes(lesson: TeachingProblemRecord, rationales: int) -> TeachingProblemRecord:
    """The TP with its first `rationales` TRs, further ones included, for self-consistency."""
    return msgspec.structs.replace(lesson, rationales=(*lesson.rationales, *lesson.votes)[:rationales])


def _bought(there: int, tokens: int, more: int) -> int:
    """How many TRs `tokens + more` buy, if `there` of them took `tokens`."""
    return there + there * more // tokens if tokens else there
