"""How many exam answers a second the gradebook commits, in groups and one by one (synchronous=FULL in both).

Also with their prompts, which every student shares: the rate in groups, and the bytes that a result then takes more.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from broker.protocol import digest
from scenarios.store.prompts import Chain, chain
from scenarios.store.rows import Record
from scenarios.store.sqlite import Store

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


def asked(one: Record) -> Chain:
    """The prompt of an exam: the material of its TR, then its problem."""
    material = [("user", f"TP {one.tp}: " + 30 * "words "), ("assistant", f"TR {one.tr}: " + 30 * "words ")]
    return chain([("begun", "Solution:"), ("system", 20 * "words "), *material, ("user", f"{one.tp} {one.ep}")])


def rate(batch: list[Record], group: int, *, prompts: bool = False) -> tuple[float, int]:
    """Results a second, and the bytes of the file at the end."""
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder), write=True) as store:
        start = time.perf_counter()
        for at in range(0, len(batch), group):
            some = batch[at : at + group]
            chains = [asked(one) for one in some] if prompts else []
            if prompts:
                some = [replace(one, prompt=turns[-1].id) for one, turns in zip(some, chains, strict=True)]
            store.record(some, grader="lbt", version="1", chains=chains)
        took = time.perf_counter() - start
        ((pages, size),) = store.query("SELECT page_count, page_size FROM pragma_page_count, pragma_page_size")
        return len(batch) / took, int(str(pages)) * int(str(size))


def run(quick: bool, seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    rounds, large, small = (3, 5_000, 300) if quick else (7, 40_000, 2_000)
    grouped, single, prompted, bytes_more = [], [], [], []
    for _ in range(rounds):
        batch = records(large, draw)
        (plain, size), (with_prompts, more) = rate(batch, GROUP), rate(batch, GROUP, prompts=True)
        grouped.append(plain)
        prompted.append(with_prompts)
        bytes_more.append((more - size) / large)
        single.append(rate(records(small, draw), 1)[0])
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
            "with_prompts_per_s": [round(r) for r in sorted(prompted)],
            "prompt_bytes_per_result": round(statistics.median(bytes_more), 1),
        },
    }
