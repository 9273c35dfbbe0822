"""Tokens of a student per second of CPU time where exams attend to their common prefix together, over one by one.

Exams of several TRs with the same demonstrations run in one batch on one thread. Its steps alternate between the two
ways, after the step that computes the prompts. CPU time is that of the whole process; it depends less on other programs
than time does. What a whole exam gains is computed from this: its prompt takes the same time either way. Also: how many
such prompts the prefix cache holds, with shared blocks and as whole copies.
"""

import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from agents import prompts
from agents.engines.base import Prompt
from agents.engines.local import attention
from agents.engines.local.batch import Batch, BatchRow
from agents.engines.local.loading import chat_of, load, pick_dtype
from agents.engines.local.prefixes import PrefixCache
from agents.models.weights import shape_of
from agents.placement.memory import MB, PREFIX_CACHE_MB, SLOTS_MB
from broker.protocol import digest
from broker.work_messages import Examine, Sampling
from tests.benchmarks.engine_transformers import example

GOAL = 1.4
"""Of the smaller model with 64 exams at once, as a prototype had it: 352 tokens per second of CPU time, not 246."""
EXAMS = 4
"""Exams of a TR."""
ANSWER = 48
"""Tokens of an answer."""


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks common-prefix` prints."""
    from agents.models.catalogue import ensure

    small, larger = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
    sizes = [(small, 16)] if quick else [(small, 4), (small, 16), (small, 32), (small, 64), (larger, 16), (larger, 64)]
    detail = {
        f"{name}, {rows} at once": measure(ensure(name).folder, rows, 6 if quick else ANSWER // 2, seed)
        for name, rows in sizes
    }
    ratio = detail[f"{small}, {16 if quick else 64} at once"]["ratio"]
    return {"name": "common-prefix", "ratio": ratio, "goal": GOAL, "better": "higher", "detail": detail}


@torch.inference_mode()
def measure(folder: Path, rows: int, steps: int, seed: int) -> dict[str, Any]:
    """A batch of `rows` exams, and `steps` steps of each way."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    chat, model = load(folder, cpu, pick_dtype(cpu))
    work = exams(random.Random(digest(seed, rows)), rows)
    waiting = [BatchRow(chat.encode(each.turns, each.begun), each.sampling, each.seed) for each in work]
    batch = Batch(model, capacity=rows, memory=SLOTS_MB * MB, prefix_memory=PREFIX_CACHE_MB * MB)
    begin = time.process_time()
    while waiting:
        batch.join(waiting)
        batch.step()
    prompt_seconds = (time.process_time() - begin) / rows
    ways = {"together": attention.group_by_prefix, "one by one": lambda rows: (0, [])}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(steps):
        for way in sorted(ways, reverse=bool(number % 2)):
            with mock.patch.object(attention, "group_by_prefix", ways[way]):
                begin = time.process_time()
                batch.step()
                seconds[way].append((time.process_time() - begin) / rows)
    step = {way: statistics.median(values) for way, values in seconds.items()}
    exam = {way: prompt_seconds + ANSWER * value for way, value in step.items()}
    same, groups = attention.group_by_prefix(batch.rows)
    return {
        "ratio": round(step["one by one"] / step["together"], 3),
        f"ratio_of_exams_with_{ANSWER}_tokens": round(exam["one by one"] / exam["together"], 3),
        "tokens_per_cpu_second": {way: round(1 / value, 1) for way, value in step.items()},
        "quartiles": {way: [round(1 / at, 1) for at in statistics.quantiles(seconds[way])[::-2]] for way in ways},
        "cpu_seconds_per_prompt": round(prompt_seconds, 3),
        "tokens_per_prompt": round(statistics.mean(row.prompt_tokens for row in batch.rows)),
        "tokens_of_the_common_prefix": same,
        "groups": len(groups),
        "prompts_in_the_prefix_cache": cached(exams(random.Random(seed), 400), folder),
    }


def cached(work: Sequence[Prompt], folder: Path) -> dict[str, int]:
    """Return how many of these prompts fit into the prefix cache, in bfloat16."""
    token_bytes, chat, limit = 2 * shape_of(folder).token_values, chat_of(folder), PREFIX_CACHE_MB * MB
    blocks, copies, found = PrefixCache(10 * limit), 0, {"shared blocks": 0, "copies": 0}
    for prompt in work:
        tokens = chat.encode(prompt.turns, prompt.begun)
        keys_values = torch.empty(1, 1, 1, len(tokens), token_bytes, dtype=torch.int8, device="meta")
        blocks.add(tokens, keys_values)
        copies += keys_values.nbytes
        found["shared blocks"] += blocks.held <= limit
        found["copies"] += copies <= limit
    return found


def exams(draw: random.Random, count: int) -> list[Prompt]:
    """Return `count` exams with three demonstrations, EXAMS under each TR."""
    demonstrations = tuple(example(random.Random(index)) for index in range(3))
    sampling = Sampling(temperature=0.7, top_k=20, max_tokens=2 * ANSWER)
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
