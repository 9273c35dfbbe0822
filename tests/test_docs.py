"""The pages of docs/ leave out nothing that they promise to explain."""

import re
from pathlib import Path

import pytest

from agents.engines.simulated.options import SimulatedOptions
from scenarios.monitor.pace import LIKE, STUDENTS
from scenarios.store.sqlite import SCHEMA
from tests import classes
from tests.benchmarks.__main__ import BENCHMARKS

STUDENTS_PAGE = (classes.ROOT / "docs" / "students.md").read_text()
RESULTS = (classes.ROOT / "docs" / "results.md").read_text()
RUN_FOLDER = (classes.ROOT / "docs" / "run-folder.md").read_text()


def test_every_argument_of_a_simulated_agent_is_explained_with_its_default() -> None:
    for name in SimulatedOptions.__struct_fields__:
        default = getattr(SimulatedOptions(), name)
        if name == "answer_key":  # set by the run
            continue
        written = str(default).lower() if isinstance(default, bool) else f"{default:g}" if default != "" else "none"
        assert re.search(rf"^\| [^|]*`{name}`[^|]* \| {re.escape(written)} \|", STUDENTS_PAGE, re.MULTILINE), name


@pytest.mark.parametrize(
    "stage", sorted({"teach", "train", "reflect", "write", "explain", *STUDENTS, *LIKE, "drift", "score"})
)
def test_every_stage_is_explained(stage: str) -> None:
    assert re.search(rf"^\| (\w+, )*{stage}(, \w+)* \|", RESULTS, re.MULTILINE)


def test_every_view_of_a_gradebook_is_named() -> None:
    views = re.findall(r"CREATE VIEW (?:IF NOT EXISTS )?(\w+)", SCHEMA)
    assert len(views) == 5
    assert all(f"`{view}`" in RUN_FOLDER for view in views)


FOLDERS = "agents|broker|scenarios|tests|docs"
PAGES = [classes.ROOT / "README.md", classes.ROOT / "CONTRIBUTING.md", *sorted((classes.ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    """Paths within this repository, and links beside the page."""
    text = page.read_text()
    named = re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./-]*[\w/])", text)
    linked = re.findall(r"\]\(((?!http)[^)#]+)", text)
    missing = [path for path in named if not (classes.ROOT / path).exists()]
    missing += [path for path in linked if not (page.parent / path).exists()]
    assert not missing


def test_every_benchmark_is_named_and_every_named_one_exists() -> None:
    text = " ".join(" ".join(page.read_text().split()) for page in PAGES)
    assert set(re.findall(r"tests\.benchmarks ([\w-]+)", text)) <= BENCHMARKS.keys() | {"NAME"}
    for name, module in BENCHMARKS.items():
        assert (classes.ROOT / "tests" / "benchmarks" / f"{module}.py").is_file()
        assert re.search(rf"tests\.benchmarks {name}\b|`{name}( --quick)?`", text), name


ABBREVIATIONS = re.compile(r"\b(TPs?|TRs?|TAs?|EPs?|EAs?|LbT score|SC|M[123]|MAX|SUM|AUC)\b")


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "glossary.md"], ids=lambda page: page.name)
def test_a_page_with_abbreviations_links_to_their_meanings(page: Path) -> None:
    text = page.read_text()
    assert not ABBREVIATIONS.search(text) or "glossary.md)" in text


def test_every_abbreviation_of_the_method_has_a_meaning() -> None:
    table = (classes.ROOT / "docs" / "glossary.md").read_text().split("## Abbreviations")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    named = {name.strip() for cell in cells for name in cell.split(",")}
    wanted = {"LbT", "TP", "TR", "TA", "EP", "EA", "SC", "M1", "M2", "M3", "MAX", "SUM", "AUC"}
    assert wanted <= named


def test_the_map_in_readme_names_every_folder_of_code() -> None:
    (layout,) = re.findall(r"## How it is laid out\n\n```\n(.*?)```", (classes.ROOT / "README.md").read_text(), re.S)
    top = {"agents", "broker", "scenarios", "tests", "docs", "run.py"}
    assert top <= {line.split()[0].rstrip("/") for line in layout.splitlines() if not line.startswith(" ")}
    for package in ("agents", "scenarios"):
        block = re.split(r"^(?=\S)", layout.split(f"\n{package}/")[1], maxsplit=1, flags=re.M)[0]
        folders = {path.name for path in (classes.ROOT / package).iterdir() if (path / "__init__.py").is_file()}
        assert {f"{name}/" for name in folders} == set(re.findall(r"^  (\w+/)", block, re.M))
