"""The folder of a run: its files, and the summary and the level that are rebuilt from them.

Reports and replays feed a new level the results in class.db, without a model, a broker, or the source of the problems.
"""

import contextlib
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from broker import auth
from broker.endpoints import endpoints
from broker.errors import ScenarioError, in_words
from broker.files import write_atomically
from broker.gauges import Subscriber
from broker.printable import printable_traceback
from broker.server import BrokerSpec
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.levels.base import Outcome
from scenarios.levels.observe.votes import STAGE as VOTES
from scenarios.levels.replay import replay
from scenarios.levels.steered import SteeredLevel, steered
from scenarios.report.spend import merged_in, server_notes_in, spent_in
from scenarios.scoring.lbt import Same
from scenarios.session.broker_address import address_of, kept
from scenarios.session.ending import Ending
from scenarios.session.request_limits import credit_of_each
from scenarios.session.running import holds_study, is_running, members, without_keys
from scenarios.store.sqlite import Store
from scenarios.tasks.grading.answers import ClassGrader
from scenarios.tasks.problems import CHARACTERS_PER_TOKEN, Bank

if TYPE_CHECKING:
    from scenarios.report.recorded import RecordedClass
    from scenarios.report.summary import Summary

OURS = re.compile(
    r"class\.db(-shm|-wal)?|lock|logs|keys|control|broker-address|scenario\.(yaml|partial)|"
    r"\.(scenario\.yaml|class\.db|broker-address)\.\d+\.partial"
)
"""Names of files that a run may leave which ended before it began; the last are of `write_atomically`."""

PRIVATE = 0o700
"""Mode of a run's folder, which contains gold answers, keys and all texts."""


class Rebuilt(NamedTuple):
    """What the records of a run come to."""

    summary: "Summary"
    missing: dict[str, int]
    """Requests without a result, by stage."""
    outcome: Outcome
    asked: Set[str]
    """See `RecordedClass.asked`."""


class RunFolder:
    """The folder of one run, which only its owner can enter.

    Args:
        path: the folder, which need not exist yet.
        options: with which `resume` goes on as the class runs now.
    """

    def __init__(self, path: Path, options: str = "") -> None:
        self.options = options
        self.path = Path(os.path.expanduser(path)).absolute()
        self.scenario_file = self.path / "scenario.yaml"
        self.logs = self.path / "logs"
        self.keys = self.path / "keys"
        self.training = self.path / "training"
        self.answer_key = self.path / "answer-key"
        """The gold answers, for simulated agents alone."""

    @classmethod
    def new(cls, runs: Path, name: str, at: datetime | None = None) -> Self:
        """Make a folder for a new run in `runs`: NAME-TIME, with a number if that exists already.

        Args:
            runs: the parent folder, which is made if it is missing.
            name: the name of the class.
            at: the time in its name; default: now.

        Raises:
            ScenarioError: it cannot be made.
        """
        at = at or datetime.now().astimezone()
        for number in count(1):
            folder = cls(runs / f"{name}-{at:%Y%m%d-%H%M%S}{f'-{number}' if number > 1 else ''}")
            try:
                runs.mkdir(parents=True, exist_ok=True)
                folder.path.mkdir(mode=PRIVATE)
            except FileExistsError:
                continue
            except OSError as error:
                raise ScenarioError(f"{folder}: cannot be made: {error.strerror}") from error
            return folder
        raise AssertionError("count() does not end")

    def __str__(self) -> str:
        """As the user would type it."""
        here = Path.cwd()
        return shlex.quote(str(self.path.relative_to(here) if self.path.is_relative_to(here) else self.path))

    @property
    def used(self) -> bool:
        """Whether it contains a run: a scenario and results."""
        scenario = self.scenario_file
        return (self.path / "class.db").is_file() and scenario.is_file() and scenario.stat().st_size > 0

    @property
    def go_on(self) -> str:
        """A sentence that says how to continue the class."""
        if not self.used:
            return f"{self} holds no run to continue: move class.db back if it was moved."
        return f"Go on with: {self.resume}"

    @property
    def resume(self) -> str:
        """The command that continues the class."""
        return f"python run.py resume {self} {self.options}".rstrip()

    @property
    def report_later(self) -> str:
        """A sentence that says how to get the summary of the class later."""
        return f"Later: python run.py report {self}"

    def refuse_used(self) -> None:
        """Raises ScenarioError if it contains a run."""
        if self.used:
            raise ScenarioError(f"{self} holds a run: `python run.py resume {self}`, or choose another --out")

    def make(self) -> None:
        """Make the folder of a new run if it is missing, and close it to other users.

        Raises:
            ScenarioError: it cannot be made or closed, or contains other files.
        """
        try:
            self.path.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            others = [path.name for path in self.path.iterdir() if not OURS.fullmatch(path.name)]
        except OSError as error:
            raise ScenarioError(f"--out {self}: cannot be made: {error.strerror}") from error
        if others:
            raise ScenarioError(f"--out {self}: holds other things ({min(others)}); name a folder for this run alone")
        try:
            self.path.chmod(PRIVATE)
        except OSError as error:
            raise ScenarioError(f"--out {self}: cannot be closed to other users: {error.strerror}") from error

    def clear(self) -> None:
        """Remove the files of a class that could not begin, so that the folder can be used again."""
        for name in ("scenario.yaml", "class.db", "class.db-wal", "class.db-shm"):
            (self.path / name).unlink(missing_ok=True)

    def log_failure(self, error: Exception) -> str:
        """Write the traceback of an error to logs/run.log; return the message to print."""
        with contextlib.suppress(OSError):  # the disk may be full
            self.logs.mkdir(exist_ok=True)
            with (self.logs / "run.log").open("a") as file:
                file.write(f"{printable_traceback(error)}\n")
        return in_words(error)

    def keep(self, scenario: Scenario) -> None:
        """Write scenario.yaml atomically, if its content changes."""
        text = load.dump(scenario)
        if self.scenario_file.is_file() and self.scenario_file.read_text("utf-8") == text:
            return
        write_atomically(self.scenario_file, text.encode())

    def keep_training(self, name: str, content: bytes) -> None:
        """Write a file of training data atomically, unless an equal one exists.

        Raises:
            OSError: it cannot be written.
        """
        path = self.training / name
        if path.is_file() and path.read_bytes() == content:
            return
        self.training.mkdir(exist_ok=True)
        write_atomically(path, content)

    def scenario(self, overrides: tuple[str, ...] = ()) -> Scenario:
        """The scenario of the run, with overrides applied.

        Raises:
            ScenarioError: the folder contains no run, or an override is wrong.
        """
        if not self.used:
            if holds_study(self.path):
                raise ScenarioError(f"{self} is the folder of a study; its classes are in runs/")
            if (self.path / "study.yaml").is_file():
                raise ScenarioError(f"{self} has no classes; to run them: python run.py study {self}/study.yaml")
            raise ScenarioError(f"{self} is not the folder of a run: it has no scenario.yaml with a class.db")
        return load.read(self.scenario_file, overrides)

    def bank(self, scenario: Scenario, store: Store) -> Bank:
        """The problems in the store; if there are none, draw them and store them.

        Raises:
            TaskError: they cannot be drawn.
        """
        if (bank := store.bank()) is None:
            from scenarios.tasks import build

            bank = build.build_class(scenario, folder=self.path)
            store.keep_bank(bank)
        return bank

    def broker(self, scenario: Scenario, supervised: Sequence[str] = (), far: Collection[str] = ()) -> BrokerSpec:
        """The configuration of the class's broker; `supervised`: agents that run.py starts, `far`: on other hosts."""
        endpoint, gauges = endpoints(address_of(scenario.broker.address, self.path), self.path)
        return BrokerSpec(
            endpoint=endpoint,
            gauges=gauges,
            keys=str(self.keys_of(scenario) or ""),
            heartbeat_s=scenario.broker.heartbeat_s,
            stalled_s=scenario.limits.stalled_s,
            supervised=("classroom", *supervised),
            members=members(scenario, far),
            classroom=os.getpid(),
            credit=credit_of_each(len(scenario.agents)),
        )

    def sockets(self, scenario: Scenario, chosen: str = "") -> AbstractContextManager[None]:
        """A context of a session, with the broker's address that its launcher has chosen; see broker_address.kept."""
        return kept(scenario.broker.address, self.path, chosen)

    def subscriber(self, scenario: Scenario) -> Subscriber:
        """A subscriber to the gauges of the class's broker."""
        _, gauges = endpoints(address_of(scenario.broker.address, self.path), self.path)
        return Subscriber(gauges, keys=self.keys_of(scenario))

    def keys_of(self, scenario: Scenario) -> Path | None:
        """The folder with the class's CURVE keys, which is made if it is missing; None if no keys are needed."""
        if address_of(scenario.broker.address, self.path) == "ipc":
            return None
        if missing := without_keys(scenario, self.keys):
            auth.make_keys(self.keys, missing)
        return self.keys

    def level(self, scenario: Scenario, bank: Bank, store: Store, same: Same) -> SteeredLevel:
        """A new level of `scenario` with the problems of this run; `same`: whether two answers are equivalent.

        Raises:
            TaskError: the scenario needs more problems than the run has.
        """
        return steered(scenario, self.only(scenario, bank), store, same)

    @staticmethod
    def only(scenario: Scenario, bank: Bank) -> Bank:
        """The problems of the bank that a scenario asks.

        Raises:
            TaskError: it has fewer.
        """
        return bank.only(scenario.task.problems, scenario.exam.problems) if bank.items else bank

    def problem_tokens(self) -> int:
        """The estimated tokens of a problem of median length; 0: the run has no problems yet."""
        if not self.used:
            return 0
        with Store(self.path) as store:
            bank = store.bank()
        lengths = sorted(len(problem.text) for problem in bank.problems) if bank else [0]
        return lengths[len(lengths) // 2] // CHARACTERS_PER_TOKEN

    def without_answers(self, scenario: Scenario) -> frozenset[str]:
        """The agents without a recorded answer in this run."""
        with Store(self.path) as store:
            answered = {scenario.pools.get(name, name) for name in store.answered()}
        return frozenset(agent.name for agent in scenario.agents) - answered

    def ending(self, scenario: Scenario, store: Store) -> Ending | None:
        """The ending of a class that has all its results already and needs no process; None: results are missing.

        This records what the results are for: an earlier version may not have done so, and a further TR may be wanted
        as a TR with exams, by a larger class or in place of one that failed.
        """
        if (bank := store.bank()) is None:
            return None
        with ClassGrader() as grader:
            level = self.level(scenario, bank, store, grader.same)
            votes = {id for (id,) in store.rows("SELECT request_id FROM result WHERE stage = ?", VOTES)}
            step, reused = replay(level, level.begin(), store.find_all, lambda one: one.arm or one.id in votes)
        store.name_stages({one.id: one.stage for one in step.shared if one.id in votes and one.stage != VOTES})
        if not level.finished:
            return None
        store.keep_asked(step.wanted)
        return Ending("complete", reused=reused, nothing_asked=True)

    @contextlib.contextmanager
    def recorded(self, scenario: Scenario, keep: Callable[[Bank], Bank] = lambda b: b) -> "Iterator[RecordedClass]":
        """The recorded results of the problems that `keep` returns; the store is open within the context.

        Raises:
            ScenarioError: the class has no problems yet.
        """
        from scenarios.report.recorded import RecordedClass
        from scenarios.report.run_info import facts_from

        with Store(self.path) as store, ClassGrader() as grader:
            if (bank := store.bank()) is None:
                raise ScenarioError(f"{self}: this class stopped before it had any problems\n{self.go_on}")
            level = steered(scenario, keep(self.only(scenario, bank)), store, grader.same)
            used: set[str] = set()
            step, _ = replay(level, level.begin(), store.find_all, lambda one: used.add(one.id))
            used.update(one.id for one in step.shared)
            spent, notes, merged = spent_in(self.path), server_notes_in(self.path), merged_in(self.path)
            facts = facts_from(store, level.not_asked)
            facts = msgspec.structs.replace(facts, spent=spent, server_notes=notes, merged=merged)
            if facts.status != "complete" and is_running(self.path):
                facts = msgspec.structs.replace(facts, status="running")
            outcome = level.outcome()
            bank = bank.with_exams(outcome.invented)
            yield RecordedClass(scenario, bank, store, outcome, step.requests, facts, grader.same, used)

    def rebuild(self, scenario: Scenario) -> Rebuilt:
        """What the recorded results come to under `scenario`."""
        from scenarios.report.build import summarize

        with self.recorded(scenario) as found:
            outcome = found.outcome
            summary = summarize(
                scenario, outcome.lessons, found.same, found.store, found.facts, found.store.given_up(),
                learnt=outcome.learnt, iteration=outcome.iteration, rewriting=outcome.rewriting,
            )  # fmt: skip
            return Rebuilt(summary, dict(Counter(request.stage for request in found.due)), outcome, found.asked)

    def write_summary(self, summary: "Summary") -> None:
        """Write summary.json."""
        from scenarios.report.build import write_summary

        write_summary(self.path / "summary.json", summary)

    def write_metrics(self, scenario: Scenario, summary: "Summary") -> None:
        """Write the figures step by step, where `scenario.metrics` wants them."""
        from scenarios.report.metrics import write_metrics

        write_metrics(self.path, scenario, summary)
