"""Tokens per second of a class on the vLLM engine, over the bare engine given the same prompts in one batch.

Both are told the same (`arguments`), each in a process of its own, and rounds alternate; every round has new
problems. The class asks as an agent does, one request a time as they come. The bare engine is vLLM's own `LLM`,
which gets all prompts as texts in one call and gives texts back.
"""

import asyncio
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from agents.engines.base import EngineSettings, Turn
from agents.engines.vllm.config import ENVIRONMENT, arguments
from agents.engines.vllm.engine import VllmEngine
from broker.protocol import digest
from tests.benchmarks.engine_transformers import attend_class, questions

GOAL = 0.97


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks engine-vllm` prints."""
    from agents.models.catalogue import ensure

    names = ["smollm2-135m-instruct"] if quick else ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]
    size = {"lessons": 8, "rounds": 3, "max_tokens": 32} if quick else {"lessons": 14, "rounds": 5, "max_tokens": 48}
    by_model = {name: measure(ensure(name).folder, seed=seed, **size) for name in names}
    return {
        "name": "engine-vllm",
        "ratio": min(result["ratio"] for result in by_model.values()),
        "goal": GOAL,
        "better": "higher",
        "detail": by_model,
    }


def measure(folder: Path, *, lessons: int, rounds: int, max_tokens: int, seed: int) -> dict[str, Any]:
    """Interleaved rounds of the class and of the bare engine; the first only warms up."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings = EngineSettings(model=folder.name, folder=folder, capacity=3 * lessons, threads=threads)
    speeds: dict[str, list[float]] = {"class": [], "bare": []}
    cached: list[float] = []
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    bare = multiprocessing.get_context("spawn").Process(target=serve_bare, args=(settings, theirs))
    bare.start()
    try:
        with asyncio.Runner() as runner:
            engine = VllmEngine(settings)
            runner.run(engine.start(lambda request_id, tokens: None))
            for number in range(rounds + 1):
                work = questions(random.Random(digest(seed, number)), lessons, max_tokens if number else 4)
                # Whose turn is first changes, so that neither always meets the warmer machine.
                for name in ("class", "bare") if number % 2 else ("bare", "class"):
                    if name == "class":
                        speed, share = runner.run(attend_class(engine, work))
                        cached.append(share)
                    else:
                        ours.send(
                            [(chat_turns(prompt.turns), prompt.begun, max_tokens if number else 4) for prompt in work]
                        )
                        speed = ours.recv()
                    speeds[name].append(speed)
            runner.run(engine.stop())
    finally:
        ours.send(None)
        bare.join()
    kept = {name: values[1:] for name, values in speeds.items()}
    middle = {name: statistics.median(values) for name, values in kept.items()}
    return {
        "ratio": round(middle["class"] / middle["bare"], 3),
        "tokens_per_second": {name: round(value, 1) for name, value in middle.items()},
        "spread": {name: [round(min(values), 1), round(max(values), 1)] for name, values in kept.items()},
        "cached_share": round(statistics.median(cached[1:]), 3),
        "prompts": 3 * lessons,
        "device": engine.device,
    }


def chat_turns(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """As chat templates want them."""
    return [{"role": turn.role, "content": turn.text} for turn in turns]


def serve_bare(settings: EngineSettings, pipe: Connection) -> None:
    """The bare engine in a process of its own: prompts in, tokens per second out, until there is a None."""
    os.environ.update({"OMP_NUM_THREADS": str(settings.threads), **ENVIRONMENT})
    from vllm import LLM, SamplingParams
    from vllm.platforms import current_platform

    told = arguments(settings, current_platform.device_type) | {"skip_tokenizer_init": False}
    engine = LLM(**told)
    tokenizer = engine.get_tokenizer()
    while work := pipe.recv():
        pipe.send(complete(engine, tokenizer, work, SamplingParams))
    # Else this process waits for the core to end before it tells it to.
    engine.llm_engine.engine_core.shutdown()


def complete(engine: Any, tokenizer: Any, work: Sequence[tuple[Any, str, int]], sampling_params: Any) -> float:
    """Tokens per second of one batch."""
    texts = [
        tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + begun
        for turns, begun, _ in work
    ]
    sampling = sampling_params(temperature=0.7, top_k=20, top_p=1.0, max_tokens=work[0][2])
    begin = time.perf_counter()
    found = engine.generate(texts, sampling, use_tqdm=False)
    seconds = time.perf_counter() - begin
    return float(sum(len(each.outputs[0].token_ids) for each in found) / seconds)
