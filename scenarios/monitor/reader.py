"""Makes snapshots of a class: brings together what the gradebook and the broker's gauges say.

Status, elapsed time and restarts are derived from the events, so that a class that was killed does not pass for
one that runs. What is in the results is scenarios/monitor/ledger.py.
"""

import contextlib
import re
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise

import msgspec

from broker.messages import Gauges, PeerGauge, pool_of
from scenarios.gradebook.store import Event, Store
from scenarios.monitor.ledger import Ledger, Tally
from scenarios.monitor.snapshot import OVER, AgentRow, EventRow, Snapshot, StageRow
from scenarios.monitor.stages import StageLedger
from scenarios.schema import Agent, Scenario

SPEED_S = 5.0
"""Over how many seconds tokens per second are taken."""
PACE_S = 60.0
"""Over how many seconds the pace is taken from which the time left is estimated."""
EVENTS = 200
"""The last ones are kept."""
STATUS = {"started": "running", "joined": "running", "waiting": "waiting", "drain": "draining",
          "stopped": "stopped", "complete": "complete"}  # fmt: skip
"""What an event makes of the class."""
REQUEST_ID = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24}\b")
GONE = {"lost": "lost", "restart": "restarting", "gone": "gone", "joined": "joined", "ready": "ready"}
"""What an event makes of an agent that the broker does not list."""


class Reader:
    """Follows one class.

    Args:
        store: its gradebook.
        scenario: what is run.
        spent: what its agents had spent before, by name.
    """

    def __init__(self, store: Store, scenario: Scenario, spent: Mapping[str, float] | None = None) -> None:
        self._solves = set(scenario.levels) != {3} and not scenario.exam.questions
        """Whether all it asks belongs to lessons as level 1 alone has them; else it is followed stage by stage."""
        self.ledger: Ledger | StageLedger = Ledger(store, scenario) if self._solves else StageLedger(store)
        self._store = store
        self._scenario = scenario
        self._order: dict[str, int] = {}
        self._sessions: list[tuple[str, str]] = []
        """First and last event of each."""
        self._events: deque[EventRow] = deque(maxlen=EVENTS)
        self._status = "starting"
        self._states: dict[str, str] = {}
        self._restarts: dict[str, int] = {}
        self._started: dict[str, dict[str, str]] = {}
        """The agents as they were settled when the session began."""
        self._again = 0
        self._spent = dict(spent or {})
        """The last that is known: it is owed after an agent has left, too."""
        self._task = scenario.task.family or scenario.task.file or ""
        self._tokens: deque[tuple[float, dict[str, int]]] = deque()
        self._pace: deque[tuple[float, dict[str, int]]] = deque()

    def look(self) -> None:
        """Read what the gradebook has that was not read yet: the part that costs."""
        self.ledger.look()
        for event in self.ledger.fresh:
            self._hear(event)
        if not self._order:
            rows = self._store.query("SELECT id FROM problem WHERE part = 'taught' AND position = 0 ORDER BY item")
            self._order = {str(row[0]): number for number, row in enumerate(rows)}
            self._task = "".join(str(row[0]) for row in self._store.query("SELECT text FROM source")) or self._task

    def catch_up(self) -> None:
        """Look until all is read."""
        self.look()
        while self.ledger.behind:
            self.look()

    def snapshot(self, gauges: Gauges | None, *, now: datetime, clock: float, running: bool) -> Snapshot:
        """The picture now.

        Args:
            gauges: the broker's latest; None where there is no broker.
            now: for the elapsed time; with a time zone.
            clock: monotonic seconds, for speeds.
            running: whether a process works on the class.
        """
        status = self._status
        if not running and status not in OVER:
            status = "interrupted"
        elif status == "running" and not self._states and not (gauges and gauges.peers):
            status = "starting"
        over = status in OVER
        stages = self._stages()
        agents = self._agents(None if over else gauges, clock, over)
        return Snapshot(
            scenario=self._scenario.name,
            level=self._scenario.levels[-1],
            task=self._task,
            status=status,
            simulated=tuple(row.name for row in agents if row.engine == "simulated"),
            elapsed_s=self._elapsed(None if over else now),
            # Who drains asks nothing more: what is left then is for another session.
            left_s=None if over or status == "draining" else self._left(stages, clock),
            teaching_problems=self._problems,
            students=tuple(student.name for student in self._scenario.students),
            agents=agents,
            stages=stages,
            lessons=tuple(self.ledger.rows[tp] for tp in sorted(self.ledger.rows, key=self._place)),
            events=tuple(self._events),
            failed=sum(tally.failed for tally in self.ledger.agents.values()),
            requeued=gauges.requeued if gauges else 0,
        )

    def _hear(self, event: Event) -> None:
        if event.kind == "retry" and self._events and self._events[-1].kind == "retry":
            self._again += 1
            self._events.pop()
        else:
            self._again = 1
        self._events.append(_event_row(event, self._again))
        if event.kind == "started" or not self._sessions:
            self._sessions.append((event.at, event.at))
            self._states.clear()
        self._sessions[-1] = (self._sessions[-1][0], event.at)
        if event.kind in STATUS and not (event.kind == "joined" and self._status in ("draining", *OVER)):
            self._status = STATUS[event.kind]
        if event.kind == "restart":
            self._restarts[event.agent] = self._restarts.get(event.agent, 0) + 1
        if event.kind in GONE:
            self._states[event.agent] = GONE[event.kind]
        if event.kind == "started":
            self._started = _line_up(event.detail)

    @property
    def _problems(self) -> int:
        return len(self._order) or self._scenario.task.problems if self._solves else 0

    def _place(self, tp: str) -> tuple[int, str]:
        return self._order.get(tp, len(self._order)), tp

    def _elapsed(self, now: datetime | None) -> float:
        """Seconds that a process was at work on the class; a session that was killed ends with its last word."""
        if not self._sessions:
            return 0.0
        spans = [(datetime.fromisoformat(first), datetime.fromisoformat(last)) for first, last in self._sessions]
        start, last = spans[-1]
        if now is None and self.ledger.last and self._status not in OVER:
            last = max(last, datetime.fromisoformat(self.ledger.last))
        spans[-1] = (start, last if now is None else now)
        return max(0.0, sum((end - begin).total_seconds() for begin, end in spans))

    def _stages(self) -> tuple[StageRow, ...]:
        if isinstance(self.ledger, StageLedger):
            return self.ledger.stages()
        lesson, exam = self._scenario.lesson, self._scenario.exam
        rows = self.ledger.rows.values()
        unseen = max(0, self._problems - len(rows)) * lesson.rationales
        per_tr = len(self._scenario.students) * exam.problems * exam.repeats
        taught = self.ledger.taught
        totals = {
            "greedy": (taught["greedy"], self._problems * lesson.greedy),
            "teach": (taught["teach"], self._problems * lesson.rationales),
            "exam": (sum(row.exams for row in rows), sum(row.exams_total for row in rows) + unseen * per_tr),
        }
        if exam.score == "logprob":
            # Each exam problem once, however often it is answered.
            totals["grade"] = (sum(row.grades for row in rows), totals["exam"][1] // exam.repeats)
        return tuple(StageRow(name, done, total) for name, (done, total) in totals.items() if total)

    def _left(self, stages: tuple[StageRow, ...], clock: float) -> float | None:
        """Seconds until the slowest agent is through at its recent pace. They work side by side."""
        done = {name: tally.done for name, tally in self.ledger.agents.items()}
        if self.ledger.behind:
            self._pace.clear()
            return None
        if not self._pace or self._pace[-1][1] != done:
            self._pace.append((clock, done))
        while len(self._pace) > 2 and self._pace[1][0] <= clock - PACE_S:
            self._pace.popleft()
        if not self._solves:
            return self._left_of_all(sum(stage.total - stage.done for stage in stages), clock)
        open_by_stage = {stage.name: max(0, stage.total - stage.done) for stage in stages}
        teaching = open_by_stage.get("greedy", 0) + open_by_stage.get("teach", 0)
        exams = {student.name: 0 for student in self._scenario.students}
        total = sum(stage.total for stage in stages if stage.name in ("exam", "grade")) // len(exams)
        remaining = {self._scenario.teacher.name: teaching}
        remaining |= {name: max(0, total - done.get(name, 0)) for name in exams}
        if not any(remaining.values()):
            return 0.0
        left = []
        for name, count in remaining.items():
            # From an agent's first result on: the time before it was spent on loading.
            since, before = next(((at, was) for at, was in self._pace if was.get(name)), (clock, done))
            made = done.get(name, 0) - before.get(name, 0)
            if count and made and clock - since >= SPEED_S:
                left.append(count * (clock - since) / made)
            elif count and not (teaching and name in exams):
                return None
        return max(left, default=None)

    def _left_of_all(self, remaining: int, clock: float) -> float | None:
        """Likewise, where agents wait for one another: all of them together."""
        since, before = self._pace[0]
        made = sum(self._pace[-1][1].values()) - sum(before.values())
        return remaining * (clock - since) / made if made and clock - since >= SPEED_S else None

    def _agents(self, gauges: Gauges | None, clock: float, over: bool) -> tuple[AgentRow, ...]:
        peers = {p.name: p for p in gauges.peers if p.role != "classroom"} if gauges else {}
        speeds = self._speeds(peers, clock)
        rows = []
        names = [agent.name for agent in self._scenario.agents]
        wished = {agent.name: agent for agent in self._scenario.agents}
        for name in names + [name for name in peers if name not in wished]:
            peer, wish = peers.get(name), wished.get(name)
            facts: dict[str, str] = {
                "role": "teacher" if name == self._scenario.teacher.name else "student",
                "model": wish.model if wish else "",
                "engine": wish.engine if wish else "",
                "device": "",
            }
            facts |= {k: v for k, v in self._started.get(name, {}).items() if k in facts and v}
            if peer:
                facts |= {k: v for k in facts if (v := str(getattr(peer, k)))}
            if facts["engine"] == "auto":
                facts["engine"] = "simulated" if facts["model"] == "simulated" else ""
            if peer and peer.spent is not None:
                self._spent[name] = peer.spent
            tally = self.ledger.agents.get(name, Tally())
            rows.append(
                AgentRow(
                    name=name,
                    **facts,
                    state=peer.state if peer else "" if over else self._states.get(name, "starting"),
                    done=tally.done,
                    tokens=tally.completion_tokens,
                    restarts=self._restarts.get(name, 0),
                    queue=gauges.queues.get(peer.pool if peer else name, 0) if gauges else None,
                    leases=peer.leases if peer else None,
                    tokens_per_second=speeds.get(name),
                    cached_share=_share(peer or tally),
                    spent=self._spent.get(name),
                    budget=_budget(wished.get(pool_of(name))),
                )
            )
        return tuple(rows)

    def _speeds(self, peers: Mapping[str, PeerGauge], clock: float) -> dict[str, float]:
        """Tokens per second by agent. A count that fell is a new process: it starts from nothing."""
        counts = {name: peer.completion_tokens for name, peer in peers.items()}
        self._tokens.append((clock, counts))
        while len(self._tokens) > 2 and self._tokens[1][0] <= clock - SPEED_S:
            self._tokens.popleft()
        speeds = {}
        for name in counts:
            seen = [(at, count[name]) for at, count in self._tokens if name in count]
            gained = sum(max(0, b - a) if b >= a else b for (_, a), (_, b) in pairwise(seen))
            span = seen[-1][0] - seen[0][0]
            if span > 0:
                speeds[name] = gained / span
        return speeds


def _share(counted: PeerGauge | Tally) -> float | None:
    return counted.cached_tokens / counted.prompt_tokens if counted.prompt_tokens else None


def _budget(agent: Agent | None) -> float | None:
    """Each replica has one of its own."""
    said = agent.engine_args.get("budget") if agent else None
    return float(said) if isinstance(said, int | float) and said else None


def _event_row(event: Event, times: int) -> EventRow:
    time = f"{datetime.fromisoformat(event.at).astimezone():%H:%M:%S}"
    detail = REQUEST_ID.sub(r"\1…", event.detail)
    if event.kind in ("started", "session"):
        # JSON for programs: the rows of the agents and the header say the same.
        detail = ""
    elif event.kind == "retry":
        detail = f"{times} failed requests are asked again" if times > 1 else "a failed request is asked again"
    return EventRow(event.seq, time, event.agent, event.kind, detail)


def _line_up(text: str) -> dict[str, dict[str, str]]:
    """The agents' facts by name. A line-up that cannot be read leaves them as the scenario has them."""
    with contextlib.suppress(msgspec.DecodeError):
        return {facts["name"]: facts for facts in msgspec.json.decode(text, type=list[dict[str, str]])}
    return {}
