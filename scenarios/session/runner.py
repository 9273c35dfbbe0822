"""Runs a class: asks the level what is due, sends it, records what comes back.

Results are graded, committed, and only then acknowledged; the level hears of them last. What was recorded
earlier is fed to the level first, which is all there is to resuming. This file knows no method and no engine.
"""

import contextlib
import sqlite3
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec

from broker.client import Client
from broker.delivery import Received
from broker.errors import LbtError, StoreError, database_in_words
from broker.printable import printable
from broker.protocol import ANSWERS, RESULTS, Ack, Drain, Joined, Lost, Quiet, WireError, pool_of
from broker.work_messages import (
    Answered,
    Asked,
    Explained,
    Failed,
    Graded,
    Message,
    Progress,
    Reflected,
    Revised,
    Taught,
    Trained,
    Usage,
)
from scenarios.config.schema import Scenario
from scenarios.levels.base import Enclosed, Level, Request, Result, Step
from scenarios.records.learn import MACHINE_DEPENDENT
from scenarios.session.liveness import AgentLauncher, Attendance, ClassFailure
from scenarios.session.time_sharing import Turns
from scenarios.store.sqlite import Record, Store
from scenarios.tasks.problems import Bank, Grader, Problem

ACKNOWLEDGED = 4096
"""Results in one Ack, which must fit a message."""
POLL_S = 0.1
"""How long the loop waits for results before it looks at processes, pools and Ctrl-C."""
TOTALS_S = 0.5
"""How often, at most, the totals of a running class are written down: each time costs a write to the disk."""
FAREWELL_S = 20.0
"""How long a complete class waits for its agents to leave; on a busy machine each needs a moment of the processor."""
EXTERNAL_FAREWELL_S = 3.0
"""The same where only external agents are left: they may not leave at all, and need not for the run to end."""
DETAIL = 1000
"""Characters of a failure's detail that are recorded."""
UNDRAWN = frozenset({"Train", "Grade"})
"""Kinds of requests whose result is not drawn from a distribution."""


class Ending(msgspec.Struct, frozen=True):
    """How a session of a class ended."""

    status: Literal["complete", "interrupted", "failed"]
    reason: str = ""
    reused: int = 0
    """Results that were in the gradebook already."""


def feed(level: Level, find: Callable[[str], Record | None]) -> tuple[list[Request], int]:
    """Tell a fresh level all that is recorded; `find` looks a request up in the gradebook.

    Returns:
        What is due now, in the level's order, and how many records were used.
    """
    step, reused = settled(level, level.begin(), find)
    return list(step.requests), reused


def settled(level: Level, step: Step, find: Callable[[str], Record | None]) -> tuple[Step, int]:
    """What of `step` is not recorded yet, with what the records make due, and how many records were used.

    A request may be recorded before a level asks it: another level or an earlier round asked the same. It is `shared`.
    """
    due: list[Request] = []
    told, news, shared = list(step.feedback), list(step.news), list(step.shared)
    pending = deque(step.requests)
    reused = 0
    while pending:
        request = pending.popleft()
        record = find(request.id)
        if record is None:
            due.append(request)
        else:
            reused += 1
            shared.append(request)
            more = level.receive(result_of(record))
            pending.extend(more.requests)
            told += more.feedback
            news += more.news
            shared += more.shared
    return Step(tuple(due), tuple(told), tuple(news), tuple(shared)), reused


def result_of(record: Record) -> Result:
    """A row of the gradebook as the level hears of it."""
    return Result(
        request_id=record.request_id,
        text=record.text,
        answer=record.answer,
        correct=bool(record.correct),
        failed=record.failed,
        completion_tokens=record.completion_tokens,
        finish_reason=record.finish_reason,
        score=record.score,
    )


class Classroom:
    """One session of one class.

    Args:
        scenario, bank, level, grader: what is taught, how it goes on, and who marks it.
        store: the gradebook, open for writing.
        client: the classroom's end of the broker, started.
        launcher: the processes.
        answerers: per agent, the digest that its Hello must carry.
        weights: per agent, the digest of the weights that requests name.
        keep: writes a file that a message names, whole or not at all.
        turns: where the agents are not there all at once.
    """

    def __init__(
        self,
        scenario: Scenario,
        bank: Bank,
        level: Level,
        grader: Grader,
        store: Store,
        client: Client,
        launcher: AgentLauncher,
        *,
        answerers: Mapping[str, str],
        weights: Mapping[str, str],
        keep: Callable[[str, bytes], None],
        turns: Turns | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scenario = scenario
        self._level = level
        self._grader = grader
        self._store = store
        self._client = client
        self._attendance = Attendance(scenario, store, client, launcher, answerers, clock)
        self._weights = weights
        self._keep = keep
        self._turns = turns
        self._clock = clock
        self._problems: dict[str, Problem] = {problem.id: problem for problem in bank.problems}
        self._text = lru_cache(maxsize=4096)(store.text)
        self._asked: dict[str, Request] = {}
        """All that is due and has no result: in a backlog, or sent."""
        self._backlog: dict[str, deque[Request]] = defaultdict(deque)
        self._outstanding = Counter[str]()
        """The same, counted by pool."""
        self._wanted: list[tuple[str, str, int, int, str, str]] = []
        """Of level 3, what it wants results for and is not written down yet."""
        self._totals: Mapping[str, int] = {}
        """As they are written down for the monitor."""
        self._totals_due = 0.0
        self._drain_asked = False
        self._intruders: set[str] = set()
        """Agents that answered what was asked of others."""

    def drain(self) -> None:
        """Ask nothing more, wait for what is under way, and end resumable. Safe in a signal handler."""
        self._drain_asked = True

    def run(self) -> Ending:
        """Go on until the level is finished, Ctrl-C, or a failure; never raises for what a class can meet."""
        reused = 0
        try:
            step, reused = settled(self._level, self._level.begin(), self._store.find)
            self._due(step)
            self._keep_asked()
            while not self._level.finished:
                if self._drain_asked:
                    self._store.note("", "drain", "finishing what is under way")
                    self._dismiss(self._scenario.limits.drain_s)
                    if self._level.finished:
                        break
                    self._keep_totals()
                    return Ending("interrupted", "interrupted", reused)
                self._send()
                self._receive(POLL_S)
                self._look()
            self._keep_totals()
            self._store.note("", "finished", "(every request is answered)")
            # The launcher would end ours, too, but perhaps before the last feedback has reached them. Whatever dies
            # meanwhile, the class is through.
            with contextlib.suppress(ClassFailure):
                self._dismiss(FAREWELL_S)
        except sqlite3.Error as error:
            reason = self._store.misplaced or f"{self._store.path}: {database_in_words(error)}"
            return Ending("failed", reason, reused)
        except (LbtError, OSError) as error:
            with contextlib.suppress(sqlite3.Error):
                self._keep_totals()
            return Ending("failed", str(error), reused)
        return Ending("complete", "", reused)

    # --- sending ----------------------------------------------------------------------------------------

    def _due(self, step: Step) -> None:
        self._wanted += step.wanted
        for request in step.requests:
            self._asked[request.id] = request
            self._outstanding[request.to] += 1
            self._backlog[request.to].append(request)

    def _keep_asked(self) -> None:
        """Write down what level 3 wants results for, since several arms, rounds and agents may share one."""
        if self._wanted:
            self._store.keep_asked(self._wanted)
            self._wanted.clear()

    def _send(self) -> None:
        """Top up every pool: the broker takes so many unfinished requests per pool and no more.

        A request that is too large for the wire has failed: asked again it would fail again.
        """
        welcome = self._client.welcome
        if welcome is None:
            return
        too_large: dict[str, Message] = {}
        for pool, backlog in self._backlog.items():
            while backlog and self._outstanding[pool] - len(backlog) < welcome.credit:
                request = backlog.popleft()
                if request.id in self._asked:
                    message = self._message(request)
                    try:
                        self._client.send(message, to=pool, request_id=request.id, affinity=request.affinity, keep=True)
                    except WireError as error:
                        too_large[request.id] = Failed(kind="unsupported", detail=f"{error}; use shorter texts")
        self._tell(self._commit(too_large))

    def _message(self, request: Request) -> Message:
        """What is sent for `request`, with the weights that must answer it."""
        weights = request.weights or self._weights.get(request.to, "")
        message = self._level.message(request, self._text)
        if isinstance(message, Enclosed):
            try:
                self._keep(message.name, message.content)
            except OSError as error:
                raise ClassFailure(f"{message.name} cannot be written: {error.strerror}") from error
            message = message.message
        # Every kind of work has this field.
        return msgspec.structs.replace(message, weights=weights)

    # --- receiving --------------------------------------------------------------------------------------

    def _receive(self, timeout: float) -> None:
        received = self._client.receive(timeout)
        results = {
            r.request_id: r.message for r in received if type(r.message).__name__ in RESULTS and self._may_answer(r)
        }
        for one in received:
            match one.message:
                case Joined():
                    self._attendance.joined(one.message)
                case Lost():
                    self._attendance.lost(one.message)
                case Quiet():
                    self._attendance.quiet(one.message)
                case Drain(reason=reason):
                    raise ClassFailure(
                        f"the broker refuses this class: {printable(reason)}\nDoes another run.py use this broker? "
                        "End that one, or choose another broker.address."
                    )
                case Progress() if self._is_training(one):
                    self._attendance.progressed(one.peer)
                    said = msgspec.json.encode(
                        [one.request_id, one.message.step, one.message.steps, one.message.figures]
                    )
                    self._store.note(one.peer, "progress", said.decode())
        if results:
            records = self._commit(results)
            # Results that nobody waits for are acknowledged too: their senders may forget them.
            ids = tuple(results)
            for start in range(0, len(ids), ACKNOWLEDGED):
                self._client.send(Ack(request_ids=ids[start : start + ACKNOWLEDGED]))
            self._client.settle(ids)
            self._tell(records)

    def _is_training(self, received: Received) -> bool:
        """Whether a progress is that of a training which its pool was asked for. It is written down each time."""
        request = self._asked.get(received.request_id)
        return request is not None and request.kind == "Train" and pool_of(received.peer) == request.to

    def _may_answer(self, received: Received) -> bool:
        """Whether a result is from the pool that was asked. The broker does not know what is still to be sent to it."""
        request = self._asked.get(received.request_id)
        if request is None or pool_of(received.peer) == request.to:
            return True
        if received.peer not in self._intruders:
            self._intruders.add(received.peer)
            what = f"answered {received.request_id}, which was asked of {request.to}; such answers do not count"
            self._store.note(received.peer, "stranger", printable(what))
        return False

    def _commit(self, results: Mapping[str, Message]) -> list[Record]:
        """Grade and commit what came of requests that have no result yet."""
        records = [self._graded(self._asked[id], message) for id, message in results.items() if id in self._asked]
        if records:
            self._store.record(records, grader=self._grader.name, version=self._grader.version)
        return records

    def _tell(self, records: Iterable[Record]) -> None:
        """Tell the level what is committed."""
        for record in records:
            request = self._asked.pop(record.request_id)
            self._outstanding[request.to] -= 1
            if record.failed:
                self._store.note(record.agent, "failed", f"{record.request_id} {record.failed}: {record.detail}"[:500])
            self._go_on(self._level.receive(result_of(record)))
        self._keep_asked()

    def _go_on(self, step: Step) -> None:
        step, _ = settled(self._level, step, self._store.find)
        self._due(step)
        for told in step.feedback:
            try:
                self._client.send(told.feedback, to=told.to)
            except WireError as error:  # nobody waits for feedback
                self._store.note(told.to, "feedback", f"not sent: {error}")
        for line in step.news:
            self._store.note("", "round", line)

    def _graded(self, request: Request, message: Message) -> Record:
        found: dict[str, Any]
        if isinstance(message, Failed):
            found = {"failed": message.kind, "detail": printable(message.detail[:DETAIL])}
        elif type(message).__name__ != ANSWERS[request.kind]:
            found = {"failed": "engine", "detail": f"answered {type(message).__name__} to {request.kind}"}
        else:
            found = self._read(request, message)
        return Record(
            request_id=request.id,
            kind=request.kind,
            level=request.level,
            round=request.round,
            weights=request.weights,
            agent=request.to,
            stage=request.stage,
            tp=request.tp,
            tr=request.tr,
            ep=request.ep,
            repeat=request.repeat,
            temperature=None if request.kind in UNDRAWN else request.sampling.temperature,
            **found,
        )

    def _read(self, request: Request, message: Message) -> dict[str, Any]:
        """What a result that did not fail says, and what it cost, as fields of its record."""
        usage: Usage = getattr(message, "usage", Usage())
        found: dict[str, Any] = {name: getattr(usage, name) for name in usage.__struct_fields__}
        match message:
            case Reflected() | Asked() | Explained():
                found["text"] = message.text
            case Revised() if not request.tp:  # a set of exemplars: read by its level
                found["text"] = message.text
            case Taught() | Answered() | Revised():
                problem = self._problems[request.ep or request.tp]
                answer = self._grader.parse(message.text, problem.form)
                correct = answer is not None and self._grader.correct(problem, answer)
                found |= {"text": message.text, "answer": answer, "correct": correct}
            case Graded():
                found["score"] = message.logprob
            case Trained():
                # The same training is the same text: what depends on the machine is elsewhere in the gradebook.
                figures = {"pairs": message.pairs, "steps": message.steps, **message.figures}
                same = {name: value for name, value in figures.items() if name not in MACHINE_DEPENDENT}
                found |= {"text": msgspec.json.encode(same).decode(), "answer": message.trained}
                found["seconds"] = message.seconds
        return found

    def _look(self) -> None:
        """At processes, pools, and whose turn it is; and how much there is to do, for the monitor."""
        if misplaced := self._store.misplaced:
            raise StoreError(misplaced)
        if self._clock() >= self._totals_due:
            self._keep_totals()
            self._totals_due = self._clock() + TOTALS_S
        if self._turns is None:
            self._attendance.look(self._outstanding)
        else:
            self._turns.look(self._outstanding)
            self._attendance.look(self._turns.here(self._outstanding))

    def _keep_totals(self) -> None:
        if (totals := self._level.totals()) != self._totals:
            self._store.keep_totals(totals)
            self._totals = totals

    # --- the end ----------------------------------------------------------------------------------------

    def _dismiss(self, patience_s: float) -> None:
        """Tell the agents to leave, and take what they still finish until they have left or the time is up."""
        self._client.send(Drain())
        begun = self._clock()
        while (waited_s := self._clock() - begun) < patience_s and self._attendance.anybody:
            if self._level.finished and (
                self._drain_asked or (waited_s >= EXTERNAL_FAREWELL_S and not self._attendance.any_of_ours)
            ):
                return
            self._receive(POLL_S)
            self._attendance.look({})
