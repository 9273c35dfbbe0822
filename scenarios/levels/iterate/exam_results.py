"""Counts what an agent answered right in an exam of level 3. Failed requests count as neither right nor wrong."""

from collections.abc import Iterator, Mapping, Sequence

from scenarios.levels.base import Request, Result
from scenarios.records.confusion import Confusion, confusion
from scenarios.records.iterate import OwnAnswers

Gold = Mapping[str, str]
"""The right answer of each item, by id."""


def is_correct(request: Request, result: Result, gold: Gold) -> bool:
    """Whether an answer is right; one that could not be read is wrong."""
    return result.answer is not None and result.answer.casefold() == gold[request.ep].casefold()


def exam_confusion(requests: Sequence[Request], results: Sequence[Result], gold: Gold) -> Confusion:
    """Right and wrong answers by class; `results` are in the order of `requests`."""
    return confusion((gold[request.ep], result.answer) for request, result in _answered(requests, results))


def own_answers(requests: Sequence[Request], results: Sequence[Result], gold: Gold) -> OwnAnswers:
    """Which items were answered right and wrong; `results` are in the order of `requests`."""
    return OwnAnswers.of(
        (request.ep, is_correct(request, result, gold)) for request, result in _answered(requests, results)
    )


def _answered(requests: Sequence[Request], results: Sequence[Result]) -> Iterator[tuple[Request, Result]]:
    return (pair for pair in zip(requests, results, strict=True) if not pair[1].failed)
