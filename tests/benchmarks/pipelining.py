"""Whether teacher and students work at once: the class's time over the busiest agent's own time.

The agents are simulated and take their time. An agent's own time is the time of all its completions over its
capacity: what it would need if it never waited for another agent. The class's time is from the first request to the
last result. It includes the ramp (the students wait for the first TRs) and the tail (the last requests no longer
fill an agent), together about half a second whatever the class's size. So a class is always of 20 TPs, about 17 s, in
which they are 3 %; in one of 6 TPs they are 11 % and would hide what is measured. --quick runs one class, not three.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from tests import classes

CAPACITY = 8
TPS = 20


def one_class(seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        speed = 60
        process = classes.start(
            out,
            f"seed={seed}",
            f"task.problems={TPS}",
            "teacher.capacity=8",
            f"students.*.capacity={CAPACITY}",
            f"teacher.engine_args.tokens_per_second={speed}",
            f"students.*.engine_args.tokens_per_second={speed}",
        )
        classes.finish(process)
        busy = {agent: seconds / CAPACITY for agent, seconds in classes.busy_seconds(out).items()}
        wall = classes.last_answered(out) - classes.first_asked(out)
        return {"wall": wall, "busiest": max(busy.values()), "teacher": busy["teacher"]}


def run(quick: bool, seed: int) -> dict[str, Any]:
    found = [one_class(seed + n) for n in range(1 if quick else 3)]
    ratios = [f["wall"] / f["busiest"] for f in found]
    return {
        "name": "pipelining",
        "ratio": statistics.median(ratios),
        "goal": 1.05,
        "better": "lower",
        "detail": {
            "what": "seconds from the first request to the last result, over the busiest agent's own seconds",
            "ratios": [round(r, 3) for r in ratios],
            "classes": [{k: round(v, 2) for k, v in f.items()} for f in found],
        },
    }
