"""Watches the agents of a class: which joined, left, died or hang, and which pools have no member.

The broker reports agents that joined or were lost, the launcher processes that run or ended. This module combines the
two, records events, ends processes that load or train for too long, and fails the class when a pool stays empty. The
broker checks how long a request takes (broker/state.py).
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from broker.client import Client
from broker.errors import LbtError
from broker.protocol import Gone, Joined, Lost, Quiet, pool_of
from scenarios.config.process_schema import Limits
from scenarios.config.schema import Scenario
from scenarios.session import broker_watch
from scenarios.session.broker_watch import BROKER, BrokerWatch
from scenarios.store.sqlite import Store

HOLDS = {"loading": "loading_s", "training": "training_s"}
"""States in which an agent answers nothing, and the entry of `limits` that bounds each."""
TURN_OVER = "its turn is over"
"""Why an agent left whose processes were ended to make room for the next (`time_share`)."""
DROPPED_AGENT = "it was dropped"
"""Why an agent left whose students were all dropped (`run.py ctl RUN drop STUDENT`)."""
NOTED_S = 3.0
"""How long a pool is empty before that is an event: processes need a moment to start."""
PAUSE_S = 2.0
"""The most time that one check counts: if more went by, this process was stopped or starved, as others were."""


class ClassFailure(LbtError):
    """The class cannot go on; what is recorded stays, and it can be resumed."""


class EndedProcess(Protocol):
    """What a launcher reports of a process that ended."""

    @property
    def name(self) -> str:
        """Name of the agent, or `broker`."""

    @property
    def detail(self) -> str:
        """How it ended, for people."""

    @property
    def will_restart(self) -> bool:
        """Whether it is started again."""

    @property
    def left(self) -> bool:
        """Whether it ended by itself, without an error."""

    @property
    def killed(self) -> bool:
        """Whether `Launcher.kill` ended it."""

    @property
    def pid(self) -> int:
        """Its process id; 0: it could not be started."""


class AgentLauncher(broker_watch.BrokerLauncher, Protocol):
    """Starts, watches and restarts the processes of a class."""

    def ended(self) -> Iterable[EndedProcess]:
        """Processes that ended since the last call. Does not wait."""

    def alive(self) -> Collection[str]:
        """Names of the processes that run."""

    def unkillable(self) -> Collection[str]:
        """Names of the processes that still run long after SIGKILL."""

    def last_error(self, name: str) -> str:
        """The last error in the log of a process, in a line, and where the log is."""


class _End(NamedTuple):
    """How the last process of a pool ended."""

    name: str
    detail: str
    exceeded: str
    """The entry of `limits` that it exceeded; empty: none."""


class Liveness:
    """The members of every pool and the state of every process."""

    def __init__(
        self,
        scenario: Scenario,
        store: Store,
        client: Client,
        launcher: AgentLauncher,
        answerers: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits: Limits = scenario.limits
        self._store = store
        self._client = client
        self._launcher = launcher
        self._answerers = answerers
        self._external = {agent.name for agent in scenario.agents if agent.engine == "external"}
        self._elsewhere = {agent.name for agent in scenario.agents if agent.elsewhere}
        self._broker = BrokerWatch(scenario, store, client, launcher)
        self._clock = clock
        self._checked_at = clock()
        self._now = 0.0
        """Seconds since the start, without those in which this process did not run."""
        self._members: dict[str, set[str]] = {agent.name: set() for agent in scenario.agents}
        self._states: dict[str, str] = {}
        """State of each member."""
        self._waits_since: dict[str, float] = {}
        """Since when each running process loads, or trains without a step; one that has not joined yet loads."""
        self._restarting: set[str] = set()
        self._children: set[str] = set()
        """Names of the processes that the launcher has started; all other members are external."""
        self._running: set[str] = set()
        """Children that run or are about to start again."""
        self._exceeded: dict[str, str] = {}
        """The entry of `limits` that each ended process had exceeded."""
        self._empty_since: dict[str, float] = {}
        self._noted: set[str] = set()
        """Empty pools that have an event."""
        self._last: dict[str, _End] = {}
        """How the last process of each pool ended."""
        self._startable = Counter({agent.name: agent.replicas for agent in scenario.agents})
        """Number of processes of each pool that run or may be started again."""

    @property
    def any_ready(self) -> bool:
        """Whether any agent is connected that may have work under way, so does not load or train."""
        return any(state not in HOLDS and not self._has_ended(name) for name, state in self._states.items())

    @property
    def any_child_ready(self) -> bool:
        """The same without external agents."""
        return any(state not in HOLDS and name in self._running for name, state in self._states.items())

    # --- reports of the broker --------------------------------------------------------------------------

    def joined(self, joined: Joined) -> None:
        """An agent joined, or its state changed.

        Raises:
            ClassFailure: it is another answerer than the request ids are made for.
        """
        hello = joined.hello
        pool = hello.pool or hello.name
        if pool not in self._members:
            self._store.note(hello.name, "stranger", f"joined pool {pool!r}, which this class does not have")
            return
        expected = self._answerers.get(pool)
        if expected and hello.answerer != expected:
            raise ClassFailure(
                f"{hello.name} joined as another answerer than the scenario describes: its answers would be "
                "recorded under wrong ids.\nDoes an agent of another run use this broker?"
            )
        if hello.name not in self._members[pool]:
            self._store.note(hello.name, "joined", f"{hello.model} {hello.engine} {hello.device}".strip())
        elif hello.state == "ready":
            self._store.note(hello.name, "ready")
        self._members[pool].add(hello.name)
        if self._states.get(hello.name) != hello.state:
            self._states[hello.name] = hello.state
            self.progressed(hello.name)

    def progressed(self, name: str) -> None:
        """An agent took a step of a training, or its state changed: its time to load or train starts again."""
        self._waits_since.pop(name, None)

    def quiet(self, quiet: Quiet) -> None:
        """An agent sends nothing although its process runs, or sends again."""
        if quiet.over:
            self._store.note(quiet.name, "heard", f"again, after {quiet.seconds:.0f} s")
        else:
            why = "the machine is busy, or its process is stopped"
            self._store.note(quiet.name, "quiet", f"no heartbeat for {quiet.seconds:.0f} s: {why}")

    def lost(self, lost: Lost) -> None:
        """An agent was lost. One that hangs is killed, so that the launcher starts it again."""
        if lost.why == "refused":  # it never joined; another agent of the same name may have
            self._store.note(lost.name, "lost", f"refused: {lost.name} {lost.detail}"[:500])
            return
        self._members.get(lost.pool, set()).discard(lost.name)
        self._states.pop(lost.name, None)
        if lost.why == "goodbye" and lost.detail in ("", "drained"):
            self._store.note(lost.name, "left", "finished")
        elif lost.detail in (TURN_OVER, DROPPED_AGENT):
            self._store.note(lost.name, "left", lost.detail)
        else:
            why = {"goodbye": "", "process": "its process ended: "}.get(lost.why, f"{lost.why}: ")
            self._store.note(lost.name, "lost", f"{why}{lost.detail}"[:500].removesuffix(": "))
        if lost.why == "stalled":
            self._end(lost.name, lost.detail, "stalled_s", lost.pid)
        elif lost.why == "silent":
            self._end(lost.name, lost.detail, pid=lost.pid)

    # --- reports of the launcher ------------------------------------------------------------------------

    def check(self, outstanding: Mapping[str, int], *, timed: bool = True) -> None:
        """Check processes and pools.

        Args:
            outstanding: the number of unanswered requests by pool.
            timed: whether the time since the last check counts against agents. That of a pause does not.

        Raises:
            ClassFailure: the broker or a pool with requests has ended for good, or is missing for too long.
        """
        now = self._clock()
        passed_s = min(now - self._checked_at, PAUSE_S)
        self._now += passed_s if timed else 0.0
        self._checked_at = now
        for ended in self._launcher.ended():
            self._note_end(ended)
        running = set(self._launcher.alive())
        alive = running - {BROKER}
        self._broker.check(passed_s, runs=BROKER in running, awaited=not alive <= self._states.keys())
        unkillable = sorted(self._launcher.unkillable())
        if BROKER in unkillable:
            raise ClassFailure(self._hanging(BROKER))
        self._children |= alive
        self._restarting -= alive
        alive.difference_update(unkillable)
        self._check_waits(alive)
        self._running = alive | self._restarting
        self._check_pools({pool for pool, count in outstanding.items() if count}, unkillable)

    def _has_ended(self, name: str) -> bool:
        """Whether this agent is a child process that has ended.

        The broker may report it as a member later, since it may read the last messages of a process after its end.
        """
        return name in self._children and name not in self._running

    def _note_end(self, ended: EndedProcess) -> None:
        if not ended.left:
            self._store.note(ended.name, "restart" if ended.will_restart else "gone", ended.detail[:500])
        if ended.name == BROKER:
            if not ended.will_restart:
                words = self._launcher.last_error(BROKER)
                raise ClassFailure(f"the broker cannot be kept running: {ended.detail}\n{words}")
            # The next broker knows only agents that join it, and a process that hangs does not.
            self._states.clear()
            for members in self._members.values():
                members.clear()
            return
        self._children.add(ended.name)
        self._client.send(Gone(name=ended.name, detail=ended.detail, pid=ended.pid))
        self._states.pop(ended.name, None)
        self._waits_since.pop(ended.name, None)
        pool = pool_of(ended.name)
        exceeded = self._exceeded.pop(ended.name, "")
        self._last[pool] = _End(ended.name, ended.detail, exceeded if ended.killed else "")
        if ended.will_restart:
            self._restarting.add(ended.name)
        else:
            self._restarting.discard(ended.name)  # it may have ended again before it was seen running
            self._startable[pool] -= 1

    def _check_waits(self, alive: set[str]) -> None:
        """End processes that load, or train without a step, for too long."""
        waiting = {name: HOLDS[state] for name in alive if (state := self._states.get(name, "loading")) in HOLDS}
        since = self._waits_since = {name: self._waits_since.get(name, self._now) for name in waiting}
        for name, limit in waiting.items():
            limit_s = getattr(self._limits, limit)
            if self._now - since[name] <= limit_s:
                continue
            what = {"loading": "still loading", "training": "no step of its training"}
            how = what.get(self._states.get(name, ""), "no word to the broker")
            self._end(name, f"{how} after {limit_s:g} s", limit)
            since[name] = self._now

    def _end(self, name: str, what: str, limit: str = "", pid: int = 0) -> None:
        """End a process that hangs. `limit` is the entry of `limits` that it exceeded; `pid` 0 means whichever runs."""
        self._exceeded[name] = limit
        self._launcher.kill(name, f"{what} (limits.{limit})" if limit else what, pid)

    def _check_pools(self, needed: set[str], unkillable: Sequence[str]) -> None:
        """Fail the class if a pool that is `needed` has no member and gets none in time."""
        present = {
            pool for pool, members in self._members.items() if any(not self._has_ended(name) for name in members)
        }
        served = present | {pool_of(name) for name in self._running}
        for pool in self._members:
            if pool in served or pool not in needed:
                self._empty_since.pop(pool, None)
                self._noted.discard(pool)
                continue
            since = self._empty_since.setdefault(pool, self._now)
            limit_s = self._limits.empty_pool_s
            if pool not in self._noted and self._now - since >= NOTED_S:
                self._noted.add(pool)
                self._store.note(
                    pool, "waiting", f"{self._why_empty(pool)}; waiting {limit_s:g} s (limits.empty_pool_s)"
                )
            # It is worth waiting while other pools have work, or while a process may still start.
            hopeless = self._startable[pool] <= 0 and not present & (needed - {pool})
            hangs = next((name for name in unkillable if pool_of(name) == pool), "")
            if hangs and self._now - since > limit_s:
                raise ClassFailure(self._hanging(hangs))
            if hopeless or (self._now - since > limit_s and pool in self._last):
                raise ClassFailure(self._ended(pool))
            if self._now - since > limit_s:
                raise ClassFailure(f"{pool}: {self._why_empty(pool)}; waited {limit_s:g} s (limits.empty_pool_s)")

    def _why_empty(self, pool: str) -> str:
        """Why a pool has no member."""
        if pool in self._elsewhere:
            return f"no process of it has joined from elsewhere; python run.py invite {self._store.folder}"
        if pool not in self._external:
            return "no process of it runs"
        endpoint = self._client.endpoint
        return f"it is not connected; start your program with endpoint {endpoint} and name {pool} (docs/protocol.md)"

    def _hanging(self, name: str) -> str:
        words = self._launcher.last_error(name)
        return (
            f"the process of {name} does not end after SIGKILL: it hangs in the kernel, perhaps in a driver.\n{words}"
        )

    def _ended(self, pool: str) -> str:
        """Why a pool has no process any more, and what to do about it."""
        end = self._last[pool]
        gone = f"agent {pool!r} has ended: {end.detail}"
        if not end.exceeded:
            return f"{gone}\n{self._launcher.last_error(end.name)}"
        more = 2 * getattr(self._limits, end.exceeded)
        return f"{gone}\nOn a busy or slow machine allow it more time: resume with --set limits.{end.exceeded}={more:g}"
