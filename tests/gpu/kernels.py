"""The attention kernels of a step, its memory, and how much of the time a GPU computes."""

import random
import time
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from agents.engines.local.batch import Batch, BatchRow
from agents.engines.local.loading import load
from broker.work_messages import Sampling
from tests.gpu import models
from tests.gpu.checks import Setting, check, info, phase

PEAK_GB = 1.5
"""Most memory of a step beyond weights and slots."""


@torch.inference_mode()
def run(setting: Setting) -> None:
    folder = setting.folder / "model"
    models.save(folder, models.size(setting, "0.5B", "tiny"), setting.device)
    device = torch.device(setting.device, 0) if setting.cuda else torch.device("cpu")
    _, model = load(folder, device, torch.bfloat16 if setting.cuda else torch.float32)
    rows, length, long = models.size(setting, (64, 300, 6000), (4, 40, 200))
    batch = Batch(model, capacity=rows, memory=models.size(setting, 8 << 30, 1 << 26), prefix_memory=0)
    waiting = [row(length, seed) for seed in range(rows // 4)]
    observed(setting, f"prefill of {len(waiting)} x {length}", lambda: steps(batch, waiting))
    waiting = [row(length, 1000 + seed) for seed in range(rows - len(batch.rows))]
    steps(batch, waiting)
    for _ in range(3):
        batch.step()
    observed(setting, f"decode of {len(batch.rows)}", batch.step)
    busy(setting, batch)
    while batch.rows:
        batch.leave(batch.rows[-1])
    observed(setting, f"a prompt of {long}", lambda: steps(batch, [row(long, 7)]))


def row(tokens: int, seed: int) -> BatchRow:
    draw = random.Random(seed)
    return BatchRow([draw.randrange(90) for _ in range(tokens)], Sampling(top_k=20, max_tokens=40), seed)


def steps(batch: Batch, waiting: list[BatchRow]) -> None:
    while waiting:
        batch.join(waiting)
        batch.step()


def activities(setting: Setting) -> list[Any]:
    return [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.cuda else [])]


def observed(setting: Setting, what: str, work: Any) -> None:
    """Profile `work`, and check its kernels and its peak of memory on CUDA."""
    if setting.cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    with profile(activities=activities(setting)) as profiled:
        work()
        if setting.cuda:
            torch.cuda.synchronize()
    names = [event.key for event in profiled.key_averages()]
    used = sorted({name.removeprefix("aten::") for name in names if "attention" in name and "scaled_dot" in name})
    info(f"{what}: attention", note=", ".join(used))
    if setting.cuda:
        math = any("_attention_math" in name for name in names)
        check(f"{what}: no math kernel", not math, float(math), bound="0")
        cudnn = any("cudnn_attention" in name for name in names)
        check(f"{what}: no cuDNN attention", not cudnn, float(cudnn), bound="0")
        peak = (torch.cuda.max_memory_allocated() - before) / 1e9
        check(f"{what}: memory beyond weights and slots", peak < PEAK_GB, peak, "GB", f"below {PEAK_GB} GB")


def busy(setting: Setting, batch: Batch) -> None:
    """Report the duration of a decode step, and on CUDA the share in which a kernel runs, and their number."""
    count = models.size(setting, 10, 3)
    begin = time.perf_counter()
    for _ in range(count):
        batch.step()
    seconds = (time.perf_counter() - begin) / count
    info(f"a decode step of {len(batch.rows)}", seconds * 1000, "ms")
    if not setting.cuda:
        return
    with profile(activities=activities(setting)) as profiled:
        batch.step()
        torch.cuda.synchronize()
    kernels = [event for event in profiled.events() if str(event.device_type).endswith("CUDA")]
    info("kernels of a decode step", len(kernels))
    # Without the profiler a step is faster, so the share is over the time measured above.
    info(
        "share of a decode step in which the GPU computes",
        sum(e.time_range.elapsed_us() for e in kernels) / 1e6 / seconds,
    )


if __name__ == "__main__":
    phase(run)
