"""The command line: connects agents and scenarios, and decides nothing.

Only this file knows both: it starts the processes and gives the classroom what it needs. What a command needs is
imported where it runs.
"""

import os
import sys

# A PYTHONPATH such as `:/lib`, from a variable that was empty, has Python import from the user's current folder: a
# math_verify.py there would be run. Child processes start in this file's folder.
HERE = os.path.dirname(os.path.abspath(__file__))
NAMED = os.environ["PYTHONPATH"].split(os.pathsep) if os.environ.get("PYTHONPATH") else []
RELATIVE = {os.path.abspath(path) for path in NAMED if not os.path.isabs(path)} - {HERE, *NAMED}
sys.path[:] = [path for path in sys.path if path not in RELATIVE]
# Other packages are called `agents`, too: this project's come first, however Python was started.
sys.path.insert(0, HERE)

# ruff: noqa: E402
from broker.interrupts import Interrupts

INTERRUPTS = Interrupts()
if __name__ == "__main__":  # before the imports below, which take a while
    INTERRUPTS.install()

import difflib
import json
import shlex
import sqlite3
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

try:
    import cyclopts
    from cyclopts import Parameter
    from rich.console import Console
    from rich.text import Text
except ModuleNotFoundError as error:
    sys.exit(f"The package {error.name} is not installed. Install this project first: pip install -e .")

from broker.errors import LbtError, PlacementError, ScenarioError, TaskError, in_words
from broker.logs import configure_terminal
from broker.printable import printable_lines
from broker.streams import protect

if TYPE_CHECKING:
    from agents.models.catalogue import Model
    from agents.placement import hardware, resolve
    from agents.spec import AgentSpec
    from agents.training import preflight
    from scenarios.config.schema import Scenario
    from scenarios.report.summary import Summary
    from scenarios.session.request_counts import Counts
    from scenarios.session.run_dir import RunFolder
    from scenarios.session.runner import Ending
    from scenarios.store.sqlite import Store

COMPLETE, FAILED, WRONG, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130


app = cyclopts.App(
    name="run.py",
    usage="Usage: python run.py SCENARIO.yaml [OPTIONS]   or   python run.py COMMAND ...",
    help="A classroom in which language models learn by teaching.",
    help_epilogue="--debug shows where an error comes from; what stopped a class is in its logs/: "
    "AGENT.log of the agent that failed, broker.log, or run.log.",
    version=lambda: tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text())["project"]["version"],
    version_flags=["--version"],
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
out = Console()
err = Console(stderr=True)

Overrides = Annotated[
    tuple[str, ...],
    Parameter("--set", help="Override an entry: --set task.problems=12", negative="", show_default=False),
]
Seed = Annotated[str | None, Parameter("--seed", help="In place of the scenario's seed.")]
AsJson = Annotated[bool, Parameter("--json", help="Print JSON.", negative="")]
MonitorMode = Annotated[Literal["live", "plain", "off"], Parameter(help="What to show meanwhile.")]


@app.default
def run(
    scenario: Path,
    /,
    *,
    out_dir: Annotated[Path | None, Parameter("--out", help="The run's folder; default: runs/NAME-TIME.")] = None,
    overrides: Overrides = (),
    seed: Seed = None,
    monitor: MonitorMode = "live",
    launcher: Annotated[Literal["local"], Parameter(help="Where processes run.")] = "local",
) -> int:
    """Run a class."""
    from agents.placement import resolve
    from scenarios.config import load
    from scenarios.session.request_counts import counts
    from scenarios.session.run_dir import RunFolder

    overrides = with_seed(overrides, seed)
    with load.located(scenario, overrides):
        described = load.read(scenario, overrides)
        if out_dir:
            RunFolder(out_dir).refuse_used()
        counted = counts(described)
        hired = hire(described)
        tuition_of(described, counted, hired)
        check_ready(described, hired)
        models = resolve.fetch_models(hired, err)
        if any(one.model and not one.model.at_hand for one in hired):
            hired = hire(described)  # the models that were fetched need no guesses any more
        folder = RunFolder(out_dir) if out_dir else RunFolder.new(Path("runs"), described.name)
        folder.make()
        folder.keep(described)  # before class.db: a folder with that and without a scenario could not be resumed
        return hold(described, folder, hired, models, monitor)


@app.command
def resume(
    run_dir: Path,
    /,
    *,
    overrides: Overrides = (),
    retry_failed: Annotated[bool, Parameter(help="Ask failed requests again.", negative="")] = False,
    monitor: MonitorMode = "live",
) -> int:
    """Go on with an interrupted class."""
    from agents.placement import resolve
    from scenarios.config import load
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    old, new = folder.scenario(), folder.scenario(overrides)
    if changed := load.asked_differs(old, new, folder.without_answers(old)):
        raise ScenarioError(
            f"a resumed class asks what it asked before; this would change it:\n{'; '.join(changed)}\n"
            "For that, start a new class: python run.py SCENARIO.yaml --set ..."
        )
    with load.located(folder.scenario_file, overrides):
        hired = hire(new, recorded_tokens=folder.problem_tokens())
        models = resolve.fetch_models(hired, err)
        return hold(new, folder, hired, models, monitor, retry_failed=retry_failed)


@app.command
def plan(scenario: Path, /, *, overrides: Overrides = (), seed: Seed = None, as_json: AsJson = False) -> int:
    """Say what a class would ask and who would sit where; start nothing.

    `--set machine.gpus=8x80` (also machine.cores, machine.memory, in GB) plans for a machine that is not here.
    """
    import msgspec

    from agents.placement import hardware, resolve
    from agents.placement.server_keys import keys_sent
    from agents.training import preflight
    from scenarios.config import load
    from scenarios.session import plan as plans
    from scenarios.session.request_counts import counts

    elsewhere = [one.removeprefix("machine.") for one in overrides if one.startswith("machine.")]
    machine = hardware.described(elsewhere) if elsewhere else None
    overrides = with_seed([one for one in overrides if not one.startswith("machine.")], seed)
    with load.located(scenario, overrides):
        described = load.read(scenario, overrides)
        counted = counts(described)
        hired = hire(described, machine)
        # Where a machine is named, packages that are not installed here are no matter.
        training = tuition_of(described, counted, hired, machine or hardware.look())
    rows = [plans.PlanRow(**one.planned()) for one in hired]
    warnings = preflight.missing_for_training(hired[0]) if 2 in described.levels and not machine else []
    if not machine and (short := resolve.short_now(hired, in_turn=described.time_share)):
        warnings.append(short)
    if as_json:
        more = {"training": msgspec.to_builtins(training), "warnings": warnings, "keys": keys_sent(hired)}
        print(json.dumps(plans.to_dict(described, counted, rows) | more, indent=1))
    else:
        words = [training.in_words(described.teacher.name)] if training else []
        out.print(plans.tables(described, counted, rows, words + keys_sent(hired)))
        for warning in warnings:
            say(err, f"Warning: {warning}")
    return COMPLETE


@app.command
def watch(run_dir: Path, /) -> int:
    """Show a running class, or the end of a finished one."""
    from scenarios.monitor import monitor
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    INTERRUPTS.words = ""  # the class goes on
    monitor.watch(folder.path, scenario, lambda: folder.subscriber(scenario))
    return COMPLETE


@app.command
def report(run_dir: Path, /, *, as_json: AsJson = False) -> int:
    """Make summary.json again from the gradebook alone."""
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    summary, _ = folder.summarize(folder.scenario())
    show(summary, as_json)
    folder.write_summary(summary)
    return COMPLETE


@app.command
def replay(run_dir: Path, /, *, overrides: Overrides = (), as_json: AsJson = False) -> int:
    """The same class under another rule, from what was recorded; says what was never asked."""
    from scenarios.config import load
    from scenarios.report.unanswered import ASKED
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    old, new = folder.scenario(), folder.scenario(overrides)
    if beyond := load.beyond_replay(old, new):
        raise ScenarioError("replay scores what was recorded; this would be another class:\n" + "; ".join(beyond))
    with load.located(folder.scenario_file, overrides):
        summary, missing = folder.summarize(new)
    if not as_json:
        say(out, f"replayed with {', '.join(overrides) or 'nothing changed'}; summary.json is unchanged")
    show(summary, as_json, replay={"changed": load.difference(old, new), "never_asked": missing})
    if missing and not as_json:
        counted = ", ".join(f"{n:,} {ASKED.get(stage, f'requests of stage {stage}')}" for stage, n in missing.items())
        # Levels 2 and 3 wait for results before they ask on.
        then = "" if new.levels == (1,) else ", and all that would have followed"
        say(out, f"Never asked in this run, and so left out: {counted}{then}")
    return COMPLETE


@app.command
def grade(pairs: Path, /, *, as_json: AsJson = False) -> int:
    """Try the grader on a JSON-lines file: `gold`, `response`, and where they are known `form`, `right` and `id`."""
    import msgspec

    from scenarios.report import graded_file

    graded = graded_file.grade_file(pairs)
    if as_json:
        print(json.dumps(msgspec.to_builtins(graded), indent=1))
    else:
        out.print(graded_file.tables(graded))
    return COMPLETE


@app.command
def doctor(
    scenario: Path | None = None, /, *, overrides: Overrides = (), seed: Seed = None, as_json: AsJson = False
) -> int:
    """Say what works on this machine, and what to do about the rest; with a scenario, also who would sit where."""
    import msgspec

    from agents import doctor as doctors
    from agents.placement import resolve
    from agents.placement.server_keys import keys_sent
    from scenarios.config import load
    from scenarios.report.layout import Trimmed
    from scenarios.session import plan as plans
    from scenarios.tasks.sources.families import FAMILIES

    checks = doctors.examine()
    rows: list[plans.PlanRow] = []
    keys: list[str] = []
    if scenario:
        described = load.read(scenario, with_seed(overrides, seed))
        try:
            hired = hire(described)
            rows = [plans.PlanRow(**one.planned()) for one in hired]
            keys = keys_sent(hired)
            if short := resolve.short_now(hired, in_turn=described.time_share):
                says, _, do = short.partition("\n")
                checks.append(doctors.Check(described.name, "partly", says, do))
        except LbtError as error:
            says, _, do = str(error).partition("\n")
            checks.append(doctors.Check(described.name, "no", says, do))
    if as_json:
        found = {"checks": checks, "agents": rows, "keys": keys, "families": sorted(FAMILIES)}
        print(json.dumps(msgspec.to_builtins(found), indent=1))
    else:
        out.print(Trimmed(doctors.to_table(checks)))
        say(out, f"Checked task families: {', '.join(sorted(FAMILIES))}")
        if rows:
            out.print(plans.seating(rows))
        for sentence in keys:
            say(out, sentence)
    return COMPLETE


def with_seed(overrides: Sequence[str], seed: str | None) -> tuple[str, ...]:
    """The overrides, and the one that `--seed` is short for."""
    return (*overrides,) if seed is None else (*overrides, f"seed={seed}")


def hire(
    scenario: "Scenario", machine: "hardware.Machine | None" = None, *, recorded_tokens: int = 0
) -> "tuple[resolve.ResolvedAgent, ...]":
    """The agents of a class and their seats; `recorded_tokens` is the length of the problems that a run has already."""
    from agents.placement import resolve
    from agents.placement.memory import Workload
    from scenarios.session.request_counts import agent_work, longest_problem_tokens

    by_agent = agent_work(scenario, recorded_tokens or longest_problem_tokens(scenario))
    requests = {name: Workload(count=one.requests, tokens=one.tokens) for name, one in by_agent.items()}
    return resolve.resolve_agents(
        scenario.teacher, scenario.students, machine, in_turn=scenario.time_share, workloads=requests
    )


def check_ready(scenario: "Scenario", hired: "Sequence[resolve.ResolvedAgent]") -> None:
    """Refuse a class without a key that it needs, or that needs more memory than other programs leave now."""
    from agents.placement import resolve
    from agents.placement.server_keys import check_keys

    check_keys(hired)
    if short := resolve.short_now(hired, in_turn=scenario.time_share):
        raise PlacementError(short)


def tuition_of(
    scenario: "Scenario",
    counted: "Counts",
    hired: "Sequence[resolve.ResolvedAgent]",
    machine: "hardware.Machine | None" = None,
) -> "preflight.TrainingForecast | None":
    """What a training of the teacher takes, where it is trained; refuses what cannot be."""
    from agents.training import preflight

    if 2 not in scenario.levels:
        return None
    asked = {name: getattr(counted, name) for name in ("trainings", "pairs", "tokens_per_pair")}
    return preflight.forecast(hired, scenario.learn.training, **asked, machine=machine, in_turn=scenario.time_share)


# --- holding a class ------------------------------------------------------------------------------------


def hold(
    scenario: "Scenario",
    folder: "RunFolder",
    hired: "Sequence[resolve.ResolvedAgent]",
    models: "dict[str, Model]",
    monitor: MonitorMode,
    *,
    retry_failed: bool = False,
) -> int:
    """One session of a class, from its processes to the summary; returns the exit code."""
    from agents.placement import agent_process
    from scenarios.session.run_dir import RunFolder
    from scenarios.session.runner import Ending
    from scenarios.store.sqlite import Store

    begun = time.monotonic()
    with Store(folder.path, write=True) as store, folder.sockets(scenario):
        broker = folder.broker(scenario)
        specs = [
            agent_process.agent_spec(
                one,
                models,
                seed=scenario.seed,
                endpoint=broker.endpoint,
                keys=broker.keys,
                answer_key=folder.answer_key,
                run=folder.path,
                in_turn=scenario.time_share,
            )
            for one in hired
        ]
        begins = not store.answerers()
        store.keep_answerers({spec.pool: spec.answerer for spec in specs})
        folder.keep(scenario)
        INTERRUPTS.words = f"Interrupted; all that was answered is kept. {folder.go_on}"
        if retry_failed:
            store.give_up_failed()
        try:
            ending = folder.ending(scenario, store)
            if ending is None:
                check_ready(scenario, hired)
            store.note("", "started", json.dumps([one.facts() for one in hired]))
            ending = ending or teach(scenario, store, folder, hired, specs, monitor)
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
        except sqlite3.Error as error:  # on a full disk, which has ended the class before
            ending = ending if ending.status == "failed" else Ending("failed", in_words(error))
        if store.misplaced:
            ending = Ending("failed", store.misplaced)
            folder = RunFolder(store.folder)
    return conclude(scenario, folder, ending)


def teach(
    scenario: "Scenario",
    store: "Store",
    folder: "RunFolder",
    hired: "Sequence[resolve.ResolvedAgent]",
    specs: "list[AgentSpec]",
    monitor: MonitorMode,
) -> "Ending":
    """The class itself, and its processes."""
    from agents.engines.simulated.options import write_answer_key
    from agents.placement import agent_process
    from agents.placement.launcher import ChildSpec, LocalLauncher
    from agents.placement.server_keys import keys_sent
    from broker.client import Client
    from broker.protocol import Hello
    from scenarios.monitor.monitor import Monitor
    from scenarios.session.broker_watch import BROKER
    from scenarios.session.runner import ClassRunner
    from scenarios.session.time_sharing import TimeSharing
    from scenarios.tasks.grading.answers import ClassGrader

    inside = [(one, spec) for one, spec in zip(hired, specs, strict=True) if one.engine != "external"]
    crews = {spec.pool: [other.name for _, other in inside if other.pool == spec.pool] for _, spec in inside}
    children = [agent_process.child_spec(one, spec, folder.logs) for one, spec in inside]
    broker_spec = folder.broker(scenario, [child.name for child in children])
    broker = ChildSpec(BROKER, "broker.server", broker_spec, {}, (), folder.logs / f"{BROKER}.log")
    launcher = LocalLauncher([broker, *children], restarts=scenario.limits.restarts)
    for sentence in keys_sent([one for one, _ in inside]):
        say(err, sentence)
    for spec in specs:
        if spec.engine == "external":
            with_keys = f", with {spec.name}.key and broker.pub of {folder.keys}" if spec.keys else ""
            say(err, f"Start the program of {spec.name} with endpoint {spec.endpoint} and name {spec.name}{with_keys}.")
    launcher.start(later=[child.name for child in children] if scenario.time_share else [])
    try:
        with Monitor(folder.path, scenario, lambda: folder.subscriber(scenario), monitor, console=out):
            # Making the problems takes a while: the processes start meanwhile.
            bank = folder.bank(scenario, store)
            if any(spec.engine == "simulated" for spec in specs):
                write_answer_key(folder.answer_key, {problem.text: problem.answer for problem in bank.problems})
            hello = Hello(name="classroom", role="classroom", state="ready")
            with ClassGrader() as grader, Client(specs[0].endpoint, hello, keys=folder.keys_of(scenario)) as client:
                runner = ClassRunner(
                    scenario,
                    bank,
                    folder.level(scenario, bank, store),
                    grader,
                    store,
                    client,
                    launcher,
                    answerers={spec.pool: spec.answerer for _, spec in inside},
                    weights={spec.pool: spec.weights for _, spec in inside},
                    keep_file=folder.keep_training,
                    turns=TimeSharing(crews, launcher, client) if scenario.time_share else None,
                )
                with INTERRUPTS.first(runner.drain):
                    ending = runner.run()
                if grader.given_up:
                    store.note("", "not_compared", str(grader.given_up))
                return ending
    finally:
        launcher.stop(grace_s=3)


def conclude(scenario: "Scenario", folder: "RunFolder", ending: "Ending") -> int:
    """Say how the class ended, write the summary, and print it if the class is complete; returns the exit code.

    For an interrupted class it writes no summary, so that Ctrl-C ends the program at once.
    """
    from scenarios.report.formatting import many

    if ending.status == "interrupted":
        summary_so_far = f"Its summary so far: python run.py report {folder}" if folder.used else ""
        say(err, f"{INTERRUPTS.words}\n{summary_so_far}".strip())
        return INTERRUPTED
    # How to go on comes first: the summary of a large class takes a while.
    if ending.status == "failed":
        logs = f"Logs are in {folder}/logs. " if folder.logs.is_dir() else ""
        say(err, f"The class stopped: {ending.reason}\n{logs}{folder.go_on}")
    INTERRUPTS.words = f"Interrupted; summary.json is not written. Later: python run.py report {folder}"
    try:
        summary, _ = folder.summarize(scenario)
        folder.write_summary(summary)
    except (LbtError, OSError, sqlite3.Error) as error:
        if ending.status == "failed":
            return FAILED
        say(err, f"The class is complete, but summary.json is not written: {in_words(error)}")
        say(err, f"Later: python run.py report {folder}")
        return FAILED
    if ending.status == "failed":
        return FAILED
    show(summary, as_json=False)
    before = f" ({many(ending.reused, 'result')} reused from earlier sessions)" if ending.reused else ""
    say(out, f"All of it is in {folder}{before}.")
    empty = any(one.empty and one.is_total for one in summary.unanswered)
    if summary.counts.failed:
        say(err, f"Ask failed requests again with: python run.py resume {folder} --retry-failed")
    return PARTLY if empty or summary.counts.failed else COMPLETE


def show(summary: "Summary", as_json: bool, **more: object) -> None:
    """Print the summary; as JSON with `more` entries."""
    import msgspec

    from scenarios.report import tables

    if as_json:
        print(json.dumps(msgspec.json.decode(msgspec.json.encode(summary)) | more, indent=1))
    else:
        out.print(tables.summary_tables(summary))


def say(console: Console, text: str) -> None:
    """A sentence in which names and model texts are data, and do nothing to the terminal."""
    console.print(Text(printable_lines(text)), soft_wrap=True)


def check_command(words: Sequence[str]) -> None:
    """Refuse a first word that is no command, no option and no file."""
    first, *rest = words
    commands = [name for name in app if not name.startswith("-")]
    if first in commands or first.startswith("-"):
        return
    if Path(first, "scenario.yaml").is_file():
        raise ScenarioError(f"{first} is the folder of a run: python run.py resume|report|watch {shlex.quote(first)}")
    if Path(first).suffix or Path(first).is_file():
        return
    if first == "run":
        raise ScenarioError(f"there is no command `run`: leave it out, python run.py {' '.join(rest)}".strip())
    near = difflib.get_close_matches(first, commands, n=1)
    hint = f"did you mean {near[0]}?" if near else "python run.py --help lists the commands"
    raise ScenarioError(f"{first}: no such file, and no command of this name; {hint}")


def main(words: list[str] | None = None) -> int:
    """Run a command; errors are one to three lines."""
    words = sys.argv[1:] if words is None else words
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"] or ["--help"]
    try:
        check_command(words)
        return int(app(words, exit_on_error=False, print_error=False) or COMPLETE)
    except cyclopts.CycloptsError as error:
        unused: list[str] = getattr(error, "unused_tokens", None) or []
        if unused and unused[-1] in ("--set", "--seed", "--out", "--monitor"):
            say(err, f"{unused[-1]} needs a value")
            return WRONG
        say(err, f"One at a time; not understood: {' '.join(unused)}" if unused else str(error))
        return WRONG
    except Exception as error:
        if debug:
            raise
        if isinstance(error, LbtError | OSError | sqlite3.Error):
            say(err, in_words(error))
            return FAILED if isinstance(error.__cause__, sqlite3.Error) or not isinstance(error, LbtError) else WRONG
        say(err, f"{in_words(error)}\nThe same command with --debug shows where.")
        return FAILED


if __name__ == "__main__":
    protect()
    configure_terminal()
    sys.exit(main())
