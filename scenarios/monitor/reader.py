"""Makes snapshots of a class: brings together what the gradebook and the broker's gauges say.

Status, elapsed time and restarts are derived from the events, so that a class that was killed does not pass for
one that runs. What is in the results is ledger.py and shadow.py, how far the class is first.py and course.py.
"""

import contextlib
import re
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise

import msgspec

from broker.protocol import Gauges, PeerGauge, pool_of
from scenarios.config.schema import Agent, Scenario
from scenarios.monitor.first import FirstLevel
from scenarios.monitor.ledger import StoreFollower
from scenarios.monitor.lessons import Tally
from scenarios.monitor.levels import LevelFollower
from scenarios.monitor.lines import duration
from scenarios.monitor.shadow import Shadow
from scenarios.monitor.snapshot import OVER, AgentRow, EventRow, Snapshot
from scenarios.report.formatting import many
from scenarios.report.run_info import SessionInfo
from scenarios.store.problems import TAUGHT
from scenarios.store.sqlite import ClassEvent, Store

SPEED_S = 5.0
"""Over how many seconds tokens per second are taken."""
EVENTS = 200
"""The last ones are kept."""
STATUS = {"started": "running", "joined": "running", "waiting": "waiting", "drain": "draining",
          "finished": "finished", "stopped": "stopped", "complete": "complete"}  # fmt: skip
"""What an event makes of the class."""
REQUEST_ID = re.compile(r"\b([0-9a-f]{8})[0-9a-f]{24}\b")
GONE = {"lost": "lost", "left": "left", "restart": "restarting", "gone": "gone", "joined": "joined", "ready": "ready"}
"""What an event makes of an agent that the broker does not list."""


class Reader:
    """Follows one class.

    Args:
        store: its gradebook.
        scenario: what is run.
        spent: what its agents had spent before, by name.
    """

    def __init__(self, store: Store, scenario: Scenario, spent: Mapping[str, float] | None = None) -> None:
        self.ledger: StoreFollower | Shadow
        self._progress: FirstLevel | LevelFollower
        if scenario.levels == (1,) and not scenario.exam.questions:
            self.ledger = StoreFollower(store, scenario)
            self._progress = FirstLevel(self.ledger, scenario)
        else:
            self.ledger = Shadow(store, scenario)
            self._progress = LevelFollower(self.ledger, scenario)
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
        self._task = ", ".join(source for source in _sources(scenario) if source)
        self._amount = ""
        self._told = False
        """Whether the gradebook has told of the task."""
        self._tokens: deque[tuple[float, dict[str, int]]] = deque()

    def look(self) -> None:
        """Read what the gradebook has that was not read yet: the part that costs."""
        self.ledger.look()
        for event in self.ledger.fresh:
            self._hear(event)
        if not self._told:
            self._read_task()

    def sum_up(self) -> None:
        """Bring up to date what is not summed up while reading: another part that costs, of levels after the first."""
        self._progress.sum_up(complete=self._status == "complete")

    def catch_up(self) -> None:
        """Look until all is read, and sum it up."""
        self.look()
        while self.ledger.behind:
            self.look()
        self.sum_up()

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
        learning = self._progress.learning
        stages = self._progress.stages(self._problems, clock)
        if over:  # nobody is at work, so nothing goes on at any pace
            stages = tuple(msgspec.structs.replace(row, left_s=None) if row.left_s else row for row in stages)
            resting = tuple(msgspec.structs.replace(row, left_s=None) for row in learning.trainings)
            learning = msgspec.structs.replace(learning, trainings=resting)
        agents = self._agents(None if over else gauges, clock, over)
        return Snapshot(
            scenario=self._scenario.name,
            level=self._progress.level,
            task=self._task,
            status=status,
            simulated=tuple(row.name for row in agents if row.engine == "simulated"),
            elapsed_s=self._elapsed(None if over else now),
            # Who drains asks nothing more: what is left then is for another session.
            left_s=None if over or status in ("draining", "finished") else self._progress.left(stages, clock),
            teaching_problems=self._problems,
            students=tuple(student.name for student in self._scenario.students),
            agents=agents,
            stages=stages,
            lessons=tuple(self.ledger.rows[tp] for tp in sorted(self.ledger.rows, key=self._place)),
            events=tuple(self._events),
            failed=self.ledger.failed,
            requeued=gauges.requeued if gauges else 0,
            course=_levels(self._scenario),
            amount=self._amount,
            learning=learning,
            at_work="" if over else self._progress.at_work,
        )

    def _hear(self, event: ClassEvent) -> None:
        event = _plain_words(event)
        if (event.kind, event.detail) == ("left", "(finished)") and self._status == "draining":
            event = msgspec.structs.replace(event, detail="(interrupted)")
        if event.kind == "left" and self._states.get(event.agent) == "left":
            return  # the broker has said so; this is the end of its process
        if event.kind == "retry" and self._events and self._events[-1].kind == "retry":
            self._again += 1
            self._events.pop()
        else:
            self._again = 1
        self._progress.hear(event)
        if event.kind != "progress":  # a step of a training: there are many, and they have a section of their own
            self._events.append(_event_row(event, self._again))
        if event.kind == "started" or not self._sessions:
            self._sessions.append((event.at, event.at))
            self._states.clear()
        if event.kind != "retry":  # the next session writes it, before its `started`
            self._sessions[-1] = (self._sessions[-1][0], event.at)
        if event.kind in STATUS and not (event.kind == "joined" and self._status in ("draining", "finished", *OVER)):
            self._status = STATUS[event.kind]
        if event.kind == "restart":
            self._restarts[event.agent] = self._restarts.get(event.agent, 0) + 1
        if event.kind in GONE:
            self._states[event.agent] = GONE[event.kind]
        if event.kind == "started":
            self._started = _line_up(event.detail)

    def _read_task(self) -> None:
        """What the class is about, once its problems are there."""
        sources = [
            str(row[0]) for row in self._store.query("SELECT text FROM source UNION SELECT source FROM labelled")
        ]
        if not sources:
            return
        rows = self._store.query("SELECT id FROM problem WHERE part = ? AND position = 0 ORDER BY item", TAUGHT)
        self._order = {str(row[0]): number for number, row in enumerate(rows)}
        self._task = ", ".join(sources)
        sizes = {
            str(part): int(str(n)) for part, n in self._store.query("SELECT part, count(*) FROM problem GROUP BY part")
        }
        amounts = {
            "TP": len(self._order),
            "held-out problem": sizes.get("held_out", 0),
            "training item": sizes.get("train", 0),
            "held-out item": sizes.get("dev", 0) + sizes.get("test", 0),
        }
        self._amount = ", ".join(many(n, what) for what, n in amounts.items() if n)
        self._told = True

    @property
    def _problems(self) -> int:
        return len(self._order) or (self._scenario.task.problems if {1, 2} & set(self._scenario.levels) else 0)

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
                "model": wish.model if wish and wish.engine != "external" else "",
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


def _sources(scenario: Scenario) -> list[str | None]:
    """Where the problems will come from, as far as the scenario says it."""
    texts = scenario.iterate.task
    problems = [scenario.task.family or scenario.task.file] if scenario.solves else []
    items = [texts.family or texts.file or texts.hub or "syllogism"] if scenario.classifies else []
    return [*problems, *items]


def _levels(scenario: Scenario) -> tuple[int, ...]:
    """The levels that a class goes through, where it is more than one: rationales are rewritten after level 1."""
    levels = tuple(dict.fromkeys((1, *scenario.levels))) if scenario.rewrites else scenario.levels
    return levels if len(levels) > 1 else ()


def _share(counted: PeerGauge | Tally) -> float | None:
    return counted.cached_tokens / counted.prompt_tokens if counted.prompt_tokens else None


def _budget(agent: Agent | None) -> float | None:
    """Each replica has one of its own."""
    said = agent.engine_args.get("budget") if agent else None
    return float(said) if isinstance(said, int | float) and said else None


def _event_row(event: ClassEvent, times: int) -> EventRow:
    time = f"{datetime.fromisoformat(event.at).astimezone():%H:%M:%S}"
    kind = "" if event.kind == "drain" else event.kind  # its detail says it all
    detail = REQUEST_ID.sub(r"\1…", event.detail)
    if event.kind == "started":  # JSON for programs
        detail = f"with {many(len(_line_up(event.detail)), 'agent')}"
    elif event.kind == "session":
        detail = _session(event.detail)
    elif event.kind == "retry":
        detail = f"{times} failed requests are asked again" if times > 1 else "a failed request is asked again"
    return EventRow(event.seq, time, event.agent, kind, detail)


def _plain_words(event: ClassEvent) -> ClassEvent:
    """An event as people should read it, whichever version of this program wrote it."""
    kind, detail = event.kind, event.detail
    if (kind, detail) in (("left", "finished"), ("lost", "goodbye drained"), ("gone", "left (exit code 0)")):
        kind, detail = "left", "(finished)"
    elif kind == "joined":  # a simulated agent is its own engine
        detail = detail.replace("simulated simulated", "simulated")
    return msgspec.structs.replace(event, kind=kind, detail=detail)


def _session(text: str) -> str:
    """How a session ended, from its JSON; empty where that cannot be read."""
    with contextlib.suppress(msgspec.DecodeError):
        session = msgspec.json.decode(text, type=SessionInfo)
        return f"{session.status or 'ended'} after {duration(session.wall_seconds)}"
    return ""


def _line_up(text: str) -> dict[str, dict[str, str]]:
    """The agents' facts by name. A line-up that cannot be read leaves them as the scenario has them."""
    with contextlib.suppress(msgspec.DecodeError):
        return {facts["name"]: facts for facts in msgspec.json.decode(text, type=list[dict[str, str]])}
    return {}
