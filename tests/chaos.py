"""`python -m tests.chaos --kills N --seed S [--json]`: kill what runs a class, N times, and compare the gradebooks.

Each fault hits one process drawn by the seed: an agent or the broker (SIGKILL or SIGSTOP), or run.py itself
(SIGKILL, then `resume`). The last line is one JSON object.
"""

import argparse
import contextlib
import json
import random
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psutil

from tests import classes

NAMES = ("teacher", "weak", "average", "strong", "broker", "run.py")
SLOW = (
    "broker.heartbeat_s=0.3",
    "limits.restarts=1000",
    "limits.stalled_s=10",
    "limits.loading_s=30",
    "teacher.engine_args.tokens_per_second=100",
    "students.*.engine_args.tokens_per_second=100",
)
BETWEEN = 25
"""Results that must be committed between two faults, so that a class under fire still gets on."""


def strike(process: subprocess.Popen[str], out: Path, draw: random.Random) -> tuple[str, subprocess.Popen[str]]:
    """One fault; returns what it was, and the process that runs the class from now on."""
    name = draw.choice(NAMES)
    if name == "run.py":
        process.kill()
        process.communicate()
        return "kill run.py", classes.resume(out)
    how = draw.choice(("kill", "suspend")) if name != "broker" else "kill"
    getattr(classes.child(process, name), how)()
    return f"{how} {name}", process


def harm(kills: int, seed: int) -> dict[str, Any]:
    """Run a class in peace and one under fire, and say what differs."""
    draw = random.Random(seed)
    sets = (*SLOW, f"task.problems={max(4, kills // 2)}", f"seed={seed}")
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        peace, fire = Path(folder) / "peace", Path(folder) / "fire"
        classes.finish(classes.start(peace, *sets))
        process = classes.start(fire, *sets)
        family: list[psutil.Process] = []
        for _ in range(kills):
            goal = classes.results(fire) + BETWEEN
            while process.poll() is None and classes.results(fire) < goal:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
            if process.poll() is not None:
                break
            try:
                family += psutil.Process(process.pid).children(recursive=True)
                fault, process = strike(process, fire, draw)
            except (psutil.NoSuchProcess, AssertionError):
                continue  # it was just being restarted
            faults.append(fault)
        classes.finish(process)
        _, left = psutil.wait_procs(family, timeout=classes.WAIT_S)
        expected, got = classes.gradebook(peace), classes.gradebook(fire)
        ids = [request_id for request_id, *_ in got]
        return {
            "faults": len(faults),
            "lost": len({id for id, *_ in expected} - set(ids)),
            "twice": len(ids) - len(set(ids)),
            "equal": expected == got,
            "leftover_processes": len(left),
            "what": faults,
        }


def main() -> int:
    """0: nothing was lost, changed or left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="only the last line")
    args = parser.parse_args()
    found = harm(args.kills, args.seed)
    what = found.pop("what")
    if not args.json:
        print("\n".join(what))
    print(json.dumps(found))
    return 0 if found["equal"] and not found["leftover_processes"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
