"""How long a round of level 3 takes when nobody thinks: seconds from the first result to the last, agents simulated.

4 sets x 64 items x 3 students, then 36 sets x 200 items and the held-out items by the teacher: what is measured is
level, classroom, gradebook, broker and the agents' loops. The level alone is timed as well, without any of them.
"""

import random
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from broker.protocol import digest
from scenarios.levels.base import Request, Result
from scenarios.store.sqlite import Store
from tests import classes
from tests.scenarios.levels import iterated

ROUND = {"rounds": 1, "beam": 4, "exemplars": 8, "minibatch": 64, "reflections": 4, "revisions": 8, "score_items": 200}
TRAIN, DEV, TEST = 200, 100, 100
GOAL_S = 5.0


def one_class(seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        process = classes.start(
            out,
            f"seed={seed}",
            "iterate.baselines=[]",
            f"iterate.task={{train: {TRAIN}, dev: {DEV}, test: {TEST}}}",
            *(f"iterate.{name}={value}" for name, value in ROUND.items()),
            "teacher.capacity=256",
            "students.*.capacity=256",
            "teacher.engine_args.tokens_per_second=1000000",
            "students.*.engine_args.tokens_per_second=1000000",
            scenario="scenarios/smoke_iterate.yaml",
        )
        classes.finish(process)
        with Store(out) as store:
            ((count, first, last),) = store.query("SELECT count(*), min(at), max(at) FROM result")
    seconds = (datetime.fromisoformat(str(last)) - datetime.fromisoformat(str(first))).total_seconds()
    return {"seconds": seconds, "requests": float(str(count))}


def alone(seed: int) -> dict[str, float]:
    """The level alone: the time it takes to hear of every result."""

    def say(request: Request) -> Result:
        draw = random.Random(digest(seed, request.id))
        if request.kind == "Revise":
            blocks = (f"Example {n}\nText: {n} of {request.id}\nAnswer: {('Yes', 'No')[n % 2]}" for n in range(8))
            return Result(request.id, "\n\n".join(blocks), None, False)
        return Result(request.id, "1. Too long.", draw.choice(("yes", "no")), False)

    described = iterated.scenario(("ada", "bob", "eve"), **ROUND)
    level = iterated.level(described, iterated.bank(TRAIN, DEV, TEST))
    begun = time.perf_counter()
    due = list(level.begin().requests)
    seconds = time.perf_counter() - begun
    count = 0
    while due:
        results = [say(request) for request in due]
        count += len(results)
        begun = time.perf_counter()
        due = [request for result in results for request in level.receive(result).requests]
        seconds += time.perf_counter() - begun
    return {"seconds": seconds, "requests": float(count)}


def run(quick: bool, seed: int) -> dict[str, Any]:
    found = [one_class(seed + n) for n in range(1 if quick else 3)]
    inside = [alone(seed + n) for n in range(3)]
    return {
        "name": "iterate",
        "ratio": statistics.median(one["seconds"] for one in found),
        "goal": GOAL_S,
        "better": "lower",
        "detail": {
            "what": "seconds from the first result of a round to the last",
            "classes": found,
            "per_second": [round(one["requests"] / one["seconds"]) for one in found],
            "level_alone": [{name: round(value, 3) for name, value in one.items()} for one in inside],
        },
    }
