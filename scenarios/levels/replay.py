"""Feeds recorded results to a level. Resume, replay, report and monitor are this one operation."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from scenarios.levels.base import Level, Request, Step
from scenarios.levels.results import result_of
from scenarios.store.rows import Record

AT_ONCE = 1024
"""Records that are looked up together; they wait in memory until the level receives them."""

Find = Callable[[Sequence[str]], Mapping[str, Record]]


def replay(
    level: Level, step: Step, find: Find, shared: Callable[[Request], object] = lambda _: True
) -> tuple[Step, int]:
    """Feed a level the recorded results of `step`, and of what they make due in turn.

    A request may be recorded before its level makes it due, since another level or an earlier round asked the same.
    It is then `shared`, as every request with a result is.

    Args:
        level: receives the results.
        step: what the level made due, `level.begin()` to replay everything.
        find: looks requests up in the store, `Store.find_all`; those without a result are left out.
        shared: which requests with a result the step lists as `shared`; all those of a large class take much memory.

    Returns:
        What is due and not recorded, in the level's order, and how many records were used.
    """
    if not step.requests:  # nearly always so, with a result that makes nothing due
        return step, 0
    due: list[Request] = []
    feedback, news, known, problems = list(step.feedback), list(step.news), list(step.shared), list(step.problems)
    pending = [_with_records(step.requests, find)]
    reused = 0
    while pending:
        request, record = next(pending[-1], (None, None))
        if request is None:
            pending.pop()
            continue
        if record is None:
            due.append(request)
            continue
        reused += 1
        if shared(request):
            known.append(request)
        more = level.receive(result_of(record))
        if more.requests:  # the exams of one TR come before the next TR: few wait at a time
            pending.append(_with_records(more.requests, find))
        feedback += more.feedback
        news += more.news
        known += more.shared
        problems += more.problems
    return Step(tuple(due), tuple(feedback), tuple(news), tuple(known), tuple(problems)), reused


def _with_records(requests: Sequence[Request], find: Find) -> Iterator[tuple[Request, Record | None]]:
    for start in range(0, len(requests), AT_ONCE):
        some = requests[start : start + AT_ONCE]
        found = find([request.id for request in some])
        for request in some:
            yield request, found.get(request.id)
