"""The pages of docs/ leave out nothing that they promise to explain."""

import re

import pytest

from agents.engines.simulated.options import SimulatedOptions
from scenarios.monitor.pace import LIKE, STUDENTS
from scenarios.store.sqlite import SCHEMA
from tests import classes

ENGINES = (classes.ROOT / "docs" / "engines.md").read_text()
RESULTS = (classes.ROOT / "docs" / "results.md").read_text()


def test_every_argument_of_a_simulated_agent_is_explained_with_its_default() -> None:
    for name in SimulatedOptions.__struct_fields__:
        default = getattr(SimulatedOptions(), name)
        if name == "answer_key":  # set by the run
            continue
        written = str(default).lower() if isinstance(default, bool) else f"{default:g}"
        assert re.search(rf"^\| [^|]*`{name}`[^|]* \| {re.escape(written)} \|", ENGINES, re.MULTILINE), name


@pytest.mark.parametrize(
    "stage", sorted({"teach", "train", "reflect", "write", "explain", *STUDENTS, *LIKE, "drift", "score"})
)
def test_every_stage_is_explained(stage: str) -> None:
    assert re.search(rf"^\| (\w+, )*{stage}(, \w+)* \|", RESULTS, re.MULTILINE)


def test_every_view_of_a_gradebook_is_named() -> None:
    views = re.findall(r"CREATE VIEW (?:IF NOT EXISTS )?(\w+)", SCHEMA)
    assert len(views) == 5
    assert all(f"`{view}`" in RESULTS for view in views)
