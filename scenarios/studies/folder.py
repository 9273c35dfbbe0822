"""The folder of a study: study.yaml, study.json, and in runs/ the folder of each class, an ordinary run.

Before the first class starts, runs/CELL/scenario.yaml is there for every cell: neither `resume` nor `report` needs the
base scenario again.
"""

import contextlib
import fcntl
import os
import shlex
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from broker.errors import ScenarioError
from broker.files import open_lock, write_atomically
from scenarios.config import load
from scenarios.config.overrides import source_of
from scenarios.config.validate import ScenarioMistake
from scenarios.session.run_dir import RunFolder
from scenarios.session.running import holds_study, is_running
from scenarios.studies.cell_folder import CellFolder
from scenarios.studies.load import Cell, CellClass, grid
from scenarios.studies.schema import Study


class StudyFolder:
    """The folder of one study, which only its owner can enter."""

    def __init__(self, path: Path, options: str = "") -> None:
        """Name the folder; `options`: with which `resume` goes on as the study runs now."""
        self.options = options
        self.path = Path(os.path.expanduser(path)).absolute()
        self.study_file = self.path / "study.yaml"
        self.result_file = self.path / "study.json"

    def __str__(self) -> str:
        """As the user would type it."""
        here = Path.cwd()
        return shlex.quote(str(self.path.relative_to(here) if self.path.is_relative_to(here) else self.path))

    @classmethod
    def begin(
        cls, out_dir: Path | None, study: Study, classes: Sequence[CellClass], options: str = ""
    ) -> "StudyFolder":
        """Make the folder of a new study with the scenario of every class; default: runs/NAME-TIME.

        Raises:
            ScenarioError: it cannot be made, or contains a study, a run or other files.
        """
        if out_dir:
            folder = cls(out_dir, options)
            folder.refuse_used()
            RunFolder(out_dir).make()
        else:
            folder = cls(RunFolder.new(Path("runs"), study.study).path, options)
        (folder.path / "runs").mkdir(mode=0o700, exist_ok=True)
        for one in classes:
            run = folder.run(one.cell)
            run.make()
            run.keep(one.scenario)
        # Last: a folder without it is no study yet.
        folder.keep(study)
        return folder

    def keep(self, study: Study) -> None:
        """Write study.yaml atomically."""
        write_atomically(self.study_file, load.dump(study).encode())
        self.extended = study.extended

    @cached_property
    def extended(self) -> tuple[str, ...]:
        """What `extend` changed in all classes."""
        return self.study().extended

    @property
    def used(self) -> bool:
        """Whether it contains a study."""
        return holds_study(self.path)

    @property
    def go_on(self) -> str:
        """A sentence that says how to continue the study."""
        return f"Go on with: {self.resume}"

    @property
    def resume(self) -> str:
        """The command that continues the study."""
        return f"python run.py resume {self} {self.options}".rstrip()

    def refuse_used(self) -> None:
        """Raises ScenarioError if it contains a study or a run."""
        if self.used:
            raise ScenarioError(f"{self} holds a study: `python run.py resume {self}`, or choose another --out")
        RunFolder(self.path).refuse_used()

    def study(self) -> Study:
        """The study that the folder contains.

        Raises:
            ScenarioError: it contains none.
        """
        if not self.used:
            raise ScenarioError(f"{self} is not the folder of a study: it has no study.yaml with runs/")
        source = source_of(self.study_file, ())
        try:
            return load.convert(source.tree, Study)
        except ScenarioMistake as mistake:
            raise source.error(mistake.key, mistake.message) from None

    def cells(self) -> list[Cell]:
        """The cells of its study."""
        return list(grid(self.study()))

    def classes(self) -> list[CellClass]:
        """Its classes with what `extend` changed in all; without those whose scenario.yaml is damaged.

        Raises:
            ScenarioError: there is no other.
        """
        cells = self.cells()
        readable = [cell for cell in cells if not self.run(cell).scenario_trouble()]
        runs = ((cell, self.run(cell)) for cell in readable or cells)
        sources = [(cell, source_of(run.scenario_file, run.to_extend)) for cell, run in runs]
        return [CellClass(cell, load.checked(source), source) for cell, source in sources]

    def run(self, cell: Cell) -> CellFolder:
        """The folder of the class of a cell."""
        return self.run_named(cell.name)

    def run_named(self, cell: str) -> CellFolder:
        """The folder of the class of the cell with this name."""
        return CellFolder(self, self.path / "runs" / cell)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """In this context no other program runs classes of this study.

        Raises:
            ScenarioError: another one does.
        """
        with open_lock(self.path / "lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ScenarioError(f"{self}: another run.py is at work on this study") from None
            yield

    @property
    def at_work(self) -> bool:
        """Whether a program runs classes of this study."""
        return is_running(self.path)

    def running(self) -> CellFolder | None:
        """The folder of the class that runs now; None: none does."""
        runs = map(self.run, self.cells())
        return next((run for run in runs if run.used and is_running(run.path)), None)

    def result(self) -> dict[str, Any]:
        """study.json as it was last written; empty if it was not."""
        try:
            found: dict[str, Any] = msgspec.json.decode(self.result_file.read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return {}
        return found

    def write_result(self, result: msgspec.Struct) -> None:
        """Write study.json."""
        write_atomically(self.result_file, msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
