"""The training as the process that an agent starts: what it says, and what is left when it is killed."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agents.training import process as training_process
from agents.training.spec import TrainingAborted, TrainingDone, TrainingEvent, TrainingSpec, TrainingStep
from broker import child_process
from tests.agents.training.training_at_hand import line, spec, write

pytestmark = pytest.mark.usefixtures("on_cpu")


def run(told: TrainingSpec, tmp_path: Path, kill_at: int = -1) -> tuple[list[TrainingEvent], int]:
    """All it says, and its exit code; killed as soon as it says step `kill_at`."""
    process = training_process.start(told, tmp_path / "log")
    assert process.stdout is not None
    if kill_at >= 0 and hasattr(fcntl, "F_SETPIPE_SZ"):
        # Room for some twenty steps: it cannot end before it is killed, however slow this process is.
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    said = []
    for each in training_process.events(process):
        said.append(each)
        if isinstance(each, TrainingStep) and each.step == kill_at:
            os.kill(process.pid, signal.SIGKILL)
    return said, process.returncode


def test_a_training_killed_in_the_middle_says_so_and_goes_on_when_started_again(tiny: Path, tmp_path: Path) -> None:
    pairs = write(tmp_path / "two.jsonl", [line(1), line(2)])
    told = spec(tmp_path, tiny, pairs=pairs, recipe={"batch": 1, "epochs": 15})
    said, code = run(told, tmp_path, kill_at=2)
    assert code == -signal.SIGKILL
    assert isinstance(said[-1], TrainingAborted) and "killed" in said[-1].failed and not said[-1].for_good
    assert not list(Path(told.out).iterdir())
    process = training_process.start(told, tmp_path / "log")
    said = list(training_process.events(process, keep=lambda: True))
    assert isinstance(said[-1], TrainingDone) and process.poll() is None
    steps = [each.step for each in said if isinstance(each, TrainingStep)]
    assert steps[0] >= 1 and steps == list(range(steps[0], 31))
    assert [each.name for each in Path(told.out).iterdir()] == [said[-1].trained]

    # The same process takes the next training; what it did before makes no difference to what comes of it.
    child_process.send(process, msgspec.structs.replace(told, work=str(tmp_path / "again")))
    again = list(training_process.events(process))
    assert isinstance(again[-1], TrainingDone) and again[-1].trained == said[-1].trained
    assert [each.step for each in again if isinstance(each, TrainingStep)] == list(range(31))
    assert process.returncode == 0


def test_what_cannot_be_trained_is_told_in_a_line_and_not_tried_again(tiny: Path, tmp_path: Path) -> None:
    said, code = run(spec(tmp_path, tiny, pairs=write(tmp_path / "none.jsonl", [])), tmp_path)
    assert code == child_process.NO_RESTART
    assert said == [TrainingAborted(failed="no pair to train on: the file of preference pairs is empty", for_good=True)]
    assert "no pair to train on" in (tmp_path / "log").read_text()


def test_what_the_agent_needs_of_it_is_light() -> None:
    program = (
        "import sys, agents.training.process, agents.training.estimate; "
        "sys.exit(bool({'torch', 'trl', 'peft', 'datasets', 'transformers'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
