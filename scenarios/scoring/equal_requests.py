"""Arms of level 3 at equal numbers of requests. Requests are counted by rounds, never by arrival."""

from collections.abc import Sequence

from scenarios.records.iterate import BestAfter


def common_requests(arms: Sequence[Sequence[BestAfter]]) -> int:
    """The largest number of requests that every arm of one run has used; 0: some arm has no result yet.

    Args:
        arms: `ArmRun.progress` of each.
    """
    return min((progress[-1].requests if progress else 0 for progress in arms), default=0)


def best_within(progress: Sequence[BestAfter], requests: int) -> BestAfter | None:
    """What an arm had when it had used so many requests; None: it had no set yet.

    A round's requests count once the round is over: of an arm in the middle of a round, this is the state before it.
    """
    return next((state for state in reversed(progress) if state.requests <= requests), None)
