"""The page of a study in a real browser: its answer, charts and classes, whatever is missing or hostile."""

import io
import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from rich.console import Console

from scenarios.report.page import figures
from scenarios.store.sqlite import Store
from scenarios.studies import load, page
from scenarios.studies.commands import rebuild_study, report_study
from scenarios.studies.folder import StudyFolder
from scenarios.studies.result import read_study
from tests import classes
from tests.scenarios.report.page.browser import OpenPage, browser
from tests.scenarios.report.page.played import play_in, written

__all__ = ["browser"]

SMALL = ("set.task.problems=3", "set.lesson.rationales=3")
HOSTILE = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"


def begin(path: Path, *overrides: str) -> StudyFolder:
    study, cells = load.read(classes.ROOT / "scenarios/studies/smoke.yaml", (*SMALL, *overrides))
    return StudyFolder.begin(path, study, cells)


def report(folder: StudyFolder) -> Path:
    quiet = Console(quiet=True)
    assert report_study(folder, quiet, quiet) == 0
    return folder.path / "report.html"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A small study of four classes, with the page of each."""
    folder = begin(tmp_path_factory.mktemp("study") / "study")
    for cell in folder.cells():
        play_in(folder.run(cell))
        written(folder.run(cell))
    return folder


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1920, True)])
def test_the_page_of_a_study_answers_first_and_axe_accepts_it(
    browser: Browser, study: StudyFolder, width: int, dark: bool
) -> None:
    opened = OpenPage(browser, report(study), width=width, dark=dark)
    answer = opened.page.locator(".answer").inner_text()
    assert answer.index("mixed against copies") < answer.index("mixed against sc") < answer.index("Holm")
    expect(opened.page.locator("#doubt")).to_contain_text("comparisons (descriptive) is not corrected for their number")
    for rule in ("MAX", "SUM"):
        opened.page.get_by_role("radio", name=rule).check()
        expect(opened.page.locator("#lineups .view:visible h3")).to_have_text(f"Line-ups, M1 {rule}")
        expect(opened.page.locator("#students .by-rule:visible h3")).to_contain_text(f"majority vote, M1 {rule}")
    for details in opened.page.locator("main details > summary:visible").all():
        details.click()
    assert not opened.errors and not opened.violations()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_each_class_is_a_link_to_its_own_page(browser: Browser, study: StudyFolder) -> None:
    opened = OpenPage(browser, report(study))
    links = opened.page.locator("#classes a")
    assert links.count() == 4
    links.first.click()
    opened.page.wait_for_selector("#grid .cell")
    assert "/runs/" in opened.page.url and not opened.errors


def test_a_problem_opens_the_pages_of_two_classes_side_by_side(browser: Browser, study: StudyFolder) -> None:
    opened = OpenPage(browser, report(study))
    controls = opened.page.locator("#choice")
    controls.get_by_label("Show").select_option("all")
    expect(opened.page.locator("#common")).to_contain_text("of 3 common problems")
    controls.get_by_label("Answer of").select_option("sc")
    opened.page.locator("#pairs a").first.click()
    opened.page.wait_for_selector("#drawer.two")
    again = OpenPage(browser, study.path / "report.html", opened.page.evaluate("location.hash"))
    tp = opened.page.locator("#drawer-title").inner_text()
    for one in (opened, again):
        frames = [one.page.locator("#drawer iframe").nth(number).content_frame for number in (0, 1)]
        for frame in frames:
            expect(frame.locator("#drawer .panel")).to_contain_text("SC")
            expect(frame.locator("#drawer-title")).to_contain_text(tp)
            expect(frame.locator("#drawer-close")).to_have_text("Close in this class Esc")
            expect(frame.locator(".kind a")).to_have_attribute("target", "_top")  # not the study within the frame
        assert len({frame.locator(".head h1").inner_text() for frame in frames}) == 2
        assert not one.errors
    assert not opened.violations()
    opened.page.get_by_role("button", name="Close both classes").click()
    opened.page.wait_for_selector("#drawer", state="hidden")


def test_classes_without_a_common_problem_are_not_set_side_by_side(browser: Browser, tmp_path: Path) -> None:
    folder = begin(tmp_path / "study", "cross={}")
    for cell in folder.cells():
        play_in(folder.run(cell))
        written(folder.run(cell))
    opened = OpenPage(browser, report(folder))
    assert "other seeds and tasks draw other problems" in opened.page.locator("#beside").inner_text()
    assert not opened.errors


def test_copies_of_a_student_share_its_colour(tmp_path: Path) -> None:
    students = "students=[{name: twin, engine: simulated, copies: 2}, {name: other, engine: simulated}]"
    folder = begin(tmp_path / "study", students, "lineups={one: [twin.1], both: [twin], mixed: [twin.1, other]}",
                   "primary=[]", "cross={}", "seeds=[1]")  # fmt: skip
    play_in(folder.run(folder.cells()[0]))
    found = read_study(folder)
    assert found.scenario
    copied = {one.name: one.pool for one in found.scenario.students}
    colours = {one.name: figures.line_up_colour(one.students, copied) for one in found.result.lineups}
    assert colours == {"one": "var(--c1)", "both": "var(--c1)", "mixed": "var(--ink)"}
    assert report(folder).is_file()


def test_report_writes_the_pages_of_all_classes_again(study: StudyFolder) -> None:
    cells = [study.run(cell).path for cell in study.cells()]
    before = [(path / "report.html").read_bytes() for path in cells]
    (cells[0] / "report.html").write_text("made by an earlier version")
    (cells[1] / "report.html").unlink()
    (cells[2] / "summary.json").unlink()
    quiet = Console(quiet=True)
    assert rebuild_study(study, quiet, quiet) == 0
    assert [(path / "report.html").read_bytes() for path in cells] == before
    assert (cells[2] / "summary.json").is_file()


def test_a_class_that_cannot_be_read_is_left_out_and_the_others_are_reported(tmp_path: Path) -> None:
    folder = begin(tmp_path / "study", "seeds=[1]")
    for cell in folder.cells():
        play_in(folder.run(cell))
    (folder.run(folder.cells()[0]).path / "class.db").write_text("no database")
    err = Console(file=io.StringIO(), width=500)
    assert rebuild_study(folder, Console(quiet=True), err) == 1
    assert isinstance(err.file, io.StringIO) and "is left out, since it cannot be read" in err.file.getvalue()
    result = json.loads((folder.path / "study.json").read_bytes())
    assert [run["status"] for run in result["runs"]] == ["failed", "complete"]
    assert "it is damaged" in result["runs"][0]["reason"] and result["primary"]


def test_a_class_that_stopped_before_it_had_problems_is_no_failure_of_report(tmp_path: Path) -> None:
    folder = begin(tmp_path / "study", "seeds=[1]")
    first, second = map(folder.run, folder.cells())
    with Store(first.path, write=True) as store:
        store.note("", "session", '{"wall_seconds": 1.5, "status": "interrupted"}')
    play_in(second)
    err = Console(file=io.StringIO(), width=500)
    assert rebuild_study(folder, Console(quiet=True), err) == 0
    assert isinstance(err.file, io.StringIO) and err.file.getvalue().count(str(first)) == 1
    assert first.status == "interrupted" and first.progress() == "0 of at most 66 requests"
    assert (second.path / "summary.json").is_file()


def test_pooled_shapley_values_sum_to_the_pooled_gain(study: StudyFolder) -> None:
    report(study)
    result = json.loads((study.path / "study.json").read_bytes())
    added = sum(one["m1_sum"]["value"] for one in result["shapley"]["students"])
    everybody, sc = (result["methods"][name]["accuracy"] for name in ("m1_sum", "sc"))
    assert added == pytest.approx(everybody - sc, abs=1e-9)


def test_classes_with_different_students_have_no_pooled_shapley_values(browser: Browser, tmp_path: Path) -> None:
    folder = begin(tmp_path / "study", "seeds=[1]")
    for number, cell in enumerate(folder.cells()):
        run = folder.run(cell)
        text = run.scenario_file.read_text().replace("name: peer-2", f"name: other-{number}")
        run.scenario_file.write_text(text)
    (study_file := folder.study_file).write_text(study_file.read_text().replace("- peer-2", "- strong"))
    for cell in folder.cells():
        play_in(folder.run(cell))
    opened = OpenPage(browser, report(folder))
    assert json.loads((folder.path / "study.json").read_bytes())["shapley"] == {}
    assert "different students" in opened.page.locator("#students").inner_text()


@pytest.mark.parametrize("complete", [0, 1])
def test_an_unfinished_study_says_what_is_left_out_and_links_to_no_page_that_is_not_there(
    browser: Browser, tmp_path: Path, complete: int
) -> None:
    folder = begin(tmp_path / "study", f"students=[{{name: ada, engine: simulated, persona: {json.dumps(HOSTILE)}}}]",
                   "lineups={one: [ada]}", "primary=[one - sc]")  # fmt: skip
    for cell in folder.cells()[:complete]:
        play_in(folder.run(cell))
    opened = OpenPage(browser, report(folder))
    said = opened.page.locator("main").inner_text()
    assert f"{complete} of 4 classes are complete" in said and "python run.py resume" in said
    assert f"Left out: {4 - complete} of 4 classes" in said
    assert opened.page.locator("#classes a").count() == 0
    assert not opened.errors and not opened.violations() and opened.page.evaluate("window.ran") is None


def test_an_error_in_the_page_costs_nothing_else(study: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report(study).read_bytes()

    def fails(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page, "page", fails)
    err = Console(file=io.StringIO(), width=200)
    assert report_study(study, Console(quiet=True), err) == 1
    assert "report.html is not written" in err.file.getvalue()  # type: ignore[attr-defined]
    assert (study.path / "report.html").read_bytes() == before
