"""`extend STUDY_RUN` without processes: what is recorded first, what is refused, and which classes are left."""

import io
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from broker.errors import PlacementError, ScenarioError
from broker.interrupts import Interrupts
from scenarios.config.schema import Scenario
from scenarios.monitor.state import StudyState
from scenarios.report.steering import AFTER_A_LOOK
from scenarios.session.rerun import Extension
from scenarios.session.run_dir import RunFolder
from scenarios.store.changes import EXTENDS
from scenarios.store.sqlite import Store
from scenarios.studies import load
from scenarios.studies.commands import continue_study, report_study
from scenarios.studies.extension import extend
from scenarios.studies.folder import StudyFolder
from scenarios.studies.progress import watch_study
from scenarios.studies.result import read_study
from tests import classes
from tests.scenarios.report.page.played import play_in, written

QUIET = Console(quiet=True)
SMALL = ("set.task.problems=2", "set.lesson.rationales=2", "seeds=[1]")


def begun(path: Path, *overrides: str) -> StudyFolder:
    return StudyFolder.begin(path, *load.read(classes.ROOT / "scenarios/studies/smoke.yaml", (*SMALL, *overrides)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two complete classes."""
    folder = begun(tmp_path_factory.mktemp("whole") / "study")
    for run in map(folder.run, folder.cells()):
        play_in(run)
        written(run)
    return folder.path


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> StudyFolder:
    return StudyFolder(Path(shutil.copytree(whole, tmp_path / "study")))


class Stopped(Exception):
    """The program is killed."""


class Sessions:
    """Holds sessions of classes whose answers are made up.

    Args:
        kill_before: the number of the session that does not begin.
        kill_in: the number of the session that ends as soon as its class is a larger one.
        fails: no class can begin.
        code: the exit code of each session. Unless it is 0, no summary is written.
    """

    def __init__(self, kill_before: int = 0, kill_in: int = 0, *, fails: bool = False, code: int = 0) -> None:
        self.held: list[str] = []
        self.drain_s: list[float] = []
        self._kill_before, self._kill_in, self._fails, self._code = kill_before, kill_in, fails, code

    def __call__(
        self, scenario: Scenario, folder: RunFolder, *, retry_failed: bool, study: StudyState,
        extension: Extension | None,
    ) -> int:  # fmt: skip
        self.held.append(folder.path.name)
        self.drain_s.append(scenario.limits.drain_s)
        if self._fails:
            raise PlacementError("too little memory")
        if len(self.held) == self._kill_before:
            raise Stopped
        if extension:
            with Store(folder.path, write=True) as store:
                extension.prepare(store, extension.expected_answerers(store))
                store.note("", EXTENDS, "; ".join(extension.changed))
        folder.keep(scenario)
        if len(self.held) == self._kill_in:
            raise Stopped
        play_in(folder)
        if not self._code:
            written(folder)
        return self._code


def said_by(run: Callable[[Console], int], code: int = 0) -> str:
    console = Console(file=io.StringIO(), width=2000)
    assert run(console) == code
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def extended(study: StudyFolder, *overrides: str, hold: Sessions | None = None, code: int = 0) -> str:
    hold = hold or Sessions()
    return said_by(lambda console: extend(study.path, overrides, hold, Interrupts(), console, console), code)


def resumed(study: StudyFolder, hold: Sessions | None = None, code: int = 0) -> str:
    again, hold = StudyFolder(study.path), hold or Sessions()
    return said_by(lambda console: continue_study(again, hold, Interrupts(), console, console), code)


def statuses(study: StudyFolder) -> list[str]:
    again = StudyFolder(study.path)
    return [again.run(cell).status for cell in again.cells()]


def problems(study: StudyFolder) -> list[int]:
    return [run.n for run in read_study(StudyFolder(study.path)).result.runs]


def files(study: StudyFolder) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(study.path.rglob("*.yaml"))}


def test_what_changes_is_recorded_before_any_class_changes(study: StudyFolder) -> None:
    with pytest.raises(Stopped):
        extended(study, "task.problems=3", hold=Sessions(kill_before=1))
    assert statuses(study) == ["to extend", "to extend"] and problems(study) == [2, 2]
    said = said_by(lambda console: report_study(StudyFolder(study.path), console, console))
    first = "Not extended yet, with task.problems=3: 2 of 2 classes. Resume the study to extend the rest."
    assert said.index(first) < said.index("mixed against copies") and "0 complete, 2 to extend" in said
    assert "distinct problems of all classes that are complete or to extend" in said
    assert json.loads(study.result_file.read_text())["status"] == "partial"
    resumed(study)
    assert statuses(study) == ["complete", "complete"] and problems(study) == [3, 3]
    assert resumed(study).count("complete already") == 2


def test_a_class_that_is_killed_as_soon_as_it_is_larger_is_not_complete(study: StudyFolder) -> None:
    with pytest.raises(Stopped):
        extended(study, "task.problems=3", hold=Sessions(kill_in=1))
    assert statuses(study) == ["interrupted", "to extend"] and problems(study) == [0, 2]
    resumed(study)
    assert problems(study) == [3, 3]


def test_a_study_of_which_one_class_is_larger_says_first_that_the_classes_differ(study: StudyFolder) -> None:
    with pytest.raises(Stopped):
        extended(study, "task.problems=3", hold=Sessions(kill_before=2))
    assert statuses(study) == ["complete", "to extend"] and problems(study) == [3, 2]
    first, second, *_ = read_study(study).result.answer
    assert first.startswith("The classes differ in task.problems, which the study does not vary")
    assert second.startswith("Not extended yet, with task.problems=3: 1 of 2 classes.")
    out = Console(file=io.StringIO(), width=400)
    assert watch_study(StudyFolder(study.path), out) == 0
    assert isinstance(out.file, io.StringIO) and out.file.getvalue().count("to extend") == 1
    planned = StudyFolder(study.path).classes()
    assert [one.scenario.task.problems for one in planned] == [3, 3]


def test_later_extensions_keep_earlier_ones(study: StudyFolder) -> None:
    extended(study, "task.problems=3")
    extended(study, "lesson.rationales=3")
    said = extended(study, "task.problems=4")
    assert StudyFolder(study.path).study().extended == ("lesson.rationales=3", "task.problems=4")
    assert f"The study was extended: task.problems: 2 -> 4, lesson.rationales: 2 -> 3. {AFTER_A_LOOK}" in said
    said = extended(study, "exam.problems=3")  # the base has the old number
    assert (
        f"The study was extended: task.problems: 2 -> 4, lesson.rationales: 2 -> 3, exam.problems=3. {AFTER_A_LOOK}"
        in said
    )
    assert "Nothing that the classes ask changes. Its result: python run.py report" in extended(study, "exam.repeats=1")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("task.problems=0", "--set task.problems: needs"),
        ("task.problems=1", "task.problems: 2 -> 1"),
        ("lesson.sampling.temperature=0.5", "lesson.sampling.temperature: 0.7 -> 0.5"),
        ("exam.allocation=lossless", "exam.allocation"),
        ("problems=3", "problems: no such key"),
        ("task.problems", "needs KEY.PATH=VALUE"),
    ],
)
def test_what_cannot_be_extended_is_refused_and_changes_nothing(study: StudyFolder, change: str, why: str) -> None:
    before = files(study)
    with pytest.raises(ScenarioError, match=re.escape(why)) as refused:
        extended(study, change)
    assert str(study.run(study.cells()[0])) in str(refused.value)
    assert files(study) == before and statuses(study) == ["complete", "complete"]


@pytest.mark.parametrize(
    ("change", "varied"),
    [
        ("seed=1", "seed"),
        ("lesson.rationales=3", "lesson.rationales"),
        ("lesson={rationales: 3}", "lesson.rationales"),
        ("teacher.model=b", "teacher.model"),
        ("teacher={name: teacher}", "teacher.model"),
        ("students.*.capacity=2", "students.0.capacity"),
        ("students.0.sampling.temperature=0.5", "students.0.sampling"),
    ],
)
def test_what_the_study_varies_cannot_become_the_same_in_all_classes(tmp_path: Path, change: str, varied: str) -> None:
    crossed = "lesson.rationales: [2, 3], teacher: [a, b], students.0.capacity: [1, 2], students.0.sampling: [{}]"
    study = begun(tmp_path / "study", f"cross={{{crossed}}}")
    with pytest.raises(ScenarioError, match=re.escape(f"the study varies {varied}, so `extend` cannot change it")):
        extended(study, "task.problems=3", change)


@pytest.mark.parametrize("copies", ["", ", copies: 3"])
def test_a_study_is_extended_with_students(tmp_path: Path, copies: str) -> None:
    students = "{name: ada, engine: simulated}, {name: bob, engine: simulated, copies: 2}"
    study = begun(tmp_path / "study", f"students=[{students}]", "lineups={both: [ada, bob]}", "primary=[both - sc]")
    first, second = map(study.run, study.cells())
    play_in(first)
    more = students.replace(", copies: 2", copies) if copies else f"{students}, {{name: eve, engine: simulated}}"
    extended(study, f"students=[{more}]")
    assert statuses(study) == ["complete", "complete"]
    assert all(len(run.scenario().students) == 4 for run in (first, second))


def test_a_class_that_has_not_begun_is_checked_too(study: StudyFolder) -> None:
    first, second = map(study.run, study.cells())
    (first.path / "class.db").write_text("no database")
    second.clear()
    with pytest.raises(ScenarioError, match=r"this would change it:\nlesson\.sampling\.temperature: 0\.7 -> 0\.5"):
        extended(study, "lesson.sampling.temperature=0.5")


def test_a_study_of_which_no_class_can_be_read_is_not_extended(study: StudyFolder) -> None:
    for run in map(study.run, study.cells()):
        (run.path / "class.db").write_text("no database")
    before = files(study)
    with pytest.raises(ScenarioError, match="no class of this study can be read, so nothing is checked"):
        extended(study, "task.problem=3")
    assert files(study) == before


def test_a_class_that_turns_out_to_be_damaged_is_left_out(study: StudyFolder) -> None:
    damaged = study.run(study.cells()[0])
    with sqlite3.connect(damaged.path / "class.db") as db:
        db.execute("DROP TABLE problem")
    db.close()
    assert damaged.trouble() is None
    extended(study, "task.problems=3", code=1)
    assert problems(study) == [0, 3]


def test_entries_that_change_no_request_are_for_one_session(study: StudyFolder) -> None:
    first, second = Sessions(kill_before=2), Sessions()
    with pytest.raises(Stopped):
        extended(study, "task.problems=3", "limits.drain_s=0.25", hold=first)
    assert StudyFolder(study.path).study().extended == ("task.problems=3",)
    resumed(study, second)
    assert first.drain_s == [0.25, 0.25] and 0.25 not in second.drain_s


def test_a_larger_class_is_complete_even_if_its_summary_cannot_be_written(study: StudyFolder) -> None:
    assert "failed: its summary.json is not written" in extended(
        study, "task.problems=3", hold=Sessions(code=1), code=1
    )
    assert statuses(study) == ["complete", "complete"] and problems(study) == [3, 3]


def test_a_study_says_why_its_classes_are_not_extended(study: StudyFolder) -> None:
    extended(study, "task.problems=3", hold=Sessions(fails=True), code=1)
    runs = read_study(StudyFolder(study.path)).result.runs
    assert [(run.status, run.reason) for run in runs] == [("to extend", "too little memory")] * 2


def test_an_extension_may_be_repeated_instead_of_resumed(study: StudyFolder) -> None:
    with pytest.raises(Stopped):
        extended(study, "task.problems=3", hold=Sessions(kill_in=2))
    assert statuses(study) == ["complete", "interrupted"]
    extended(study, "task.problems=3")
    assert problems(study) == [3, 3]


def test_a_study_that_has_not_begun_is_not_extended(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no class of this study has begun, so there is nothing to extend"):
        extended(begun(tmp_path / "study"), "task.problems=3")


def test_unfinished_classes_are_finished_as_larger_ones(tmp_path: Path) -> None:
    study = begun(tmp_path / "study")
    first, second = map(study.run, study.cells())
    play_in(first, results=5, ending="interrupted")
    assert not second.used
    extended(study, "task.problems=3")
    assert statuses(study) == ["complete", "complete"] and problems(study) == [3, 3]


def test_a_damaged_class_is_left_out_and_extended_once_it_is_put_back(study: StudyFolder) -> None:
    damaged, other = map(study.run, study.cells())
    kept = (damaged.path / "class.db").read_bytes()
    (damaged.path / "class.db").write_text("no database")
    hold = Sessions()
    said = extended(study, "task.problems=3", hold=hold, code=1)
    assert f"{damaged} is left out, since it cannot be read" in said and hold.held == [other.path.name]
    assert problems(study) == [0, 3]
    (damaged.path / "class.db").write_bytes(kept)
    assert statuses(study) == ["to extend", "complete"]
    resumed(study)
    assert problems(study) == [3, 3]


def test_an_old_copy_of_the_records_is_extended_again(study: StudyFolder) -> None:
    first = study.run(study.cells()[0])
    kept = (first.path / "class.db").read_bytes()
    extended(study, "task.problems=3")
    (first.path / "class.db").write_bytes(kept)
    assert statuses(study) == ["to extend", "complete"]
    resumed(study)
    assert statuses(study) == ["complete", "complete"] and problems(study) == [3, 3]


def test_classes_that_were_extended_one_by_one_stay_as_they_are(study: StudyFolder) -> None:
    extended(study, "task.problems=3")
    for run in map(study.run, study.cells()):
        assert extend(run.path, ("task.problems=4",), by_hand, Interrupts(), QUIET, QUIET) == 0
    assert statuses(study) == ["complete", "complete"]
    assert resumed(study).count("complete already") == 2
    old = "The classes were extended, and study.yaml shows the old numbers: task.problems: 3 -> 4."
    assert read_study(study).result.answer[-1] == f"{old} {AFTER_A_LOOK}"
    with pytest.raises(ScenarioError, match=r"task\.problems: 4 -> 3"):
        extended(study, "lesson.rationales=3")
    extended(study, "lesson.rationales=3", "task.problems=4")
    assert problems(study) == [4, 4]


def by_hand(scenario: Scenario, folder: RunFolder, *, extension: Extension) -> int:
    """A session of one class alone."""
    return Sessions()(scenario, folder, retry_failed=False, study=StudyState((), None), extension=extension)


def test_a_resumed_study_is_not_extended_by_an_override(study: StudyFolder) -> None:
    with pytest.raises(Stopped):
        extended(study, "task.problems=3", hold=Sessions(kill_before=2))
    with pytest.raises(
        ScenarioError, match=r"task\.problems: 3 -> 4\nMore of it in all classes: python run\.py extend"
    ):
        continue_study(StudyFolder(study.path), Sessions(), Interrupts(), QUIET, QUIET, overrides=["task.problems=4"])


def test_the_file_of_an_extended_study_begins_no_new_study(study: StudyFolder) -> None:
    extended(study, "task.problems=3")
    with pytest.raises(ScenarioError, match="extended: only `extend` writes this: name the folder of the study"):
        load.read(study.study_file)
