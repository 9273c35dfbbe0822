"""The page of a class in a real browser: it opens without an error, shows its texts on click, and runs none of them."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser, expect

from scenarios.levels.base import Request
from scenarios.report.page import texts
from scenarios.store.prompts import Parts
from scenarios.store.sqlite import Store
from scenarios.tasks.problems import Bank
from tests import classes
from tests.scenarios.report.page.browser import OpenPage, browser
from tests.scenarios.report.page.played import play, text_of, written

__all__ = ["browser"]

HOSTILE = (
    "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'></script></pre><svg onload='window.ran = 1'>"
    "<!--<script> \u2028\u202e"
)
PERSONA = "أنت طالب. אתה תלמיד. 你是学生。Ты ученик. Είσαι μαθητής. आप छात्र हैं। 학생입니다。👩‍🎓 <b>bold</b>"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small class."""
    return written(play(tmp_path_factory.mktemp("page") / "run"))


def test_a_page_opens_without_an_error_and_asks_for_nothing_but_itself(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small)
    opened.page.wait_for_selector("#grid .cell")
    assert not opened.errors
    assert [url for url in opened.asked if not url.startswith("data:")] == [small.as_uri()]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1920])
def test_axe_finds_nothing_serious_and_the_page_never_scrolls_sideways(
    browser: Browser, small: Path, width: int, dark: bool
) -> None:
    opened = OpenPage(browser, small, width=width, dark=dark)
    opened.page.wait_for_selector("#grid .cell")
    for details in opened.page.locator("main details > summary:visible").all():
        details.click()
    assert not opened.violations()
    opened.cell(1)
    opened.page.locator("#drawer .exams button").first.click()
    opened.page.wait_for_selector("#exam-title")
    assert not opened.violations()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_shows_problem_gold_answer_rationale_exams_and_the_text_of_one(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small)
    opened.cell(1)
    assert "Gold answer" in opened.drawer and "teach of teacher" in opened.drawer
    opened.page.locator("#drawer .exams button").first.click()
    opened.page.wait_for_selector("#exam-title")
    assert "exam of weak" in opened.drawer
    again = OpenPage(browser, small, opened.page.evaluate("location.hash"))
    again.page.wait_for_selector("#exam-title")
    assert again.drawer == opened.drawer
    opened.page.locator("#drawer details").last.locator("summary").click()
    asked = opened.page.get_by_label("Exact prompt").last.inner_text().split("\n")
    assert [line for line in asked if line.startswith("[")] == ["[instructions]", "[asked]", "[the answer begins with]"]
    assert any(line.startswith("prompt of weak: ") for line in asked) and asked[-1] == "Answer:"


def test_two_rationales_stand_side_by_side(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small)
    opened.cell(1)
    opened.page.get_by_role("button", name="Pin this").click()
    opened.page.get_by_role("button", name="rationale →").click()
    opened.page.wait_for_selector("#drawer.two")
    titles = opened.page.locator("#drawer .panel").all_inner_texts()
    assert ["Rationale 0" in titles[0], "Rationale 1" in titles[1]] == [True, True]


def test_arrow_keys_move_between_cells_and_escape_returns_to_the_last_one(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small)
    opened.page.locator("#grid .cell").first.focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        opened.page.keyboard.press(key)
    opened.page.wait_for_selector("#drawer .panel")
    opened.page.keyboard.press("Escape")
    opened.page.wait_for_selector("#drawer", state="hidden")
    assert opened.page.evaluate("document.activeElement.dataset.tr") == "0"


def test_search_and_filters_choose_problems(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small)
    opened.cell(1)
    number = opened.page.locator("#drawer pre").nth(1).inner_text().split("number ")[1][:6]
    opened.page.keyboard.press("Escape")
    opened.page.get_by_label("Search").fill(number)
    expect(opened.page.locator("#found")).to_have_text("1 of 3 problems")
    opened.page.get_by_label("Search").fill("there is no such text")
    expect(opened.page.locator("#found")).to_have_text("0 of 3 problems")
    filtered = OpenPage(browser, small, "#show=differ&sort=hard&by=weak")
    expect(filtered.page.locator("#found")).to_contain_text("problems")
    assert filtered.page.get_by_label("Show").input_value() == "differ"
    assert not (opened.errors or filtered.errors)


def test_problems_are_filtered_by_level_and_subject_where_they_have_some(
    browser: Browser, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert OpenPage(browser, small).page.get_by_label("Level").count() == 0
    kinds = [("Level 10", "algebra"), ("Level 2", "algebra"), ("", "<b>geometry")]
    kept = Store.bank

    def bank(store: Store) -> Bank | None:
        found = kept(store)
        assert found
        items = [
            replace(item, tp=replace(item.tp, level=level, subject=subject))
            for item, (level, subject) in zip(found.items, kinds, strict=True)
        ]
        return replace(found, items=tuple(items))

    monkeypatch.setattr(Store, "bank", bank)
    opened = OpenPage(browser, written(play(tmp_path / "run")), "#subject=algebra")
    expect(opened.page.locator("#found")).to_have_text("2 of 3 problems")
    assert opened.page.get_by_label("Level").locator("option").all_inner_texts() == ["all", "Level 2", "Level 10"]
    opened.page.get_by_label("Level").select_option("Level 2")
    expect(opened.page.locator("#found")).to_have_text("1 of 3 problems")
    opened.page.get_by_label("Subject").select_option("<b>geometry")
    expect(opened.page.locator("#found")).to_have_text("0 of 3 problems")
    assert not opened.errors and not opened.violations()


def test_the_address_holds_the_views_and_the_open_tables(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small)
    opened.page.get_by_role("radio", name="equal exams").check()
    opened.page.locator("#methods summary").click()
    opened.page.get_by_label("Sort by").select_option("hard")
    opened.page.wait_for_function("page.state().tables && page.state().sort === 'hard'")
    hash = opened.page.evaluate("location.hash")
    again = OpenPage(browser, small, hash)
    expect(again.page.get_by_role("radio", name="equal exams")).to_be_checked()
    expect(again.page.locator("#methods table").first).to_be_visible()
    assert again.page.locator("main details[open]").count() == 1
    assert again.page.get_by_label("Sort by").input_value() == "hard"
    assert again.page.evaluate("location.hash") == hash
    assert not opened.errors and not again.errors


def test_on_a_narrow_screen_a_problem_is_named_by_the_end_of_its_id(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small, width=400)
    name = opened.page.locator("#grid tbody .name").first
    seen, whole = (name.locator(part).bounding_box() for part in (".id", "bdi"))
    assert seen and whole and whole["width"] > seen["width"]
    assert whole["x"] < seen["x"] and whole["x"] + whole["width"] == pytest.approx(seen["x"] + seen["width"], abs=1)
    assert ": " in name.inner_text()


def test_the_columns_of_the_gradebook_have_one_width(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small)
    opened.page.wait_for_selector("#grid .cell")
    widths = "[...document.querySelectorAll('#grid thead th')].slice(1).map((one) => one.offsetWidth)"
    assert len(set(opened.page.evaluate(widths))) == 1


def test_markup_in_texts_is_shown_as_it_is_and_never_runs(browser: Browser, tmp_path: Path) -> None:
    def prompt(request: Request) -> Parts:
        return [("begun", ""), ("user", f"{HOSTILE}{request.id}")]

    page = written(play(tmp_path / "run", text=lambda request: f"{HOSTILE}{text_of(request)}", prompt=prompt))
    opened = OpenPage(browser, page)
    opened.cell(1)
    opened.page.locator("#drawer .exams button").first.click()
    opened.page.wait_for_selector("#exam-title")
    for details in opened.page.locator("#drawer details > summary").all():
        details.click()
    assert opened.drawer.count("<script>window.ran = 1</script>") == 4
    assert not opened.errors
    assert opened.refuses(HOSTILE)


def test_a_rationale_of_a_megabyte_unfolds_on_click(browser: Browser, tmp_path: Path) -> None:
    def text(request: Request) -> str:
        return "<b>x</b> " * 120_000 if request.kind == "Teach" else text_of(request)

    opened = OpenPage(browser, written(play(tmp_path / "run", "task.problems=1", text=text)))
    opened.cell(1)
    opened.page.get_by_role("button", name="Show all").first.click()
    assert len(opened.page.locator("#drawer pre").nth(1).inner_text()) > 1_000_000
    assert not opened.errors


def test_line_ups_switch_between_all_exams_equal_exams_and_one_student_with_as_many(
    browser: Browser, small: Path
) -> None:
    opened = OpenPage(browser, small)
    lineups = opened.page.locator("#lineups")
    for label, title in (("equal exams", "M1 by line-up, equal exams"), ("all its exams", "M1 by line-up")):
        lineups.get_by_role("radio", name=label).check()
        expect(lineups.locator(".view:visible h3")).to_have_text(title)
    lineups.get_by_role("radio", name="as many exams of one student").check()
    assert "would need exam.repeats=" in lineups.locator(".view:visible").inner_text()
    assert "Each line-up minus the majority vote" in lineups.inner_text()
    assert not opened.errors and not opened.violations()


def test_copies_are_said_first_share_a_colour_and_sit_as_many_exams(browser: Browser, tmp_path: Path) -> None:
    students = '[{"name": "twin", "engine": "simulated", "copies": 2}, {"name": "other", "engine": "simulated"}]'
    page = written(play(tmp_path / "run", f"students={students}"))
    opened = OpenPage(browser, page, width=360)
    assert set(opened.page.evaluate("page.data.colours").values()) == {"var(--c1)", "var(--c2)"}
    assert not opened.errors and not opened.violations()

    students = '[{"name": "twin", "engine": "simulated", "copies": 3}]'
    opened = OpenPage(browser, written(play(tmp_path / "copies", f"students={students}")))
    said = opened.page.locator("#lineups p.said").all_inner_texts()
    assert "twin-1, twin-2 and twin-3 are identical" in said[0] and "copies of one" in said[1]
    opened.page.get_by_role("radio", name="as many exams of one student").check()
    assert "all students are copies of one" in opened.page.locator(".view:visible").inner_text()
    assert "twin-1" in opened.page.locator("#students .matrix").inner_text()
    assert not opened.errors and not opened.violations()


def test_personas_in_many_languages_are_shown(browser: Browser, tmp_path: Path) -> None:
    students = json.dumps([{"name": "ada", "engine": "simulated", "persona": PERSONA}], ensure_ascii=False)
    opened = OpenPage(browser, written(play(tmp_path / "run", f"students={students}")), width=360)
    opened.page.get_by_text("Settings", exact=True).click()
    assert PERSONA[:20] in opened.page.locator("#run pre").inner_text()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not opened.errors and not opened.violations()


def test_a_prompt_that_was_not_kept_is_said(browser: Browser, tmp_path: Path) -> None:
    opened = OpenPage(browser, written(play(tmp_path / "run", prompt=lambda request: ())))
    opened.cell(1)
    assert "The prompt was not kept" in opened.drawer and not opened.errors


@pytest.mark.parametrize(("results", "ending"), [(0, "interrupted"), (7, "interrupted"), (40, "failed")])
def test_a_class_that_did_not_end_says_how_to_go_on_and_why_figures_are_missing(
    browser: Browser, tmp_path: Path, results: int, ending: str
) -> None:
    opened = OpenPage(browser, written(play(tmp_path / "run", results=results, ending=ending)))
    assert "python run.py resume" in opened.page.locator(".status").inner_text()
    said = opened.page.locator("main").inner_text()
    assert ("No student has taken an exam yet." in said) == (results < 8)
    assert not opened.errors and not opened.violations()


def test_many_texts_stand_in_a_folder_and_are_loaded_on_click(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "INLINE_BYTES", 100)
    folder = play(tmp_path / "run")
    page = written(folder)
    assert sorted(file.name for file in (folder.path / texts.FOLDER).iterdir()) == ["0.js", "1.js", "2.js"]
    opened = OpenPage(browser, page)
    opened.cell(1)
    assert "teach of teacher" in opened.drawer
    assert not opened.errors
    assert opened.refuses(HOSTILE)
    (folder.path / texts.FOLDER / "2.js").unlink()
    opened.page.locator("#grid tbody tr").nth(2).locator(".cell").first.evaluate("cell => cell.click()")
    expect(opened.page.locator("#drawer")).to_contain_text("belongs beside this page")

    monkeypatch.undo()
    written(folder)
    assert not (folder.path / texts.FOLDER).exists()


@pytest.mark.parametrize("scenario", ["smoke_learn", "smoke_iterate", "smoke_rewrite"])
def test_a_class_of_every_level_has_a_page_that_axe_accepts(browser: Browser, tmp_path: Path, scenario: str) -> None:
    classes.finish(classes.start(tmp_path / "run", scenario=f"scenarios/{scenario}.yaml"))
    opened = OpenPage(browser, tmp_path / "run" / "report.html", width=360)
    for details in opened.page.locator("main details > summary:visible").all():
        details.click()
    assert not opened.errors and not opened.violations()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    if scenario == "smoke_learn":
        opened.page.locator("#learn a").first.click()
        opened.page.wait_for_selector("#drawer .panel")
        assert {"original", "M2"} <= set(opened.drawer.splitlines())


def test_the_printed_page_is_light_and_leaves_the_controls_out(browser: Browser, small: Path) -> None:
    opened = OpenPage(browser, small, dark=True)
    opened.page.wait_for_selector("#grid .cell")
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not opened.page.locator("#controls").is_visible()
