"""Which share of the machine's core seconds a class of one teacher and one student uses, with real models.

Agents that may use the cores of idle agents (the default) beside agents whose threads are dealt out once
(`engine_args: {fixed_threads: true}`), in interleaved rounds of the same class. The share is the processor time of all
processes of the class from the first to the last result, over this time and the number of cores. Other programs on the
machine make it smaller, so it means something on a quiet machine only.
"""

import statistics
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests import classes

SCENARIO = "scenarios/single_student.yaml"


def one_class(seed: int, problems: int, *, fixed: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        args = ["teacher.engine_args.fixed_threads=true", "students.*.engine_args.fixed_threads=true"] if fixed else []
        process = classes.start(out, f"seed={seed}", f"task.problems={problems}", *args, scenario=SCENARIO)
        classes.wait_until(process, lambda: classes.results(out) >= 1)
        used: dict[int, float] = {}
        samples: list[tuple[float, float]] = []
        """Times since the epoch, and the core seconds that the class had used by then."""
        while process.poll() is None:
            family = psutil.Process(process.pid)
            for one in [family, *family.children()]:
                with suppress(psutil.NoSuchProcess):
                    used[one.pid] = one.cpu_times().user + one.cpu_times().system
            samples.append((time.time(), sum(used.values())))
            with suppress(subprocess.TimeoutExpired):  # psutil would take its exit code
                process.wait(0.2)
        classes.finish(process)
        last = classes.last_answered(out)
        inside = [sample for sample in samples if sample[0] <= last]
        (begun, before), (ended, after) = inside[0], inside[-1]
        cores = len(psutil.Process().cpu_affinity() or ())
        share = (after - before) / (ended - begun) / cores
        return {"wall": last - classes.first_asked(out), "share": share, **classes.busy_seconds(out)}


def run(quick: bool, seed: int) -> dict[str, Any]:
    rounds, problems = (1, 2) if quick else (3, 6)
    flexible: list[dict[str, float]] = []
    fixed: list[dict[str, float]] = []
    for n in range(rounds):
        for found, is_fixed in ((flexible, False), (fixed, True)) if n % 2 else ((fixed, True), (flexible, False)):
            found.append(one_class(seed + n, problems, fixed=is_fixed))
    shares = [one["share"] for one in flexible]
    return {
        "name": "cores",
        "ratio": statistics.median(shares),
        "goal": 0.95,
        "better": "higher",
        "detail": {
            "what": "processor time over time and number of cores, with threads that follow the work",
            "shares": [round(one, 3) for one in shares],
            "shares, fixed threads": [round(one["share"], 3) for one in fixed],
            "time, over that with fixed threads": [
                round(a["wall"] / b["wall"], 3) for a, b in zip(flexible, fixed, strict=True)
            ],
            "classes": [{key: round(value, 2) for key, value in one.items()} for one in (*flexible, *fixed)],
        },
    }
