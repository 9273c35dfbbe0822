"""The batch file for Slurm, run by bash with a stand-in for srun: real processes, on one host."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import classes
from tests.ports import FIRST, free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("bash"), reason="needs Linux and bash")
SMALL = ("task.problems=3", "lesson.rationales=4")
SRUN = """#!/bin/bash
line=
while [[ $1 == --* ]]; do line="$line $1"; shift; done
echo "$line" >> "$CALLS"
exec "$@"
"""


def submit(file: Path, folder: Path) -> "subprocess.Popen[str]":
    """Run a batch file as the first node of a job would."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "srun").write_text(SRUN)
    (programs / "srun").chmod(0o755)
    job = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "SLURM_JOB_ID": str((free_port() - FIRST) // 2),
        "SLURMD_NODENAME": "127.0.0.1",
    }
    return subprocess.Popen(
        ["bash", file],  # noqa: S607
        env=os.environ | job,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_job_that_its_time_limit_ends_goes_on_when_it_is_submitted_again(tmp_path: Path) -> None:
    here, out, hold, file = tmp_path / "here", tmp_path / "run", tmp_path / "hold", tmp_path / "smoke.sbatch"
    classes.finish(classes.start(here, *SMALL))
    pauses = (f"students.*.engine_args.pause_while={hold}", "students.*.engine_args.pause_after=5")
    classes.say("slurm", classes.SMOKE, "--out", out, "--file", file, "--nodes", "3", *classes.sets(*SMALL, *pauses))
    hold.touch()
    job = submit(file, tmp_path)
    classes.wait_until(job, lambda: classes.results(out) > 15)  # more than the teacher's: students answer
    job.send_signal(signal.SIGTERM)
    classes.wait_until(job, lambda: bool(classes.events(out, "drain")))
    hold.unlink()
    said, _ = job.communicate(timeout=classes.WAIT_S)
    assert job.returncode == 130, said
    classes.finish(submit(file, tmp_path))
    assert classes.gradebook(out) == classes.gradebook(here)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 8, "four processes, and again after the resume"
    assert [call.split()[2] for call in calls[:4]] == [f"--relative={node}" for node in (1, 2, 1, 2)]
