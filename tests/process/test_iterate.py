"""Level 3 as a user runs it: real processes, simulated engines; killed in every step, it ends the same."""

import json
from functools import partial
from pathlib import Path

import psutil
import pytest

from broker.errors import StoreError
from scenarios.store.sqlite import Store
from tests import classes
from tests.classes import summary

ITERATE = "scenarios/smoke_iterate.yaml"
SLOW = (
    "iterate.rounds=1", "iterate.baselines=[self]", "teacher.capacity=16", "students.*.capacity=16",
    "teacher.engine_args.tokens_per_second=600", "students.*.engine_args.tokens_per_second=600",
)  # fmt: skip
STEPS = (("write", 0), ("exam", 1), ("reflect", 1), ("write", 1), ("score", 1))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class that nobody disturbed."""
    out = tmp_path_factory.mktemp("iterate") / "run"
    said = classes.finish(classes.start(out, *SLOW, scenario=ITERATE))
    for told in ("Teacher and students by round", "itself", "Whose mistakes", "The last best set"):
        assert told in said
    return out


def recorded(out: Path, stage: str, number: int) -> bool:
    try:
        with Store(out) as store:
            ((count,),) = store.query("SELECT count(*) FROM result WHERE stage = ? AND round = ?", stage, number)
    except StoreError:  # not there yet, or half made
        return False
    return bool(count)


def test_a_class_leaves_rounds_in_its_summary(finished: Path) -> None:
    told = summary(finished)
    assert told["status"] == "complete"
    assert told["counts"]["failed"] == 0
    assert (told["paired"], told["lineups"]) == ([], [])
    # The names that scripts read are there at every level; a class that solves no teaching problems has no figures.
    assert {"greedy", "sc", "m1_max", "m1_sum"} <= told["methods"].keys()
    assert {(one["accuracy"], one["n"]) for one in told["methods"].values()} == {(None, 0)}
    assert all(one["exam_answers"] and one["exam_accuracy"] is not None for one in told["students"])
    rounds = told["levels"]["3"]["rounds"]
    assert [one["round"] for one in rounds] == [0, 1]
    assert set(rounds[1]["students"]) == {"weak", "average", "strong"}
    assert 0 <= rounds[1]["teacher_f1_test"] <= 1
    assert len(rounds[1]["exemplars"]) == 4


def test_a_finished_class_is_reported_watched_and_resumed_to_itself(finished: Path) -> None:
    before = summary(finished)
    (finished / "summary.json").unlink()
    assert json.loads(classes.say("report", finished, "--json")) == before == summary(finished)
    assert "iterate" in classes.say("watch", finished)
    asked = "SELECT * FROM asked ORDER BY request_id, arm, run, round, agent, stage"
    with Store(finished, write=True) as store:
        wanted = store.query(asked)
        store.query("DELETE FROM asked")  # as an earlier version left it
    assert "reused from earlier sessions" in classes.say("resume", finished)
    with Store(finished) as store:
        assert wanted
        assert store.query(asked) == wanted


def test_a_class_killed_in_every_step_and_resumed_has_the_gradebook_of_an_undisturbed_one(
    finished: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = classes.start(out, *SLOW, scenario=ITERATE)
    for stage, number in STEPS:
        classes.wait_until(process, partial(recorded, out, stage, number))
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        psutil.wait_procs(family, timeout=classes.WAIT_S)
        process = classes.resume(out)
    assert "reused from earlier sessions" in classes.finish(process)
    assert classes.gradebook(out) == classes.gradebook(finished)
    assert summary(out)["levels"] == summary(finished)["levels"]
