"""Tokens per second of a class on the transformers engine, over the bare library given the same prompts at once.

The class: a student's exams as they come, two or more of each TR, then a teacher's questions, never more than the
engine's capacity at a time. The bare library: `generate` on one padded batch of them all, in the same dtype, with
the same sampling and threads. Runs alternate; every round has new problems, so that only what a class shares is
in the prefix cache. Tokens count up to and including the end token on both sides.
"""

import asyncio
import os
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from agents import prompts
from agents.engines.base import Engine, EngineSettings, Prompt
from agents.engines.local.engine import TransformersEngine
from agents.engines.local.loading import pick_device, pick_dtype
from broker.protocol import digest
from broker.work_messages import Examine, Exemplar, Sampling, Teach

GOAL = 0.9
NAMES = ("Ada", "Ben", "Chloe", "Dev", "Elif", "Farid", "Grace", "Hugo", "Ines", "Jun")
THINGS = ("apples", "marbles", "stickers", "books", "shells", "coins", "pencils", "stamps")


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks engine-transformers` prints."""
    from agents.models.catalogue import ensure

    names = ["smollm2-135m-instruct"] if quick else ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = {"lessons": 2, "rounds": 3, "max_tokens": 16} if quick else {"lessons": 8, "rounds": 3, "max_tokens": 48}
    by_model = {name: asyncio.run(measure(ensure(name).folder, threads=threads, seed=seed, **size)) for name in names}
    return {
        "name": "engine-transformers",
        "ratio": min(result["ratio"] for result in by_model.values()),
        "goal": GOAL,
        "better": "higher",
        "detail": {"seed": seed, "threads": threads, **by_model},
    }


async def measure(
    folder: Path, *, threads: int, lessons: int, rounds: int, max_tokens: int, seed: int, capacity: int = 0
) -> dict[str, Any]:
    """Interleaved rounds of the class with and without prefix cache, and of the bare library."""
    settings = EngineSettings(model=folder.name, folder=folder, capacity=capacity, threads=threads)
    engines = {
        "class": TransformersEngine(settings),
        "class_without_prefix_cache": TransformersEngine(
            EngineSettings(
                model=folder.name, folder=folder, capacity=capacity, threads=threads, options={"prefix_cache_mb": 0}
            )
        ),
    }
    for engine in engines.values():
        await engine.start(lambda request_id, tokens: None)
    bare = Bare(folder, threads)
    speeds: dict[str, list[float]] = {name: [] for name in (*engines, "bare")}
    cached: list[float] = []
    for number in range(rounds + 1):
        draw = random.Random(digest(seed, number))
        work = questions(draw, lessons, max_tokens) if number else questions(draw, 1, 4)
        for name, engine in engines.items():
            speed, share = await attend_class(engine, work)
            speeds[name].append(speed)
            if name == "class":
                cached.append(share)
        speeds["bare"].append(bare.complete(work, seed + number))
    for engine in engines.values():
        await engine.stop()
    # The first round only warms up.
    kept = {name: values[1:] for name, values in speeds.items()}
    middle = {name: statistics.median(values) for name, values in kept.items()}
    return {
        "ratio": round(middle["class"] / middle["bare"], 3),
        "ratio_without_prefix_cache": round(middle["class_without_prefix_cache"] / middle["bare"], 3),
        "tokens_per_second": {name: round(value, 1) for name, value in middle.items()},
        "spread": {name: [round(min(values), 1), round(max(values), 1)] for name, values in kept.items()},
        "cached_share": round(statistics.median(cached[1:]), 3),
        "prompts": lessons * 3,
        "capacity": engines["class"].capacity,
        "device": engines["class"].device,
        "dtype": str(bare.model.dtype).removeprefix("torch."),
    }


async def attend_class(engine: Engine, work: Sequence[Prompt]) -> tuple[float, float]:
    """Tokens per second, and the share of prompt tokens that came from the prefix cache."""
    free = asyncio.Semaphore(engine.capacity)

    async def ask(prompt: Prompt) -> Any:
        async with free:
            return (await engine.generate(prompt)).usage

    begin = time.perf_counter()
    usages = await asyncio.gather(*map(ask, work))
    seconds = time.perf_counter() - begin
    asked = sum(usage.prompt_tokens for usage in usages)
    return (
        sum(usage.completion_tokens for usage in usages) / seconds,
        sum(usage.cached_tokens for usage in usages) / asked,
    )


class Bare:
    """The library as it comes."""

    def __init__(self, folder: Path, threads: int) -> None:
        device = pick_device()
        torch.set_num_threads(threads)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, padding_side="left"
        )
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=pick_dtype(device), local_files_only=True, trust_remote_code=False, use_safetensors=True
        ).to(device)

    def complete(self, work: Sequence[Prompt], seed: int) -> float:
        """Tokens per second."""
        texts = [
            self._tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.text} for turn in prompt.turns],
                tokenize=False,
                add_generation_prompt=True,
            )
            + prompt.begun
            for prompt in work
        ]
        sampling = work[0].sampling
        torch.manual_seed(seed)
        begin = time.perf_counter()
        batch = self._tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        batch = batch.to(self.model.device)
        out = self.model.generate(
            **batch,
            do_sample=True,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            max_new_tokens=sampling.max_tokens,
        )
        seconds = time.perf_counter() - begin
        ends = out[:, batch["input_ids"].shape[1] :] == self._tokenizer.eos_token_id
        # Up to and including the first end token: those before which none stands.
        return int(((ends.cumsum(1) - ends.long()) == 0).sum()) / seconds


def questions(draw: random.Random, lessons: int, max_tokens: int) -> list[Prompt]:
    """Two exams under each of `lessons` TRs, then as many questions to a teacher: `3 * lessons` prompts."""
    sampling = Sampling(temperature=0.7, top_k=20, max_tokens=max_tokens)
    demonstrations = tuple(example(random.Random(index)) for index in range(2))
    asked: list[Teach | Examine] = []
    for _ in range(lessons):
        material = (example(draw),)
        asked += [
            Examine(
                problem=example(draw).problem,
                answer_form="number",
                sampling=sampling,
                material=material,
                demonstrations=demonstrations,
            )
            for _ in range(2)
        ]
    # A TP is asked several times: that is how TRs are sampled.
    for _ in range(-(-lessons // 3)):
        problem = example(draw).problem
        asked += [
            Teach(problem=problem, answer_form="number", sampling=sampling, demonstrations=demonstrations)
            for _ in range(3)
        ]
    return [
        prompts.prompt(digest(draw.random(), index), request, "") for index, request in enumerate(asked[: 3 * lessons])
    ]


def example(draw: random.Random) -> Exemplar:
    """A word problem of grade school, with its solution."""
    name, friend = draw.sample(NAMES, 2)
    thing = draw.choice(THINGS)
    a, b, c = (draw.randint(3, 40) for _ in range(3))
    return Exemplar(
        f"{name} keeps {a} {thing} in a box. {friend} brings {b} more, and then both of them find {c} {thing} each on "
        f"the way home from school. They put everything into the box. How many {thing} are in the box in the end?",
        f"In the box: {a} {thing}.\nWith those of {friend}: {a} + {b} = {a + b}.\nFound: 2 * {c} = {2 * c}.\n"
        f"Together: {a + b} + {2 * c} = {a + b + 2 * c}.\nAnswer: {a + b + 2 * c}",
    )
