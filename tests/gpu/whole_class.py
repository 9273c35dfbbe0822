"""A whole class of level 2 by `run.py`: engine, training, switch of weights, engine. Nothing is left at its end."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import bigrams
from tests.gpu.checks import Setting, check, info, phase
from tests.gpu.memory_used import used_mb

LEFT_MB = 50


def run(setting: Setting) -> None:
    if setting.cuda:
        before = used_mb()
    out = setting.folder / "run"
    command = [sys.executable, "run.py", str(bigrams.scenario(setting.folder)), "--out", str(out), "--monitor", "off"]
    env = {name: value for name, value in os.environ.items() if name not in ("LBT_DEVICE", "OMP_NUM_THREADS")}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
    said = (done.stderr or done.stdout).strip().splitlines()
    check("exit code", done.returncode == 0, done.returncode, bound="0", note=said[-1][:200] if done.returncode else "")
    if done.returncode:
        for log in (out / "logs").glob("*.log"):
            print(f"--- {log.name}", log.read_text()[-3000:], sep="\n")
        return
    summary = json.loads((out / "summary.json").read_text())
    teacher = summary["agents"][0]
    info("wall seconds", summary["wall_seconds"], "s", f"the teacher's device: {teacher['device']}")
    check("no request failed", summary["counts"]["failed"] == 0, summary["counts"]["failed"], bound="0")
    if setting.cuda:
        check("the teacher is on the GPU", "GPU" in teacher["device"] or "cuda" in teacher["device"])
        more = used_mb() - before
        check("GPU memory in use afterwards", abs(more) <= LEFT_MB, more, "MB", f"within {LEFT_MB} MB of before")
    left = processes(str(setting.folder / "cache"))
    check("no process is left", not left, len(left), bound="0", note=", ".join(left)[:200])


def processes(mark: str) -> list[str]:
    """Return the other processes whose environment holds `mark`, as this one's does."""
    own = {os.getpid(), os.getppid()}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) not in own and mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    phase(run)
