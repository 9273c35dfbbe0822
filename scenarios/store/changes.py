"""What was changed in a class while it ran (`run.py ctl`) or afterwards (`extend`), as its events say.

A command is an event before it takes effect, so that a class that is killed in between goes on as if it had.
"""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import msgspec

from scenarios.config.schema import Scenario
from scenarios.store.rows import ClassEvent
from scenarios.store.sqlite import Store

PAUSED, RESUMED, DROPPED, BUDGET = "paused", "resumed", "dropped", "budget"
JOINS, ADDED, NOT_ADDED = "joins", "added", "not_added"
"""Kinds of events. The detail of `resumed` is the length of the pause in seconds, that of `budget` the number of
tokens or NO_BUDGET; the agent of `dropped` is the student. A student first `joins`, with its description as JSON; when
the class has begun to ask it, it is `added`, with the number of results until then, or `not_added`, with the reason."""
EXTENDS, EXTENDED = "extends", "extended"
"""Kinds of events. A class `extends` before it goes on as a larger one; the detail says what changes. A class of a
study is `extended` when it is complete with what `extend` changed in the whole study, which is the detail."""
KINDS = frozenset({PAUSED, RESUMED, DROPPED, BUDGET, JOINS, ADDED, NOT_ADDED, EXTENDS})
NO_BUDGET = "none"


class Changes(msgspec.Struct, frozen=True):
    """The changes of a class. Nothing was changed where all fields have their defaults."""

    paused: bool = False
    """Whether the session under way is paused; also of one that was killed in a pause."""
    pauses: int = 0
    paused_seconds: float = 0.0
    """Of pauses that are over."""
    dropped: tuple[str, ...] = ()
    """Students that are asked nothing more, in the order in which they were dropped."""
    not_asked: dict[str, int] = {}
    """By dropped student: its requests that were not asked. Filled in where the class is rebuilt."""
    added: dict[str, int] = {}
    """By student that was added: the results of the class until then."""
    joining: dict[str, str] = {}
    """By student that is to be added: its description as JSON."""
    budget: int | None = None
    """Completion tokens of all agents together after which no new work begins; None: no limit."""
    extended: tuple[str, ...] = ()
    """What each `extend` changed, oldest first."""

    def over_budget(self, spent: int) -> str:
        """What was spent of the budget, if no new work may begin; else empty. `spent`: completion tokens so far."""
        if self.budget is None or spent < self.budget:
            return ""
        return f"{spent:,} of {self.budget:,} completion token{'' if self.budget == 1 else 's'}"


def changes(store: Store) -> Changes:
    """The changes that the events of a class say."""
    return changes_from(store.events(kinds=[*KINDS, "started"]))


def changes_from(events: Iterable[ClassEvent]) -> Changes:
    """The changes that these events say, oldest first."""
    found = Changes()
    for event in events:
        found = changed(found, event)
    return found


def changed(before: Changes, event: ClassEvent) -> Changes:
    """The changes with one more event."""
    more: dict[str, object] = {}
    match event.kind:
        case "started":  # a pause ends with its session
            more = {"paused": False}
        case "paused":
            more = {"paused": True, "pauses": before.pauses + 1}
        case "resumed":
            more = {"paused": False, "paused_seconds": before.paused_seconds + pause_seconds(event)}
        case "dropped" if event.agent not in before.dropped:
            more = {"dropped": (*before.dropped, event.agent)}
        case "joins":
            more = {"joining": {**before.joining, event.agent: event.detail}}
        case "added" | "not_added":
            more = {"joining": {name: one for name, one in before.joining.items() if name != event.agent}}
            if event.kind == ADDED:
                more["added"] = {**before.added, event.agent: int(event.detail) if event.detail.isdecimal() else 0}
        case "extends":
            more = {"extended": (*before.extended, event.detail)}
        case "budget":
            more = {"budget": int(event.detail) if event.detail.isdecimal() else None}
    return msgspec.structs.replace(before, **more) if more else before


def pause_seconds(event: ClassEvent) -> float:
    """The length of the pause that this event ended; 0 where it cannot be read."""
    with contextlib.suppress(ValueError):
        return float(event.detail)
    return 0.0


def dropped_agents(scenario: Scenario, dropped: Collection[str]) -> frozenset[str]:
    """The agents that answer for no student but `dropped` ones."""
    left = {one.pool for one in scenario.students if one.name not in dropped}
    return frozenset(one.pool for one in scenario.students) - left


def with_not_asked(found: Changes, not_asked: Mapping[tuple[str, str], int]) -> Changes:
    """The changes with the number of requests that were not asked, which is given by student and stage."""
    by_student = Counter[str]()
    for (student, _), count in not_asked.items():
        by_student[student] += count
    return msgspec.structs.replace(found, not_asked=dict(by_student))
