"""Tokens of a student per second of CPU time where exams attend to their common prefix together, over one by one.

Exams of several TRs with the same demonstrations, on one thread; more than run at once, so that some join while others
leave. Runs alternate between an engine of each way, and every round has new problems. CPU time is that of the whole
process, prompts included; it depends less on other programs than time does. Also: how many such prompts the prefix
cache holds, with shared blocks and as whole copies.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from agents import prompts
from agents.engines.base import Prompt, Settings
from agents.engines.local import attention
from agents.engines.local.engine import TransformersEngine
from agents.engines.local.loading import chat_of
from agents.engines.local.prefixes import Prefixes
from agents.models.weights import shape_of
from agents.placement.memory import MB, PREFIX_CACHE_MB
from broker.protocol import digest
from broker.work_messages import Examine, Sampling
from tests.benchmarks.engine_transformers import attend_class, example

GOAL = 1.4
"""Of the smaller model with 64 exams at once, as a prototype had it: 352 tokens per second of CPU time, not 246."""
EXAMS = 4
"""Exams of a TR."""


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks common-prefix` prints."""
    from agents.models.catalogue import ensure

    small, larger = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
    rounds, max_tokens = (1, 16) if quick else (3, 48)
    sizes = [(small, 16)] if quick else [(small, 4), (small, 16), (small, 64), (larger, 16), (larger, 64)]
    detail = {
        f"{name}, {rows} at once": asyncio.run(measure(ensure(name).folder, rows, rounds, max_tokens, seed))
        for name, rows in sizes
    }
    ratio = detail[f"{small}, {16 if quick else 64} at once"]["ratio"]
    return {"name": "common-prefix", "ratio": ratio, "goal": GOAL, "better": "higher", "detail": detail}


async def measure(folder: Path, rows: int, rounds: int, max_tokens: int, seed: int) -> dict[str, Any]:
    """Interleaved rounds with `rows` exams at once."""
    settings = Settings(model=folder.name, folder=folder, capacity=rows, threads=1)
    engines = {way: TransformersEngine(settings) for way in ("together", "one by one")}
    grouping = {"together": attention.common_prefix, "one by one": lambda rows: (0, [])}
    for engine in engines.values():
        await engine.start(lambda request_id, tokens: None)
    speeds: dict[str, list[float]] = {way: [] for way in engines}
    for number in range(rounds + 1):
        work = exams(random.Random(digest(seed, number)), rows + rows // 2 if number else 4, max_tokens)
        for way in sorted(engines, reverse=bool(number % 2)):
            with mock.patch.object(attention, "common_prefix", grouping[way]):
                speeds[way].append((await attend_class(engines[way], work, time.process_time))[0])
    for engine in engines.values():
        await engine.stop()
    # The first round only warms up.
    kept = {way: values[1:] for way, values in speeds.items()}
    middle = {way: statistics.median(values) for way, values in kept.items()}
    tokens = [chat_of(folder).encode(prompt.turns, prompt.begun) for prompt in work]
    same = next(end for end, at in enumerate(zip(*tokens, strict=False)) if len(set(at)) > 1)
    return {
        "ratio": round(middle["together"] / middle["one by one"], 3),
        "tokens_per_cpu_second": {way: round(value, 1) for way, value in middle.items()},
        "spread": {way: [round(min(values), 1), round(max(values), 1)] for way, values in kept.items()},
        "tokens_per_prompt": round(statistics.mean(map(len, tokens))),
        "of_these_the_same_in_all": same,
        "prompts_in_the_prefix_cache": cached(exams(random.Random(seed), 400, max_tokens), folder),
    }


def cached(work: Sequence[Prompt], folder: Path) -> dict[str, int]:
    """Return how many of these prompts fit into the prefix cache, in bfloat16."""
    token_bytes, chat, limit = 2 * shape_of(folder).token_values, chat_of(folder), PREFIX_CACHE_MB * MB
    blocks, copies, found = Prefixes(10 * limit), 0, {"shared blocks": 0, "copies": 0}
    for prompt in work:
        tokens = chat.encode(prompt.turns, prompt.begun)
        keys_values = torch.empty(1, 1, 1, len(tokens), token_bytes, dtype=torch.int8, device="meta")
        blocks.add(tokens, keys_values)
        copies += keys_values.nbytes
        found["shared blocks"] += blocks.held <= limit
        found["copies"] += copies <= limit
    return found


def exams(draw: random.Random, count: int, max_tokens: int) -> list[Prompt]:
    """Return `count` exams with three demonstrations, EXAMS under each TR."""
    demonstrations = tuple(example(random.Random(index)) for index in range(3))
    sampling = Sampling(temperature=0.7, top_k=20, max_tokens=max_tokens)
    found: list[Prompt] = []
    while len(found) < count:
        material = (example(draw),)
        for _ in range(EXAMS):
            asked = Examine(
                problem=example(draw).problem,
                answer_form="number",
                sampling=sampling,
                material=material,
                demonstrations=demonstrations,
            )
            found.append(prompts.prompt(digest(draw.random(), len(found)), asked, ""))
    return found[:count]
