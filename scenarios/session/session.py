"""One session of a class: opens the gradebook, runs the processes and the classroom, and records how it ended.

The processes of the agents come in as `ClassAgents`: this package does not know which they are.
"""

import gc
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypedDict

from rich.console import Console

from broker.client import Client
from broker.errors import PlacementError, StoreError, TaskError, in_words
from broker.interrupts import Interrupts
from broker.protocol import Hello
from broker.server import BrokerSpec
from broker.work_messages import Message
from scenarios.config.schema import Scenario
from scenarios.report.console import say
from scenarios.report.run_info import facts_from
from scenarios.session.broker_watch import BROKER
from scenarios.session.control import ControlFolder
from scenarios.session.ending import Ending
from scenarios.session.joining import check_student, note_added
from scenarios.session.rerun import Extension
from scenarios.session.run_dir import RunFolder
from scenarios.session.runner import ClassRunner
from scenarios.session.steering import ClassProcesses, over_budget
from scenarios.session.time_sharing import TimeSharing
from scenarios.store.changes import EXTENDS, changes, dropped_agents
from scenarios.store.prompts import Parts
from scenarios.store.sqlite import Store
from scenarios.tasks.grading.answers import ClassGrader

STOP_S = 3.0
"""How long processes may take to end before they are killed."""
GC_THRESHOLD = 50_000
"""New objects after which Python looks for reference cycles while a class runs: results make many, and no cycles."""


class Asked(TypedDict, total=False):
    """What a session asks besides what is missing; see `hold`."""

    retry_failed: bool
    extension: Extension | None


class ClassLauncher(ClassProcesses, Protocol):
    """Starts and ends all processes of a class."""

    def start(self, later: Collection[str] = ()) -> None:
        """Start all processes but those `later`."""

    def stop(self, grace_s: float) -> object:
        """End all processes within about `grace_s` seconds."""


class ClassAgents(Protocol):
    """The agents of a class, connected to its broker: see agents/placement/class_agents.py."""

    @property
    def answerers(self) -> Mapping[str, str]:
        """The answerer digest of each agent, external ones included."""

    @property
    def own(self) -> Mapping[str, Sequence[str]]:
        """The processes that this program starts, by agent."""

    @property
    def far(self) -> Collection[str]:
        """Those of these processes that it starts on other hosts."""

    @property
    def weights(self) -> Mapping[str, str]:
        """The digest of the weights of each agent with this program's engines."""

    def prompt(self, agent: str, message: Message) -> Parts:
        """The prompt that an agent makes of a request; empty: it makes none, or its own."""

    def facts(self) -> list[dict[str, str]]:
        """The description of every process for the gradebook."""

    def check_ready(self) -> None:
        """Raises PlacementError: a key is missing, or too little memory is free."""

    def notices(self, keys: Path) -> list[str]:
        """What the user must know before the start; `keys` is the folder with the keys of external agents."""

    def give_answers(self, answers: Mapping[str, str]) -> None:
        """Hand simulated agents the gold answers by problem text."""

    def launcher(self, name: str, broker: BrokerSpec, logs: Path, restarts: int) -> ClassLauncher:
        """The launcher of the broker, as `name`, and of the processes in `own`."""


def hold(
    scenario: Scenario,
    folder: RunFolder,
    connect: Callable[[BrokerSpec], ClassAgents],
    monitor: AbstractContextManager[object],
    interrupts: Interrupts,
    err: Console,
    *,
    retry_failed: bool = False,
    extension: Extension | None = None,
    address: str = "",
) -> tuple[RunFolder, Ending]:
    """Run one session of a class.

    Args:
        scenario: the class.
        folder: of the run.
        connect: makes the agents of this broker.
        monitor: open while the class runs.
        interrupts: the first Ctrl-C lets the class finish the requests under way.
        err: the console for notices.
        retry_failed: ask failed requests again.
        extension: makes a recorded class this larger one.
        address: of the broker, where the launcher has chosen it for this session.

    Returns:
        The folder, which may have been moved meanwhile, and how the session ended.

    Raises:
        TaskError, PlacementError: the class cannot begin; a new folder is cleared.
        ScenarioError: the extension would change what was asked; nothing is changed.
    """
    begun = time.monotonic()
    with Store(folder.path, write=True) as store, folder.sockets(scenario, address):
        agents = connect(folder.broker(scenario))
        begins = not store.answerers()
        _check_prompts(store, folder, agents)
        answerers = {name: agents.answerers[pool] for name, pool in scenario.pools.items()}
        if extension:
            if extension.joining and not over_budget(store):
                agents.check_ready()  # a class goes on without a student that cannot join, so nothing is changed before
            extension.prepare(store, answerers)
            # The event comes before the scenario: of a class that is killed in between, `resume` completes the old one
            # and `extend` can be repeated. The other way round, the larger class would be shown as complete.
            store.note("", EXTENDS, "; ".join(extension.changed))
        store.keep_answerers(answerers)
        folder.keep(scenario)
        note_added(store, scenario)
        interrupts.words = f"Interrupted; all that was answered is kept. {folder.go_on}"
        if retry_failed:
            store.give_up_failed()
        try:
            ending = folder.ending(scenario, store) or over_budget(store)
            if ending is None:
                agents.check_ready()
            store.note("", "started", json.dumps(agents.facts()))
            ending = ending or _teach(scenario, store, folder, agents, monitor, interrupts, err)
        except Exception as error:
            if isinstance(error, TaskError | PlacementError) and begins and store.bank() is None:
                folder.clear()
                raise
            if isinstance(error, PlacementError):  # nothing was started
                raise
            ending = Ending("failed", folder.log_failure(error))
        try:
            session = {"wall_seconds": time.monotonic() - begun, "reused": ending.reused, "status": ending.status}
            store.name_first_twins()
            store.note("", "session", json.dumps(session))
            store.note("", "complete" if ending.status == "complete" else "stopped", ending.reason)
        except sqlite3.Error as error:  # the disk is full, and that may have ended the class before
            ending = ending if ending.status == "failed" else Ending("failed", in_words(error))
        if store.misplaced:
            return RunFolder(store.folder, folder.options), Ending("failed", store.misplaced)
    return folder, ending


def _check_prompts(store: Store, folder: RunFolder, agents: ClassAgents) -> None:
    """Raises StoreError: answers of the class were made with another version of the prompts."""
    made = {one.prompts or "1" for one in facts_from(store).agents}
    now = {one["prompts"] for one in agents.facts()}
    if store.answered() and made - now:
        raise StoreError(
            f"{folder.path}: its answers were made with version {', '.join(sorted(made))} of the prompts; this program "
            f"has version {', '.join(sorted(now))}, which would mix them up.\n"
            "Go on with the version of the program that began it, or start a new class. report and watch still read it."
        )


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """Look for reference cycles less often: see GC_THRESHOLD."""
    before = gc.get_threshold()
    gc.set_threshold(GC_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _teach(
    scenario: Scenario,
    store: Store,
    folder: RunFolder,
    agents: ClassAgents,
    monitor: AbstractContextManager[object],
    interrupts: Interrupts,
    err: Console,
) -> Ending:
    """Start the processes and run the classroom until the class ends."""
    for sentence in agents.notices(folder.keys):
        say(err, sentence)
    names = [name for members in agents.own.values() for name in members]
    spec = folder.broker(scenario, names, agents.far)
    launcher = agents.launcher(BROKER, spec, folder.logs, scenario.limits.restarts)
    without_work = dropped_agents(scenario, changes(store).dropped)
    resting = agents.own if scenario.time_share else without_work & agents.own.keys()
    launcher.start(later=[name for agent in resting for name in agents.own[agent]])
    try:
        with monitor, ControlFolder(folder.path) as control:
            # Making the problems takes a while: the processes start meanwhile.
            bank = folder.bank(scenario, store)
            agents.give_answers({problem.text: problem.answer for problem in bank.problems})
            hello = Hello(name="classroom", role="classroom", state="ready")
            with (
                ClassGrader(sandbox=scenario.task.sandbox, self_debug=scenario.self_debugs) as grader,
                Client(spec.endpoint, hello, keys=folder.keys_of(scenario)) as client,
            ):
                runner = ClassRunner(
                    scenario,
                    bank,
                    folder.level(scenario, bank, store, grader.same),
                    grader,
                    store,
                    client,
                    launcher,
                    answerers={name: agents.answerers[name] for name in agents.own},
                    weights=agents.weights,
                    keep_file=folder.keep_training,
                    prompt_of=agents.prompt,
                    turns=TimeSharing(agents.own, launcher, client) if scenario.time_share else None,
                    processes=agents.own,
                    control=control,
                    check_student=partial(check_student, folder, store),
                )
                if scenario.task.sandbox == "none" and any(one.form == "code" for one in bank.problems):
                    store.note("", "unprotected", "programs of models run without a sandbox")
                with interrupts.on_first_signal(runner.drain), _fewer_collections():
                    ending = runner.run()
                if grader.given_up:
                    store.note("", "not_compared", str(grader.given_up))
                return ending
    finally:
        launcher.stop(grace_s=STOP_S)
