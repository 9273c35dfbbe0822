"""A model of 7B: loading, speed, a swap of all weights, and the training of an adapter. It is made on the device."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import torch

from agents.engines.local.engine import TransformersEngine
from broker.work_messages import Recipe
from tests.agents.engines.local.test_engine import with_engine
from tests.gpu import models
from tests.gpu.checks import Setting, check, info, phase, skip
from tests.gpu.speed import Load, rate
from tests.gpu.train import Training, trained

SWAP_SHARE = 1.2
"""Most memory during a swap, over that in use before: the old weights must be freed before the new ones are read."""
OTHER = "other"


def run(setting: Setting) -> None:
    folder = setting.folder / "model"
    begin = time.monotonic()
    parameters = models.save(folder, models.size(setting, "7B", "tiny"), setting.device)
    info("made in", time.monotonic() - begin, "s")
    swapped(setting, folder)
    if setting.cuda:
        recipe = Recipe(batch=1, max_tokens=1100)
        trained(setting, [Training("adapter of 7B", folder, parameters, recipe, pairs=2, tokens=1000)])
    else:
        skip("adapter of 7B", "the phase train has small ones")


def swapped(setting: Setting, folder: Path) -> None:
    """Load the model, swap all its weights for others and back, and check time, memory and speed."""
    rows, tokens, new = models.size(setting, (64, 300, 64), (4, 80, 8))
    other = setting.folder / "weights" / OTHER
    other.mkdir(parents=True)
    for file in folder.iterdir():
        os.link(file, other / file.name)  # equal weights take as long as others
    (asked,) = models.prompts(1, 80, 4, top_k=1)
    peaks: list[float] = []

    async def use(engine: TransformersEngine) -> tuple[list[Any], float, float]:
        done = []
        for weights in ("", OTHER, ""):
            begun = time.monotonic()
            answer = await engine.generate(msgspec.structs.replace(asked, weights=weights))
            done.append((answer.text, time.monotonic() - begun))
            if setting.cuda:
                peaks.append(torch.cuda.max_memory_allocated() / 1e9)
        begun = time.monotonic()
        return done, await rate(engine, Load(rows, new), tokens), time.monotonic() - begun

    begin = time.monotonic()
    answers, speed, for_speed = with_engine(
        folder,
        use,
        dtype="auto",
        capacity=rows,
        max_context=1024,
        weights_folder=str(other.parent),
        gpus=int(setting.cuda),
    )
    spent = [seconds for _, seconds in answers]
    seconds = time.monotonic() - begin - sum(spent) - for_speed
    if setting.cuda:
        check("loaded and checked", seconds < 60, seconds, "s", "below 60 s")
        share = max(peaks[1:]) / peaks[0]
        check("memory during a swap of all weights", share <= SWAP_SHARE, share, "", f"at most {SWAP_SHARE} of before")
        check(f"engine, {rows} requests", speed >= 1000, speed, "tokens/s", "at least 1000")
    else:
        info("loaded and checked", seconds, "s")
        info(f"engine, {rows} requests", speed, "tokens/s")
    info("swap to other weights and back", spent[1] + spent[2], "s")
    texts = {text for text, _ in answers}
    check("equal weights answer alike", len(texts) == 1, len(texts), "texts", "1")


if __name__ == "__main__":
    phase(run)
