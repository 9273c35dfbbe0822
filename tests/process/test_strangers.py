"""What lies around a class: hostile modules in the current folder, other users of the machine, leftovers."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import rich

from broker.endpoints import ipc_folder
from tests import classes

HOSTILE = (
    "math_verify", "sympy", "msgspec", "msgpack", "zmq", "rich", "cyclopts", "torch", "transformers", "random", "queue",
    "subprocess", "multiprocessing", "yaml", "reasoning_gym", "numpy", "scipy",
)  # fmt: skip
"""Modules of the standard library and of others that processes of a class import."""

PACKAGES = Path(rich.__file__).parent.parent


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with modules that say when they are run."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in HOSTILE:
        (folder / f"{name}.py").write_text("print('HOSTILE', __name__, flush=True)\nraise SystemExit(99)\n")
    return folder


@pytest.mark.parametrize("python_path", ["", ":", ".", f":{classes.ROOT}"])
def test_no_module_of_the_current_folder_is_run(hostile: Path, tmp_path: Path, python_path: str) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"gold": "\\\\sqrt{8}", "response": "Answer: $2\\\\sqrt{2}$", "form": "latex", "right": true}\n')
    for words in (("grade", pairs, "--json"), (classes.ROOT / classes.SMOKE, "--out", tmp_path / "run")):
        done = subprocess.run(
            [sys.executable, classes.ROOT / "run.py", *words],
            cwd=hostile,
            env={**os.environ, "PYTHONPATH": python_path},
            capture_output=True,
            text=True,
            timeout=classes.WAIT_S,
            check=False,
        )
        assert (done.returncode, "HOSTILE" in done.stdout + done.stderr) == (0, False), done.stderr
        assert words[0] != "grade" or '"agree": 1' in done.stdout
    assert not [log for log in (tmp_path / "run" / "logs").iterdir() if "HOSTILE" in log.read_text()]


@pytest.mark.parametrize("python_path", ["", str(PACKAGES), f"elsewhere:{PACKAGES}"])
def test_the_current_folder_may_hold_installed_packages(python_path: str) -> None:
    words = [sys.executable, str(classes.ROOT / "run.py"), "--version"]
    environment = {**os.environ, "PYTHONPATH": python_path}
    subprocess.run(words, cwd=PACKAGES, env=environment, capture_output=True, check=True, timeout=classes.WAIT_S)


@pytest.mark.parametrize("umask", [0, 0o002, 0o077])
@pytest.mark.parametrize("there", [True, False])
def test_a_run_folder_is_its_owner_s_alone(tmp_path: Path, umask: int, there: bool) -> None:
    out = tmp_path / "run"
    before = os.umask(umask)
    try:
        if there:
            out.mkdir()
        classes.say(classes.SMOKE, "--out", out, "--monitor", "off")
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == 0o700
    assert (out / "class.db").exists() and (out / "answer-key").exists()


def test_a_class_leaves_no_socket_behind_complete_or_interrupted_or_killed(tmp_path: Path) -> None:
    sockets, speed = ipc_folder(tmp_path / "run"), "students.*.engine_args.tokens_per_second"
    for end in (signal.SIGINT, signal.SIGKILL, None):
        begin = classes.resume if (tmp_path / "run").exists() else classes.start
        process = begin(tmp_path / "run", f"{speed}={5 if end else 4000}")
        if end:
            classes.wait_until(process, lambda: (sockets / "work").exists())
            process.send_signal(end)
        process.wait(classes.WAIT_S)
        assert process.stdout
        process.stdout.close()
        if end != signal.SIGKILL:
            assert not sockets.exists()
    process = classes.start(tmp_path / "other")
    classes.finish(process)
    assert not sockets.exists()


def test_a_temporary_folder_open_to_others_stops_a_class_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        monkeypatch.setenv("TMPDIR", folder)
        said = classes.say(classes.SMOKE, "--out", tmp_path / "run", code=2)
        assert f"{folder}: other users can write there" in said
        assert len(said.splitlines()) <= 3 and not os.listdir(folder)
