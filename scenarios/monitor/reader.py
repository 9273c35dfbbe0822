"""Makes snapshots of a class from its gradebook and the broker's gauges."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise

from msgspec.structs import replace

from broker.protocol import Gauges, PeerGauge, pool_of
from scenarios.config.schema import Agent, Scenario
from scenarios.monitor.follow import AgentTotals, Follower
from scenarios.monitor.kinds import MOST, kinds
from scenarios.monitor.progress import ClassProgress
from scenarios.monitor.start import Start
from scenarios.monitor.state import OVER, AgentRow, CellState, LatestText, RunningResults, Snapshot, StudyState
from scenarios.monitor.timeline import Timeline
from scenarios.report.formatting import many
from scenarios.store.changes import dropped_agents, with_not_asked
from scenarios.store.problems import TAUGHT
from scenarios.store.sqlite import Store

LONGEST = 4000
"""Characters of a text that are kept."""
SPEED_S = 5.0
"""Seconds over which tokens per second are taken."""
STATES = ("starting", "joined", "loading", "restarting", "training", "draining", "ready")
"""Of several agents in a row, the first of these that one of them has is shown."""


class Reader:
    """Follows one class.

    Args:
        store: its gradebook.
        scenario: what is run.
        spent: what its agents had spent before, by name.
        study: the study that it is part of.
    """

    def __init__(
        self,
        store: Store,
        scenario: Scenario,
        spent: Mapping[str, float] | None = None,
        study: StudyState | None = None,
    ) -> None:
        self._study = study
        self.follower = Follower(store, scenario)
        self._progress = ClassProgress(self.follower, scenario)
        self._timeline = Timeline()
        self._store = store
        self._scenario = scenario
        self._kinds = kinds(scenario)
        self._students = tuple(dict.fromkeys(self._kinds[student.name] for student in scenario.students))
        self._expected = {agent.name: agent for agent in scenario.agents}
        self._grouped = len(scenario.students) > MOST
        self._spent = dict(spent or {})
        """The last known amounts: an agent that has left still counts."""
        self._task = ", ".join(source for source in _sources(scenario) if source)
        solves = {1, 2} & set(scenario.levels)
        self._amount = many(scenario.task.problems, "TP") if solves and scenario.task.problems else ""
        self._order: dict[str, int] = {}
        """The place of each TP in the task; empty until the problems are in the gradebook."""
        self._task_known = False
        self._tokens: deque[tuple[float, dict[str, int]]] = deque()
        self._standing = RunningResults()
        self._start = Start(scenario)
        self._texts: dict[str, tuple[str, LatestText]] = {}
        """By agent: the request that it answered last, and its text."""

    @property
    def behind(self) -> bool:
        """Whether the gradebook may hold more than was read so far."""
        return self.follower.behind

    @property
    def results_known(self) -> bool:
        """Whether there are results so far."""
        return bool(self._standing.students)

    def look(self) -> None:
        """Read what is new in the gradebook, at most a batch."""
        self.follower.look()
        for event in self.follower.events:
            self._progress.add_event(event)
            self._timeline.add(event)
        if not self._task_known:
            self._read_task()

    def sum_up(self) -> None:
        """Bring the results so far up to date, those of level 1 and of the others. This may cost more than a look."""
        self._progress.sum_up(complete=self._timeline.status == "complete")
        self._standing = self.follower.standing()

    def catch_up(self, tell: Callable[[float], object] = lambda _: None) -> None:
        """Look until everything is read, and sum it up; `tell` gets the share that is read so far."""
        self.look()
        while self.behind:
            self.look()
            tell(self.follower.read)
        self.sum_up()

    def snapshot(self, gauges: Gauges | None, *, now: datetime, clock: float, running: bool) -> Snapshot:
        """The class as it is now.

        Args:
            gauges: the broker's latest; None where there is no broker.
            now: for the elapsed time; with a time zone.
            clock: monotonic seconds, for speeds.
            running: whether a process works on the class.
        """
        timeline, progress = self._timeline, self._progress
        status = timeline.status
        if not running and status not in OVER:
            status = "interrupted"
        elif status == "running" and not timeline.states and not (gauges and gauges.peers):
            status = "starting"
        over = status in OVER
        learning = progress.learning
        paused_s = timeline.paused(now)
        stages = progress.stages(clock - paused_s)  # a pause does not make agents slower
        # A class that drains asks nothing more: what is left then is for another session.
        left_s = None if over or status in ("paused", "draining", "finished") else progress.left(stages)
        if over:
            stages = tuple(replace(row, left_s=None) if row.left_s else row for row in stages)
            learning = replace(learning, trainings=tuple(replace(row, left_s=None) for row in learning.trainings))
        agents = self._agents(None if over else gauges, clock, over)
        lessons = self.follower.lessons
        found = Snapshot(
            scenario=self._scenario.name,
            level=progress.level,
            task=self._task,
            status=status,
            simulated=tuple(row.name for row in agents if row.engine == "simulated"),
            unprotected=timeline.unprotected,
            elapsed_s=timeline.elapsed(None if over else now, self.follower.last),
            paused_s=paused_s,
            left_s=left_s,
            students=self._students,
            agents=agents,
            stages=stages,
            lessons=tuple(lessons[tp] for tp in sorted(lessons, key=lambda tp: self._order[tp])),
            events=tuple(timeline.rows),
            failed=self.follower.failed,
            course=_levels(self._scenario),
            amount=self._amount,
            learning=learning,
            at_work="" if over else progress.at_work,
            standing=self._standing,
            start=() if over else self._start.rows(agents, self._amount if self._task_known else "", timeline, now),
            read=self.follower.read,
            changes=with_not_asked(timeline.changes, self.follower.not_asked),
        )
        return replace(found, cells=_cells(self._study, found)) if self._study else found

    def _read_task(self) -> None:
        """Read the sources and the amounts of the problems, once they are in the gradebook."""
        sources = [
            str(row[0]) for row in self._store.query("SELECT text FROM source UNION SELECT source FROM labelled")
        ]
        if not sources:
            return
        rows = self._store.query("SELECT id FROM problem WHERE part = ? AND position = 0 ORDER BY item", TAUGHT)
        self._order = {str(row[0]): number for number, row in enumerate(rows)}
        self._task = ", ".join(sources)
        parts = self._store.query("SELECT part, count(*) FROM problem GROUP BY part")
        sizes = {str(part): int(str(n)) for part, n in parts}
        amounts = {
            "TP": len(self._order),
            "held-out problem": sizes.get("held_out", 0),
            "training item": sizes.get("train", 0),
            "held-out item": sizes.get("dev", 0) + sizes.get("test", 0),
        }
        self._amount = ", ".join(many(n, what) for what, n in amounts.items() if n)
        self._task_known = True

    def _agents(self, gauges: Gauges | None, clock: float, over: bool) -> tuple[AgentRow, ...]:
        peers = {p.name: p for p in gauges.peers if p.role != "classroom"} if gauges else {}
        speeds = self._speeds(peers, clock)
        expected, dropped = self._expected, self._timeline.changes.dropped
        left_out = dropped_agents(self._scenario, dropped) if dropped else frozenset[str]()
        members: dict[str, list[str]] = {}
        for name in dict.fromkeys([*expected, *peers]):
            members.setdefault(self._row(name), []).append(name)
        rows = []
        for row, names in members.items():
            found = [peers[name] for name in names if name in peers]
            self._spent |= {peer.name: peer.spent for peer in found if peer.spent is not None}
            done = self.follower.agents.get(row, AgentTotals())
            prompt = sum(peer.prompt_tokens for peer in found) if found else done.prompt_tokens
            cached = sum(peer.cached_tokens for peer in found) if found else done.cached_tokens
            spent = [self._spent[name] for name in names if name in self._spent]
            budgets = [_budget(expected.get(pool_of(name))) for name in names]
            pools = {pool_of(name) for name in names} if self._grouped else {found[0].pool if found else names[0]}
            states = {
                "dropped"
                if pool_of(name) in left_out
                else peers[name].state
                if name in peers
                else self._state(name, over)
                for name in names
            }
            rows.append(
                AgentRow(
                    name=row,
                    **self._properties(names[0], expected.get(names[0]), peers.get(names[0])),
                    state=next((state for state in STATES if state in states), min(states)),
                    done=done.done,
                    tokens=done.completion_tokens,
                    restarts=sum(self._timeline.restarts[name] for name in names),
                    queue=sum(gauges.queues.get(pool, 0) for pool in pools) if gauges else None,
                    leases=sum(peer.leases for peer in found) if found else None,
                    tokens_per_second=speeds.get(row),
                    cached_share=cached / prompt if prompt else None,
                    spent=sum(spent) if spent else None,
                    budget=sum(filter(None, budgets)) if all(budgets) else None,
                    latest=self._latest(row if self._grouped else pool_of(names[0])),
                )
            )
        return tuple(rows)

    def _row(self, name: str) -> str:
        """The row of a process: its own, or in a large class that of its kind."""
        return self._kinds.get(pool_of(name), name) if self._grouped else name

    def _state(self, name: str, over: bool) -> str:
        """The state of an agent that is not connected."""
        return "" if over else self._timeline.states.get(name, "starting")

    def _latest(self, agent: str) -> LatestText | None:
        """The last text of an agent. One that has none, such as a training, does not count."""
        request = self.follower.agents[agent].last if agent in self.follower.agents else None
        if request and self._texts.get(agent, ("",))[0] != request.id and not self.follower.behind:
            about = " ".join(part for part in (request.stage, request.tp, request.ep and f"EP {request.ep}") if part)
            self._texts[agent] = request.id, LatestText(about, self._store.text(request.id)[:LONGEST])
        return self._texts[agent][1] if agent in self._texts else None

    def _properties(self, name: str, expected: Agent | None, peer: PeerGauge | None) -> dict[str, str]:
        """Role, model, engine and device, as the agent says it, or the session's start, or the scenario."""
        properties = {
            "role": "teacher" if name == self._scenario.teacher.name else "student",
            "model": expected.model if expected and expected.engine != "external" else "",
            "engine": expected.engine if expected else "",
            "device": "",
        }
        properties |= {k: v for k, v in self._timeline.line_up.get(name, {}).items() if k in properties and v}
        if peer:
            properties |= {k: v for k in properties if (v := str(getattr(peer, k)))}
        if properties["engine"] == "auto":
            properties["engine"] = "simulated" if properties["model"] == "simulated" else ""
        return properties

    def _speeds(self, peers: Mapping[str, PeerGauge], clock: float) -> dict[str, float]:
        """Tokens per second by row. A count that fell is a new process that started at 0."""
        counts = Counter[str]()
        for name, peer in peers.items():
            counts[self._row(name)] += peer.completion_tokens
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


def _cells(study: StudyState, shown: Snapshot) -> tuple[CellState, ...]:
    """The cells of a study; that of the class that is shown as it is now."""
    done, total = (sum(getattr(row, name) for row in shown.stages) for name in ("done", "total"))
    now = {"status": shown.status, "done": done, "total": total, "standing": shown.standing}
    return tuple(replace(one, **now) if n == study.at else one for n, one in enumerate(study.cells))


def _sources(scenario: Scenario) -> list[str | None]:
    """Where the problems will come from, as far as the scenario says it."""
    texts = scenario.iterate.task
    problems = [scenario.task.family or scenario.task.file] if scenario.solves else []
    items = [texts.family or texts.file or texts.hub or "syllogism"] if scenario.classifies else []
    return [*problems, *items]


def _levels(scenario: Scenario) -> tuple[int, ...]:
    """The levels of a class with more than one: rationales are rewritten after level 1."""
    levels = tuple(dict.fromkeys((1, *scenario.levels))) if scenario.rewrites else scenario.levels
    return levels if len(levels) > 1 else ()


def _budget(agent: Agent | None) -> float | None:
    """The budget of an agent; each replica has its own."""
    budget = agent.engine_args.get("budget") if agent else None
    return float(budget) if isinstance(budget, int | float) and budget else None
