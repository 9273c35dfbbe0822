"""Seconds and memory that `python run.py report` takes for a large class, with all 63 line-ups of 6 students.

The class has 200 TPs x 64 TRs x 6 students x 9 EAs; with --quick 200 x 16 x 6 x 2. The gradebook is played by the level
itself with made-up answers: no process, no model.
"""

import random
import resource
import statistics
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

from broker.protocol import digest
from scenarios.config import load
from scenarios.levels.base import Request
from scenarios.levels.results import result_of
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import Record, Store
from scenarios.tasks import build
from tests import classes

STUDENTS = ", ".join(f"{{name: student{n}, engine: simulated}}" for n in range(6))
CLASS = ("task.problems=200", f"students=[{STUDENTS}]")
QUICK = (*CLASS, "lesson.rationales=16", "exam.problems=2", "exam.repeats=1")
WHOLE = (*CLASS, "lesson.rationales=64", "exam.problems=3", "exam.repeats=3")
GROUP = 500
GOAL_S = {True: 6.0, False: 60.0}
"""By --quick."""
GOAL_GB = 1.5


def fill(folder: RunFolder, shape: tuple[str, ...], seed: int) -> int:
    """Play the class into a gradebook; returns how many results it has."""
    described = load.read(Path(classes.SMOKE), (*shape, f"seed={seed}"))
    folder.make()
    folder.keep(described)
    with Store(folder.path, write=True) as store:
        store.keep_bank(build.build_class(described, folder=folder.path))
        store.keep_answerers({agent.name: digest(agent.name) for agent in described.agents})
        store.note("", "started", "[]")
        bank = store.bank()
        assert bank is not None
        level = folder.level(described, bank, store)
        due, count = deque(level.begin().requests), 0
        while due:
            records = [made_up(due.popleft()) for _ in range(min(GROUP, len(due)))]
            count += store.record(records, grader="benchmark", version="1")
            for record in records:
                due.extend(level.receive(result_of(record)).requests)
        store.note("", "complete")
    return count


def made_up(request: Request) -> Record:
    draw = random.Random(request.id)
    answer = str(draw.randrange(4))
    return Record(
        request_id=request.id, kind=request.kind, agent=request.to, stage=request.stage, tp=request.tp, tr=request.tr,
        ep=request.ep, repeat=request.repeat, text=f"{request.id}\nAnswer: {answer}", answer=answer,
        correct=answer == "0", completion_tokens=20,
    )  # fmt: skip


def run(quick: bool, seed: int) -> dict[str, Any]:
    wall, cpu = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = RunFolder(Path(name) / "run")
        count = fill(folder, QUICK if quick else WHOLE, seed)
        for _ in range(1 if quick else 3):
            begun, used = time.perf_counter(), children()
            classes.say("report", folder.path, "--json")
            wall.append(time.perf_counter() - begun)
            cpu.append(children() - used)
    return {
        "name": "analysis",
        "ratio": statistics.median(wall),
        "goal": GOAL_S[quick],
        "better": "lower",
        "detail": {
            "what": "seconds of `report` for 200 TPs x 6 students, " + ", ".join((QUICK if quick else WHOLE)[2:]),
            "results": count,
            "seconds": [round(s, 2) for s in sorted(wall)],
            "cpu_seconds": [round(s, 2) for s in sorted(cpu)],
            "peak_gb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2),
            "goal_gb": GOAL_GB,
        },
    }


def children() -> float:
    """CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
