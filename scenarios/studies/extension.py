"""`extend`: a class goes on with larger numbers, or all classes of a study with the same ones, one after another.

In a study, the entries that change what is asked are recorded in study.yaml before any class changes. So `resume`
extends the classes that are left after an interruption, and those that could not be read. Other entries, such as
limits, are for the classes that this session runs, as those of `resume` are.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console

from broker.errors import LbtError, ScenarioError, StoreError, in_words
from broker.interrupts import Interrupts
from scenarios.config import load
from scenarios.report.console import say
from scenarios.session.exit_codes import COMPLETE
from scenarios.session.rerun import Extension, refused
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import Store
from scenarios.studies.cell_folder import CellFolder
from scenarios.studies.commands import continue_study
from scenarios.studies.folder import StudyFolder
from scenarios.studies.load import Cell, check_extended, refuse_varied
from scenarios.studies.runner import ClassSessions
from scenarios.studies.schema import Study


def extend(
    run_dir: Path,
    overrides: Sequence[str],
    hold: Callable[..., int],
    interrupts: Interrupts,
    out: Console,
    err: Console,
    options: str = "",
) -> int:
    """Extend the class or the study in `run_dir`; returns the exit code.

    Args:
        run_dir: the folder of a class or a study.
        overrides: for the entries of the class, or of every class.
        hold: holds a session of a class.
        interrupts: what Ctrl-C prints.
        out: the console for results.
        err: the console for failures.
        options: with which `resume` goes on as the study runs now.

    Raises:
        LbtError: a class cannot be extended so; nothing was changed.
    """
    if (study := StudyFolder(run_dir, options)).used:
        return extend_study(study, overrides, hold, interrupts, out, err)
    folder = RunFolder(run_dir)
    if unchanged := (extension := Extension(folder, overrides)).unchanged:
        say(out, unchanged)
        return COMPLETE
    with load.located(folder.scenario_file, overrides):
        return hold(extension.scenario, folder, extension=extension)


def extend_study(
    folder: StudyFolder,
    overrides: Sequence[str],
    hold: ClassSessions,
    interrupts: Interrupts,
    out: Console,
    err: Console,
) -> int:
    """Extend every class of a study, run those that are not finished, and print what all of them show; see `extend`.

    The study is locked until the change is recorded, and again while classes run. A program that takes it in between
    runs the larger classes.
    """
    with folder.locked():
        study = folder.study()
        refuse_varied(study, overrides)
        for_session = [one for one in overrides if load.is_free(_path(one))]
        recorded = [one for one in overrides if one not in for_session]
        paths = set(map(_path, recorded))
        extended = (*(one for one in study.extended if _path(one) not in paths), *recorded)
        runs = [(cell, folder.run(cell)) for cell in folder.cells()]
        if not any(run.used for _, run in runs):
            raise ScenarioError(f"{folder}: no class of this study has begun, so there is nothing to extend")
        entries = (*extended, *for_session)
        grow = [_grows(folder, study, cell, run, entries) for cell, run in runs if not run.trouble()]
        if all(one is None for one in grow):
            raise ScenarioError(
                f"{folder}: no class of this study can be read, so nothing is checked and nothing changes\n"
                f"What is wrong with each: python run.py show {folder}"
            )
        if not any(grow) and all(run.status == "complete" for _, run in runs):
            say(out, f"Nothing that the classes ask changes. Its result: python run.py report {folder}")
            return COMPLETE
        folder.keep(replace(study, extended=extended))
    return continue_study(folder, hold, interrupts, out, err, overrides=for_session)


def _path(override: str) -> str:
    return override.partition("=")[0]


def _grows(folder: StudyFolder, study: Study, cell: Cell, run: CellFolder, entries: Sequence[str]) -> bool | None:
    """Whether the class asks more with these entries; None: its records cannot be read.

    Raises:
        ScenarioError: it cannot be extended so.
    """
    try:
        larger = check_extended(study, cell, folder.study_file, run.scenario_file, entries)
        if not run.used:
            if fixed := load.beyond_extension(before := load.read(run.scenario_file), larger):
                raise refused(fixed)
            return bool(load.asked_differs(before, larger))
        with load.located(run.scenario_file, entries), Store(run.path) as store:
            if (extension := Extension(run, entries)).changed:
                extension.check(store, extension.expected_answerers(store))
        return bool(extension.changed)
    except (StoreError, OSError, sqlite3.Error):  # its session will say so
        return None
    except LbtError as error:
        raise ScenarioError(f"{run}: {in_words(error)}") from error
