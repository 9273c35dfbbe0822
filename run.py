"""The command line: parses arguments, calls the packages, prints what they return.

Only this file imports both agents/ and scenarios/. Each command imports what it needs, so that --help is fast.
"""

import os
import sys

# Other packages are called `agents`, too: this project's come first, however Python was started.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

# ruff: noqa: E402
from broker.import_path import drop_relative
from broker.interrupts import INTERRUPTS

drop_relative(sys.path[0])
if __name__ == "__main__":  # before the imports below, which take a while
    INTERRUPTS.install()

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Unpack

try:
    from rich.console import Console

    from scenarios.session import command_line as cli
except ModuleNotFoundError as error:
    sys.exit(f"The package {error.name} is not installed. Install this project first: pip install -e .")

from agents.placement.launch_options import LOCAL, LaunchOptions
from broker.errors import PlacementError
from broker.logs import configure_terminal
from broker.streams import protect
from scenarios.config import load
from scenarios.session.exit_codes import COMPLETE

if TYPE_CHECKING:
    from agents.models.catalogue import Model
    from agents.placement import hardware, resolve
    from agents.placement.ray_cluster import RayCluster
    from agents.training import preflight
    from scenarios.config.schema import Scenario
    from scenarios.monitor.state import StudyState
    from scenarios.session.plan import PlanRow
    from scenarios.session.request_counts import Counts
    from scenarios.session.run_dir import RunFolder
    from scenarios.session.session import Asked

    Cluster = RayCluster | None
    Machine = hardware.Machine | None
    Agents = Sequence[resolve.ResolvedAgent]

    class More(Asked, total=False):
        """Optional arguments of a session."""

        study: StudyState | None

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
    launch: LaunchOptions = LOCAL,
) -> int:
    """Run a class."""
    from scenarios.session.run_dir import RunFolder

    overrides, cluster = cli.with_seed(overrides, seed), launch.cluster()
    with load.located(scenario, overrides):
        described = load.read(scenario, overrides)
        if out_dir:
            RunFolder(out_dir).refuse_used()
        make = partial(RunFolder, out_dir) if out_dir else partial(RunFolder.new, Path("runs"), described.name)
        return Sessions(monitor, cluster).begin(described, make, out_dir or Path("runs"))


@app.command
def study(
    study: cli.StudyFile,
    /,
    *,
    out_dir: cli.OutDir = None,
    overrides: cli.Overrides = (),
    seed: cli.Seed = None,
    monitor: cli.MonitorMode = "live",
    launch: LaunchOptions = LOCAL,
    as_json: cli.AsJson = False,
) -> int:
    """Run many classes from one study file, and compare line-ups of students over all of them."""
    from scenarios.studies.commands import run_study

    overrides, cluster = cli.with_seed(overrides, seed, of_study=True), launch.cluster()
    check, options = partial(place, cluster=cluster), cluster.options if cluster else ""
    hold = Sessions(monitor, cluster, err if as_json else out).go_on
    return run_study(study, overrides, out_dir, check, hold, INTERRUPTS, out, err, options, as_json=as_json)


@app.command
def resume(
    run_dir: cli.RunOrStudyDir,
    /,
    *,
    overrides: cli.Overrides = (),
    retry_failed: cli.RetryFailed = False,
    monitor: cli.MonitorMode = "live",
    launch: LaunchOptions = LOCAL,
) -> int:
    """Continue an interrupted class or study."""
    from scenarios.session import joining, rerun
    from scenarios.session.run_dir import RunFolder
    from scenarios.studies.commands import continue_study
    from scenarios.studies.folder import StudyFolder

    cluster = launch.cluster()
    go_on = Sessions(monitor, cluster).go_on
    if (of := StudyFolder(run_dir, cluster.options if cluster else "")).used:
        return continue_study(of, go_on, INTERRUPTS, out, err, overrides=overrides, retry_failed=retry_failed)
    described = rerun.to_resume(folder := RunFolder(run_dir), overrides)
    if (joined := joining.go_on_with(folder, go_on, err, overrides, retry_failed=retry_failed)) is not None:
        return joined
    with load.located(folder.scenario_file, overrides):
        return go_on(described, folder, retry_failed=retry_failed)


@app.command
def extend(
    run_dir: cli.RunOrStudyDir,
    /,
    *,
    problems: cli.Problems = None,
    overrides: cli.Overrides = (),
    monitor: cli.MonitorMode = "live",
    launch: LaunchOptions = LOCAL,
) -> int:
    """Continue a class, or all of a study, with more problems, rationales, exams, repeats or students.

    Recorded answers are kept.
    """
    from scenarios.studies import extension

    cluster, options = launch.cluster(), cli.with_problems(overrides, problems)
    goes_on = cluster.options if cluster else ""
    return extension.extend(run_dir, options, Sessions(monitor, cluster).go_on, INTERRUPTS, out, err, goes_on)


@app.command
def plan(
    scenario: cli.PlannedFile,
    /,
    *,
    overrides: cli.Overrides = (),
    seed: cli.Seed = None,
    time: cli.Time = cli.OFF,
    launch: LaunchOptions = LOCAL,
    as_json: cli.AsJson = False,
) -> int:
    """Show the requests of a class or study, and the device and memory of each agent; start nothing.

    `--set machine.gpus=8x80` (also machine.cores, machine.memory, in GB) plans for another machine.
    """
    from agents.placement import hardware, server_keys, shared_processes, speeds
    from scenarios.session import plan_output, time_estimate
    from scenarios.studies.commands import plan_study
    from scenarios.studies.load import is_study

    time.check(of_study := is_study(scenario))
    machine, others = hardware.split_machine(overrides)
    cluster = launch.cluster(time.estimate or machine is not None)
    overrides, words = cli.with_seed(others, seed, of_study=of_study), cluster.in_words if cluster else None
    if of_study:
        return plan_study(scenario, overrides, lambda of: place(of, machine, cluster)[3:], out, words, as_json=as_json)
    with load.located(scenario, overrides):
        counted, agents, training, rows, warnings = place(described := load.read(scenario, overrides), machine, cluster)
        warnings += training.disk_shortage(Path("runs")) if training and not machine else []
        estimated = None
        if time.estimate:
            there = machine or hardware.this_machine()
            speed = partial(speeds.process_speeds, agents, there, time.rate)
            gpus = [one.token for one in there.gpus]
            estimated = time_estimate.of_class(described, speed, gpus, time.answer_tokens)
    shared = shared_processes.sharing_notice(agents, in_turn=described.time_share)
    notes = server_keys.keys_sent(agents), shared + ([words()] if words else [])
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
    from agents.placement.class_agents import check_class
    from agents.placement.server_keys import keys_sent
    from scenarios.session.plan import PlanRow, show_checks
    from scenarios.tasks.sandbox.pool import available

    checks = doctors.run_checks(available())
    agents: Agents = ()
    if scenario:
        described = load.read(scenario, cli.with_seed(overrides, seed))
        agents, found = check_class(described.name, lambda: agents_of(described), in_turn=described.time_share)
        checks += found
    rows = [PlanRow(**one.planned()) for one in agents]
    show_checks(out, checks, doctors.to_table(checks), rows, keys_sent(agents), as_json=as_json)
    return COMPLETE


def agents_of(scenario: "Scenario", machine: "Machine" = None, cluster: "Cluster" = None, tokens: int = 0) -> "Agents":
    """Resolve the agents of a class; `tokens` is the length of the problems that a run already has."""
    from agents.placement import ray_bundles, resolve
    from agents.placement.memory import Workload
    from scenarios.config.elsewhere_rules import check_cluster
    from scenarios.session.request_counts import agent_work, longest_problem_tokens

    by_agent = agent_work(scenario, tokens or longest_problem_tokens(scenario))
    work = {name: Workload(count=one.requests, tokens=one.tokens) for name, one in by_agent.items()}
    who = scenario.teacher, scenario.entries, machine
    if cluster:
        check_cluster(scenario)
        return ray_bundles.resolve_agents(cluster, *who, trained=2 in scenario.levels, workloads=work)
    return resolve.resolve_agents(*who, in_turn=scenario.time_share, workloads=work)


def place(scenario: "Scenario", machine: "Machine" = None, cluster: "Cluster" = None) -> "Placed":
    """What a class asks, its agents, its training, where the agents run, and what keeps them from running here now.

    Refuses a class that this machine, or `machine`, cannot run at all.
    """
    from agents.placement import class_agents, hardware
    from agents.training import preflight
    from scenarios.report.metrics import check_installed
    from scenarios.session.plan import PlanRow, unprotected
    from scenarios.session.request_counts import counts

    check_installed(scenario)
    counted, trains, in_turn = counts(scenario), 2 in scenario.levels, scenario.time_share
    agents, training = agents_of(scenario, machine, cluster), None
    if trains:
        asked = {name: getattr(counted, name) for name in ("trainings", "pairs", "tokens_per_pair")}
        on = machine or hardware.this_machine()
        training = preflight.forecast(agents, scenario.learn.training, **asked, machine=on, in_turn=in_turn)
    warnings = [] if machine else class_agents.warnings(agents, in_turn=in_turn, training=trains)
    warnings += unprotected(scenario)
    return counted, agents, training, [PlanRow(**one.planned()) for one in agents], warnings


class Sessions(NamedTuple):
    """Holds sessions of classes: what is shown, and where the agents run."""

    monitor: cli.MonitorMode
    cluster: "Cluster" = None
    console: Console = out

    def begin(self, scenario: "Scenario", make: "Callable[[], RunFolder]", where: Path, **more: "Unpack[More]") -> int:
        """Begin a class in the folder that `make` returns, on the disk of `where`, if it can run; see `hold`."""
        from agents.placement import resolve
        from agents.placement.class_agents import check_ready

        _, agents, training, *_ = place(scenario, None, self.cluster)
        if training and (shortage := training.disk_shortage(where)):
            raise PlacementError(*shortage, agent=scenario.teacher.name)
        check_ready(agents, in_turn=scenario.time_share)
        models = resolve.fetch_models(agents, err)
        if any(one.model and not one.model.at_hand for one in agents):
            agents = agents_of(scenario, None, self.cluster)  # the sizes of fetched models are known, not guessed
        (folder := make()).make()
        folder.keep(scenario)  # before class.db, without which a scenario is no run yet
        return self.hold(scenario, folder, agents, models, **more)

    def go_on(self, scenario: "Scenario", folder: "RunFolder", **more: "Unpack[More]") -> int:
        """Go on with a class, or begin it if nothing is recorded in `folder`; see `hold`."""
        from agents.placement import resolve
        from scenarios.report.metrics import check_installed

        if not folder.used:
            return self.begin(scenario, lambda: folder, folder.path, **more)
        check_installed(scenario)
        agents = agents_of(scenario, None, self.cluster, folder.problem_tokens())
        return self.hold(scenario, folder, agents, resolve.fetch_models(agents, err), **more)

    def hold(
        self,
        scenario: "Scenario",
        folder: "RunFolder",
        agents: "Agents",
        models: "dict[str, Model]",
        *,
        study: "StudyState | None" = None,
        **asked: "Unpack[Asked]",
    ) -> int:
        """Run one session of a class, from its processes to the summary; returns the exit code.

        The summary of a class of a study is written, but not printed.
        """
        from agents.placement.class_agents import AgentProcesses
        from scenarios.monitor.monitor import Monitor
        from scenarios.session import conclusion, joining, session

        cluster, recipe = self.cluster, scenario.learn.training if 2 in scenario.levels else None
        processes = partial(AgentProcesses, run=folder.path, answer_key=folder.answer_key, cluster=cluster)
        connect = partial(processes, agents, models, seed=scenario.seed, in_turn=scenario.time_share, recipe=recipe)
        show = partial(Monitor, folder.path, scenario, lambda: folder.subscriber(scenario), self.monitor)
        shown = show(console=self.console, study=study)
        address = cluster.connected().broker_address() if cluster else ""
        folder.options = cluster.options if cluster else ""
        ran_in, ending = session.hold(scenario, folder, connect, shown, INTERRUPTS, err, address=address, **asked)
        if ending.joins and (joined := joining.go_on_with(ran_in, self.go_on, err, study=study)) is not None:
            return joined
        return conclusion.conclude(scenario, ran_in, ending, INTERRUPTS, Console(quiet=True) if study else out, err)


def main(words: list[str] | None = None) -> int:
    """Run a command; errors are one to three lines."""
    return cli.execute(app, sys.argv[1:] if words is None else words, err)


if __name__ == "__main__":
    protect()
    configure_terminal()
    sys.exit(main())
