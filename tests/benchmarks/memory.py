"""Memory of run.py and the broker together while a class runs, in MB: peak of their resident sets added up."""

import tempfile
from pathlib import Path
from typing import Any

import psutil

from tests import classes


def peak(out: Path, problems: int) -> dict[str, float]:
    process = classes.start(out, f"task.problems={problems}", "lesson.rationales=16")
    parent = psutil.Process(process.pid)
    peaks = {"run.py": 0.0, "broker": 0.0, "together": 0.0}
    while True:
        now = {"run.py": _resident(parent), "broker": 0.0}
        try:
            for child in parent.children():
                if "broker.server" in child.cmdline():
                    now["broker"] = _resident(child)
        except psutil.Error:
            now["broker"] = 0.0
        now["together"] = sum(now.values())
        peaks = {name: max(value, now[name]) for name, value in peaks.items()}
        if process.poll() is not None:
            classes.finish(process)
            return peaks
        psutil.wait_procs([parent], timeout=0.05)


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0


def run(quick: bool, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        found = peak(Path(folder) / "run", 12 if quick else 100)
    return {
        "name": "memory",
        "ratio": found["together"],
        "goal": 300.0,
        "better": "lower",
        "detail": {"what": "MB, peak", **{k: round(v, 1) for k, v in found.items()}},
    }
