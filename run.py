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

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from rich.console import Console

    from scenarios.session import command_line as cli
except ModuleNotFoundError as error:
    sys.exit(f"The package {error.name} is not installed. Install this project first: pip install -e .")

from agents.placement.clusters import cluster_of
from broker.errors import PlacementError
from broker.logs import configure_terminal
from broker.streams import protect
from scenarios.report.console import say
from scenarios.session.exit_codes import COMPLETE
from scenarios.session.launching import LOCAL, Launching, check_cluster, chosen_address

if TYPE_CHECKING:
    from agents.models.catalogue import Model
    from agents.placement import hardware, resolve
    from agents.placement.ray_cluster import RayCluster
    from agents.training import preflight
    from scenarios.config.schema import Scenario
    from scenarios.monitor.state import StudyState
    from scenarios.session.plan import PlanRow
    from scenarios.session.request_counts import Counts
    from scenarios.session.rerun import Extension
    from scenarios.session.run_dir import RunFolder

    Cluster = RayCluster | None
    Machine = hardware.Machine | None
    Agents = Sequence[resolve.ResolvedAgent]
    Placed = tuple[Counts, Agents, preflight.TrainingForecast | None, list[PlanRow], list[str]]

app = cli.program(Path(__file__).with_name("pyproject.toml"))
out, err = Console(), Console(stderr=True)


@app.default
def run(
    scenario: cli.ScenarioFile,
    /,
    *,
    out_dir: cli.OutDir = None,
    overrides: cli.Overrides = (),
    seed: cli.Seed = None,
    monitor: cli.MonitorMode = "live",
    launch: Launching = LOCAL,
) -> int:
    """Run a class."""
    from scenarios.config import load
    from scenarios.session.run_dir import RunFolder

    overrides, cluster = cli.with_seed(overrides, seed), cluster_of(launch)
    with load.located(scenario, overrides):
        check_cluster(cluster, described := load.read(scenario, overrides))
        if out_dir:
            RunFolder(out_dir).refuse_used()
        make = partial(RunFolder, out_dir) if out_dir else partial(RunFolder.new, Path("runs"), described.name)
        return begin(described, make, out_dir or Path("runs"), monitor, cluster=cluster)


@app.command
def study(
    study: cli.StudyFile,
    /,
    *,
    out_dir: cli.OutDir = None,
    overrides: cli.Overrides = (),
    seed: cli.Seed = None,
    monitor: cli.MonitorMode = "live",
    as_json: cli.AsJson = False,
) -> int:
    """Run many classes from one study file, and compare line-ups of students over all of them."""
    from scenarios.studies.commands import run_study

    overrides = cli.with_seed(overrides, seed, of_study=True)
    hold_cell = partial(go_on, monitor=monitor, console=err if as_json else out)
    return run_study(study, overrides, out_dir, place, hold_cell, INTERRUPTS, out, err, as_json=as_json)


@app.command
def resume(
    run_dir: cli.RunOrStudyDir,
    /,
    *,
    overrides: cli.Overrides = (),
    retry_failed: cli.RetryFailed = False,
    monitor: cli.MonitorMode = "live",
    launch: Launching = LOCAL,
) -> int:
    """Continue an interrupted class or study."""
    from scenarios.config import load
    from scenarios.session import joining, rerun
    from scenarios.session.run_dir import RunFolder
    from scenarios.studies.commands import continue_study
    from scenarios.studies.folder import StudyFolder

    launch.check((of := StudyFolder(run_dir)).used)
    if of.used:
        hold_cell = partial(go_on, monitor=monitor)
        return continue_study(of, hold_cell, INTERRUPTS, out, err, overrides=overrides, retry_failed=retry_failed)
    folder, cluster = RunFolder(run_dir), cluster_of(launch)
    check_cluster(cluster, described := rerun.to_resume(folder, overrides))
    more: dict[str, Any] = {"monitor": monitor, "retry_failed": retry_failed, "cluster": cluster}
    if (joined := joining.go_on_with(folder, go_on, err, overrides, **more)) is not None:
        return joined
    with load.located(folder.scenario_file, overrides):
        return go_on(described, folder, **more)


@app.command
def extend(
    run_dir: cli.RunDir,
    /,
    *,
    overrides: cli.Overrides = (),
    monitor: cli.MonitorMode = "live",
    launch: Launching = LOCAL,
) -> int:
    """Continue a class with more rationales, problems, exams, repeats or students; only what is missing is asked."""
    from scenarios.config import load
    from scenarios.session.rerun import Extension
    from scenarios.session.run_dir import RunFolder

    folder, cluster = RunFolder(run_dir), cluster_of(launch)
    if unchanged := (extension := Extension(folder, overrides)).unchanged:
        say(out, unchanged)
        return COMPLETE
    check_cluster(cluster, extension.scenario)
    with load.located(folder.scenario_file, overrides):
        return go_on(extension.scenario, folder, monitor=monitor, extension=extension, cluster=cluster)


@app.command
def plan(
    scenario: cli.PlannedFile,
    /,
    *,
    overrides: cli.Overrides = (),
    seed: cli.Seed = None,
    time: cli.Time = cli.OFF,
    launch: Launching = LOCAL,
    as_json: cli.AsJson = False,
) -> int:
    """Show what a class or study would ask and which agent gets which device; start nothing.

    `--set machine.gpus=8x80` (also machine.cores, machine.memory, in GB) plans for another machine.
    """
    from agents.placement import hardware, server_keys, shared_processes, speeds
    from scenarios.config import load
    from scenarios.session import plan_output, time_estimate
    from scenarios.studies.commands import plan_study
    from scenarios.studies.load import is_study

    time.check(of_study := is_study(scenario))
    machine, others = hardware.take_out(overrides)
    launch.check(time.estimate or of_study or machine is not None)
    overrides = cli.with_seed(others, seed, of_study=of_study)
    if of_study:
        return plan_study(scenario, overrides, lambda of: place(of, machine)[3:], out, as_json=as_json)
    with load.located(scenario, overrides):
        check_cluster(cluster := cluster_of(launch), described := load.read(scenario, overrides))
        counted, agents, training, rows, warnings = place(described, machine, cluster)
        warnings += training.disk_shortage(Path("runs")) if training and not machine else []
        estimated = None
        if time.estimate:
            there = machine or hardware.look()
            speed = partial(speeds.process_speeds, agents, there, time.rate)
            gpus = [one.token for one in there.gpus]
            estimated = time_estimate.of_class(described, speed, gpus, time.answer_tokens)
    shared = shared_processes.in_words(agents, in_turn=described.time_share)
    notes = server_keys.keys_sent(agents), shared + ([cluster.in_words()] if cluster else [])
    plan_output.print_plan(described, counted, rows, estimated, training, warnings, *notes, out, err, as_json=as_json)
    return COMPLETE


@app.command
def doctor(
    scenario: cli.ScenarioFile | None = None,
    /,
    *,
    overrides: cli.Overrides = (),
    seed: cli.Seed = None,
    as_json: cli.AsJson = False,
) -> int:
    """Check what works on this machine and how to fix the rest; with a scenario, also show where its agents run."""
    from agents import doctor as doctors
    from agents.placement import crew
    from agents.placement.server_keys import keys_sent
    from scenarios.config import load
    from scenarios.session.plan import PlanRow, show_checks
    from scenarios.tasks.sandbox import available

    checks = doctors.examine(available())
    agents: Agents = ()
    if scenario:
        described = load.read(scenario, cli.with_seed(overrides, seed))
        agents, found = crew.check_class(described.name, lambda: agents_of(described), in_turn=described.time_share)
        checks += found
    rows = [PlanRow(**one.planned()) for one in agents]
    show_checks(out, checks, doctors.to_table(checks), rows, keys_sent(agents), as_json=as_json)
    return COMPLETE


def agents_of(scenario: "Scenario", machine: "Machine" = None, cluster: "Cluster" = None, tokens: int = 0) -> "Agents":
    """Resolve the agents of a class; `tokens` is the length of the problems that a run already has."""
    from agents.placement import ray_bundles, resolve
    from agents.placement.memory import Workload
    from scenarios.session.request_counts import agent_work, longest_problem_tokens

    by_agent = agent_work(scenario, tokens or longest_problem_tokens(scenario))
    work = {name: Workload(count=one.requests, tokens=one.tokens) for name, one in by_agent.items()}
    who = scenario.teacher, scenario.entries, machine
    if cluster:
        return ray_bundles.resolve_agents(cluster, *who, trained=2 in scenario.levels, workloads=work)
    return resolve.resolve_agents(*who, in_turn=scenario.time_share, workloads=work)


def place(scenario: "Scenario", machine: "Machine" = None, cluster: "Cluster" = None) -> "Placed":
    """What a class asks, its agents, its training, where the agents run, and what keeps them from running here now.

    Refuses a class that this machine, or `machine`, cannot run at all.
    """
    from agents.placement import crew, hardware
    from agents.training import preflight
    from scenarios.report.metrics import check_installed
    from scenarios.session.plan import PlanRow, unprotected
    from scenarios.session.request_counts import counts

    check_installed(scenario)
    counted, trains, in_turn = counts(scenario), 2 in scenario.levels, scenario.time_share
    agents, training = agents_of(scenario, machine, cluster), None
    if trains:
        asked = {name: getattr(counted, name) for name in ("trainings", "pairs", "tokens_per_pair")}
        on = machine or hardware.look()
        training = preflight.forecast(agents, scenario.learn.training, **asked, machine=on, in_turn=in_turn)
    warnings = [] if machine else crew.warnings(agents, in_turn=in_turn, training=trains)
    warnings += unprotected(scenario)
    return counted, agents, training, [PlanRow(**one.planned()) for one in agents], warnings


def begin(
    scenario: "Scenario", make: "Callable[[], RunFolder]", where: Path, monitor: cli.MonitorMode,
    cluster: "Cluster" = None, **more: Any,
) -> int:  # fmt: skip
    """Begin a class in the folder that `make` returns, on the disk of `where`, if it can run; see `hold`."""
    from agents.placement import resolve
    from agents.placement.crew import check_ready

    _, agents, training, *_ = place(scenario, None, cluster)
    if training and (shortage := training.disk_shortage(where)):
        raise PlacementError(*shortage, agent=scenario.teacher.name)
    check_ready(agents, in_turn=scenario.time_share)
    models = resolve.fetch_models(agents, err)
    if any(one.model and not one.model.at_hand for one in agents):
        agents = agents_of(scenario, None, cluster)  # the sizes of fetched models are known, not guessed
    (folder := make()).make()
    folder.keep(scenario)  # before class.db, without which a scenario is no run yet
    return hold(scenario, folder, agents, models, monitor, cluster=cluster, **more)


def go_on(
    scenario: "Scenario", folder: "RunFolder", *, monitor: cli.MonitorMode, cluster: "Cluster" = None, **more: Any
) -> int:
    """Go on with a class, or begin it if nothing is recorded in `folder`; see `hold`."""
    from agents.placement import resolve
    from scenarios.report.metrics import check_installed

    if not folder.used:
        return begin(scenario, lambda: folder, folder.path, monitor, cluster=cluster, **more)
    check_installed(scenario)
    agents = agents_of(scenario, None, cluster, folder.problem_tokens())
    return hold(scenario, folder, agents, resolve.fetch_models(agents, err), monitor, cluster=cluster, **more)


def hold(
    scenario: "Scenario",
    folder: "RunFolder",
    agents: "Agents",
    models: "dict[str, Model]",
    monitor: cli.MonitorMode,
    *,
    cluster: "Cluster" = None,
    retry_failed: bool = False,
    extension: "Extension | None" = None,
    console: Console = out,
    study: "StudyState | None" = None,
) -> int:
    """Run one session of a class, from its processes to the summary; returns the exit code.

    The summary of a class of a study is written, but not printed.
    """
    from agents.placement.crew import Crew
    from scenarios.monitor.monitor import Monitor
    from scenarios.session import conclusion, joining, session

    where = partial(Crew, run=folder.path, answer_key=folder.answer_key, cluster=cluster)
    recipe = scenario.learn.training if 2 in scenario.levels else None
    connect = partial(where, agents, models, seed=scenario.seed, in_turn=scenario.time_share, recipe=recipe)
    shown = Monitor(folder.path, scenario, lambda: folder.subscriber(scenario), monitor, console=console, study=study)
    address = chosen_address(cluster and cluster.connected(), scenario)
    ran_in, ending = session.hold(
        scenario, folder, connect, shown, INTERRUPTS, err,
        retry_failed=retry_failed, extension=extension, address=address,
    )  # fmt: skip
    more: dict[str, Any] = {"monitor": monitor, "console": console, "study": study, "cluster": cluster}
    if ending.joins and (joined := joining.go_on_with(ran_in, go_on, err, **more)) is not None:
        return joined
    return conclusion.conclude(scenario, ran_in, ending, INTERRUPTS, Console(quiet=True) if study else out, err)


def main(words: list[str] | None = None) -> int:
    """Run a command; errors are one to three lines."""
    words = sys.argv[1:] if words is None else words
    INTERRUPTS.words = "" if words[:1] == ["watch"] else INTERRUPTS.words  # the class goes on
    return cli.execute(app, words, err)


if __name__ == "__main__":
    protect()
    configure_terminal()
    sys.exit(main())
