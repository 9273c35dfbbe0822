"""Runs the classes of a study one after the other; skips finished ones, and goes on after one that fails."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

import msgspec
from rich.console import Console

from broker.errors import in_words
from broker.interrupts import Interrupts
from scenarios.config import load
from scenarios.config.overrides import source_of
from scenarios.config.schema import Scenario
from scenarios.monitor.state import StudyState
from scenarios.report.console import say
from scenarios.report.recorded import UNREADABLE
from scenarios.session.conclusion import code_of, write_again
from scenarios.session.exit_codes import COMPLETE, FAILED, INTERRUPTED, PARTLY
from scenarios.session.rerun import Extension
from scenarios.session.run_dir import RunFolder
from scenarios.studies.cell_folder import CellFolder
from scenarios.studies.folder import StudyFolder
from scenarios.studies.load import CellClass
from scenarios.studies.progress import study_state


class ClassSessions(Protocol):
    """Holds a session of one class: run.py's, which knows the agents."""

    def __call__(
        self,
        scenario: Scenario,
        folder: RunFolder,
        *,
        retry_failed: bool,
        study: StudyState,
        extension: Extension | None,
    ) -> int:
        """Begin the class in `folder`, or go on with it; `study` is for the monitor. Returns the exit code."""


def check(classes: Sequence[CellClass], check_class: Callable[[Scenario], object]) -> None:
    """Check every distinct class; `check_class` raises an LbtError where one cannot run on this machine.

    Raises:
        ScenarioError: with the line in the study, or in its base.
    """
    for one in distinct(classes):
        with located(one):
            check_class(one.scenario)


def distinct(classes: Sequence[CellClass]) -> list[CellClass]:
    """The classes that differ in more than their seeds."""
    seen: dict[str, CellClass] = {}
    for one in classes:
        seen.setdefault(load.dump(msgspec.structs.replace(one.scenario, seed=0)), one)
    return list(seen.values())


def located(one: CellClass) -> AbstractContextManager[None]:
    """A context that adds file and line to errors about this class."""
    return load.located_in(one.source)


def run_cells(
    folder: StudyFolder,
    hold: ClassSessions,
    interrupts: Interrupts,
    out: Console,
    err: Console,
    *,
    overrides: Sequence[str] = (),
    retry_failed: bool = False,
) -> tuple[int, dict[str, str]]:
    """Run every class of the study that is not finished.

    Args:
        folder: of the study, with the scenarios of all classes.
        hold: holds a session of a class.
        interrupts: what Ctrl-C prints. After it no further class begins.
        out: the console for progress.
        err: the console for failures.
        overrides: for every class; only such as change no request.
        retry_failed: ask failed requests of finished classes again.

    Returns:
        The exit code, and why each failed class failed, by the name of its cell.

    Raises:
        ScenarioError: another program runs this study, or an override changes what is asked.
    """
    cells = folder.cells()
    unreadable = {cell.name: trouble for cell in cells if (trouble := folder.run(cell).trouble())}
    failed = {name: in_words(trouble) for name, trouble in unreadable.items()}
    scenarios = {cell.name: folder.run(cell).to_run(overrides) for cell in cells if cell.name not in failed}
    codes = {FAILED if failed else COMPLETE}
    with folder.locked():
        for number, cell in enumerate(cells, 1):
            interrupts.words = f"Interrupted; all that was answered is kept. {folder.go_on}"
            head, run = f"class {number} of {len(cells)}: {cell.label}", folder.run(cell)
            if trouble := unreadable.get(cell.name):
                say(err, run.repair(trouble))
                continue
            if run.status == "complete" and not retry_failed:
                say(out, f"{head}: complete already")
                if run.is_reported and (summary := run.summary()):
                    codes.add(code_of(summary.counts.failed, summary.unanswered))
                else:
                    say(out, "Its summary.json or report.html is missing or damaged: both are written again.")
                    codes.add(write_report(run, err))
                continue
            if interrupts.left_to_class:  # the class before it came to its end all the same
                say(err, interrupts.words)
                return INTERRUPTED, failed
            say(out, head)
            held = partial(
                hold, scenarios[cell.name], run, retry_failed=retry_failed, study=study_state(folder, cell.name)
            )
            code, why = _run(run, held, overrides)
            if code == INTERRUPTED:
                return INTERRUPTED, failed
            codes.add(code)
            if code not in (COMPLETE, PARTLY):
                failed[cell.name] = why
                say(err, f"{head}: failed: {why}")
            elif figures := run.figures():
                say(out, f"class {number} of {len(cells)}: complete: {figures}")
    return next(code for code in (FAILED, PARTLY, COMPLETE) if code in codes), failed


def write_report(run: CellFolder, err: Console) -> int:
    """Write summary, metrics and page of a class from its records; returns its exit code: FAILED if one is missing."""
    try:
        scenario = run.scenario()
        rebuilt = run.rebuild(scenario)
        trouble = write_again(run, scenario, rebuilt)
    except UNREADABLE as error:
        trouble = f"{run}: its summary and its page are not written again: {in_words(error)}"
    if trouble:
        say(err, trouble)
        return FAILED
    return code_of(rebuilt.summary.counts.failed, rebuilt.summary.unanswered)


def _run(run: CellFolder, hold: Callable[..., int], overrides: Sequence[str]) -> tuple[int, str]:
    """Run one class; returns its exit code, and why it failed."""
    try:
        with load.located_in(source_of(run.scenario_file, (*run.to_extend, *overrides))):
            code = hold(extension=run.extension(overrides))
        if run.status == "to extend" and not run.extension(()):  # the larger class is complete; its summary may fail
            run.note_extended()
        if code in (COMPLETE, PARTLY, INTERRUPTED):
            return code, ""
        if not run.used:
            return FAILED, f"its class did not begin; logs are in {run}/logs"
        return FAILED, run.stopped_by() if run.status != "complete" else "its summary.json is not written"
    except UNREADABLE as error:
        return FAILED, in_words(error)
