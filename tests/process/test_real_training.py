"""A whole class of level 2 whose teacher is a real model, tiny, with its real engine and a real training's process."""

import contextlib
import json
import subprocess
from pathlib import Path

import psutil

from tests import bigrams, classes


def training_of(process: subprocess.Popen[str], out: Path) -> list[psutil.Process]:
    """The process of the training that runs, if one does."""
    if not list((out / "training").glob("*.jsonl")):
        return []
    return [one for one, line in classes.children(process.pid, recursive=True) if "agents.training" in line]


def test_a_training_that_is_killed_before_its_first_step_twice_leaves_the_old_teacher_and_all_that_was_done(
    tmp_path: Path,
) -> None:
    out, scenario = tmp_path / "run", bigrams.scenario(tmp_path)
    process = classes.start(out, scenario=scenario)
    # It is started again once. A second that comes no further than the first is the last.
    killed: set[int] = set()
    while len(killed) < 2:
        classes.wait_until(process, lambda: any(one.pid not in killed for one in training_of(process, out)))
        for one in training_of(process, out):
            with contextlib.suppress(psutil.NoSuchProcess):  # the one that was killed before
                one.kill()
                killed.add(one.pid)
    said = classes.finish(process, code=3)
    assert "the training ended without a word: signal 9 (SIGKILL)" in " ".join(said.split())
    assert "if memory is short: lower learn.training" in " ".join(said.split())
    assert f"python run.py resume {out} --retry-failed" in said
    told = json.loads((out / "summary.json").read_text())
    (arm,) = told["levels"]["2"]["rounds"][0]["arms"]
    assert (told["status"], arm["status"], arm["weights"]) == ("complete", "failed", "")
    assert (told["methods"]["original"]["n"], told["counts"]["failed"]) == (2, 1)
    assert told["counts"]["exam_answers"] > 0
    assert arm["pairs"] == len(next((out / "training").glob("*.jsonl")).read_text().splitlines()) > 0
    assert not list((out / "weights").glob("*"))
