"""vLLM, if it is installed: four agents in their shares, scores beside those of other libraries, and its speed."""

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import msgspec

from agents import engines
from agents.engines.base import EngineSettings
from tests.agents.engines.local.test_engine import prompt, save
from tests.agents.models import trained_weights
from tests.gpu import models
from tests.gpu.checks import Setting, check, info, phase, skip
from tests.gpu.right import BOUNDS, SOLUTIONS, score
from tests.gpu.sharing import share
from tests.gpu.speed import Load, length, measured, rates

FAR = 0.02
"""Most difference of mean log-probabilities in nats between the engines, in float32."""
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
"""On a CPU vLLM computes with heads of 32 values or more."""


def run(setting: Setting) -> None:
    if find_spec("vllm") is None:
        skip("four agents on one GPU", "vllm is not installed")
        return
    folder, weights = save(setting.folder / "small", "qwen2", **HEADS), setting.folder / "adapters"
    adapter, _ = trained_weights.adapter(folder, weights, 1, target_modules="all-linear")
    (other,) = asyncio.run(scores(setting, "transformers", folder))
    one, merged = asyncio.run(scores(setting, "vllm", folder, "float32", weights, ("", adapter)))
    beside("scores beside those of transformers", one, other, FAR)
    (added,) = asyncio.run(scores(setting, "vllm", folder, "bfloat16", weights, (adapter,)))
    for dtype, how, one in (("float32", "merged", merged), ("bfloat16", "beside the base", added)):
        other = [score(folder, text, dtype, setting.device, weights / adapter) for text in SOLUTIONS]
        beside(f"{dtype}, an adapter {how}: scores beside those of peft", one, other, max(FAR, BOUNDS[dtype]))
    if setting.cuda:
        share(setting, "vllm", "1.5B", 4)
    else:
        skip("four agents on one GPU", "needs CUDA")
    speed(setting)


def beside(name: str, one: list[float], other: list[float], most: float) -> None:
    far = max(abs(a - b) for a, b in zip(one, other, strict=True))
    check(name, far <= most, far, "nats", f"at most {most}")


def speed(setting: Setting) -> None:
    """Measure what the phase `speed` measures of the transformers engine.

    The base is measured alone: a vLLM that keeps adapters beside it answers more slowly, also without one.
    """
    folder, weights = setting.folder / "half", setting.folder / "weights"
    parameters = models.save(folder, models.size(setting, "0.5B", "tiny"), setting.device)
    adapter, added = trained_weights.adapter(folder, weights, 1, target_modules="all-linear")
    merged = trained_weights.complete(folder, weights, added)
    rows, new = models.size(setting, (64, 100), (4, 8))
    alone = rates(setting, "vllm", folder, parameters)[Load(rows, new)]
    base, beside_it, replaced = loads = [Load(rows, new, weights=each) for each in ("", adapter, merged)]
    found = measured(folder, loads, length(setting), "vllm", str(weights))
    info("the base where adapters may stay beside it, over the base alone", found[base] / alone)
    info("an adapter beside the base, over the base alone", found[beside_it] / alone)
    info("an adapter beside the base over merged weights", found[beside_it] / found[replaced])


async def scores(
    setting: Setting,
    name: str,
    folder: Path,
    dtype: str = "float32",
    weights_folder: Path | None = None,
    weights: Sequence[str] = ("",),
) -> list[list[float]]:
    """Return the scores of all solutions by an engine, by each of the `weights`; empty: the base."""
    settings = EngineSettings(
        "tiny",
        folder,
        8,
        1,
        dtype=dtype,  # type: ignore[arg-type]
        gpus=int(setting.cuda),
        memory_share=0.3 if setting.cuda else 0.0,
        cache_mb=1000 if setting.cuda else 0,
        weights_folder=str(weights_folder or ""),
        lora_rank=trained_weights.RANK if weights_folder else 0,
        options={} if setting.cuda or name != "vllm" else {"kv_cache_memory_bytes": 64 << 20},
    )
    engine = engines.make(name, settings)
    await engine.start(lambda request_id, tokens: None)
    try:
        found = []
        for each in weights:
            asked = msgspec.structs.replace(prompt("2 + 3?"), weights=each)
            done = await asyncio.gather(*(engine.logprobs(asked, f" {text}") for text in SOLUTIONS))
            found.append([one.logprob for one in done])
        return found
    finally:
        await engine.stop()


if __name__ == "__main__":
    phase(run)
