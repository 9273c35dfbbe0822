"""The acceptance run for GPUs (tests/gpu) works on a machine without one, so that only a GPU is new to it elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import classes
from tests.gpu import cards
from tests.gpu.__main__ import DEADLINE_S, PHASES


def test_the_run_for_gpus_passes_on_a_cpu_and_says_what_it_left_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu", "--device", "cpu", "--json", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    failed = [each for each in told["checks"] if not each["ok"]]
    assert not failed, (failed, (tmp_path / "gpu.log").read_text()[-3000:])
    assert (done.returncode, told["device"], told["failed"]) == (0, "cpu", 0)
    assert json.loads((tmp_path / "gpu.json").read_text()) == told
    for phase in PHASES:
        own = [each for each in told["checks"] if each["name"].split(":")[0] == phase.name]
        assert {each["state"] for each in own} == {"SKIP"} if phase.no_cpu else own
        assert all(each["note"] for each in own if each["state"] == "SKIP")


@pytest.mark.parametrize("vllm", [True, False])
def test_all_phases_fit_into_the_time_of_the_run(vllm: bool) -> None:
    seconds = [phase.seconds for phase in PHASES if phase.with_vllm in (None, vllm)]
    assert sum(seconds) <= DEADLINE_S < 9 * 60


def test_without_a_gpu_the_run_fails_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu", "--json", "--out", str(tmp_path)]
    env = {"PATH": "", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=Path(__file__).parents[1])
    told = json.loads(done.stdout)
    assert (done.returncode, told["device"], told["failed"]) == (1, "none", 1)
    assert "there is a GPU" in told["checks"][0]["name"] and told["checks"][0]["note"]


def test_the_table_of_classes_in_the_page_on_gpus_is_what_plan_says() -> None:
    page = (classes.ROOT / "docs" / "gpu.md").read_text()
    assert cards.table() in page, "python -m tests.gpu.cards prints the table"
