"""docs/evidence.md shows what the results in docs/evidence say."""

import re
from pathlib import Path

import pytest

from scenarios.studies import load
from tests import classes, evidence

DOCUMENT = (classes.ROOT / "docs" / "evidence.md").read_text("utf-8")


@pytest.mark.parametrize("name", sorted(path.name for path in evidence.FOLDER.glob("*.summary.json")))
def test_the_document_shows_the_tables_of_a_result(name: str) -> None:
    assert evidence.tables()[name] in DOCUMENT, f"python -m tests.evidence prints the tables of {name}"
    assert f"evidence/{name}" in DOCUMENT


@pytest.mark.parametrize("path", sorted((classes.ROOT / "scenarios" / "evidence").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_class_of_the_evidence_can_be_read_and_is_in_the_document(path: Path) -> None:
    study, cells = load.read(path)
    assert study.study == path.stem and cells
    assert re.search(rf"run.py study scenarios/evidence/{path.name}", DOCUMENT)
