"""Runs a class: asks the level what is due, sends it, and records what comes back.

Results are graded, committed, and only then acknowledged; the level receives them last. To resume, the recorded
results are replayed to the level first. This module knows no method, no engine and no kind of request.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import msgspec

from broker.client import Client
from broker.delivery import Received
from broker.errors import LbtError, PlacementError, StoreError, database_in_words
from broker.printable import printable
from broker.protocol import RESULTS, Ack, Drain, Joined, Lost, Quiet, WireError, pool_of
from broker.work_messages import Failed, Message, Progress
from scenarios.config.schema import Agent, Scenario
from scenarios.levels.base import Request, Step
from scenarios.levels.replay import replay
from scenarios.levels.results import KINDS, record_of, result_of
from scenarios.levels.steered import SteeredLevel
from scenarios.session.control import ControlFolder
from scenarios.session.due_requests import DueRequests
from scenarios.session.ending import Ending
from scenarios.session.liveness import ClassFailure, Liveness
from scenarios.session.news import line
from scenarios.session.request_limits import unfinished
from scenarios.session.request_messages import RequestMessages
from scenarios.session.steering import ACKNOWLEDGED, ClassProcesses, Steering
from scenarios.session.time_sharing import TimeSharing
from scenarios.store.prompts import Parts
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank, Grader, Problem

NOTHING = Step()
POLL_S = 0.1
"""How long the loop waits for results before it checks processes, pools and Ctrl-C."""
TOTALS_S = 0.5
"""Shortest time between two writes of a running class's totals: each costs a write to the disk."""
FAREWELL_S = 20.0
"""How long a complete class waits for its agents to leave; on a busy machine each needs a moment of the processor."""
EXTERNAL_FAREWELL_S = 3.0
"""The same where only external agents are left: they may not leave at all, and need not for the run to end."""


class ClassRunner:
    """One session of one class.

    Args:
        scenario, bank, level, grader: the class, its problems, its state machine, and what grades its texts.
        store: the store, open for writing.
        client: the classroom's connection to the broker, started.
        launcher: starts and stops the processes.
        answerers: per agent, the digest that its Hello must carry.
        weights: per agent, the digest of the weights that requests name.
        keep_file: writes a file that a message names, whole or not at all.
        prompt_of: the prompt that an agent makes of a message, to be kept; empty: it makes none, or its own.
        turns: decides which agent's processes run, where they do not all fit at once.
        processes: the names of the processes that `launcher` starts, by agent.
        control: where commands of `run.py ctl` come in; None: none come.
        check_student: raises an LbtError where a student cannot join.
    """

    def __init__(
        self,
        scenario: Scenario,
        bank: Bank,
        level: SteeredLevel,
        grader: Grader,
        store: Store,
        client: Client,
        launcher: ClassProcesses,
        *,
        answerers: Mapping[str, str],
        weights: Mapping[str, str],
        keep_file: Callable[[str, bytes], None],
        prompt_of: Callable[[str, Message], Parts] = lambda agent, message: (),
        turns: TimeSharing | None = None,
        processes: Mapping[str, Sequence[str]] = MappingProxyType({}),
        control: ControlFolder | None = None,
        check_student: Callable[[Agent], None] = lambda student: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scenario = scenario
        self._pools = scenario.pools
        """By name of an agent in requests: the pool that is sent them. Copies of a student share one."""
        self._level = level
        self._grader = grader
        self._store = store
        self._client = client
        self._liveness = Liveness(scenario, store, client, launcher, answerers, clock)
        self._turns = turns
        self._teacher = "" if turns else scenario.teacher.name
        self._due_per_answer = len(scenario.students) * scenario.exam.problems * scenario.exam.repeats
        """About how many requests to students become due with an answer of the teacher."""
        self._clock = clock
        self._problems: dict[str, Problem] = {problem.id: problem for problem in bank.problems}
        self._messages = RequestMessages(level, store, self._pools, weights, keep_file, prompt_of)
        self._due = DueRequests(self._pools)
        self._steering = Steering(
            scenario, store, client, self._due, level, self._take, self._messages.forget, control, check_student,
            launcher, processes, clock,
        )  # fmt: skip
        self._wanted: list[tuple[str, str, int, int, str, str]] = []
        """What level 3 wants results for, as rows of the table `asked` that are not written yet."""
        self._totals: Mapping[str, int] = {}
        """As they were last written for the monitor."""
        self._totals_due = 0.0
        self._drain_asked = False
        self._intruders: set[str] = set()
        """Agents that answered requests of other pools."""

    def drain(self) -> None:
        """Ask nothing more, wait for what is under way, and end resumable. Safe in a signal handler."""
        self._drain_asked = True

    def run(self) -> Ending:
        """Run until the level is finished, Ctrl-C, or a failure. Problems of a class are returned, not raised."""
        reused = 0
        try:
            step, reused = replay(self._level, self._level.begin(), self._store.find_all, _is_of_an_arm)
            self._queue(step)
            self._keep_wanted()
            while not self._level.finished:
                if spent := self._steering.over_budget:
                    self._drain("the budget is spent; finishing what is under way")
                elif self._drain_asked or self._steering.joins:
                    self._drain("finishing what is under way")
                else:
                    self._send()
                    self._receive(POLL_S)
                    self._check()
                    continue
                if self._level.finished:
                    break
                if spent and not self._drain_asked:
                    return Ending("budget", f"its budget is spent: {spent}", reused)
                return Ending("interrupted", "interrupted", reused, joins=not self._drain_asked)
            self._steering.end_pause()
            self._keep_totals()
            self._store.note("", "finished", "(every request is answered)")
            # The launcher would end the processes, too, but perhaps before the last feedback has reached them. A
            # process that dies meanwhile changes nothing, nor does a lost cluster.
            with contextlib.suppress(ClassFailure, PlacementError):
                self._dismiss(FAREWELL_S)
        except sqlite3.Error as error:
            reason = self._store.misplaced or f"{self._store.path}: {database_in_words(error)}"
            return Ending("failed", reason, reused)
        except (LbtError, OSError) as error:
            with contextlib.suppress(sqlite3.Error):
                self._keep_totals()
            return Ending("failed", str(error), reused)
        return Ending("complete", "", reused, joins=self._steering.joins and not self._drain_asked)

    # --- sending ----------------------------------------------------------------------------------------

    def _queue(self, step: Step) -> None:
        self._wanted += step.wanted
        self._problems |= {problem.id: problem for problem in step.problems}
        self._due.add(step.requests)

    def _keep_wanted(self) -> None:
        """Write what level 3 wants results for, since several arms, rounds and agents may share one."""
        if self._wanted:
            self._store.keep_asked(self._wanted)
            self._wanted.clear()

    def _send(self) -> None:
        """Fill every pool up to the number of unfinished requests that the broker accepts.

        A request that is too large for the wire has failed: asked again it would fail again.
        """
        welcome = self._client.welcome
        if welcome is None or self._steering.paused:
            return
        too_large: dict[str, Message] = {}
        most = partial(unfinished, welcome.credit, self._teacher, self._due.outstanding, self._due_per_answer)
        for pool, request in self._due.to_send(most):
            message = self._messages.message(request)
            try:
                self._client.send(message, to=pool, request_id=request.id, affinity=request.affinity, keep=True)
            except WireError as error:
                too_large[request.id] = Failed(kind="unsupported", detail=f"{error}; use shorter texts")
        self._deliver(self._commit(too_large))

    # --- receiving --------------------------------------------------------------------------------------

    def _receive(self, timeout: float) -> None:
        received = self._client.receive(timeout)
        results: dict[str, Message] = {}
        for one in received:
            if type(one.message).__name__ in RESULTS:
                if self._may_answer(one):
                    results[one.request_id] = one.message
                continue
            match one.message:
                case Joined():
                    self._liveness.joined(one.message)
                case Lost():
                    self._liveness.lost(one.message)
                case Quiet():
                    self._liveness.quiet(one.message)
                case Drain(reason=reason):
                    raise ClassFailure(
                        f"the broker refuses this class: {printable(reason)}\nDoes another run.py use this broker? "
                        "End that one, or choose another broker.address."
                    )
                case Progress() if self._expects_progress(one):
                    self._liveness.progressed(one.peer)
                    progress = [one.request_id, one.message.step, one.message.steps, one.message.figures]
                    self._store.note(one.peer, "progress", msgspec.json.encode(progress).decode())
        if results:
            records = self._commit(results)
            # Results of unknown requests are acknowledged too, so that their senders forget them.
            ids = tuple(results)
            for start in range(0, len(ids), ACKNOWLEDGED):
                self._client.send(Ack(request_ids=ids[start : start + ACKNOWLEDGED]))
            self._client.settle(ids)
            self._deliver(records)

    def _expects_progress(self, received: Received) -> bool:
        """Whether this is progress of a request that tells it, from the pool that was asked. Each is an event."""
        request = self._due.get(received.request_id)
        return request is not None and KINDS[request.kind].tells_progress and self._asked(request, received)

    def _asked(self, request: Request, received: Received) -> bool:
        """Whether a message is from the pool that was asked."""
        return pool_of(received.peer) == self._pools[request.to]

    def _may_answer(self, received: Received) -> bool:
        """Whether a result is from the pool that was asked: the broker does not know requests in the backlog."""
        request = self._due.get(received.request_id)
        if request is None or self._asked(request, received):
            return True
        if received.peer not in self._intruders:
            self._intruders.add(received.peer)
            what = f"answered {received.request_id}, which was asked of {request.to}; such answers do not count"
            self._store.note(received.peer, "stranger", printable(what))
        return False

    def _commit(self, results: Mapping[str, Message]) -> list[Record]:
        """Grade and commit the results of unanswered requests, with their prompts."""
        records, chains = [], []
        try:
            for id, message in results.items():
                if request := self._due.get(id):
                    turns = self._messages.prompt(request)
                    prompt = turns[-1].id if turns else None
                    records.append(record_of(request, message, self._problems, self._grader, prompt=prompt))
                    chains.append(turns)
        finally:  # what is graded is kept, also where the grader cannot go on
            if records:
                self._store.record(records, grader=self._grader.name, version=self._grader.version, chains=chains)
                self._steering.spent += sum(record.completion_tokens for record in records)
        return records

    def _deliver(self, records: Iterable[Record]) -> None:
        """Give the level what is committed, and queue what that makes due."""
        for record in records:
            self._due.remove(record.request_id)
            if record.failed:
                self._store.note(record.agent, "failed", f"{record.request_id} {record.failed}: {record.detail}"[:500])
            self._take(self._level.receive(result_of(record)))
        self._keep_wanted()

    def _take(self, step: Step) -> None:
        """Queue what became due and has no result yet, and tell the agents and the monitor what is new."""
        if step == NOTHING:  # nearly always so
            return
        step, _ = replay(self._level, step, self._store.find_all, _is_of_an_arm)
        self._queue(step)
        self._announce(step)

    def _announce(self, step: Step) -> None:
        for due in step.feedback:
            try:
                self._client.send(due.feedback, to=self._pools[due.to])
            except WireError as error:  # nobody waits for feedback
                self._store.note(due.to, "feedback", f"not sent: {error}")
        for news in step.news:
            self._store.note("", "round", line(news))

    def _check(self) -> None:
        """Check the store's file, commands, processes, pools and turns, and write the totals for the monitor."""
        if misplaced := self._store.misplaced:
            raise StoreError(misplaced)
        self._steering.check()
        self._keep_wanted()
        if self._clock() >= self._totals_due:
            self._keep_totals()
            self._totals_due = self._clock() + TOTALS_S
        due = self._due.outstanding
        if self._steering.paused:
            self._liveness.check({}, timed=False)
        elif self._turns is None:
            self._liveness.check(due)
        else:
            self._turns.check(due)
            self._liveness.check(self._turns.present(due))

    def _keep_totals(self) -> None:
        if (totals := self._level.totals()) != self._totals:
            self._store.keep_totals(totals)
            self._totals = totals

    # --- the end ----------------------------------------------------------------------------------------

    def _drain(self, why: str) -> None:
        """Ask nothing more, and take what is under way."""
        self._store.note("", "drain", why)
        self._steering.end_pause()
        self._dismiss(self._scenario.limits.drain_s)
        self._keep_totals()

    def _dismiss(self, patience_s: float) -> None:
        """Tell the agents to leave, and take what they still finish until they have left or the time is up."""
        self._client.send(Drain())
        begun = self._clock()
        while (waited_s := self._clock() - begun) < patience_s and self._liveness.any_ready:
            if self._level.finished and (
                self._drain_asked or (waited_s >= EXTERNAL_FAREWELL_S and not self._liveness.any_child_ready)
            ):
                return
            self._receive(POLL_S)
            self._liveness.check({})


def _is_of_an_arm(request: Request) -> bool:
    """Whether it is recorded for what its result was wanted; see `Step.wanted`."""
    return bool(request.arm)
