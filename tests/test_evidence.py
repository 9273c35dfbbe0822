"""docs/evidence.md and its pages and pictures show what the results in docs/evidence say."""

import re
from pathlib import Path

import pytest

from scenarios.config.load import read
from scenarios.studies import load
from tests import classes, evidence

DOCUMENT = (classes.ROOT / "docs" / "evidence.md").read_text("utf-8")
FOUND = evidence.results()
AGAIN = "python -m tests.evidence writes it anew"


@pytest.mark.parametrize("name", FOUND)
def test_a_result_has_its_page(name: str) -> None:
    assert (evidence.FOLDER / f"{name}.md").read_text("utf-8") == evidence.page(name, FOUND[name]), AGAIN
    assert f"evidence/{name}.md" in DOCUMENT


def test_the_document_shows_the_results_of_all_classes() -> None:
    assert evidence.overview(FOUND) in DOCUMENT, "python -m tests.evidence prints the table"


def test_the_document_compares_families_of_problems() -> None:
    assert evidence.families(FOUND) in DOCUMENT, "python -m tests.evidence prints the table"


def test_the_document_shows_what_trainings_gained() -> None:
    assert evidence.training(FOUND) in DOCUMENT, "python -m tests.evidence prints the table"


def test_the_pictures_are_those_of_the_results() -> None:
    for name, drawn in evidence.pictures(FOUND).items():
        assert texts((evidence.FOLDER / name).read_text("utf-8")) == texts(drawn), AGAIN
        assert f"(evidence/{name})" in DOCUMENT


def texts(svg: str) -> list[str]:
    """The labels and numbers of a picture: where they stand may depend on the version of what draws it."""
    return re.findall(r">([^<>]+)<", svg)


@pytest.mark.parametrize("path", sorted((classes.ROOT / "scenarios" / "evidence").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_class_of_the_evidence_can_be_read_and_is_in_the_document(path: Path) -> None:
    if load.is_study(path):
        study, cells = load.read(path)
        assert study.study == path.stem and cells
        command = "run.py study"
    else:
        assert read(path).name == f"evidence_{path.stem}"
        command = "run.py"
    assert re.search(rf"{command} scenarios/evidence/{path.name}", DOCUMENT)
