"""A class with more students than are analysed: all of them are scored, and of some line-ups and rows are shown."""

import re
from pathlib import Path

import pytest

from scenarios.report.summary import Summary
from scenarios.report.tables import summary_tables
from scenarios.scoring.drawn_students import MOST
from scenarios.session.run_dir import RunFolder
from tests.printing import printed
from tests.scenarios.report.page.played import play, written

STUDENTS = 90


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Its summary and its page are written."""
    folder = play(
        tmp_path_factory.mktemp("large") / "run",
        f"students.0.copies={STUDENTS - 2}",
        "task.problems=2",
        "lesson.rationales=2",
        "exam.problems=1",
    )
    written(folder)
    return folder


@pytest.fixture(scope="module")
def summary(large: RunFolder) -> Summary:
    return large.rebuild(large.scenario()).summary


def test_every_student_has_its_figures_and_counts_in_the_methods(summary: Summary) -> None:
    assert len(summary.students) == STUDENTS
    assert all(one.exam_answers and one.exam_accuracy is not None for one in summary.students)
    assert summary.counts.exam_answers == sum(one.exam_answers for one in summary.students)
    assert summary.methods["m1_sum"].n == 2


def test_line_ups_and_analyses_are_of_the_students_that_were_drawn(summary: Summary) -> None:
    drawn = summary.students_analysed
    assert len(drawn) == MOST
    assert {name for up in summary.lineups for name in up.students} == set(drawn)
    assert len(summary.lineups) == MOST + 100 + 1
    assert summary.shapley and [one.name for one in summary.shapley.students] == drawn
    assert summary.agreement and len(summary.agreement.pairs) <= MOST * (MOST - 1) // 2
    assert summary.abilities and [one.name for one in summary.abilities.students] == drawn
    assert {one.name for one in summary.students if one.m1_sum is not None} == set(drawn)


def test_the_printed_summary_has_a_bounded_number_of_lines_and_says_what_is_left_out(summary: Summary) -> None:
    text = printed(summary_tables(summary), width=160)
    assert f"{MOST} of the {STUDENTS} students, drawn by the seed" in " ".join(text.split())
    assert len(text.splitlines()) < 400
    assert f"{STUDENTS - 2} students are identical" in text


def test_the_page_has_the_students_that_were_drawn_and_says_so(large: RunFolder, summary: Summary) -> None:
    page = (large.path / "report.html").read_text("utf-8")
    named = set(re.findall(r"weak-\d+\b", page.partition("scenario.yaml")[0]))
    assert named and named <= set(summary.students_analysed)
    assert f"of {MOST} of the {STUDENTS} students, drawn by the seed" in page


def test_a_class_of_usual_size_leaves_nobody_out(tmp_path: Path) -> None:
    folder = play(tmp_path / "run", "students.0.copies=62", "task.problems=1", "lesson.rationales=2")
    found = folder.rebuild(folder.scenario()).summary
    assert (len(found.students), found.students_analysed, found.about_shown) == (64, [], "")
    assert found.students_shown == found.students
