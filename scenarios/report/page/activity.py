"""What each agent did when: the time line of the page, from the events and the times of the results."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from broker.protocol import pool_of
from scenarios.report.page.chart_data import Chart, PageTable, Span
from scenarios.report.page.charts import time_line
from scenarios.store.rows import ClassEvent
from scenarios.store.sqlite import Store

STATES = {
    "loading": "var(--c2)",
    "busy": "var(--c1)",
    "training": "var(--c4)",
    "waiting": "var(--wait)",
    "stopped": "var(--c6)",
}
"""With their colours."""
BEGINS = {"started": "", "ready": "waiting", "joined": "waiting", "restart": "loading", "lost": "stopped",
          "gone": "stopped", "left": ""}  # fmt: skip
"""The state of a process after an event; empty: it is not there. One that joins before it is ready loads until then."""
SPANS = 150
"""About how many bars an agent has at most: gaps shorter than this part of the class are closed."""
ROWS = 64
"""Processes with a row, at most."""


class Session(msgspec.Struct, frozen=True):
    """One session of a class on the time line."""

    begin: datetime
    end: datetime
    offset: float
    """Where it begins on the time line, in seconds: the time between two sessions is left out."""

    def at(self, time: datetime) -> float:
        """Where a time of this session is on the time line."""
        return self.offset + (min(max(time, self.begin), self.end) - self.begin).total_seconds()


def activity(store: Store, pools: Mapping[str, str]) -> Chart | None:
    """The time line, a row for each process, at most ROWS; None: no agent ever joined.

    `pools` names, by student, the agent that answers for it: copies share its process.
    """
    events = store.events()
    sessions = _sessions(events, store)
    if not sessions:
        return None
    spans = [*_states(events, sessions), *_busy(store, sessions, pools)]
    if not spans:
        return None
    rows = sorted({span.row for span in spans})
    names = rows[:ROWS]
    spans = [span for span in spans if span.row in names]
    totals: dict[tuple[str, str], float] = {}
    for span in spans:
        key = (span.row, span.state)
        totals[key] = totals.get(key, 0.0) + span.end - span.begin
    table = PageTable(
        ("process", *(f"{state} (s)" for state in STATES)),
        tuple((name, *(f"{totals.get((name, state), 0.0):,.1f}" for state in STATES)) for name in names),
    )
    order = sorted(spans, key=lambda span: (names.index(span.row), span.state != "waiting", span.begin))
    note = f"{len(sessions)} sessions; the time between them is left out." if len(sessions) > 1 else ""
    note += f" {len(rows) - ROWS:,} more processes have no row." if len(rows) > ROWS else ""
    return time_line("What each process did", order, table, STATES, note)


def _sessions(events: list[ClassEvent], store: Store) -> list[Session]:
    begins = [datetime.fromisoformat(event.at) for event in events if event.kind == "started"]
    ((last,),) = store.query("SELECT max(at) FROM result")
    times = [datetime.fromisoformat(event.at) for event in events]
    times += [datetime.fromisoformat(str(last))] if last else []
    found: list[Session] = []
    offset = 0.0
    for number, begin in enumerate(begins):
        before = begins[number + 1] if number + 1 < len(begins) else None
        end = max((time for time in times if time >= begin and (before is None or time < before)), default=begin)
        found.append(Session(begin, end, offset))
        offset += (end - begin).total_seconds()
    return found


def _session(sessions: list[Session], time: datetime) -> Session | None:
    return next((one for one in reversed(sessions) if one.begin <= time), None)


def _states(events: list[ClassEvent], sessions: list[Session]) -> Iterator[Span]:
    """Loading, waiting and stopped, from the events; what an agent answers lies over its waiting."""
    state: dict[str, tuple[str, float, Session]] = {}

    def ended(name: str, at: float) -> Iterator[Span]:
        what, since, _ = state.pop(name, ("", 0.0, sessions[0]))
        if what and at > since:
            yield Span(name, since, at, what, f"{name}: {what}, {at - since:,.1f} s")

    for number, event in enumerate(events):
        time = datetime.fromisoformat(event.at)
        session = _session(sessions, time)
        if session is None or event.kind not in BEGINS or not (event.agent or event.kind == "started"):
            continue
        if event.kind == "started":
            for name, (_, _, of) in list(state.items()):
                yield from ended(name, of.at(of.end))
            continue
        at, what = session.at(time), BEGINS[event.kind]
        if event.kind == "joined":
            if event.agent not in state:
                state[event.agent] = ("loading", session.offset, session)
            later = (one.kind for one in events[number + 1 :] if one.agent == event.agent and one.kind in BEGINS)
            what = "loading" if next(later, "") == "ready" else what
        yield from ended(event.agent, at)
        state[event.agent] = (what, at, session)
    for name, (_, _, of) in list(state.items()):
        yield from ended(name, of.at(of.end))


def _busy(store: Store, sessions: list[Session], pools: Mapping[str, str]) -> Iterator[Span]:
    """When agents answered: results carry the seconds they took. Of several processes of one agent, all together."""
    gap = max(sum((one.end - one.begin).total_seconds() for one in sessions) / SPANS, 0.001)
    rows = store.rows("SELECT agent, kind = 'Train', at, seconds FROM result WHERE seconds > 0 ORDER BY at")
    busy: dict[tuple[str, str], tuple[float, float]] = {}
    """The latest time of each agent, from and until when."""
    before, till = "", 0.0
    session: Session | None = None
    for agent, trains, at, seconds in rows:
        if at != before:  # results are recorded in groups
            before, time = at, datetime.fromisoformat(at)
            session = _session(sessions, time)
            till = session.at(time) if session else 0.0
        if session is None:
            continue
        key = (pool_of(pools.get(agent, agent)), "training" if trains else "busy")
        since = max(session.offset, till - float(str(seconds)))
        begin, end = busy.get(key, (since, till))
        if since <= end + gap:
            busy[key] = min(begin, since), max(end, till)
            continue
        yield _answered(key, begin, end)
        busy[key] = since, till
    for key, (begin, end) in busy.items():
        yield _answered(key, begin, end)


def _answered(key: tuple[str, str], begin: float, end: float) -> Span:
    return Span(key[0], begin, end, key[1], f"{key[0]}: {key[1]}, {end - begin:,.1f} s")
