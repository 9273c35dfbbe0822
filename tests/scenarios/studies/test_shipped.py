"""The studies that come with the project can be read, and the page about studies explains every entry."""

import re
from pathlib import Path

import pytest

from scenarios.config.reference import leading_comment
from scenarios.studies import load
from scenarios.studies.result import StudyResult
from scenarios.studies.schema import Published, Study
from tests import classes

SHIPPED = sorted((classes.ROOT / "scenarios" / "studies").glob("*.yaml"))
PAGE = (classes.ROOT / "docs" / "studies.md").read_text()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_study_is_read_says_what_it_asks_and_names_primary_comparisons(path: Path) -> None:
    study, found = load.read(path)
    load.refuse_many(len(found))
    assert study.study.removesuffix("_study") == path.stem
    assert study.primary
    assert len(leading_comment(path.read_text("utf-8"))) > 80


def test_every_entry_of_a_study_and_every_key_of_its_result_is_explained() -> None:
    rows = set(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert {*Study.__struct_fields__, *StudyResult.__struct_fields__} <= named
    assert all(f"`{name}`" in PAGE for name in Published.__struct_fields__)


def test_the_example_of_a_study_file_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    file = tmp_path / "study.yaml"
    file.write_text(example.replace("../multi_student.yaml", str(classes.ROOT / "scenarios" / "multi_student.yaml")))
    _, found = load.read(file)
    assert len(found) == 6


def test_the_published_rows_of_the_papers_table_are_each_about_one_teacher() -> None:
    study, found = load.read(classes.ROOT / "scenarios" / "studies" / "paper_table2.yaml")
    assert len(study.published) == 11
    for row in study.published:
        teacher = row.where["teacher"]
        assert [load.stands_for("teacher", teacher, one.cell.factors["teacher"]) for one in found].count(True) == 1
    assert {one.scenario.level for one in found} == {1}
    assert {(one.scenario.lesson.rationales, one.scenario.exam.repeats) for one in found} == {(256, 3)}
