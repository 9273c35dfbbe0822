"""Tokens per second of the transformers engine, beside the library's `generate` on one static batch."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from agents.engines.base import Prompt
from agents.engines.local.engine import TransformersEngine
from tests.agents.engines.local.test_engine import with_engine
from tests.gpu import models
from tests.gpu.checks import Setting, check, info, phase

ROUNDS = 3


def run(setting: Setting) -> None:
    folder = setting.folder / "model"
    models.save(folder, models.size(setting, "0.5B", "tiny"), setting.device)
    rows, many, length, new = models.size(setting, (64, 256, 500, 200), (4, 8, 80, 8))
    own = measured(folder, [rows], length, new)[rows]
    info(f"engine, {rows} requests", own, "tokens/s")
    library = generate(setting, folder, models.prompts(rows, length, new), new)
    info(f"generate, {rows} in one batch", library, "tokens/s")
    ratio = own / library
    if setting.cuda:
        check("engine over generate", ratio >= 0.9, ratio, bound="at least 0.9")
    else:
        info("engine over generate", ratio)
    info(f"engine, {many} requests", measured(folder, [many], length, new)[many], "tokens/s")
    few = models.size(setting, 4, 2)
    narrow, wide = (measured(folder, [rows], 60, few, top_k=top_k)[rows] for top_k in (20, 0))
    if setting.cuda:
        check("top_k 20 over top_k 0", narrow / wide <= 2, narrow / wide, bound="at most 2")
    else:
        info("top_k 20 over top_k 0", narrow / wide)


def measured(folder: Path, sizes: Sequence[int], length: int, new: int, top_k: int = 20) -> dict[int, float]:
    """Return tokens per second by number of requests, a median."""
    found: dict[int, float] = {}

    async def ask(engine: TransformersEngine, prompts: Sequence[Prompt]) -> float:
        begin = time.perf_counter()
        done = await asyncio.gather(*map(engine.generate, prompts))
        return sum(each.usage.completion_tokens for each in done) / (time.perf_counter() - begin)

    async def use(engine: TransformersEngine) -> None:
        for count in sizes:
            await ask(engine, models.prompts(count, length, 4, top_k=top_k, seed=99))
            made = [models.prompts(count, length, new, top_k=top_k, seed=each) for each in range(ROUNDS)]
            found[count] = statistics.median([await ask(engine, each) for each in made])

    with_engine(folder, use, capacity=max(sizes), dtype="auto", max_context=length + new + 60)
    return found


def generate(setting: Setting, folder: Path, prompts: Sequence[Prompt], new: int) -> float:
    """Return tokens per second of the library."""
    dtype = torch.bfloat16 if setting.cuda else torch.float32
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(setting.device)
    own = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    texts = [prompt.turns[-1].text for prompt in prompts]
    batch = own(texts, add_special_tokens=False, padding=True, return_tensors="pt").to(setting.device)
    speeds = []
    for count in (4, *[new] * ROUNDS):
        begin = time.perf_counter()
        model.generate(**batch, do_sample=True, top_k=20, min_new_tokens=count, max_new_tokens=count)
        if setting.cuda:
            torch.cuda.synchronize()
        speeds.append(len(texts) * count / (time.perf_counter() - begin))
    return statistics.median(speeds[1:])


if __name__ == "__main__":
    phase(run)
