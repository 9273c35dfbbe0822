"""Feeds recorded results to a level. Resume, replay, report and monitor are this one operation."""

from collections import deque
from collections.abc import Callable

from scenarios.levels.base import Level, Request, Step
from scenarios.levels.results import result_of
from scenarios.store.rows import Record


def replay(level: Level, step: Step, find: Callable[[str], Record | None]) -> tuple[Step, int]:
    """Feed a level the recorded results of `step`, and of what they make due in turn.

    A request may be recorded before its level makes it due, since another level or an earlier round asked the same.
    It is then `shared`.

    Args:
        level: receives the results.
        step: what the level made due, `level.begin()` to replay everything.
        find: looks a request up in the store; None: it has no result.

    Returns:
        What is due and not recorded, in the level's order, and how many records were used.
    """
    if not step.requests:  # nearly always so, with a result that makes nothing due
        return step, 0
    due: list[Request] = []
    feedback, news, shared, problems = list(step.feedback), list(step.news), list(step.shared), list(step.problems)
    pending = deque(step.requests)
    reused = 0
    while pending:
        request = pending.popleft()
        record = find(request.id)
        if record is None:
            due.append(request)
            continue
        reused += 1
        shared.append(request)
        more = level.receive(result_of(record))
        pending.extendleft(reversed(more.requests))  # the exams of one TR before the next TR: few wait at a time
        feedback += more.feedback
        news += more.news
        shared += more.shared
        problems += more.problems
    return Step(tuple(due), tuple(feedback), tuple(news), tuple(shared), tuple(problems)), reused
