"""`ctl RUN add-student FILE`: a class goes on with one student more, and is then the class that began with it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scenarios.config.student_file import read_student
from scenarios.store.sqlite import Store
from tests import classes

SMALL = ("task.problems=2", "lesson.rationales=2", "limits.drain_s=1")
HELD: dict[str, Any] = {"teacher": 6, "students": 1}
ENOUGH = 6 + 3
LATE = "{name: late, engine: simulated, engine_args: {ability: 0.5}}"
STUDENTS = (
    "students=[{name: weak, engine: simulated, engine_args: {ability: -1.5}}, "
    "{name: average, engine: simulated, engine_args: {ability: 0.0}}, "
    f"{{name: strong, engine: simulated, engine_args: {{ability: 1.5}}}}, {LATE}]"
)


def ctl(out: Path, *words: str | Path, code: int = 0) -> str:
    return " ".join(classes.say("ctl", out, *words, code=code).split())


@pytest.fixture(scope="module")
def began_with_it(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class that had the student from the beginning."""
    out = tmp_path_factory.mktemp("whole") / "run"
    classes.finish(classes.start(out, *SMALL, STUDENTS))
    return out


@pytest.fixture
def late(tmp_path: Path) -> Path:
    file = tmp_path / "late.yaml"
    file.write_text(LATE)
    return file


def test_a_class_that_a_student_joins_is_the_class_that_began_with_it(
    began_with_it: Path, late: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        taken = tmp_path / "taken.yaml"
        taken.write_text(LATE.replace("name: late", "name: weak"))
        assert "the class has an agent 'weak' already" in ctl(out, "add-student", taken, code=2)
        assert "late joins" in ctl(out, "add-student", late)
        classes.wait_until(process, lambda: bool(classes.events(out, "added")))
    said = " ".join(classes.finish(process).split())
    assert "The student late was added while the class ran" in said
    assert classes.gradebook(out) == classes.gradebook(began_with_it)
    found, whole = classes.summary(out), classes.summary(began_with_it)
    assert found["methods"] == whole["methods"]
    (joined,) = classes.events(out, "added")
    assert found["changes"]["added"] == {"late": int(joined.split()[1])}
    assert found["changes"]["joining"] == {}


def test_a_student_that_was_to_join_before_a_kill_joins_on_resume(
    began_with_it: Path, late: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        process.kill()
        process.communicate()
    # As a class leaves it that is killed when the command is recorded, before it takes effect.
    with Store(out, write=True) as store:
        store.note("late", "joins", msgspec.json.encode(read_student(late)).decode())
    assert "seed: 7 -> 8" in classes.say("resume", out, "--set", "seed=8", code=2)
    classes.finish(classes.resume(out))
    assert classes.gradebook(out) == classes.gradebook(began_with_it)
    assert len(classes.events(out, "added")) == 1


@pytest.mark.parametrize(
    ("student", "why"),
    [
        ("model: ./nowhere", "nowhere"),
        (
            "engine: openai, model: m, engine_args: {base_url: 'http://127.0.0.1:9', key_env: NO_SUCH_KEY}",
            "NO_SUCH_KEY",
        ),
    ],
    ids=["no model", "no key"],
)
def test_a_class_goes_on_without_a_student_that_cannot_join(tmp_path: Path, student: str, why: str) -> None:
    out, file = tmp_path / "run", tmp_path / "absent.yaml"
    file.write_text(f"{{name: absent, {student}}}")
    with classes.held(out, *SMALL, enough=ENOUGH, **HELD) as process:
        ctl(out, "add-student", file)
        classes.wait_until(process, lambda: bool(classes.events(out, "not_added")))
    said = " ".join(classes.finish(process).split())
    assert "The class goes on without absent, which cannot join it" in said and why in said
    found = classes.summary(out)
    assert [one["name"] for one in found["students"]] == ["weak", "average", "strong"]
    assert (found["status"], found["changes"]["joining"], found["changes"]["added"]) == ("complete", {}, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("[1, 2]", "needs sections"),
        ("{name: late, enginee: simulated}", "enginee"),
        ("{engine: simulated}", "name"),
        ("name: Not A Name", "late.yaml:1: name"),
        ("name: late\nengine: other\n", "late.yaml:2: engine"),
        ("name: a\n---\nname: b\n", "late.yaml:"),
    ],
)
def test_a_file_that_describes_no_student_is_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "late.yaml"
    file.write_text(text)
    with pytest.raises(Exception, match=r"late\.yaml") as error:
        read_student(file)
    assert words in str(error.value)
    assert type(error.value).__module__ in ("broker.errors", "scenarios.config.yaml_tree")


def test_a_class_that_has_ended_or_is_part_of_a_study_gets_no_student(
    began_with_it: Path, late: Path, tmp_path: Path
) -> None:
    assert "has ended" in ctl(began_with_it, "add-student", late, code=2)
    assert "no such file" in ctl(began_with_it, "add-student", tmp_path / "missing.yaml", code=2)
    cell = tmp_path / "study" / "runs" / "cell"
    cell.parent.mkdir(parents=True)
    (tmp_path / "study" / "study.yaml").touch()
    began_with_it.rename(cell)
    try:
        assert "is a class of a study" in ctl(cell, "add-student", late, code=2)
    finally:
        cell.rename(began_with_it)


def test_the_model_folder_of_a_student_is_relative_to_its_file(tmp_path: Path) -> None:
    file = tmp_path / "late.yaml"
    file.write_text(json.dumps({"name": "late", "model": "./weights"}))
    assert read_student(file).model == str(tmp_path / "weights")
