"""The share of prompt tokens that came from the prefix cache, of those that could.

What could: for each prompt of a class, in the order they are asked, the longest beginning that an earlier one has
too. Answered of the engine that `auto` stands for here, as a student is asked: the exams of one TR after another.
"""

import asyncio
import os
import random
from collections.abc import Sequence
from typing import Any

from agents import engines
from agents.engines.base import EngineSettings, Prompt
from agents.engines.local.loading import chat_of
from broker.protocol import digest
from tests.benchmarks.engine_transformers import attend_class, questions

GOAL = 0.9
MODEL = "smollm2-135m-instruct"


def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks prefix` prints."""
    from agents.models.catalogue import ensure

    name = engines.choose("auto", MODEL, gpu=False)
    settings = EngineSettings(
        model=MODEL,
        folder=ensure(MODEL).folder,
        capacity=0,
        threads=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    )
    work = questions(random.Random(digest(seed, "prefix")), 6 if quick else 32, 16)
    tokens = [chat_of(settings.folder).encode(prompt.turns, prompt.begun) for prompt in work]
    possible = shared(tokens) / sum(map(len, tokens))
    cached = asyncio.run(ask(name, settings, work))
    return {
        "name": "prefix",
        "ratio": round(cached / possible, 3),
        "goal": GOAL,
        "better": "higher",
        "detail": {
            "engine": name,
            "cached_share": round(cached, 3),
            "possible_share": round(possible, 3),
            "prompts": len(work),
            "tokens_per_prompt": round(sum(map(len, tokens)) / len(tokens)),
        },
    }


async def ask(name: str, settings: EngineSettings, work: Sequence[Prompt]) -> float:
    """The share of prompt tokens that the engine took from its cache."""
    engine = engines.make(name, settings)
    await engine.start(lambda request_id, tokens: None)
    try:
        _, share = await attend_class(engine, work)
    finally:
        await engine.stop()
    return share


def shared(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that need not be computed again: of each prompt the longest prefix seen before, but never all of it."""
    seen: dict[int, Any] = {}
    total = 0
    for tokens in prompts:
        node, known, fresh = seen, 0, False
        for token in tokens:
            fresh = fresh or token not in node
            known += not fresh
            node = node.setdefault(token, {})
        total += min(known, len(tokens) - 1)
    return total
