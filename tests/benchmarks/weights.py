"""Time of a step with torch's own linear layers, over that with packed ones, the default, and with ones in int8.

Packed: agents/engines/local/packing.py. int8: `engine_args: {quantization: int8}`. All in the dtype that this CPU
computes in. One batch on one thread; its steps alternate between the three. CPU time depends less on other programs
than time does. Also the time of a prompt.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import torch

from agents.engines.local.batch import Batch, BatchRow
from agents.engines.local.int8 import Int8Linear
from agents.engines.local.loading import load, pick_dtype, read_weights
from agents.placement.memory import MB, SLOTS_MB
from broker.work_messages import Sampling

GOAL = 1.5
"""Of a step of the larger model with 16 requests at once."""
PROMPT = 500
"""Tokens of a long prompt; those of running requests have a quarter of it."""


@torch.inference_mode()
def run(quick: bool, seed: int) -> dict[str, Any]:
    """What `python -m tests.benchmarks weights` prints."""
    from agents.models.catalogue import ensure

    small, larger = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
    detail = {name: measure(ensure(name).folder, quick, seed) for name in ([larger] if quick else [small, larger])}
    ratio = detail[larger]["16 requests"]["packed"]
    return {"name": "weights", "ratio": ratio, "goal": GOAL, "better": "higher", "detail": detail}


def measure(folder: Path, quick: bool, seed: int) -> dict[str, Any]:
    """Compare the three ways on the model of a folder."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    _, model = load(folder, cpu, pick_dtype(cpu))
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(1000, model.config.vocab_size, (PROMPT,), generator=generator).tolist()
    plain = read_weights(folder, pick_dtype(cpu)).eval()
    _, other = load(folder, cpu, pick_dtype(cpu), int8=True)
    names = [name for name, layer in other.named_modules() if isinstance(layer, Int8Linear)]
    ways: dict[str, Any] = {
        way: {name: one.get_submodule(name) for name in names}
        for way, one in {"plain": plain, "packed": model, "int8": other}.items()
    }

    def seconds(way: str, batch: Batch) -> float:
        for name, layer in ways[way].items():
            model.set_submodule(name, layer)
        begin = time.process_time()
        batch.step()
        return time.process_time() - begin

    found: dict[str, Any] = {"dtype": str(model.dtype)}
    for rows in (16,) if quick else (1, 16, 64):
        batch = Batch(model, capacity=rows, memory=SLOTS_MB * MB, prefix_memory=SLOTS_MB * MB)
        # All but the last two tokens come from the prefix cache.
        waiting = [
            BatchRow([*text[: PROMPT // 4], 100 + row, 200 + row], Sampling(max_tokens=99), row) for row in range(rows)
        ]
        while waiting:
            batch.join(waiting)
            seconds("packed", batch)
        spent: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(3 if quick else 7):
            for way in sorted(ways, reverse=bool(number % 2)):
                spent[way].append(seconds(way, batch))
        found[f"{rows} request{'s' * (rows > 1)}"] = compared(spent)
    spent = {way: [] for way in ways}
    for number in range(1 if quick else 3):
        for way in sorted(ways, reverse=bool(number % 2)):
            batch = Batch(model, capacity=1, memory=SLOTS_MB * MB, prefix_memory=0)
            batch.join([BatchRow(text, Sampling(max_tokens=1), 0)])
            spent[way].append(seconds(way, batch))
    found[f"prompt of {PROMPT} tokens"] = compared(spent)
    return found


def compared(spent: dict[str, list[float]]) -> dict[str, float]:
    """Return how many times as fast the other ways are as torch's own layers, and the median time of each in ms."""
    ms = {way: statistics.median(values) * 1000 for way, values in spent.items()}
    ratios = {way: round(ms["plain"] / ms[way], 2) for way in ms if way != "plain"}
    return {**ratios, **{f"{way}_ms": round(value, 1) for way, value in ms.items()}}
