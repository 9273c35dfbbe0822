"""Copies of a student (`copies`): students of their own, answered by the processes of one agent."""

import json
from pathlib import Path

import pytest

from tests import classes

SMALL = ("task.problems=2", "lesson.rationales=2", "exam.repeats=2")
TWO = "{name: weak, engine: simulated}"
COPIES = (f"students=[{{name: peer, engine: simulated, copies: 3, replicas: 2}}, {TWO}]", *SMALL)
WRITTEN_OUT = (
    f"students=[{', '.join(f'{{name: peer-{n}, engine: simulated}}' for n in (1, 2, 3))}, {TWO}]",
    *SMALL,
)


def students(out: Path) -> object:
    found = json.loads((out / "summary.json").read_text())
    return [{**one, "copy_of": ""} for one in found["students"]], found["lineups"], found["methods"]


@pytest.fixture(scope="module")
def written_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The class in which every copy is a student with a process of its own."""
    out = tmp_path_factory.mktemp("copies") / "run"
    classes.finish(classes.start(out, *WRITTEN_OUT))
    return out


@pytest.mark.parametrize("more", [(), ("time_share=true",)])
def test_copies_give_the_same_class_as_students_written_out(
    written_out: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    out = tmp_path / "run"
    said = classes.finish(classes.start(out, *COPIES, *more))
    assert classes.gradebook(out) == classes.gradebook(written_out)
    assert students(out) == students(written_out)
    agents = json.loads((out / "summary.json").read_text())["agents"]
    assert [agent["name"] for agent in agents] == ["teacher", "peer", "weak"]
    assert agents[1]["requests"] == 3 * agents[2]["requests"] > 0
    logs = {path.stem for path in (out / "logs").glob("*.log")}
    assert logs == {"broker", "teacher", "peer", "peer.2", "weak"}
    assert "peer-1, peer-2, peer-3: copies of peer" in " ".join(said.split())
    assert "reused from earlier sessions" in classes.finish(classes.resume(out))
