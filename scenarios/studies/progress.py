"""How far the classes of a study are, for the monitor; and `watch` on the folder of a study."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from rich.console import Console

from broker.interrupts import INTERRUPTS
from scenarios.monitor import monitor
from scenarios.monitor.frame import render
from scenarios.monitor.grid import grid
from scenarios.monitor.state import OVER, CellState, RunningResults, ShareRow, StudyState
from scenarios.report.console import say
from scenarios.session.command_line import RunOrStudyDir
from scenarios.session.exit_codes import COMPLETE
from scenarios.session.run_dir import RunFolder
from scenarios.studies.cell_folder import CellFolder
from scenarios.studies.folder import StudyFolder
from scenarios.studies.load import Cell
from scenarios.studies.terms import value_label

METHODS = {"sc": "SC", "m1_max": "MAX", "m1_sum": "SUM"}
NEXT_S = 0.2
"""Seconds after which `watch` looks again whether the next class runs."""


def study_state(folder: StudyFolder, at: str = "") -> StudyState:
    """All classes of a study as they are now; `at` is the name of the cell whose class is shown."""
    cells = folder.cells()
    names = [cell.name for cell in cells]
    short = Counter(factor.rpartition(".")[2] for cell in cells[:1] for factor in cell.factors)
    states = tuple(_state(number, cell, folder.run(cell), short) for number, cell in enumerate(cells, 1))
    return StudyState(states, names.index(at) if at else None)


def _state(number: int, cell: Cell, run: CellFolder, short: Mapping[str, int]) -> CellState:
    factors = {
        last if short[last := factor.rpartition(".")[2]] == 1 else factor: value_label(value)
        for factor, value in cell.factors.items()
    }
    status = run.status
    found = CellState(str(number), factors | {"seed": str(cell.seed)}, "to come" if status == "not begun" else status)
    if status != "complete" or not (summary := run.summary()):
        return found
    counts = summary.counts
    rows = tuple(
        ShareRow(label, one.accuracy, one.ci95, one.n)
        for name, label in METHODS.items()
        if (one := summary.methods.get(name)) and one.accuracy is not None
    )
    tps = counts.teaching_problems
    return msgspec.structs.replace(
        found, done=counts.requests, total=counts.requests, standing=RunningResults(tps, tps, rows)
    )


def watch(run_dir: RunOrStudyDir, /) -> int:
    """Show a running class live, or the last state of a finished one."""
    INTERRUPTS.words = ""  # Ctrl-C leaves the picture; the class goes on
    if (of := StudyFolder(run_dir)).used:
        return watch_study(of, Console())
    folder = RunFolder(run_dir)
    scenario = folder.scenario()
    monitor.watch(folder.path, scenario, lambda: folder.subscriber(scenario))
    return COMPLETE


def watch_study(
    folder: StudyFolder,
    out: Console,
    show: Callable[..., str] = monitor.watch,
    wait: Callable[[float], Any] = time.sleep,
) -> int:
    """Show the class that runs, and those after it, until the study ends or q; returns the exit code.

    Where no class runs, the classes are listed.
    """
    while (run := folder.running()) or folder.at_work:
        if run is None:
            wait(NEXT_S)  # one class has ended, and the next has not begun
            continue
        of = RunFolder(run.path)
        scenario = of.scenario()
        state = study_state(folder, run.path.name)
        if show(of.path, scenario, lambda of=of, scenario=scenario: of.subscriber(scenario), state) not in OVER:
            return COMPLETE  # q
    cells = study_state(folder).cells
    out.print(render(grid(cells, out.width, len(cells) + 1), out.width), end="")
    for run in map(folder.run, folder.cells()):
        if trouble := run.trouble():
            say(out, run.repair(trouble))
    say(out, f"No class of this study runs now; python run.py report {folder} shows the results.")
    return COMPLETE
