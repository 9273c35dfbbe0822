"""The command line: parses arguments, calls the packages, prints what they return.

Only this file imports both agents/ and scenarios/. Each command imports what it needs, so that --help is fast.
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

import sqlite3
import tomllib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

try:
    import cyclopts
    from cyclopts import Parameter
    from rich.console import Console
except ModuleNotFoundError as error:
    sys.exit(f"The package {error.name} is not installed. Install this project first: pip install -e .")

from broker.errors import LbtError, in_words
from broker.logs import configure_terminal
from broker.streams import protect
from scenarios.report.console import print_json, say, show_summary
from scenarios.session.command_line import check_command, with_seed
from scenarios.session.exit_codes import COMPLETE, FAILED, WRONG

if TYPE_CHECKING:
    from agents.models.catalogue import Model
    from agents.placement import hardware, resolve
    from agents.training import preflight
    from scenarios.config.schema import Scenario
    from scenarios.session.request_counts import Counts
    from scenarios.session.rerun import Extension
    from scenarios.session.run_dir import RunFolder

    Agents = Sequence[resolve.ResolvedAgent]

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
app.command("scenarios.session.inspect_run:show", help="Show any problem, rationale, exam and prompt of a class.")
app.command("scenarios.session.inspect_run:export", help="Write the records of a class as Parquet, CSV or JSON lines.")
out, err = Console(), Console(stderr=True)

Overrides = Annotated[
    tuple[str, ...],
    Parameter("--set", help="Override an entry: --set task.problems=12", negative="", show_default=False),
]
Seed = Annotated[str | None, Parameter("--seed", help="Replace the scenario's seed.")]
AsJson = Annotated[bool, Parameter("--json", help="Print JSON.", negative="")]
RetryFailed = Annotated[bool, Parameter(help="Ask failed requests again.", negative="")]
MonitorMode = Annotated[Literal["live", "plain", "off"], Parameter(help="How to show progress.")]


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
    from agents.placement.crew import check_ready
    from scenarios.config import load
    from scenarios.report.metrics import check_installed
    from scenarios.session.request_counts import counts
    from scenarios.session.run_dir import RunFolder

    overrides = with_seed(overrides, seed)
    with load.located(scenario, overrides):
        described = load.read(scenario, overrides)
        check_installed(described)
        if out_dir:
            RunFolder(out_dir).refuse_used()
        counted = counts(described)
        agents = agents_of(described)
        training_forecast(described, counted, agents)
        check_ready(agents, in_turn=described.time_share)
        models = resolve.fetch_models(agents, err)
        if any(one.model and not one.model.at_hand for one in agents):
            agents = agents_of(described)  # the sizes of fetched models are known, not guessed
        folder = RunFolder(out_dir) if out_dir else RunFolder.new(Path("runs"), described.name)
        folder.make()
        folder.keep(described)  # before class.db, without which a scenario is no run yet
        return hold(described, folder, agents, models, monitor)


@app.command
def resume(
    run_dir: Path, /, *, overrides: Overrides = (), retry_failed: RetryFailed = False, monitor: MonitorMode = "live"
) -> int:
    """Continue an interrupted class."""
    from agents.placement import resolve
    from scenarios.config import load
    from scenarios.report.metrics import check_installed
    from scenarios.session import rerun
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    described = rerun.to_resume(folder, overrides)
    with load.located(folder.scenario_file, overrides):
        check_installed(described)
        agents = agents_of(described, recorded_tokens=folder.problem_tokens())
        return hold(described, folder, agents, resolve.fetch_models(agents, err), monitor, retry_failed=retry_failed)


@app.command
def extend(run_dir: Path, /, *, overrides: Overrides = (), monitor: MonitorMode = "live") -> int:
    """Continue a class with more rationales, problems, exams, repeats or students; only what is missing is asked."""
    from agents.placement import resolve
    from scenarios.config import load
    from scenarios.session.rerun import Extension
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    larger = (extension := Extension(folder, overrides)).scenario
    if extension.changes_nothing:
        say(out, f"Nothing that the class asks changes. {folder.go_on}")
        return COMPLETE
    with load.located(folder.scenario_file, overrides):
        agents = agents_of(larger, recorded_tokens=folder.problem_tokens())
        return hold(larger, folder, agents, resolve.fetch_models(agents, err), monitor, extension=extension)


@app.command
def plan(scenario: Path, /, *, overrides: Overrides = (), seed: Seed = None, as_json: AsJson = False) -> int:
    """Show what a class would ask and which agent gets which device; start nothing.

    `--set machine.gpus=8x80` (also machine.cores, machine.memory, in GB) plans for another machine.
    """
    from agents.placement import crew, hardware
    from agents.placement.server_keys import keys_sent
    from scenarios.config import load
    from scenarios.report.metrics import check_installed
    from scenarios.session import plan as plans
    from scenarios.session.request_counts import counts

    elsewhere = [one.removeprefix("machine.") for one in overrides if one.startswith("machine.")]
    machine = hardware.described(elsewhere) if elsewhere else None
    overrides = with_seed([one for one in overrides if not one.startswith("machine.")], seed)
    with load.located(scenario, overrides):
        described = load.read(scenario, overrides)
        check_installed(described)
        counted = counts(described)
        agents = agents_of(described, machine)
        training = training_forecast(described, counted, agents, machine or hardware.look())
    rows = [plans.PlanRow(**one.planned()) for one in agents]
    warnings = [] if machine else crew.warnings(agents, in_turn=described.time_share, training=2 in described.levels)
    if as_json:
        more = {"training": training, "warnings": warnings, "keys": keys_sent(agents)}
        print_json(plans.to_dict(described, counted, rows) | more)
    else:
        words = [training.in_words(described.teacher.name)] if training else []
        out.print(plans.tables(described, counted, rows, words + keys_sent(agents)))
        for warning in warnings:
            say(err, f"Warning: {warning}")
    return COMPLETE


@app.command
def watch(run_dir: Path, /) -> int:
    """Show a running class live, or the end of a finished one."""
    from scenarios.monitor import monitor
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    INTERRUPTS.words = ""  # the class goes on
    monitor.watch(folder.path, scenario, lambda: folder.subscriber(scenario))
    return COMPLETE


@app.command
def report(run_dir: Path, /, *, as_json: AsJson = False) -> int:
    """Rebuild summary.json, metrics.jsonl and report.html from class.db."""
    from scenarios.session.page_writing import write_page
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    described = folder.scenario()
    rebuilt = folder.rebuild(described)
    show_summary(out, rebuilt.summary, as_json=as_json)
    folder.write_summary(rebuilt.summary)
    folder.write_metrics(described, rebuilt.summary)
    if without_page := write_page(folder, described, rebuilt):
        say(err, without_page)
        return FAILED
    return COMPLETE


@app.command
def replay(run_dir: Path, /, *, overrides: Overrides = (), as_json: AsJson = False) -> int:
    """Score the recorded answers of a class under another rule, and name what was never asked."""
    from scenarios.session import rerun
    from scenarios.session.run_dir import RunFolder

    summary, changes, never_asked = rerun.replayed(RunFolder(run_dir), overrides)
    if not as_json:
        say(out, f"replayed with {', '.join(overrides) or 'nothing changed'}; summary.json is unchanged")
    show_summary(out, summary, as_json=as_json, replay=changes)
    if never_asked and not as_json:
        say(out, never_asked)
    return COMPLETE


@app.command
def grade(pairs: Path, /, *, as_json: AsJson = False) -> int:
    """Try the grader on a JSON-lines file with `gold`, `response` and, optionally, `form`, `right` and `id`."""
    from scenarios.report import graded_file

    graded = graded_file.grade_file(pairs)
    if as_json:
        print_json(graded)
    else:
        out.print(graded_file.tables(graded))
    return COMPLETE


@app.command
def doctor(
    scenario: Path | None = None, /, *, overrides: Overrides = (), seed: Seed = None, as_json: AsJson = False
) -> int:
    """Check what works on this machine and how to fix the rest; with a scenario, also show where its agents run."""
    from agents import doctor as doctors
    from agents.placement import crew
    from agents.placement.server_keys import keys_sent
    from scenarios.config import load
    from scenarios.report.layout import Trimmed
    from scenarios.session import plan as plans
    from scenarios.tasks.sources.families import FAMILIES

    checks = doctors.examine()
    agents: Agents = ()
    if scenario:
        described = load.read(scenario, with_seed(overrides, seed))
        agents, found = crew.check_class(described.name, lambda: agents_of(described), in_turn=described.time_share)
        checks += found
    rows, keys = [plans.PlanRow(**one.planned()) for one in agents], keys_sent(agents)
    if as_json:
        print_json({"checks": checks, "agents": rows, "keys": keys, "families": sorted(FAMILIES)})
    else:
        out.print(Trimmed(doctors.to_table(checks)))
        say(out, f"Checked task families: {', '.join(sorted(FAMILIES))}")
        if rows:
            out.print(plans.seating(rows))
        for sentence in keys:
            say(out, sentence)
    return COMPLETE


def agents_of(scenario: "Scenario", machine: "hardware.Machine | None" = None, *, recorded_tokens: int = 0) -> "Agents":
    """Resolve the agents of a class; `recorded_tokens` is the length of the problems that a run already has."""
    from agents.placement import resolve
    from agents.placement.memory import Workload
    from scenarios.session.request_counts import agent_work, longest_problem_tokens

    by_agent = agent_work(scenario, recorded_tokens or longest_problem_tokens(scenario))
    requests = {name: Workload(count=one.requests, tokens=one.tokens) for name, one in by_agent.items()}
    return resolve.resolve_agents(
        scenario.teacher, scenario.entries, machine, in_turn=scenario.time_share, workloads=requests
    )


def training_forecast(
    scenario: "Scenario", counted: "Counts", agents: "Agents", machine: "hardware.Machine | None" = None
) -> "preflight.TrainingForecast | None":
    """Time and memory of the teacher's training at level 2; refuses a training that is not possible."""
    from agents.training import preflight

    if 2 not in scenario.levels:
        return None
    asked = {name: getattr(counted, name) for name in ("trainings", "pairs", "tokens_per_pair")}
    return preflight.forecast(agents, scenario.learn.training, **asked, machine=machine, in_turn=scenario.time_share)


def hold(
    scenario: "Scenario",
    folder: "RunFolder",
    agents: "Agents",
    models: "dict[str, Model]",
    monitor: MonitorMode,
    *,
    retry_failed: bool = False,
    extension: "Extension | None" = None,
) -> int:
    """Run one session of a class, from its processes to the summary; returns the exit code."""
    from agents.placement.crew import Crew
    from scenarios.monitor.monitor import Monitor
    from scenarios.session import conclusion, session

    where = partial(Crew, run=folder.path, answer_key=folder.answer_key)
    connect = partial(where, agents, models, seed=scenario.seed, in_turn=scenario.time_share)
    shown = Monitor(folder.path, scenario, lambda: folder.subscriber(scenario), monitor, console=out)
    ran_in, ending = session.hold(
        scenario, folder, connect, shown, INTERRUPTS, err, retry_failed=retry_failed, extension=extension
    )
    return conclusion.conclude(scenario, ran_in, ending, INTERRUPTS, out, err)


def main(words: list[str] | None = None) -> int:
    """Run a command; errors are one to three lines."""
    words = sys.argv[1:] if words is None else words
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"] or ["--help"]
    try:
        check_command(words, [name for name in app if not name.startswith("-")])
        return int(app(words, exit_on_error=False, print_error=False) or COMPLETE)
    except cyclopts.CycloptsError as error:
        unused: list[str] = getattr(error, "unused_tokens", None) or []
        if unused and unused[-1] in ("--set", "--seed", "--out", "--monitor"):
            say(err, f"{unused[-1]} needs a value")
        else:
            say(err, f"Too many arguments; not understood: {' '.join(unused)}" if unused else str(error))
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
