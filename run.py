"""The command line: wires the rooms together and decides nothing.

Only this file knows both the agents and the scenarios: it starts the processes and hands the classroom what it
needs. Heavy imports stay in the agents, and in the functions that need them.
"""

import contextlib
import json
import sqlite3
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts
import msgspec
from cyclopts import Parameter
from rich.console import Console

from agents import hiring, placement, tuition
from agents.engines.base import EngineStartError
from agents.engines.simulated.options import write_answer_key
from agents.launcher import ChildSpec, LocalLauncher
from agents.memory import Requests
from agents.models import ModelError
from agents.spec import AgentSpec
from broker import security
from broker.broker import BrokerSpec
from broker.client import Client, Subscriber
from broker.messages import Hello
from scenarios import plan as plans
from scenarios import reading
from scenarios.attendance import BROKER
from scenarios.classroom import Classroom, Ending, Interruption
from scenarios.counts import Counts, asked, counts, problem_tokens
from scenarios.gradebook.formatting import many
from scenarios.gradebook.store import Store, StoreError
from scenarios.monitor import follow as monitors
from scenarios.reading import ScenarioError
from scenarios.run_folder import RunFolder
from scenarios.schema import Scenario
from scenarios.tasks.answers import ClassGrader
from scenarios.tasks.bank import Bank, TaskError
from scenarios.turns import Turns

COMPLETE, FAILED, WRONG, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130

app = cyclopts.App(
    name="run.py",
    usage="Usage: python run.py SCENARIO.yaml [OPTIONS]   or   python run.py COMMAND ...",
    help="A classroom in which language models learn by teaching.",
    help_epilogue="With --debug, every command shows where an error comes from.",
    version_flags=[],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
out = Console()
err = Console(stderr=True)

Overrides = Annotated[
    tuple[str, ...],
    Parameter("--set", help="Override an entry: --set task.problems=12", negative="", show_default=False),
]
AsJson = Annotated[bool, Parameter("--json", help="Print JSON.", negative="")]
MonitorMode = Annotated[Literal["live", "plain", "off"], Parameter(help="What to show meanwhile.")]


class Refused(Exception):
    """The command is wrong: nothing was started."""


# --- commands -------------------------------------------------------------------------------------------


@app.default
def run(
    scenario: Path,
    *,
    out_dir: Annotated[Path | None, Parameter("--out", help="The run's folder; default: runs/NAME-TIME.")] = None,
    overrides: Overrides = (),
    seed: Annotated[str | None, Parameter(help="In place of the scenario's seed.")] = None,
    monitor: MonitorMode = "live",
    launcher: Annotated[Literal["local"], Parameter(help="Where processes run.")] = "local",
) -> int:
    """Run a class."""
    described = reading.read(scenario, overrides if seed is None else (*overrides, f"seed={seed}"))
    default = Path("runs") / f"{described.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    folder = RunFolder(default if out_dir is None else out_dir)
    if folder.used:
        raise Refused(f"{folder} holds a run: `python run.py resume {folder}`, or choose another --out")
    return hold(described, folder, monitor)


@app.command
def resume(
    run_dir: Path,
    *,
    overrides: Overrides = (),
    retry_failed: Annotated[bool, Parameter(help="Ask failed requests again.", negative="")] = False,
    monitor: MonitorMode = "live",
) -> int:
    """Go on with an interrupted class."""
    folder = RunFolder(run_dir)
    old, new = folder.scenario(), folder.scenario(overrides)
    if changed := reading.asked_differs(old, new):
        raise Refused("a resumed class asks what it asked before; this would change it:\n" + "; ".join(changed))
    return hold(new, folder, monitor, retry_failed=retry_failed)


@app.command
def plan(scenario: Path, *, overrides: Overrides = (), as_json: AsJson = False) -> int:
    """Say what a class would ask and who would sit where; start nothing.

    `--set machine.gpus=8x80` (also machine.cores, machine.memory, in GB) plans for a machine that is not here.
    """
    elsewhere = [one.removeprefix("machine.") for one in overrides if one.startswith("machine.")]
    machine = placement.described(elsewhere) if elsewhere else None
    described = reading.read(scenario, [one for one in overrides if not one.startswith("machine.")])
    counted = counts(described)
    hired = hire(described, machine)
    training = tuition_of(described, counted, hired, machine)
    if as_json:
        told = plans.to_dict(described, counted, rows_of(hired))
        print(json.dumps(told | {"training": msgspec.to_builtins(training)}, indent=1))
    else:
        words = [training.in_words(described.teacher.name)] if training else []
        out.print(plans.tables(described, counted, rows_of(hired), words))
    return COMPLETE


@app.command
def watch(run_dir: Path) -> int:
    """Show a running class, or the end of a finished one."""
    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    monitors.watch(folder.path, scenario, lambda: subscriber(scenario, folder))
    return COMPLETE


@app.command
def report(run_dir: Path, *, as_json: AsJson = False) -> int:
    """Make summary.json again from the gradebook alone."""
    folder = RunFolder(run_dir)
    summary, _ = folder.summarize(folder.scenario())
    folder.write_summary(summary)
    show(summary, as_json)
    return COMPLETE


@app.command
def replay(run_dir: Path, *, overrides: Overrides = (), as_json: AsJson = False) -> int:
    """The same class under another rule, from what was recorded; says what was never asked."""
    folder = RunFolder(run_dir)
    old, new = folder.scenario(), folder.scenario(overrides)
    if beyond := reading.beyond_replay(old, new):
        raise Refused("replay scores what was recorded; this would be another class:\n" + "; ".join(beyond))
    summary, missing = folder.summarize(new)
    summary["replay"] = {"changed": reading.difference(old, new), "never_asked": missing}
    show(summary, as_json)
    if missing and not as_json:
        counted = ", ".join(f"{n} {stage}" for stage, n in missing.items())
        # Levels 2 and 3 wait for results before they ask on.
        then = "" if new.levels == (1,) else ", and all that would have followed"
        say(out, f"Never asked in this run, and so left out: {counted}{then}")
    return COMPLETE


@app.command
def grade(pairs: Path, *, as_json: AsJson = False) -> int:
    """Try the grader on a JSON-lines file: `gold`, `response`, and where they are known `form`, `right` and `id`."""
    from scenarios import graded_pairs

    graded = graded_pairs.grade_file(pairs)
    if as_json:
        print(json.dumps(msgspec.to_builtins(graded), indent=1))
    else:
        out.print(graded_pairs.tables(graded))
    return COMPLETE


@app.command
def doctor(scenario: Path | None = None, *, overrides: Overrides = (), as_json: AsJson = False) -> int:
    """Say what works on this machine, and what to do about the rest; with a scenario, also who would sit where."""
    from agents import doctor as doctors
    from scenarios.gradebook.layout import Trimmed
    from scenarios.tasks.families import FAMILIES

    checks = doctors.examine()
    rows: list[plans.Row] = []
    if scenario:
        described = reading.read(scenario, overrides)
        try:
            rows = rows_of(hire(described))
        except (placement.PlacementError, EngineStartError, ModelError, TaskError) as error:
            says, _, do = str(error).partition("\n")
            checks.append(doctors.Check(described.name, "no", says, do))
    if as_json:
        found = {"checks": checks, "agents": rows, "families": sorted(FAMILIES)}
        print(json.dumps(msgspec.to_builtins(found), indent=1))
    else:
        out.print(Trimmed(doctors.to_table(checks)))
        say(out, f"Checked task families: {', '.join(sorted(FAMILIES))}")
        if rows:
            out.print(plans.seating(rows))
    return COMPLETE


def hire(
    scenario: Scenario, machine: placement.Machine | None = None, *, recorded_tokens: int = 0
) -> tuple[hiring.Hired, ...]:
    """The agents of a class and their seats; `recorded_tokens` is the length of the problems that a run has already."""
    by_agent = asked(scenario, recorded_tokens or problem_tokens(scenario))
    requests = {name: Requests(count=one.requests, tokens=one.tokens) for name, one in by_agent.items()}
    return hiring.hire(scenario.teacher, scenario.students, machine, in_turn=scenario.time_share, asked=requests)


def rows_of(hired: Sequence[hiring.Hired]) -> list[plans.Row]:
    """The agents of a plan."""
    rows = []
    for one in hired:
        row: dict[str, Any] = {**one.facts(), **one.memory(), "memory_share": one.seat.memory_share or None}
        rows.append(plans.Row(**row, size=one.size, needs=one.needs, why=one.seat.why))
    return rows


def tuition_of(
    scenario: Scenario,
    counted: Counts,
    hired: Sequence[hiring.Hired],
    machine: placement.Machine | None = None,
) -> tuition.Tuition | None:
    """What a training of the teacher takes, where it is trained; refuses what cannot be."""
    if 2 not in scenario.levels:
        return None
    return tuition.foresee(
        hired,
        scenario.learn.training,
        trainings=counted.trainings,
        pairs=counted.pairs,
        tokens_per_pair=counted.tokens_per_pair,
        machine=machine,
        in_turn=scenario.time_share,
    )


# --- holding a class ------------------------------------------------------------------------------------


def hold(scenario: Scenario, folder: RunFolder, monitor: MonitorMode, *, retry_failed: bool = False) -> int:
    """One session of a class, from the models to the summary; returns the exit code."""
    from scenarios.tasks import build

    begun = time.monotonic()
    if not folder.used:  # a run that is resumed has its problems, wherever they came from
        build.check_class(scenario, folder=folder.path)
    hired = hire(scenario, recorded_tokens=folder.problem_tokens())
    if not folder.used:
        tuition_of(scenario, counts(scenario), hired)
    held = hiring.fetch(hired, err)
    if not folder.used:
        folder.make()
        folder.keep(scenario)  # before the gradebook: a folder with one and not the other would be no use to anybody
    with Store(folder.path, write=True) as store:
        folder.keep(scenario)
        endpoint, _ = security.endpoints(scenario.broker.address, folder.path)
        specs = [
            hiring.spec(
                one,
                held,
                seed=scenario.seed,
                endpoint=endpoint,
                keys=keys_of(scenario, folder),
                answer_key=folder.answer_key,
                run=folder.path,
                in_turn=scenario.time_share,
            )
            for one in hired
        ]
        store.keep_answerers({spec.pool: spec.answerer for spec in specs})
        store.note("", "started", json.dumps([one.facts() for one in hired]))
        if retry_failed:
            store.give_up_failed()
        if (ending := folder.ending(scenario, store)) is None:
            agents = [
                hiring.child(one, spec, folder.logs)
                for one, spec in zip(hired, specs, strict=True)
                if one.engine != "external"
            ]
            children = [broker_child(scenario, folder, [agent.name for agent in agents]), *agents]
            launcher = LocalLauncher(children, restarts=scenario.limits.restarts)
            launcher.start(later=[child.name for child in children[1:]] if scenario.time_share else [])
            try:
                ending = teach(scenario, store, folder, specs, launcher, monitor)
            except KeyboardInterrupt:
                if store.bank() is None:
                    raise
                ending = Ending("interrupted", "interrupted at once")
            finally:
                launcher.stop(grace_s=3)
        session = {"wall_seconds": time.monotonic() - begun, "reused": ending.reused, "status": ending.status}
        # On a full disk this cannot be written either; the reason why the class failed is told below.
        with contextlib.suppress(sqlite3.Error) if ending.status == "failed" else contextlib.nullcontext():
            store.name_first_twins()
            store.note("", "session", json.dumps(session))
            store.note("", "complete" if ending.status == "complete" else "stopped", ending.reason)
    return conclude(scenario, folder, ending)


def teach(
    scenario: Scenario,
    store: Store,
    folder: RunFolder,
    specs: list[AgentSpec],
    launcher: LocalLauncher,
    monitor: MonitorMode,
) -> Ending:
    """The class itself, while its processes run."""
    inside = [spec for spec in specs if spec.engine != "external"]
    crews = {spec.pool: [other.name for other in inside if other.pool == spec.pool] for spec in inside}
    hello = Hello(name="classroom", role="classroom", state="ready")
    keys = keys_of(scenario, folder)
    watching = monitors.Monitor(folder.path, scenario, lambda: subscriber(scenario, folder), monitor, console=out)
    with Interruption() as interruption, watching:
        # Making the problems takes a while: the processes start meanwhile.
        bank = bank_of(scenario, store, folder)
        if any(spec.engine == "simulated" for spec in specs):
            write_answer_key(folder.answer_key, {problem.text: problem.answer for problem in bank.problems})
        with (
            ClassGrader() as grader,
            Client(specs[0].endpoint, hello, keys=Path(keys) if keys else None) as client,
        ):
            classroom = Classroom(
                scenario,
                bank,
                folder.level(scenario, bank, store),
                grader,
                store,
                client,
                launcher,
                answerers={spec.pool: spec.answerer for spec in inside},
                weights={spec.pool: spec.weights for spec in inside},
                keep=folder.keep_training,
                turns=Turns(crews, launcher, client) if scenario.time_share else None,
            )
            interruption.calls(classroom.drain)
            return classroom.run()


def bank_of(scenario: Scenario, store: Store, folder: RunFolder) -> Bank:
    """The problems as the gradebook has them, or drawn now and kept there."""
    if (bank := store.bank()) is None:
        from scenarios.tasks import build

        bank = build.build_class(scenario, folder=folder.path)
        store.keep_bank(bank)
    return bank


def conclude(scenario: Scenario, folder: RunFolder, ending: Ending) -> int:
    """Write the summary, print the tables, and say how to go on."""
    summary, _ = folder.summarize(scenario)
    try:
        folder.write_summary(summary)
    except OSError as error:
        say(err, f"summary.json was not written: {error.strerror}. Later: python run.py report {folder}")
    # Whoever reads our output may have left; the class is what it is all the same.
    with contextlib.suppress(OSError):
        if ending.status != "failed" or summary["counts"]["requests"]:
            show(summary, as_json=False)
    again = f"Go on with: python run.py resume {folder}"
    match ending.status:
        case "failed":
            say(err, f"The class stopped: {ending.reason}")
            say(err, f"Logs are in {folder}/logs. {again}")
            return FAILED
        case "interrupted":
            say(err, f"Interrupted; all that was answered is kept. {again}")
            return INTERRUPTED
    with contextlib.suppress(OSError):
        before = f" ({many(ending.reused, 'result')} reused from earlier sessions)" if ending.reused else ""
        say(out, f"All of it is in {folder}{before}.")
    if summary["counts"]["failed"]:
        say(err, f"Ask failed requests again with: python run.py resume {folder} --retry-failed")
        return PARTLY
    return COMPLETE


# --- small parts ----------------------------------------------------------------------------------------


def show(summary: dict[str, Any], as_json: bool) -> None:
    """The summary on standard output."""
    from scenarios.gradebook import tables

    if as_json:
        print(json.dumps(summary, indent=1))
    else:
        out.print(tables.summary_tables(summary))


def broker_child(scenario: Scenario, folder: RunFolder, agents: Sequence[str]) -> ChildSpec:
    """The broker's process. `agents`: names of those that this program starts."""
    endpoint, gauges = security.endpoints(scenario.broker.address, folder.path)
    spec = BrokerSpec(
        endpoint=endpoint,
        gauges=gauges,
        keys=keys_of(scenario, folder),
        heartbeat_s=scenario.broker.heartbeat_s,
        stalled_s=scenario.limits.stalled_s,
        supervised=("classroom", *agents),
    )
    return ChildSpec(BROKER, "broker.broker", spec, {}, (), folder.logs / f"{BROKER}.log")


def keys_of(scenario: Scenario, folder: RunFolder) -> str:
    """The folder with the class's CURVE keys, made where it is missing; empty where none are needed."""
    if scenario.broker.address == "ipc":
        return ""
    if not folder.keys.is_dir():
        names = [name for agent in scenario.agents for name in hiring.process_names(agent)]
        security.make_keys(folder.keys, ["classroom", "monitor", *names])
    return str(folder.keys)


def subscriber(scenario: Scenario, folder: RunFolder) -> Subscriber:
    """The gauges of a class's broker."""
    _, gauges = security.endpoints(scenario.broker.address, folder.path)
    keys = keys_of(scenario, folder)
    return Subscriber(gauges, keys=Path(keys) if keys else None)


def say(console: Console, text: str) -> None:
    """A sentence in which names and model texts are data."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


MISTAKES = (
    Refused,
    ScenarioError,
    TaskError,
    ModelError,
    placement.PlacementError,
    EngineStartError,
    StoreError,
    security.SecurityError,
)


def main(words: list[str] | None = None) -> int:
    """Run a command; errors are one to three lines."""
    words = sys.argv[1:] if words is None else words
    debug = "--debug" in words
    try:
        code = app([word for word in words if word != "--debug"], exit_on_error=False, print_error=True)
        return int(code or 0)
    except cyclopts.CycloptsError:
        return WRONG
    except MISTAKES as mistake:
        if debug:
            raise
        say(err, str(mistake))
        return WRONG
    except KeyboardInterrupt:
        say(err, "Interrupted.")
        return INTERRUPTED
    except (OSError, sqlite3.Error) as error:
        if debug:
            raise
        say(err, f"{error}. What was recorded is kept.")
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
