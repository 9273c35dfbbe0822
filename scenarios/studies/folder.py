"""The folder of a study: study.yaml, study.json, and in runs/ the folder of each class, an ordinary run.

Before the first class starts, runs/CELL/scenario.yaml is there for every cell: neither `resume` nor `report` needs the
base scenario again.
"""

import contextlib
import fcntl
import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from broker.errors import LbtError, ScenarioError
from broker.files import open_lock, write_atomically
from scenarios.config import load
from scenarios.config.overrides import source_of
from scenarios.config.schema import Scenario
from scenarios.config.validate import ScenarioMistake
from scenarios.report.formatting import many, percent
from scenarios.report.run_info import Status, facts_from
from scenarios.session import rerun
from scenarios.session.request_counts import counts
from scenarios.session.run_dir import RunFolder
from scenarios.session.running import is_running
from scenarios.store.sqlite import Store
from scenarios.studies.estimate import Spent
from scenarios.studies.load import Cell, CellClass, grid
from scenarios.studies.schema import Study


class StudyFolder:
    """The folder of one study, which only its owner can enter."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.expanduser(path)).absolute()
        self.study_file = self.path / "study.yaml"
        self.result_file = self.path / "study.json"

    def __str__(self) -> str:
        """As the user would type it."""
        here = Path.cwd()
        return shlex.quote(str(self.path.relative_to(here) if self.path.is_relative_to(here) else self.path))

    @classmethod
    def begin(cls, out_dir: Path | None, study: Study, classes: Sequence[CellClass]) -> "StudyFolder":
        """Make the folder of a new study with the scenario of every class; default: runs/NAME-TIME.

        Raises:
            ScenarioError: it cannot be made, or contains a study, a run or other files.
        """
        if out_dir:
            folder = cls(out_dir)
            folder.refuse_used()
            RunFolder(out_dir).make()
        else:
            folder = cls(RunFolder.new(Path("runs"), study.study).path)
        (folder.path / "runs").mkdir(mode=0o700, exist_ok=True)
        for one in classes:
            run = folder.run(one.cell)
            run.make()
            run.keep(one.scenario)
        # Last: a folder without it is no study yet.
        write_atomically(folder.study_file, load.dump(study).encode())
        return folder

    @property
    def used(self) -> bool:
        """Whether it contains a study."""
        return self.study_file.is_file()

    @property
    def go_on(self) -> str:
        """A sentence that says how to continue the study."""
        return f"Go on with: python run.py resume {self}"

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
            raise ScenarioError(f"{self} is not the folder of a study: it has no study.yaml")
        source = source_of(self.study_file, ())
        try:
            return load.convert(source.tree, Study)
        except ScenarioMistake as mistake:
            raise source.error(mistake.key, mistake.message) from None

    def cells(self) -> list[Cell]:
        """The cells of its study."""
        return list(grid(self.study()))

    def classes(self) -> list[CellClass]:
        """Its classes, as they were written when it began."""
        sources = [(cell, source_of(self.run(cell).scenario_file, ())) for cell in self.cells()]
        return [CellClass(cell, load.checked(source), source) for cell, source in sources]

    def run(self, cell: Cell) -> "CellFolder":
        """The folder of the class of a cell."""
        return CellFolder(self, self.path / "runs" / cell.name)

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

    def running(self) -> "CellFolder | None":
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


class CellFolder(RunFolder):
    """The folder of one class of a study; it is continued with its study."""

    def __init__(self, study: StudyFolder, path: Path) -> None:
        super().__init__(path)
        self._study = study

    @property
    def go_on(self) -> str:
        """A sentence that says how to continue the study."""
        return self._study.go_on

    @property
    def report_later(self) -> str:
        """The same: resuming the study writes the summary of this class."""
        return self._study.go_on

    def clear(self) -> None:
        """Remove the files of a class that could not begin; its scenario stays."""
        for name in ("class.db", "class.db-wal", "class.db-shm"):
            (self.path / name).unlink(missing_ok=True)

    @property
    def status(self) -> Status | Literal["not begun"]:
        """How its class stands."""
        if not self.used:
            return "not begun"
        with Store(self.path) as store:
            status = facts_from(store).status
        return "running" if status != "complete" and is_running(self.path) else status

    @property
    def has_problems(self) -> bool:
        """Whether its class, which has begun, came to the point where it had its problems."""
        with Store(self.path) as store:
            return store.bank() is not None

    def spent(self) -> Spent:
        """What its class, which has begun, has recorded so far."""
        with Store(self.path) as store:
            ((requests, prompt, completion),) = store.rows(
                "SELECT count(*), total(prompt_tokens), total(completion_tokens) FROM result"
            )
            seconds = round(facts_from(store).wall_seconds, 3)
        return Spent(classes=1, seconds=seconds, requests=requests, prompt_tokens=prompt, completion_tokens=completion)

    def progress(self) -> str:
        """How many requests of its plan are answered, in words; empty: it has not begun, or is complete."""
        if self.status in ("not begun", "complete"):
            return ""
        with Store(self.path) as store:
            ((done,),) = store.rows("SELECT count(*) FROM result")
        try:
            return f"{done:,} of at most {max(done, counts(self.scenario()).requests):,} requests"
        except LbtError:  # a file of its problems is gone
            return many(done, "request")

    def summary(self) -> dict[str, Any]:
        """summary.json as it was last written; empty if it was not."""
        try:
            found: dict[str, Any] = msgspec.json.decode((self.path / "summary.json").read_bytes(), type=dict[str, Any])
        except (OSError, msgspec.DecodeError):
            return {}
        return found

    def figures(self) -> str:
        """The accuracies of its methods in words; empty without a summary."""
        if not (methods := self.summary().get("methods")):
            return ""
        shown = (("SC", "sc"), ("M1 MAX", "m1_max"), ("M1 SUM", "m1_sum"))
        return ", ".join(f"{label} {percent(methods.get(name, {}).get('accuracy'))}" for label, name in shown)

    def stopped_by(self) -> str:
        """The reason why the last session ended early, in words; empty: unknown."""
        with Store(self.path) as store:
            reasons = [event.detail for event in store.events(kinds=("stopped",))]
        return reasons[-1] if reasons else ""

    def to_run(self, overrides: Sequence[str]) -> Scenario:
        """The scenario with which the class begins or goes on.

        Raises:
            ScenarioError: the overrides would change what is asked, and so make it another class than the others.
        """
        if self.used:
            return rerun.to_resume(self, overrides)
        old, new = load.read(self.scenario_file), load.read(self.scenario_file, overrides)
        if changed := load.asked_differs(old, new):
            raise ScenarioError(
                f"a resumed study asks what it was made for; this would change it:\n{'; '.join(changed)}"
            )
        return new
