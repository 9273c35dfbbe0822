"""Runs the classes of a study one after the other; skips finished ones, and goes on after one that fails."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

import msgspec
from rich.console import Console

from broker.errors import LbtError, in_words
from broker.interrupts import Interrupts
from scenarios.config import load
from scenarios.config.overrides import source_of
from scenarios.config.schema import Scenario
from scenarios.monitor.state import StudyState
from scenarios.report.console import say
from scenarios.session.exit_codes import COMPLETE, FAILED, INTERRUPTED, PARTLY
from scenarios.session.run_dir import RunFolder
from scenarios.studies.folder import CellFolder, StudyFolder
from scenarios.studies.load import CellClass
from scenarios.studies.progress import study_state


class ClassSessions(Protocol):
    """Holds a session of one class: run.py's, which knows the agents."""

    def __call__(self, scenario: Scenario, folder: RunFolder, *, retry_failed: bool, study: StudyState) -> int:
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
    scenarios = [folder.run(cell).to_run(overrides) for cell in cells]
    failed: dict[str, str] = {}
    codes = {COMPLETE}
    with folder.locked():
        for number, (cell, scenario) in enumerate(zip(cells, scenarios, strict=True), 1):
            interrupts.words = f"Interrupted; all that was answered is kept. {folder.go_on}"
            head, run = f"cell {number} of {len(cells)}: {cell.label}", folder.run(cell)
            if _is_finished(run) and not retry_failed:
                say(out, f"{head}: complete already")
                continue
            if interrupts.asked:  # the class before it came to its end all the same
                say(err, interrupts.words)
                return INTERRUPTED, failed
            say(out, head)
            held = partial(hold, scenario, run, retry_failed=retry_failed, study=study_state(folder, cell.name))
            code, reason = _run(run, held, overrides)
            if code == INTERRUPTED:
                return INTERRUPTED, failed
            codes.add(code)
            if code not in (COMPLETE, PARTLY):
                failed[cell.name] = reason
                say(err, f"{head}: failed: {reason}")
            elif figures := run.figures():
                say(out, f"cell {number} of {len(cells)}: complete: {figures}")
    return next(code for code in (FAILED, PARTLY, COMPLETE) if code in codes), failed


def _is_finished(run: CellFolder) -> bool:
    return run.status == "complete" and (run.path / "summary.json").is_file()


def _run(run: CellFolder, hold: Callable[[], int], overrides: Sequence[str]) -> tuple[int, str]:
    """Run one class; returns its exit code, and why it failed."""
    try:
        with load.located_in(source_of(run.scenario_file, overrides)):
            code = hold()
    except (LbtError, OSError, sqlite3.Error) as error:
        return FAILED, in_words(error)
    if code in (COMPLETE, PARTLY, INTERRUPTED):
        return code, ""
    return FAILED, run.stopped_by() if run.used else f"its class did not begin; logs are in {run}/logs"
