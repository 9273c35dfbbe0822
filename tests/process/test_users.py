"""Classes of real engines under users whom the system does not know, as in containers with a random user id."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agents.placement.hardware import computes_in_bfloat16
from tests import bigrams, classes

UID = 12345
SETPRIV = shutil.which("setpriv")


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """A class of level 2 with a real teacher, where an unknown user may write."""
    made = bigrams.scenario(tmp_path)
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", UID, UID)
    return made


def as_nobody(scenario: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the class as a user without a name, in a folder of his own. He may read what he is given, and no more."""
    assert SETPRIV is not None
    drop = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    reads = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    unset = ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "LBT_CACHE", "XDG_CACHE_HOME")
    return subprocess.run(
        [SETPRIV, *drop, *reads, sys.executable, "-B", classes.ROOT / "run.py", scenario, "--monitor", "off"],
        cwd=scenario.parent / "home",
        env={name: value for name, value in os.environ.items() if name not in unset} | env,
        capture_output=True,
        text=True,
        timeout=classes.WAIT_S,
    )


needs_root = pytest.mark.skipif(os.getuid() != 0 or SETPRIV is None, reason="only root may become another user")


@needs_root
def test_a_class_with_a_training_needs_neither_a_home_nor_a_name(scenario: Path) -> None:
    done = as_nobody(scenario, LBT_CACHE="models")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in (scenario.parent / "home").iterdir()) == ["models", "runs"]
    (summary,) = (scenario.parent / "home").glob("runs/*/summary.json")
    teacher, peer = json.loads(summary.read_text())["agents"]
    dtype = "bfloat16" if computes_in_bfloat16() else "float32"
    assert (teacher["device"][:3], teacher["dtype"], peer["dtype"]) == ("CPU", dtype, "")


@needs_root
@pytest.mark.parametrize("home", ["/", "/nonexistent"])
def test_a_home_that_cannot_be_written_is_not_needed_for_a_model_in_a_folder(scenario: Path, home: str) -> None:
    done = as_nobody(scenario, HOME=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in (scenario.parent / "home").iterdir()] == ["runs"]


@needs_root
def test_without_a_folder_for_models_a_class_says_which_variable_names_one(scenario: Path) -> None:
    done = as_nobody(scenario, XDG_CACHE_HOME="relative")
    assert done.returncode == 2
    assert "LBT_CACHE" in done.stderr and "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 3
    assert not list((scenario.parent / "home").iterdir())
