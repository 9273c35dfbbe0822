"""Level 3 as a user runs it: real processes, simulated engines; killed in every step, it ends the same."""

import json
from functools import partial
from pathlib import Path

import psutil

from scenarios.gradebook.store import Store, StoreError
from tests import classes

ITERATE = "scenarios/smoke_iterate.yaml"
SLOW = (
    "iterate.rounds=1", "iterate.baselines=[]", "teacher.capacity=8", "students.*.capacity=8",
    "teacher.engine_args.tokens_per_second=400", "students.*.engine_args.tokens_per_second=400",
)  # fmt: skip
STEPS = (("write", 0), ("exam", 1), ("reflect", 1), ("write", 1), ("score", 1))


def recorded(out: Path, stage: str, number: int) -> bool:
    try:
        with Store(out) as store:
            ((count,),) = store.query("SELECT count(*) FROM result WHERE stage = ? AND round = ?", stage, number)
    except StoreError:  # not there yet, or half made
        return False
    return bool(count)


def test_a_class_killed_in_every_step_and_resumed_has_the_gradebook_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "run"
    beside = classes.start(undisturbed, *SLOW, scenario=ITERATE)
    process = classes.start(out, *SLOW, scenario=ITERATE)
    for stage, number in STEPS:
        classes.wait_until(process, partial(recorded, out, stage, number))
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        psutil.wait_procs(family, timeout=30)
        process = classes.resume(out)
    said = classes.finish(process)
    assert "results reused" in said
    classes.finish(beside)
    assert classes.gradebook(out) == classes.gradebook(undisturbed)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (out, undisturbed)]
    assert summaries[0]["levels"] == summaries[1]["levels"]
    assert summaries[0]["counts"]["requests"] == summaries[1]["counts"]["requests"]


def test_a_finished_class_is_reported_watched_and_resumed_to_itself(tmp_path: Path) -> None:
    out = tmp_path / "run"
    said = classes.finish(classes.start(out, scenario=ITERATE))
    for told in ("Teacher and students by round", "no students", "Whose mistakes", "The last best set"):
        assert told in said
    before = json.loads((out / "summary.json").read_text())
    assert before["status"] == "complete"
    assert before["counts"]["failed"] == 0
    assert (before["methods"], before["paired"], before["lineups"]) == ({}, [], [])
    rounds = before["levels"]["3"]["rounds"]
    assert [one["round"] for one in rounds] == [0, 1, 2]
    assert set(rounds[1]["students"]) == {"weak", "average", "strong"}
    assert 0 <= rounds[2]["teacher_f1_test"] <= 1
    assert len(rounds[2]["exemplars"]) == 4
    (out / "summary.json").unlink()
    assert json.loads(classes.say("report", out, "--json")) == before
    assert "iterate" in classes.say("watch", out)
    assert "results reused" in classes.say("resume", out)
