"""The facts of a run besides its results, read from its events: its agents, its duration, how it ended.

A session of a class writes `started` (AgentFacts as JSON) when it begins, `complete` when nothing is due any more, and
`session` (SessionInfo as JSON) when it ends; a killed session writes no end, and still counts. `not_compared` is the
number of formulas that math-verify gave up in a session, and `unprotected` says that programs of models ran without a
sandbox. After `extends` more is due, also before the next session has begun.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Literal, TypeVar

import msgspec

from broker.agent_notes import ServerNotes
from broker.errors import StoreError
from broker.protocol import pool_of
from scenarios.store.changes import EXTENDS, Changes, changes, with_not_asked
from scenarios.store.rows import ClassEvent
from scenarios.store.sqlite import Store

Status = Literal["complete", "running", "budget", "interrupted", "failed"]
"""budget: it ended with what it had, since a budget was spent that `run.py ctl` had set."""
Detail = TypeVar("Detail")


class AgentFacts(msgspec.Struct, frozen=True):
    """One agent as placed when the class started."""

    name: str
    role: str
    model: str
    engine: str
    device: str
    dtype: str = ""
    """Of its weights; empty: it computes nothing here, or an earlier version ran the class."""
    prompts: str = ""
    """Version of the prompts; empty: an earlier version of the program ran the class, whose prompts had version 1."""
    restarts: int = 0
    """Its replicas included."""


class RunFacts(msgspec.Struct, frozen=True):
    """The facts of a run besides its results."""

    agents: tuple[AgentFacts, ...]
    wall_seconds: float
    """Of all its sessions together."""
    status: Status
    reused: int
    """Results that the last session found in the gradebook."""
    spent: dict[str, float] = {}
    """By process; from the run's folder."""
    server_notes: dict[str, ServerNotes] = {}
    """By process; from the run's folder."""
    merged: dict[str, str] = {}
    """By digest of an adapter that vLLM merged into weights of 16 bits: their dtype; from the run's folder."""
    not_compared: int = 0
    """Formulas that math-verify could not compare in time, in all sessions: they were compared as text alone."""
    unprotected: bool = False
    """Whether programs of models ran without a sandbox, in any session."""
    changes: Changes = Changes()
    """What was changed while it ran."""


class SessionInfo(msgspec.Struct, frozen=True):
    """The detail of a `session` event, as JSON: written when a session of the class ends."""

    wall_seconds: float
    reused: int = 0
    status: Status | None = None
    """Left out: complete where there is a `complete` event, else interrupted."""


def facts_from(store: Store, not_asked: Mapping[tuple[str, str], int] = MappingProxyType({})) -> RunFacts:
    """The facts that the events hold: agents and their restarts, duration, status, changes.

    A session that was killed left no `session` event; it counts up to the last thing that it wrote.

    Args:
        store: the gradebook.
        not_asked: how many requests were not asked of dropped students, by student and stage.

    Raises:
        StoreError: an event that the report needs cannot be read.
    """
    agents: tuple[AgentFacts, ...] = ()
    restarts = Counter[str]()
    wall, reused, not_compared, unprotected = 0.0, 0, 0, False
    status: Status = "interrupted"
    since = ""
    """When the session that has not ended yet began."""
    kinds = ("started", "session", "restart", "complete", "not_compared", "unprotected", EXTENDS)
    for event in store.events(kinds=kinds):
        if event.kind == "restart":
            restarts[pool_of(event.agent)] += 1
        elif event.kind == "started":
            agents = tuple(one for one in _detail(event, tuple[AgentFacts, ...]) if one.name == pool_of(one.name))
            wall += _seconds_alive(store, since, event.at)
            since, status = event.at, "interrupted"
        elif event.kind == "session":
            session = _detail(event, SessionInfo)
            wall += session.wall_seconds
            since, reused, status = "", session.reused, session.status or status
        elif event.kind == EXTENDS:
            status = "interrupted"
        elif event.kind == "not_compared":
            not_compared += _detail(event, int)
        elif event.kind == "unprotected":
            unprotected = True
        else:
            status = "complete"
    wall += _seconds_alive(store, since, "~")
    return RunFacts(
        agents=tuple(msgspec.structs.replace(agent, restarts=restarts[agent.name]) for agent in agents),
        wall_seconds=wall,
        status=status,
        reused=reused,
        not_compared=not_compared,
        unprotected=unprotected,
        changes=with_not_asked(changes(store), not_asked),
    )


def _detail(event: ClassEvent, kind: type[Detail]) -> Detail:
    try:
        return msgspec.json.decode(event.detail, type=kind)
    except msgspec.DecodeError as error:
        raise StoreError(
            f"event {event.seq} ({event.kind}) of the gradebook cannot be read: {error}\n"
            "Was it written by another version of this program?"
        ) from error


def _seconds_alive(store: Store, since: str, until: str) -> float:
    """From `since` to the last thing written before `until`; 0 where `since` is empty.

    The next session writes its `retry` and `extends` events before its `started`: they are left out.
    """
    if not since:
        return 0.0
    ((last,),) = store.query(
        "SELECT max(at) FROM (SELECT at FROM event WHERE kind NOT IN ('retry', 'extends') UNION ALL "
        "SELECT at FROM result) WHERE at >= ? AND at < ?",
        since,
        until,
    )
    if last is None:
        return 0.0
    return (datetime.fromisoformat(str(last)) - datetime.fromisoformat(since)).total_seconds()
