"""`python -m tests.benchmarks.analysis_students SEED`: the analysis of 691,200 made-up EAs; prints one JSON object.

A process of its own, so that its peak memory is that of the analysis and of the records alone.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from scenarios.config import load
from scenarios.report.analysis import analyse
from scenarios.scoring.abilities import abilities
from scenarios.scoring.agreement import agreement
from scenarios.scoring.curves import curves
from scenarios.scoring.exam_counts import exam_counts
from scenarios.scoring.lbt import Sheet
from scenarios.scoring.lineups import compare_lineups
from scenarios.scoring.shapley import shapley
from tests import classes
from tests.scenarios.scoring.students import made_up

TPS, TRS, EPS, REPEATS = 200, 64, 3, 3
ABILITIES = (-1.0, -0.5, 0.0, 0.3, 0.6, 1.2)
STUDENTS = ", ".join(f"{{name: s{n}, persona: 'You are number {n}.', engine: simulated}}" for n in range(6))
Found = TypeVar("Found")


def main(seed: int) -> None:
    """Time the whole analysis, then its parts."""
    scenario = load.read(Path(classes.SMOKE), (f"students=[{STUDENTS}]", f"seed={seed}"))
    lessons = made_up(ABILITIES, tps=TPS, trs=TRS, eps=EPS, repeats=REPEATS, seed=seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, used = time.perf_counter(), time.process_time()
    sheets = [Sheet(lesson, lambda a, b, _: a == b) for lesson in lessons]
    names, scoring = tuple(student.name for student in scenario.students), scenario.scoring
    seconds: dict[str, float] = {}
    ups = timed(seconds, "line_ups", lambda: compare_lineups(sheets, names, scoring, seed))
    timed(seconds, "analysis", lambda: analyse(scenario, names, sheets, ups, {}))
    whole, cpu = time.perf_counter() - begun, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    adds = timed(seconds, "shapley", lambda: shapley(sheets, names, scoring, seed))
    counts = timed(seconds, "counts", lambda: [exam_counts(lesson, names) for lesson in lessons])
    sc = adds.sc if adds else None
    timed(seconds, "agreement", lambda: agreement(counts, names, ups, sc))
    timed(seconds, "abilities", lambda: abilities(counts, names, lessons, ups, sc))
    timed(seconds, "curves", lambda: curves(sheets, names, scoring, seed))
    found = {
        "seconds": whole,
        "cpu_seconds": round(cpu, 2),
        "parts": {name: round(value, 2) for name, value in seconds.items()},
        "exam_answers": sum(len(tr.exams) for lesson in lessons for tr in lesson.rationales),
        "line_ups": len(ups),
        "peak_mb": peak // 1024,
        "records_mb": before // 1024,
    }
    print(json.dumps(found))


def timed(seconds: dict[str, float], name: str, work: Callable[[], Found]) -> Found:
    """The result of `work`; its seconds are noted."""
    begun = time.perf_counter()
    found = work()
    seconds[name] = time.perf_counter() - begun
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
