"""The commands of run.py on studies: run, resume, report, plan and compare. Agents come in as functions of run.py."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from broker.errors import ScenarioError, in_words
from broker.interrupts import Interrupts
from scenarios.config.schema import Scenario
from scenarios.report.console import say, show
from scenarios.report.recorded import UNREADABLE
from scenarios.session.command_line import AsJson, RunDir
from scenarios.session.exit_codes import COMPLETE, FAILED, INTERRUPTED
from scenarios.session.plan import PlanRow
from scenarios.studies import compare as compare_classes
from scenarios.studies import load, plan, runner, tables
from scenarios.studies.folder import StudyFolder
from scenarios.studies.page import write_study_page
from scenarios.studies.result import read_study
from scenarios.studies.runner import ClassSessions


def run_study(
    path: Path,
    overrides: Sequence[str],
    out_dir: Path | None,
    check: Callable[[Scenario], object],
    hold: ClassSessions,
    interrupts: Interrupts,
    out: Console,
    err: Console,
    options: str = "",
    *,
    as_json: bool = False,
) -> int:
    """Run all classes of a new study and print what they show; returns the exit code.

    Args:
        path: the study file.
        overrides: for its entries.
        out_dir: the folder of the study; default: runs/NAME-TIME.
        check: raises an LbtError where a class cannot run on this machine.
        hold: holds a session of a class.
        interrupts: what Ctrl-C prints.
        out: the console for results.
        err: the console for failures, and with `as_json` for progress.
        options: with which `resume` goes on as the study runs now.
        as_json: print the result as JSON.

    Raises:
        LbtError: the study or a class of it cannot run; nothing was started.
    """
    study, classes = load.read(path, overrides)
    load.refuse_many(len(classes))
    if out_dir:
        StudyFolder(out_dir).refuse_used()
    runner.check(classes, check)
    folder = StudyFolder.begin(out_dir, study, classes, options)
    return continue_study(folder, hold, interrupts, out, err, as_json=as_json)


def continue_study(
    folder: StudyFolder,
    hold: ClassSessions,
    interrupts: Interrupts,
    out: Console,
    err: Console,
    *,
    overrides: Sequence[str] = (),
    retry_failed: bool = False,
    as_json: bool = False,
) -> int:
    """Run the classes of a study that are not finished, and print what all of them show; see `run_study`."""
    progress = err if as_json else out
    code, failed = runner.run_cells(
        folder, hold, interrupts, progress, err, overrides=overrides, retry_failed=retry_failed
    )
    if code == INTERRUPTED:
        return code
    interrupts.words = f"Interrupted; study.json is not written. Later: python run.py report {folder}"
    try:
        reported = report_study(folder, out, err, failed=failed, as_json=as_json)
    except UNREADABLE as error:
        say(err, f"study.json is not written: {in_words(error)}\nLater: python run.py report {folder}")
        return FAILED
    page = ". Open report.html there in a browser" if reported == COMPLETE else ""
    say(progress, f"The results are in {folder}{page}.")
    if failed:
        say(err, f"{len(failed)} of its classes failed. {folder.go_on}")
    return reported or code


def report_study(
    folder: StudyFolder,
    out: Console,
    err: Console,
    *,
    failed: dict[str, str] | None = None,
    as_json: bool = False,
) -> int:
    """Make study.json and report.html from the classes' records, and print the result; returns the exit code."""
    found = read_study(folder, failed)
    folder.write_result(found.result)
    show(out, found.result, tables.result_tables, as_json=as_json)
    code = COMPLETE
    for name, trouble in found.unreadable.items():
        if name not in (failed or {}):
            say(err, folder.run_named(name).repair(trouble))
            code = FAILED
    if without_page := write_study_page(folder, found):
        say(err, without_page)
        return FAILED
    return code


def rebuild_study(folder: StudyFolder, out: Console, err: Console, *, as_json: bool = False) -> int:
    """Write the summary and the page of every class anew, then do as `report_study`; returns the exit code."""
    code = COMPLETE
    for run in (run for run in map(folder.run, folder.cells()) if run.used and not run.trouble()):
        if not run.has_problems:
            say(err, f"{run}: no summary and no page yet: this class stopped before it had any problems.")
        elif runner.write_report(run, err) == FAILED:
            code = FAILED
    return report_study(folder, out, err, as_json=as_json) or code


def plan_study(
    path: Path,
    overrides: Sequence[str],
    seats: Callable[[Scenario], tuple[list[PlanRow], list[str]]],
    out: Console,
    cluster: Callable[[], str] | None = None,
    *,
    as_json: bool = False,
) -> int:
    """Print what a study asks; returns the exit code. See `plan.study_plan`.

    `cluster`: describes the cluster on whose nodes the agents run; None: there is none.

    Raises:
        LbtError: the study is wrong, or it has begun and so cannot be changed.
    """
    begun = StudyFolder(path) if path.is_dir() else None
    if begun and overrides:
        raise ScenarioError(f"{begun}: this study has begun; --set changes the plan of a study file alone")
    study, classes = (begun.study(), begun.classes()) if begun else load.read(path, overrides)
    show(out, plan.study_plan(study, classes, seats, begun), plan.tables, as_json=as_json)
    if cluster and not as_json:
        say(out, cluster())
    return COMPLETE


def compare(*runs: RunDir, as_json: AsJson = False) -> int:
    """Compare finished classes, problem by problem: every later one with the first."""
    show(Console(), compare_classes.compare_runs(runs), compare_classes.tables, as_json=as_json)
    return COMPLETE
