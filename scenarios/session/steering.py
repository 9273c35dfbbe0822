"""Carries out the commands that `run.py ctl` gives to a class while it runs.

Each command is recorded as an event before it takes effect (scenarios/store/changes.py). A command that makes no sense
for this class, or at this moment, is refused with a sentence and changes nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from broker.client import Client
from broker.errors import LbtError, ScenarioError
from broker.protocol import Ack, Gone
from scenarios.config.schema import Agent, Scenario
from scenarios.levels.base import Step
from scenarios.levels.iterate.requests import is_deterministic
from scenarios.levels.observe.invention import writer
from scenarios.levels.steered import SteeredLevel
from scenarios.report.formatting import many
from scenarios.session.control import VERSION, ClassCommand, CommandAnswer, ControlFolder
from scenarios.session.due_requests import DueRequests
from scenarios.session.ending import Ending
from scenarios.session.liveness import DROPPED_AGENT, AgentLauncher
from scenarios.session.time_sharing import SeatLauncher
from scenarios.store import changes
from scenarios.store.sqlite import Store

CHECK_S = 0.1
"""Shortest time between two looks for commands."""
ACKNOWLEDGED = 4096
"""Results in one Ack, which must fit a message."""


class ClassProcesses(AgentLauncher, SeatLauncher, Protocol):
    """The processes of a class: what watches them and what ends one for good."""


class Steering:
    """What was changed in a class, and the commands that change it further.

    Args:
        scenario: the class.
        store: its gradebook, open for writing.
        client: the classroom's connection to the broker.
        due: its requests without a result.
        level: its level.
        take: queues and announces what became due.
        forget: frees what the class keeps of requests that it has sent, by their ids.
        control: where commands come in; None: none come.
        check_student: raises an LbtError where a student cannot join.
        launcher: ends the processes of a student that was dropped.
        processes: the names of the processes that this program starts, by agent.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        scenario: Scenario,
        store: Store,
        client: Client,
        due: DueRequests,
        level: SteeredLevel,
        take: Callable[[Step], None],
        forget: Callable[[Sequence[str]], None],
        control: ControlFolder | None,
        check_student: Callable[[Agent], None],
        launcher: SeatLauncher,
        processes: Mapping[str, Sequence[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scenario = scenario
        self._store = store
        self._client = client
        self._due = due
        self._level = level
        self._take = take
        self._forget_messages = forget
        self._control = control
        self._check_student = check_student
        self.joins = False
        """Whether a student joins: the class goes on with it in another session."""
        self._launcher = launcher
        self._processes = processes
        self._clock = clock
        self._check_at = 0.0
        self._paused_at: float | None = None
        self._changes = changes.changes(store)
        self.spent = store.completion_tokens()
        """Completion tokens of all results."""

    @property
    def paused(self) -> bool:
        """Whether nothing is sent."""
        return self._paused_at is not None

    @property
    def over_budget(self) -> str:
        """What was spent of the budget, if no new work may begin; else empty."""
        return self._changes.over_budget(self.spent)

    def check(self) -> None:
        """Carry out the commands that have come."""
        if self._control is None or (now := self._clock()) < self._check_at:
            return
        self._check_at = now + CHECK_S
        for command, path in self._control.take():
            try:
                answer = CommandAnswer(True, self._carry_out(command))
            except LbtError as error:
                answer = CommandAnswer(False, str(error))
            self._control.answer(path, answer)

    def end_pause(self) -> float:
        """Record the end of a pause, if there is one; returns its length in seconds."""
        if self._paused_at is None:
            return 0.0
        seconds = self._clock() - self._paused_at
        self._store.note("", changes.RESUMED, f"{seconds:.3f}")
        self._paused_at = None
        return seconds

    def _carry_out(self, command: ClassCommand) -> str:
        verbs: dict[str, Callable[[str], str]] = {
            "pause": self._pause,
            "resume": self._resume,
            "add-student": self._add_student,
            "drop": self._drop,
            "budget": self._set_budget,
        }
        if command.version != VERSION or command.verb not in verbs:
            raise ScenarioError("the class is run by another version of this program, which does not know this command")
        return verbs[command.verb](command.argument)

    def _pause(self, _: str) -> str:
        if self.paused:
            raise ScenarioError("the class is paused already")
        self._store.note("", changes.PAUSED)
        self._paused_at = self._clock()
        # The broker forgets what its agents have not begun; results of what they work on count all the same.
        self._forget(self._due.withdraw())
        return "paused: requests that agents work on finish, and no other begins"

    def _resume(self, _: str) -> str:
        if not self.paused:
            raise ScenarioError("the class is not paused")
        return f"resumed after {self.end_pause():.0f} s"

    def _set_budget(self, argument: str) -> str:
        budget = read_budget(argument)
        self._store.note("", changes.BUDGET, argument)
        self._changes = replace(self._changes, budget=budget)
        if budget is None:
            return f"there is no budget any more; {many(self.spent, 'completion token')} so far"
        then = "requests that agents work on finish, and the class ends" if self.over_budget else "then the class ends"
        return f"a budget of {many(budget, 'completion token')}, of which {self.spent:,} are spent: {then}"

    def _add_student(self, argument: str) -> str:
        try:
            student = msgspec.json.decode(argument, type=Agent)
        except msgspec.DecodeError as error:
            raise ScenarioError(f"no student: {error}") from error
        self._check_student(student)
        self._store.note(student.name, changes.JOINS, argument)
        self.joins = True
        return (
            f"{student.name} joins: requests under way finish, then all agents start again with it; it takes the exams "
            "of all rationales"
        )

    def _drop(self, student: str) -> str:
        self._check_drop(student)
        self._store.note(student, changes.DROPPED)
        self._changes = replace(self._changes, dropped=(*self._changes.dropped, student))
        before = self._level.not_asked.total()
        awaited = self._due.of(student)
        sent = set(self._due.sent())
        for request in awaited:
            self._due.remove(request.id)
        self._forget([request.id for request in awaited if request.id in sent])
        self._take(self._level.drop(student, awaited))
        self._end_processes(student)
        left_out = many(self._level.not_asked.total() - before, "request")
        return f"{student} is dropped: {left_out} without a result so far will not be asked; its results stay"

    def _check_drop(self, student: str) -> None:
        """Raises ScenarioError: the class cannot go on without this student, or there is none of this name."""
        scenario, dropped = self._scenario, self._changes.dropped
        left = [one.name for one in scenario.students if one.name not in dropped]
        if student in dropped:
            raise ScenarioError(f"{student} is dropped already")
        if student == scenario.teacher.name:
            raise ScenarioError(f"{student} is the teacher, and a class needs one; only students can be dropped")
        if student not in left:
            raise ScenarioError(f"the class has no student {student!r}; it has {', '.join(left)}")
        if len(left) == 1:
            raise ScenarioError(f"{student} is the last student; Ctrl-C in the terminal of the class stops it")
        if scenario.exam.allocation != "full":
            raise ScenarioError(
                f"with exam.allocation: {scenario.exam.allocation} the marks of all students decide which exams are "
                "asked, so none can be dropped"
            )
        if scenario.exam.maker == "invented" and writer(scenario)[0].name == student:
            raise ScenarioError(f"{student} writes the exam problems (exam.invent.by), so it cannot be dropped")
        if scenario.classifies and is_deterministic(scenario.iterate.answering):
            answerers = self._store.answerers()
            for other in (scenario.teacher.name, *left):
                if other != student and answerers.get(other) == answerers.get(student):
                    raise ScenarioError(
                        f"{student} and {other} share their answers at level 3 (same model and persona, temperature "
                        "0), so none of them can be dropped"
                    )

    def _end_processes(self, student: str) -> None:
        """End the processes that answer for a student, if they answer for no other; their memory is free then."""
        agent = self._scenario.pools[student]
        if agent not in changes.dropped_agents(self._scenario, self._changes.dropped):
            return
        for name in self._processes.get(agent, ()):
            if pid := self._launcher.stop_child(name):
                # Below 0 is a process of another host, where its pid means nothing here.
                self._client.send(Gone(name=name, detail=DROPPED_AGENT, pid=max(pid, 0)))

    def _forget(self, ids: Sequence[str]) -> None:
        """Let broker, client and class forget requests that were sent."""
        for start in range(0, len(ids), ACKNOWLEDGED):
            self._client.send(Ack(request_ids=tuple(ids[start : start + ACKNOWLEDGED])))
        self._client.settle(ids)
        self._forget_messages(ids)


def over_budget(store: Store) -> Ending | None:
    """The ending of a class whose budget was spent before: it begins no work. None: it may go on."""
    spent = changes.changes(store).over_budget(store.completion_tokens())
    return Ending("budget", f"its budget is spent: {spent}", nothing_asked=True) if spent else None


def read_budget(argument: str) -> int | None:
    """A budget in completion tokens; None: no limit.

    Raises:
        ScenarioError: it is neither a whole number of at least 1 nor `none`.
    """
    if argument == changes.NO_BUDGET:
        return None
    if not (argument.isascii() and argument.isdecimal()) or not 0 < int(argument) < 10**15:
        raise ScenarioError(f"budget: a whole number of completion tokens, or {changes.NO_BUDGET}; not {argument!r}")
    return int(argument)
