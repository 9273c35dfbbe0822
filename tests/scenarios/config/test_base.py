"""A scenario that begins with another one."""

from pathlib import Path

import pytest

from broker.errors import ScenarioError
from scenarios.config.load import difference, dump, read
from tests import classes

ROW = """\
base: ../base.yaml
name: row
task: {family: null, file: mine.jsonl}
teacher: {engine: simulated, engine_args: {ability: 2.0}}
students: [{name: other, engine: simulated}]
"""


@pytest.fixture
def row(tmp_path: Path) -> Path:
    smoke = (classes.ROOT / classes.SMOKE).read_text()
    (tmp_path / "base.yaml").write_text(f"{smoke}published: {{sc: 0.5}}\n")
    path = tmp_path / "rows" / "row.yaml"
    path.parent.mkdir()
    path.write_text(ROW)
    return path


def test_a_section_changes_only_the_entries_that_it_names(row: Path) -> None:
    base, found = read(row.parent.parent / "base.yaml"), read(row)
    assert (found.name, found.lesson, found.task.problems) == ("row", base.lesson, base.task.problems)
    assert (found.teacher.name, found.teacher.engine_args) == (base.teacher.name, {"ability": 2.0})
    assert [student.name for student in found.students] == ["other"]
    assert found.task.file == f"{row.parent}/mine.jsonl"
    assert (base.published.given, found.published.given) == ({"sc": 0.5}, {})


def test_overrides_come_last_and_what_is_written_back_needs_no_base(row: Path, tmp_path: Path) -> None:
    found = read(row, ["students.*.persona=Be brief.", "lesson.rationales=3"])
    named = read(row, ["task.file=given.jsonl"])
    assert named.task.file == f"{row.parent}/given.jsonl"
    assert (found.students[0].persona, found.lesson.rationales) == ("Be brief.", 3)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump(found))
    assert difference(found, read(copy)) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("../base.yaml", "nowhere.yaml", r"row\.yaml:1: base: .*nowhere\.yaml: no such file; name a scenario"),
        ("../base.yaml", "row.yaml", r"row\.yaml:1: base: .*row\.yaml has a base itself"),
        ("../base.yaml", "[a]", r"row\.yaml:1: base: needs the name of a scenario file, has a list"),
        ("name: row", "lesson: {rationales: many}", r"row\.yaml:2: lesson\.rationales: needs a whole number"),
        ("name: row", "lessons: 3", r"row\.yaml:2: lessons: no such key; did you mean 'lesson'"),
    ],
)
def test_a_mistake_is_reported_with_the_file_and_the_line_that_has_it(
    row: Path, old: str, new: str, message: str
) -> None:
    row.write_text(ROW.replace(old, new))
    with pytest.raises(ScenarioError, match=message):
        read(row)


def test_a_mistake_in_the_base_is_reported_with_its_own_line(row: Path) -> None:
    base = row.parent.parent / "base.yaml"
    base.write_text(base.read_text().replace("rationales: 8", "rationales: many"))
    with pytest.raises(ScenarioError, match=r"base\.yaml:\d+: lesson\.rationales: needs a whole number"):
        read(row)
