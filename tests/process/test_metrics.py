"""The metrics of whole classes: JSON lines and event files of TensorBoard, and what happens where it is missing."""

import importlib.util
import json
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest

import run
from tests import classes

LEARN = ("task.problems=4", "lesson.rationales=5", "learn.held_out=4", "learn.samples=1", "learn.rationales=1")
TENSORBOARD = "metrics=tensorboard"


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def scalars(folder: Path) -> list[tuple[str, str, int, float]]:
    """Series, name, step and value of every point in the event files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages below, at their import
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    return [
        (str(file.parent.relative_to(folder)), value.tag, event.step, float(make_ndarray(value.tensor)))
        for file in sorted(folder.rglob("events.*"))
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]


def test_every_step_of_a_training_is_there_once_though_the_class_was_interrupted(tmp_path: Path) -> None:
    out = tmp_path / "run"
    slow = (*LEARN, "teacher.engine_args.tokens_per_second=600")
    process = classes.start(out, *slow, scenario="scenarios/smoke_learn.yaml")
    classes.wait_until(process, lambda: classes.results(out) > 0 and bool(classes.events(out, "progress")))
    process.send_signal(signal.SIGINT)
    classes.finish(process, 130)
    assert not (out / "metrics.jsonl").exists()
    classes.finish(classes.resume(out, TENSORBOARD))

    summary = json.loads((out / "summary.json").read_text())
    rows = lines(out)
    arms = summary["levels"]["2"]["rounds"][0]["arms"]
    steps = [(row["arm"], row["seed"], row["step"], row["loss"]) for row in rows if "arm" in row]
    assert steps == [(arm["arm"], arm["seed"], one["step"], one["loss"]) for arm in arms for one in arm["curve"]]
    assert len(steps) > 3
    (first,) = [row for row in rows if row["level"] == 1]
    assert first["m1_sum"] == summary["methods"]["m1_sum"]["accuracy"]
    assert {row["teacher"] for row in rows if "teacher" in row} == {"original", "m2", "correctness_dpo", "shuffled"}

    found = scalars(out / "metrics")
    losses = [(series, step, value) for series, tag, step, value in found if tag == "loss"]
    expected = [(f"level_2/round_1/arm_{arm}/seed_{seed}", step, loss) for arm, seed, step, loss in steps]
    assert [one[:2] for one in sorted(losses)] == [one[:2] for one in sorted(expected)]
    assert [one[2] for one in sorted(losses)] == pytest.approx([one[2] for one in sorted(expected)])
    before = (out / "metrics.jsonl").read_bytes()
    (out / "metrics.jsonl").unlink()
    classes.say("report", out)
    assert (out / "metrics.jsonl").read_bytes() == before
    assert scalars(out / "metrics") == found
    assert not list(out.glob(".metrics*"))


def test_rounds_of_every_arm_are_there_by_the_requests_they_took(tmp_path: Path) -> None:
    out = tmp_path / "run"
    classes.finish(classes.start(out, "iterate.rounds=1", scenario="scenarios/smoke_iterate.yaml"))
    summary = json.loads((out / "summary.json").read_text())
    rows = lines(out)
    assert {row["arm"] for row in rows} == {"class", "self", "random", "search"}
    ends = {row["arm"]: row for row in rows}
    for arm in summary["levels"]["3"]["arms"][1:]:
        assert ends[arm["name"]]["step"] == arm["requests"]
        assert ends[arm["name"]]["teacher_f1_test"] == arm["teacher_f1_test"]["mean"]
    assert ends["class"]["student_f1.weak"] == summary["levels"]["3"]["rounds"][1]["students"]["weak"]
    assert not (out / "metrics").exists()


@pytest.mark.parametrize("command", [[], ["plan"]])
def test_without_tensorboard_such_a_class_does_not_begin(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        "scenarios.report.metrics.find_spec", lambda name: None if name == "tensorboard" else known(name)
    )
    words = [*command, classes.SMOKE, "--set", TENSORBOARD, *(() if command else ("--out", str(tmp_path / "run")))]
    assert run.main(words) == 2
    said = capfd.readouterr().err
    assert "metrics" in said
    assert 'pip install -e ".[metrics]"' in " ".join(said.split())
    assert len(said.splitlines()) <= 3
    assert not (tmp_path / "run").exists()
