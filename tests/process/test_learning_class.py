"""Whole classes of level 2 with simulated engines: pairs, trainings, new teachers, and what happens when they die."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from broker.work_messages import PreferencePair
from scenarios.store.sqlite import Store
from tests import classes
from tests.classes import summary

SMALL = (
    "task.problems=4",
    "lesson.rationales=5",
    "learn.held_out=4",
    "learn.samples=1",
    "learn.rationales=1",
    "broker.heartbeat_s=0.3",
)
SLOW = (*SMALL, "teacher.engine_args.tokens_per_second=600")
"""A step of the training takes two thirds of a second."""
SMOKE = "scenarios/smoke_learn.yaml"


def gradebook(out: Path) -> set[tuple[object, ...]]:
    """What two runs must agree on: all but the seconds that a training took."""
    with Store(out) as store:
        return {
            (r.request_id, "" if r.kind == "Train" else r.text, r.answer, r.correct, r.score) for r in store.results()
        }


def trainings(out: Path) -> int:
    with Store(out) as store:
        return int(str(store.query("SELECT count(*) FROM result WHERE kind = 'Train'")[0][0]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("learn") / "run"
    classes.finish(classes.start(out, *SLOW, scenario=SMOKE))
    return out


def test_every_arm_is_trained_and_every_teacher_measured(finished: Path) -> None:
    found = summary(finished)
    (one,) = found["levels"]["2"]["rounds"]
    assert (found["status"], found["counts"]["failed"], one["finished"]) == ("complete", 0, True)
    assert [arm["status"] for arm in one["arms"]] == ["trained"] * 3
    assert len({arm["pairs"] for arm in one["arms"]}) == 1
    assert all(arm["curve"] and arm["figures"]["steps"] == len(arm["curve"]) for arm in one["arms"])
    assert [(row["teacher"], row["n"]) for row in one["teachers"]] == [
        ("original", 4), ("m2", 4), ("correctness_dpo", 4), ("shuffled", 4),
    ]  # fmt: skip
    assert all(row["drift"] is not None for row in one["teachers"][1:])
    assert found["methods"]["m2"]["n"] == 4


def test_the_pairs_lie_in_the_runs_folder_and_the_new_weights_too(finished: Path) -> None:
    files = sorted((finished / "training").glob("pairs-*.jsonl"))
    arms = summary(finished)["levels"]["2"]["rounds"][0]["arms"]
    assert len(files) == 3
    for file in files:
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert len(rows) == arms[0]["pairs"]
        assert rows[0].keys() == set(PreferencePair.__struct_fields__)
    assert {arm["weights"] for arm in arms} <= {path.name for path in (finished / "weights").iterdir()}


def test_the_summary_can_be_made_again_from_the_gradebook(finished: Path) -> None:
    before = summary(finished)
    classes.say("report", finished)
    assert summary(finished) == before


def test_another_rule_of_pairs_is_shown_without_its_training(finished: Path) -> None:
    said = classes.say("replay", finished, "--set", "learn.gap=0.6")
    assert "Never asked in this run, and so left out: 3 trainings, and all that would have followed" in said
    assert "train" in said


def test_a_class_of_level_2_is_extended_by_what_decides_no_training(finished: Path, tmp_path: Path) -> None:
    out, whole = Path(shutil.copytree(finished, tmp_path / "run")), tmp_path / "whole"
    more = ("learn.samples=2", "learn.rationales=2", "lesson.equal_cost=true", "exam.score=logprob")
    classes.finish(classes.extend(out, *more))
    classes.finish(classes.start(whole, *SLOW, *more, scenario=SMOKE))
    assert gradebook(finished) < gradebook(out) == gradebook(whole)
    rounds = [summary(one)["levels"]["2"]["rounds"][0] for one in (out, whole)]
    assert all(rounds[0][name] == rounds[1][name] for name in ("teachers", "paired", "notes"))
    assert summary(out)["methods"] == summary(whole)["methods"]


@pytest.mark.parametrize("more", ["lesson.rationales=6", "exam.repeats=2", "task.problems=5"])
def test_an_extension_that_would_change_a_training_is_refused(more: str, finished: Path) -> None:
    before = classes.tables(finished)
    said = " ".join(classes.finish(classes.extend(finished, more), code=2).split())
    assert f"{more.partition('=')[0]}: " in said and "are not among those that it asks so far" in said
    assert classes.tables(finished) == before


def test_a_resumed_class_that_is_complete_starts_nothing(finished: Path) -> None:
    classes.finish(classes.resume(finished))
    assert classes.events(finished, "restart") == []


@pytest.mark.parametrize("victim", ["teacher", "class"])
def test_kill_9_in_the_midst_of_a_training_changes_nothing(victim: str, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = classes.start(out, *SLOW, scenario=SMOKE)
    classes.wait_until(process, lambda: classes.results(out) > 0 and bool(classes.events(out, "progress")))
    if victim == "teacher":
        classes.child(process, "teacher").kill()
    else:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=classes.WAIT_S)
        assert trainings(out) < 3
        process = classes.resume(out)
    classes.finish(process)
    assert gradebook(out) == gradebook(finished)
    assert {path.name: path.read_bytes() for path in (out / "training").glob("*.jsonl")} == {
        path.name: path.read_bytes() for path in (finished / "training").glob("*.jsonl")
    }


def test_a_class_whose_pairs_have_no_gap_is_complete_and_says_so(tmp_path: Path) -> None:
    out = tmp_path / "run"
    # Students who get everything wrong, whoever taught them.
    hopeless = ("students.*.engine_args.ability=-50", "learn.weight=0", "learn.arms=[m2]")
    said = classes.finish(classes.start(out, *SMALL, *hopeless, scenario=SMOKE))
    assert (summary(out)["status"], trainings(out)) == ("complete", 0)
    assert "the largest gap is 0.00, not above 0.3" in " ".join(said.split())


def test_an_interrupted_class_is_reported_as_far_as_it_came(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = classes.start(out, *SLOW, "limits.drain_s=1", scenario=SMOKE)
    classes.wait_until(process, lambda: classes.results(out) >= 30)
    process.send_signal(signal.SIGINT)
    stopped = classes.finish(process, code=130)
    assert f"The summary so far of this class: python run.py report {out}" in stopped
    assert not (out / "summary.json").exists()
    said = " ".join(classes.say("report", out).split())
    assert "Level 2, round 1 (unfinished)" in said or "interrupted" in said
    assert summary(out)["status"] == "interrupted"
