"""`extend STUDY_RUN` with real processes: all classes of a study go on as larger ones, also after they were stopped."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from scenarios.report.steering import AFTER_A_LOOK
from tests import classes

STUDY = """
study: trial
base: {base}
set: {{task.problems: 2, lesson.rationales: 2, exam.problems: 1}}
students:
  - {{name: ada, engine: simulated}}
  - {{name: bob, engine: simulated, engine_args: {{ability: 1.5}}}}
cross:
  teacher.engine_args.ability: [-0.5, 1.0]
seeds: [1]
primary: [ada - sc]
"""
LOW, HIGH = (f"teacher.engine_args.ability={ability}_seed=1" for ability in (-0.5, 1.0))
SLOW = ("students.0.engine_args.tokens_per_second=20", "limits.drain_s=0.1")


def began(folder: Path, *overrides: str) -> Path:
    """A complete study."""
    file = folder / "trial.yaml"
    file.write_text(STUDY.format(base=classes.ROOT / classes.SMOKE))
    classes.say("study", file, "--out", folder / "out", "--monitor", "off", *classes.sets(*overrides))
    return folder / "out"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return began(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study, with the larger numbers from the beginning."""
    return began(tmp_path_factory.mktemp("whole"), "set.task.problems=4")


@pytest.fixture
def study(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "study"))


def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "study.json").read_text())
    return found


def check_equal(out: Path, whole: Path) -> None:
    """The study is now the one that began so, and says that it was extended."""
    for cell in (LOW, HIGH):
        assert classes.gradebook(out / "runs" / cell) == classes.gradebook(whole / "runs" / cell)
    found, larger = result(out), result(whole)
    assert found.pop("answer") == [
        *larger.pop("answer"),
        f"The study was extended: task.problems: 2 -> 4. {AFTER_A_LOOK}",
    ]
    assert found == larger
    assert [run["n"] for run in found["runs"]] == [4, 4]


def test_a_study_that_is_extended_is_the_study_that_began_so(study: Path, whole: Path) -> None:
    said = classes.say("extend", study, "--problems", "4", "--monitor", "off")
    assert "The study was extended: task.problems: 2 -> 4." in " ".join(said.split())
    check_equal(study, whole)
    plans = [json.loads(classes.say("plan", of, "--json")) for of in (study, whole)]
    assert [plan["cells"] for plan in plans[:1]] == [plan["cells"] for plan in plans[1:]]
    assert plans[0]["measured"]["left"]["classes"] == 0
    said = classes.say("extend", study, "--problems", "4")
    assert f"Nothing that the classes ask changes. Its result: python run.py report {study}" in said
    assert classes.say("resume", study).count("complete already") == 2


def test_an_extension_that_is_interrupted_in_its_second_class_goes_on_with_resume(study: Path, whole: Path) -> None:
    first, second = study / "runs" / LOW, study / "runs" / HIGH
    before = classes.results(second)
    process = classes.extend(study, "task.problems=4", *SLOW)
    classes.wait_until(process, lambda: classes.results(second) > before)
    process.send_signal(signal.SIGINT)
    assert f"Go on with: python run.py resume {study}" in classes.finish(process, code=130)
    assert [one["status"] for one in json.loads(classes.say("show", study, "--json"))] == ["complete", "interrupted"]
    done = classes.results(first)
    said = classes.finish(classes.resume(study, "students.0.engine_args.tokens_per_second=100000"))
    assert "class 1 of 2: teacher.engine_args.ability=-0.5, seed=1: complete already" in said
    assert classes.results(first) == done
    check_equal(study, whole)


def test_an_extension_that_is_killed_in_its_first_class_goes_on_with_both(study: Path, whole: Path) -> None:
    first, second = study / "runs" / LOW, study / "runs" / HIGH
    before = classes.results(first), classes.results(second)
    process = classes.extend(study, "task.problems=4", *SLOW)
    classes.wait_until(process, lambda: classes.results(first) > before[0])
    process.kill()
    process.communicate()
    rows = json.loads(classes.say("show", study, "--json"))
    assert [row["status"] for row in rows] == ["interrupted", "to extend"]
    total = json.loads(classes.say("plan", whole, "--json"))["cells"][1]["requests"]
    assert rows[1]["progress"] == f"{before[1]} of at most {total} requests"
    assert "to extend" in classes.say("watch", study)
    classes.say("report", study)
    found = result(study)
    waits = "Not extended yet, with task.problems=4"
    assert found["answer"][0] == f"{waits}: 1 of 2 classes. Resume the study to extend the rest."
    assert found["status"] == "partial" and [run["n"] for run in found["runs"]] == [0, 2]
    plan = json.loads(classes.say("plan", study, "--json"))
    assert [cell["requests"] for cell in plan["cells"]] == [total, total]
    assert plan["measured"]["left"]["classes"] == 2
    classes.finish(classes.resume(study, "students.0.engine_args.tokens_per_second=100000"))
    check_equal(study, whole)


def test_a_study_with_an_unfinished_class_is_finished_as_the_larger_one(study: Path, whole: Path) -> None:
    for path in (study / "runs" / HIGH).iterdir():
        if path.name != "scenario.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    classes.say("extend", study, "--problems", "4", "--monitor", "off")
    check_equal(study, whole)
