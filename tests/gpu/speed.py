"""Tokens per second of an engine, beside what the memory's bandwidth allows and the library's `generate`."""

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
import transformers

from agents import engines
from agents.engines.base import Engine, EngineSettings, Prompt
from tests.agents.models import trained_weights
from tests.gpu import models
from tests.gpu.checks import Setting, check, info, phase

ROUNDS = 2


class Load(NamedTuple):
    """Requests that are sent at once."""

    rows: int
    new: int
    """Tokens of each completion."""
    top_k: int = 20
    weights: str = ""


def run(setting: Setting) -> None:
    folder, weights = setting.folder / "model", setting.folder / "weights"
    parameters = models.save(folder, models.size(setting, "0.5B", "tiny"), setting.device)
    adapter, added = trained_weights.adapter(folder, weights, 1, target_modules="all-linear")
    merged = trained_weights.complete(folder, weights, added)
    rows, new = models.size(setting, (64, 100), (4, 8))
    alike = Load(rows, new)
    short = Load(rows, 4)
    loads = [alike._replace(weights=each) for each in (adapter, merged)] + [short, short._replace(top_k=0)]
    found = rates(setting, "transformers", folder, parameters, loads, weights)
    info("an adapter beside the base over merged weights", found[loads[0]] / found[loads[1]])
    library = generate(setting, folder, models.prompts(rows, length(setting), new), new)
    info(f"generate, {rows} in one batch", library, "tokens/s")
    ratio, narrow = found[alike] / library, found[short] / found[loads[3]]
    if setting.cuda:
        check("engine over generate", ratio >= 0.9, ratio, bound="at least 0.9")
        check("top_k 20 over top_k 0", narrow <= 2, narrow, bound="at most 2")
    else:
        info("engine over generate", ratio)
        info("top_k 20 over top_k 0", narrow)


def rates(
    setting: Setting, engine: str, folder: Path, parameters: int, more: Sequence[Load] = (), weights: Path | None = None
) -> dict[Load, float]:
    """Report the tokens per second of 1, 16, 64 and 256 requests at once, and return them, and those of `more` loads.

    A step reads all weights once, so no engine makes more tokens than requests in that time.
    """
    rows, new = models.size(setting, ((1, 16, 64, 256), 100), ((1, 4), 8))
    loads = [*(Load(each, new) for each in rows), *more]
    found = measured(folder, loads, length(setting), engine, str(weights or ""))
    step_s = parameters * (2 if setting.cuda else 4) / bandwidth(setting)
    for load in loads[: len(rows)]:
        most = load.rows / step_s
        note = f"{found[load] / most:.3f} of {most:.0f}, at which a step only reads the weights"
        info(f"{engine}, {load.rows} requests", found[load], "tokens/s", note)
    return found


def length(setting: Setting) -> int:
    """Return the tokens of a prompt."""
    made: int = models.size(setting, 500, 80)
    return made


def bandwidth(setting: Setting) -> float:
    """Return the bytes per second that the memory reads and writes while it copies."""
    count = models.size(setting, 2**30, 2**24)
    one = torch.ones(count, dtype=torch.uint8, device=setting.device)
    other = torch.empty_like(one)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        other.copy_(one)
        if setting.cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    del one, other
    torch.cuda.empty_cache()
    return float(2 * count / min(seconds))


def measured(
    folder: Path, loads: Sequence[Load], tokens: int, engine: str = "transformers", weights: str = ""
) -> dict[Load, float]:
    """Return tokens per second by load, each the mean of `ROUNDS`, of one engine.

    Args:
        folder: of the model.
        loads: what is asked.
        tokens: of each prompt.
        engine: name of the engine.
        weights: folder of the weights that the loads name.
    """
    cuda = os.environ["LBT_DEVICE"] == "cuda"
    settings = EngineSettings(
        model="model",
        folder=folder,
        capacity=max(load.rows for load in loads),
        threads=1,
        max_context=tokens + max(load.new for load in loads) + 60,
        gpus=int(cuda),
        weights_folder=weights,
        options={"kv_cache_memory_bytes": 64 << 20} if engine == "vllm" and not cuda else {},
    )
    if engine == "vllm" and weights:
        settings = msgspec.structs.replace(settings, lora_rank=trained_weights.RANK, dtype="bfloat16")
    return asyncio.run(_measured(engines.make(engine, settings), loads, tokens))


async def _measured(engine: Engine, loads: Sequence[Load], tokens: int) -> dict[Load, float]:
    await engine.start(lambda request_id, tokens: None)
    try:
        return {load: await rate(engine, load, tokens) for load in loads}
    finally:
        await engine.stop()


async def rate(engine: Engine, load: Load, tokens: int) -> float:
    """Return the tokens per second of a running engine, the mean of `ROUNDS`."""

    async def ask(load: Load, seed: int) -> float:
        made = models.prompts(load.rows, tokens, load.new, top_k=load.top_k, seed=seed)
        begin = time.perf_counter()
        done = await asyncio.gather(
            *(engine.generate(msgspec.structs.replace(each, weights=load.weights)) for each in made)
        )
        return sum(each.usage.completion_tokens for each in done) / (time.perf_counter() - begin)

    await ask(load._replace(new=4), 99)  # the first use of shapes and weights takes longer
    return statistics.mean([await ask(load, seed) for seed in range(ROUNDS)])


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
    return statistics.mean(speeds[1:])


if __name__ == "__main__":
    phase(run)
