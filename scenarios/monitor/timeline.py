"""What the events of a class say: its status, its sessions, and the states and restarts of its agents.

The status comes from the events, so that a class that was killed does not look like one that runs.
"""

import contextlib
import re
from collections import Counter, deque
from datetime import datetime

import msgspec

from scenarios.monitor.state import OVER, EventRow
from scenarios.monitor.texts import duration
from scenarios.report.formatting import many
from scenarios.report.run_info import SessionInfo
from scenarios.store.changes import BUDGET, EXTENDED, EXTENDS, PAUSED, RESUMED, Changes, changed, pause_seconds
from scenarios.store.rows import ClassEvent

KEPT = 200
"""Events that are kept for the view."""
STATUS = {"started": "running", "joined": "running", "waiting": "waiting", "drain": "draining",
          "finished": "finished", "stopped": "stopped", "complete": "complete", EXTENDS: "interrupted",
          PAUSED: "paused", RESUMED: "running"}  # fmt: skip
"""The status of the class after an event."""
STATES = {"lost": "lost", "left": "left", "restart": "restarting", "gone": "gone", "joined": "joined", "ready": "ready"}
"""The state of an agent after an event, if the broker does not list it."""
REQUEST_ID = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24}\b")


class Timeline:
    """Follows the events of one class."""

    def __init__(self) -> None:
        self.rows: deque[EventRow] = deque(maxlen=KEPT)
        self.status = "starting"
        self.states: dict[str, str] = {}
        """By agent, in this session."""
        self.restarts = Counter[str]()
        self.line_up: dict[str, dict[str, str]] = {}
        """The agents' properties at the start of the session, by name."""
        self.since: dict[str, datetime] = {}
        """When each agent came into its state."""
        self.unprotected = False
        """Whether programs of models run, or ran, without a sandbox."""
        self.changes = Changes()
        """What was changed while it ran."""
        self._paused_at: datetime | None = None
        self._sessions: list[tuple[str, str]] = []
        """First and last event of each."""
        self._retries = 0

    def add(self, event: ClassEvent) -> None:
        """Add the next event."""
        event = _readable(event)
        if (event.kind, event.detail) == ("left", "(finished)") and self.status == "draining":
            event = msgspec.structs.replace(event, detail="(interrupted)")
        if event.kind == "left" and self.states.get(event.agent) == "left":
            return  # the broker has reported it; this is the end of its process
        self._add_row(event)
        if event.kind == "started" or not self._sessions:
            self._sessions.append((event.at, event.at))
            self.states.clear()
        if event.kind not in ("retry", EXTENDS, EXTENDED):  # written before or after a session
            self._sessions[-1] = (self._sessions[-1][0], event.at)
        quiet = event.kind in ("joined", "waiting") and self.status in ("paused", "draining", "finished", *OVER)
        if event.kind in STATUS and not quiet:
            self.status = STATUS[event.kind]
        self.changes = changed(self.changes, event)
        if event.kind == PAUSED:
            self._paused_at = datetime.fromisoformat(event.at)
        self.unprotected |= event.kind == "unprotected"
        if event.kind == "restart":
            self.restarts[event.agent] += 1
        if event.kind in STATES:
            self.states[event.agent] = STATES[event.kind]
            self.since[event.agent] = datetime.fromisoformat(event.at)
        if event.kind == "started":
            self.line_up = _line_up(event.detail)

    @property
    def began(self) -> datetime | None:
        """When the session began."""
        return datetime.fromisoformat(self._sessions[-1][0]) if self._sessions else None

    def elapsed(self, now: datetime | None, last_result: str) -> float:
        """Seconds that a process was at work on the class; a session that was killed ends with its last result.

        Args:
            now: the time, while the class runs; None: it does not.
            last_result: when the last result was committed, or empty.
        """
        if not self._sessions:
            return 0.0
        spans = [(datetime.fromisoformat(first), datetime.fromisoformat(last)) for first, last in self._sessions]
        start, last = spans[-1]
        if now is None and last_result and self.status not in OVER:
            last = max(last, datetime.fromisoformat(last_result))
        spans[-1] = (start, now or last)
        return max(0.0, sum((end - begin).total_seconds() for begin, end in spans))

    def paused(self, now: datetime) -> float:
        """Seconds of all pauses, the one under way included."""
        under_way = self._paused_at if self.changes.paused else None
        return self.changes.paused_seconds + (max(0.0, (now - under_way).total_seconds()) if under_way else 0.0)

    def _add_row(self, event: ClassEvent) -> None:
        if event.kind == "progress":  # a step of a training: there are many, and they have a section
            return
        if event.kind == "retry" and self.rows and self.rows[-1].kind == "retry":
            self._retries += 1
            self.rows.pop()
        else:
            self._retries = 1
        time = f"{datetime.fromisoformat(event.at).astimezone():%H:%M:%S}"
        kind = "" if event.kind == "drain" else event.kind  # its detail says it all
        detail = REQUEST_ID.sub(r"\1…", event.detail)
        if event.kind == "started":  # JSON for programs
            detail = f"with {many(len(_line_up(event.detail)), 'agent')}"
        elif event.kind == RESUMED:
            detail = f"after {duration(pause_seconds(event))}"
        elif event.kind == BUDGET and event.detail.isdecimal():
            detail = many(int(event.detail), "completion token")
        elif event.kind == "session":
            detail = _session(event.detail)
        elif event.kind == "retry":
            several = f"{self._retries} failed requests are asked again"
            detail = several if self._retries > 1 else "a failed request is asked again"
        self.rows.append(EventRow(event.seq, time, event.agent, kind, detail))


def _readable(event: ClassEvent) -> ClassEvent:
    """The event as people should read it, whichever version of this program recorded it."""
    kind, detail = event.kind, event.detail
    if (kind, detail) in (("left", "finished"), ("lost", "goodbye drained"), ("gone", "left (exit code 0)")):
        kind, detail = "left", "(finished)"
    elif kind == "joined":  # a simulated agent is its own engine
        detail = detail.replace("simulated simulated", "simulated")
    return msgspec.structs.replace(event, kind=kind, detail=detail)


def _session(text: str) -> str:
    """How a session ended, from its JSON; empty if that cannot be read."""
    with contextlib.suppress(msgspec.DecodeError):
        session = msgspec.json.decode(text, type=SessionInfo)
        return f"{session.status or 'ended'} after {duration(session.wall_seconds)}"
    return ""


def _line_up(text: str) -> dict[str, dict[str, str]]:
    """The agents' properties by name; empty if they cannot be read."""
    with contextlib.suppress(msgspec.DecodeError):
        return {agent["name"]: agent for agent in msgspec.json.decode(text, type=list[dict[str, str]])}
    return {}
