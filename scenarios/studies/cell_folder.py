"""The folder of one class of a study: how the class stands, and with which scenario it goes on."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from broker.errors import LbtError, ScenarioError, in_words, is_damaged_database
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.report.formatting import many, percent
from scenarios.report.methods import Method
from scenarios.report.page import PAGE, is_page
from scenarios.report.recorded import UNREADABLE
from scenarios.report.run_info import Status, facts_from
from scenarios.report.unanswered import Unanswered
from scenarios.session import rerun
from scenarios.session.request_counts import counts
from scenarios.session.run_dir import RunFolder
from scenarios.session.running import is_running
from scenarios.store.changes import EXTENDED
from scenarios.store.sqlite import Store
from scenarios.studies.estimate import Spent

if TYPE_CHECKING:
    from scenarios.studies.folder import StudyFolder

ClassStatus = Status | Literal["not begun", "to extend", "unreadable"]
"""to extend: it is complete, but not yet as the larger class that `extend` of the study makes of it."""


class CountFigures(msgspec.Struct, frozen=True):
    """What a study shows of the counts in summary.json."""

    teaching_problems: int
    requests: int
    failed: int = 0


class SummaryFigures(msgspec.Struct, frozen=True):
    """What a study shows of summary.json."""

    counts: CountFigures
    methods: dict[str, Method]
    unanswered: list[Unanswered] = []


class CellFolder(RunFolder):
    """The folder of one class of a study; it is continued with its study."""

    def __init__(self, study: "StudyFolder", path: Path) -> None:
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
    def status(self) -> ClassStatus:
        """How its class stands."""
        if not self.used:
            return "not begun"
        try:
            with Store(self.path) as store:
                status: ClassStatus = facts_from(store).status
        except UNREADABLE:
            return "unreadable"
        if status == "complete" and self.to_extend:
            status = "to extend"
        return "running" if status != "complete" and is_running(self.path) else status

    def scenario_trouble(self) -> ScenarioError | None:
        """Why its scenario.yaml cannot be read; None: it can."""
        try:
            load.read(self.scenario_file)
        except ScenarioError as error:
            return error
        return None

    def trouble(self) -> Exception | None:
        """Why its scenario.yaml, or the records of its class, cannot be read; None: they can, or it has not begun."""
        if trouble := self.scenario_trouble():
            return trouble
        try:
            if self.used:
                self.spent()
        except UNREADABLE as error:
            return error
        return None

    def repair(self, trouble: Exception) -> str:
        """What to say of a class whose records cannot be read: that it is left out, and what to do."""
        left_out = f"{self} is left out, since it cannot be read: {in_words(trouble)}\n"
        if self.scenario_trouble():
            return f"{left_out}Put a copy of its scenario.yaml back, then {self._study.resume}"
        if not is_damaged_database(trouble):
            return f"{left_out}Its files stay as they are. When the cause is gone: {self._study.resume}"
        return (
            f"{left_out}Put a copy of its class.db back, or have all of it asked again: remove everything but "
            f"scenario.yaml from that folder, then {self._study.resume}"
        )

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
        """How many requests of its plan are answered, in words; empty: there are none that are left."""
        if self.status in ("not begun", "complete", "unreadable"):
            return ""
        with Store(self.path) as store:
            ((done,),) = store.rows("SELECT count(*) FROM result")
        try:
            return f"{done:,} of at most {max(done, counts(self.scenario(self.to_extend)).requests):,} requests"
        except LbtError:  # a file of its problems is gone
            return many(done, "request")

    def summary(self) -> SummaryFigures | None:
        """summary.json as it was last written; None: it was not, or it is damaged."""
        try:
            return msgspec.json.decode((self.path / "summary.json").read_bytes(), type=SummaryFigures)
        except (OSError, msgspec.DecodeError):
            return None

    @property
    def is_reported(self) -> bool:
        """Whether it has a summary.json and a report.html that are not damaged."""
        return self.summary() is not None and is_page(self.path / PAGE)

    def figures(self) -> str:
        """The accuracies of its methods in words; empty without a summary, or if it has no methods."""
        if not (found := self.summary()) or not found.methods:
            return ""
        shown = (("SC", "sc"), ("M1 MAX", "m1_max"), ("M1 SUM", "m1_sum"))
        methods = [(label, found.methods.get(name)) for label, name in shown]
        return ", ".join(f"{label} {percent(one.accuracy if one else None)}" for label, one in methods)

    def stopped_by(self) -> str:
        """The reason why the last session ended early, in words; empty: unknown."""
        with Store(self.path) as store:
            reasons = [event.detail for event in store.events(kinds=("stopped",))]
        return reasons[-1] if reasons else ""

    @property
    def to_extend(self) -> tuple[str, ...]:
        """What `extend` changed in the study, as overrides; empty: nothing, or the class is complete with it."""
        if (extended := self._study.extended) and self.used:
            with contextlib.suppress(*UNREADABLE), Store(self.path) as store:
                if "; ".join(extended) in [event.detail for event in store.events(kinds=(EXTENDED,))]:
                    return ()
        return extended

    def note_extended(self) -> None:
        """Record that the class is complete with what `extend` changed in the study."""
        if extended := self.to_extend:
            with Store(self.path, write=True) as store:
                store.note("", EXTENDED, "; ".join(extended))

    def extension(self, overrides: Sequence[str]) -> rerun.Extension | None:
        """The larger class as which the class goes on; None: it begins, or goes on as it is.

        Raises:
            ScenarioError: the larger class would not ask what was asked before.
        """
        if not self.used or not (extended := self.to_extend):
            return None
        found = rerun.Extension(self, (*extended, *overrides))
        return None if found.unchanged else found

    def to_run(self, overrides: Sequence[str]) -> Scenario:
        """The scenario with which the class begins or goes on.

        Raises:
            ScenarioError: the overrides would change what is asked, and so make it another class than the others.
        """
        asked = self.to_extend
        old, new = load.read(self.scenario_file, asked), load.read(self.scenario_file, (*asked, *overrides))
        if changed := load.asked_differs(old, new, self.without_answers(old) if self.used else ()):
            raise ScenarioError(
                f"a resumed study asks what it was made for; this would change it:\n{'; '.join(changed)}\n"
                f"More of it in all classes: python run.py extend {self._study} --set ..."
            )
        return new
