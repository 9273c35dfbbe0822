"""Seconds of the analysis of 200 TPs x 64 TRs x 6 students x 9 EAs, with all 63 line-ups; and of `run.py report`.

The first is on records in memory, in a process of its own whose peak memory is measured. The second is the whole
command for 200 TPs x 16 TRs x 6 students x 2 EPs; its gradebook is played by the level itself with made-up answers: no
process, no model. With --quick both are measured once.
"""

import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from broker.protocol import digest
from scenarios.config import load
from scenarios.config.schema import Scenario
from scenarios.levels.base import Request
from scenarios.levels.results import result_of
from scenarios.session.run_dir import RunFolder
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store
from scenarios.tasks import build
from scenarios.tasks.grading.answers import ClassGrader
from tests import classes

STUDENTS = ", ".join(f"{{name: student{n}, engine: simulated}}" for n in range(6))
CLASS = ("task.problems=200", "lesson.rationales=16", "exam.problems=2", f"students=[{STUDENTS}]")
GROUP = 500
GOAL_S, GOAL_MB, REPORT_GOAL_S = 60.0, 1536, 6.0


def fill(folder: RunFolder, seed: int) -> int:
    """Play the class into a gradebook; returns how many results it has."""
    described = load.read(Path(classes.SMOKE), (*CLASS, f"seed={seed}"))
    return sum(play(folder, described, GROUP))


def play(folder: RunFolder, described: Scenario, group: int) -> Iterator[int]:
    """Play a class into a gradebook with made-up answers, without agents; yields the results of each group."""
    folder.make()
    folder.keep(described)
    with Store(folder.path, write=True) as store:
        store.keep_bank(build.build_class(described, folder=folder.path))
        store.keep_answerers({one: digest(one) for one in described.pools})
        store.note("", "started", "[]")
        bank = store.bank()
        assert bank is not None
        level = folder.level(described, bank, store, ClassGrader().same)
        due = deque(level.begin().requests)
        while due:
            records = [made_up(due.popleft()) for _ in range(min(group, len(due)))]
            for record in records:
                due.extend(level.receive(result_of(record)).requests)
            if not due:
                store.note("", "complete")
            yield store.record(records, grader="benchmark", version="1")


def made_up(request: Request) -> Record:
    draw = random.Random(request.id)
    answer = str(draw.randrange(4))
    return Record(
        request_id=request.id, kind=request.kind, agent=request.to, stage=request.stage, tp=request.tp, tr=request.tr,
        ep=request.ep, repeat=request.repeat, text=f"{request.id}\nAnswer: {answer}", answer=answer,
        correct=answer == "0", completion_tokens=20,
    )  # fmt: skip


def run(quick: bool, seed: int) -> dict[str, Any]:
    students = [analysed(seed) for _ in range(1 if quick else 3)]
    middle = sorted(students, key=lambda one: float(one["seconds"]))[len(students) // 2]
    wall, cpu = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name) / "run")
        count = fill(folder, seed)
        for _ in range(1 if quick else 5):
            begun, used = time.perf_counter(), children()
            classes.say("report", folder.path, "--json")
            wall.append(time.perf_counter() - begun)
            cpu.append(children() - used)
    return {
        "name": "analysis",
        "ratio": middle["seconds"],
        "goal": GOAL_S,
        "better": "lower",
        "detail": {
            "what": "seconds of the analysis of 200 TPs x 64 TRs x 6 students x 9 EAs",
            "seconds": [round(one["seconds"], 2) for one in students],
            "students": middle,
            "peak_mb": max(one["peak_mb"] for one in students),
            "peak_mb_goal": GOAL_MB,
            "report": {
                "what": "seconds of `report` for 200 TPs x 16 TRs x 6 students",
                "median": statistics.median(wall),
                "goal": REPORT_GOAL_S,
                "results": count,
                "seconds": [round(s, 2) for s in sorted(wall)],
                "cpu_seconds": [round(s, 2) for s in sorted(cpu)],
            },
        },
    }


def analysed(seed: int) -> dict[str, Any]:
    """What one process measured; see analysis_students.py."""
    command = [sys.executable, "-m", "tests.benchmarks.analysis_students", str(seed)]
    done = subprocess.run(command, cwd=classes.ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def children() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
