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

import difflib
import json
import shlex
import sqlite3
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

try:
    import cyclopts
    from cyclopts import Parameter
    from rich.console import Console
except ModuleNotFoundError as error:
    sys.exit(f"The package {error.name} is not installed. Install this project first: pip install -e .")

from broker.errors import LbtError, ScenarioError, in_words
from broker.exit_codes import COMPLETE, FAILED, WRONG
from broker.logs import configure_terminal
from broker.streams import protect
from scenarios.report.console import say, show_summary

if TYPE_CHECKING:
    from agents.models.catalogue import Model
    from agents.placement import hardware, resolve
    from agents.training import preflight
    from scenarios.config.schema import Scenario
    from scenarios.session.request_counts import Counts
    from scenarios.session.run_dir import RunFolder

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
    from agents.placement.crew import check_ready
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
        training_forecast(described, counted, hired)
        check_ready(hired, in_turn=described.time_share)
        models = resolve.fetch(hired, err)
        if any(one.resolved and not one.resolved.at_hand for one in hired):
            hired = hire(described)  # the sizes of fetched models are known, not guessed
        folder = RunFolder(out_dir) if out_dir else RunFolder.new(Path("runs"), described.name)
        folder.make()
        folder.keep(described)  # before class.db, without which a scenario is no run yet
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
        models = resolve.fetch(hired, err)
        return hold(new, folder, hired, models, monitor, retry_failed=retry_failed)


@app.command
def plan(scenario: Path, /, *, overrides: Overrides = (), seed: Seed = None, as_json: AsJson = False) -> int:
    """Say what a class would ask and who would sit where; start nothing.

    `--set machine.gpus=8x80` (also machine.cores, machine.memory, in GB) plans for a machine that is not here.
    """
    import msgspec

    from agents.placement import hardware, resolve
    from agents.placement.server_keys import keys_sent
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
        training = training_forecast(described, counted, hired, machine or hardware.look())
    rows = [plans.PlanRow(**one.planned()) for one in hired]
    warnings = resolve.missing_for_training(hired[0]) if 2 in described.levels and not machine else []
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
    from scenarios.monitor import follow
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    INTERRUPTS.words = ""  # the class goes on
    follow.watch(folder.path, scenario, lambda: folder.subscriber(scenario))
    return COMPLETE


@app.command
def report(run_dir: Path, /, *, as_json: AsJson = False) -> int:
    """Make summary.json again from the gradebook alone."""
    from scenarios.session.run_dir import RunFolder

    folder = RunFolder(run_dir)
    summary, _ = folder.summarize(folder.scenario())
    show_summary(out, summary, as_json=as_json)
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
    summary["replay"] = {"changed": load.difference(old, new), "never_asked": missing}
    if not as_json:
        say(out, f"replayed with {', '.join(overrides) or 'nothing changed'}; summary.json is unchanged")
    show_summary(out, summary, as_json=as_json)
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
) -> "tuple[resolve.Hired, ...]":
    """The agents of a class and their seats; `recorded_tokens` is the length of the problems that a run has already."""
    from agents.placement import resolve
    from agents.placement.memory import Requests
    from scenarios.session.request_counts import asked, problem_tokens

    by_agent = asked(scenario, recorded_tokens or problem_tokens(scenario))
    requests = {name: Requests(count=one.requests, tokens=one.tokens) for name, one in by_agent.items()}
    return resolve.hire(scenario.teacher, scenario.students, machine, in_turn=scenario.time_share, asked=requests)


def training_forecast(
    scenario: "Scenario",
    counted: "Counts",
    hired: "Sequence[resolve.Hired]",
    machine: "hardware.Machine | None" = None,
) -> "preflight.Tuition | None":
    """Time and memory of the teacher's training at level 2; refuses a training that is not possible."""
    from agents.training import preflight

    if 2 not in scenario.levels:
        return None
    asked = {name: getattr(counted, name) for name in ("trainings", "pairs", "tokens_per_pair")}
    return preflight.foresee(hired, scenario.learn.training, **asked, machine=machine, in_turn=scenario.time_share)


def hold(
    scenario: "Scenario",
    folder: "RunFolder",
    hired: "Sequence[resolve.Hired]",
    models: "dict[str, Model]",
    monitor: MonitorMode,
    *,
    retry_failed: bool = False,
) -> int:
    """Run one session of a class, from its processes to the summary; returns the exit code."""
    from agents.placement.crew import Crew
    from scenarios.monitor.follow import Monitor
    from scenarios.session import conclusion, session

    ran_in, ending = session.hold(
        scenario,
        folder,
        lambda broker: Crew(
            hired,
            models,
            endpoint=broker.endpoint,
            keys=broker.keys,
            run=folder.path,
            answer_key=folder.answer_key,
            seed=scenario.seed,
            in_turn=scenario.time_share,
        ),
        Monitor(folder.path, scenario, lambda: folder.subscriber(scenario), monitor, console=out),
        INTERRUPTS,
        lambda sentence: say(err, sentence),
        retry_failed=retry_failed,
    )
    return conclusion.conclude(scenario, ran_in, ending, INTERRUPTS, out, err)


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
