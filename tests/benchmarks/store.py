"""How many exam answers a second the gradebook commits, in groups and one by one (synchronous=FULL in both)."""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from broker.protocol import digest
from scenarios.store.sqlite import Record, Store

GROUP = 256


def records(count: int, draw: random.Random) -> list[Record]:
    return [
        Record(
            request_id=digest(draw.random()),
            kind="Examine",
            agent="ada",
            stage="exam",
            tp=f"tp{n % 100}",
            tr=digest(n % 1000),
            ep=f"ep{n % 3}",
            text="one short line of calculation = 42\n" * 5 + "Answer: 42",
            answer="42",
            correct=draw.random() < 0.5,
        )
        for n in range(count)
    ]


def rate(batch: list[Record], group: int) -> float:
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder), write=True) as store:
        start = time.perf_counter()
        for at in range(0, len(batch), group):
            store.record(batch[at : at + group], grader="lbt", version="1")
        return len(batch) / (time.perf_counter() - start)


def run(quick: bool, seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    rounds, large, small = (3, 5_000, 300) if quick else (7, 40_000, 2_000)
    grouped, single = [], []
    for _ in range(rounds):
        grouped.append(rate(records(large, draw), GROUP))
        single.append(rate(records(small, draw), 1))
    ratio = statistics.median(grouped) / statistics.median(single)
    return {
        "name": "store",
        "ratio": ratio,
        "goal": 2.0,
        "better": "higher",
        "detail": {
            "what": f"exam answers committed per second in groups of {GROUP}, over one by one",
            "grouped_per_s": [round(r) for r in sorted(grouped)],
            "single_per_s": [round(r) for r in sorted(single)],
        },
    }
