"""An engine that stops gives its memory back, starts again, and an agent without its GPU says so."""

import os
import subprocess
import sys
from typing import Any

import torch

from agents.engines.local.engine import TransformersEngine
from tests.agents.engines.local.test_engine import with_engine
from tests.gpu import models
from tests.gpu.checks import Setting, check, phase, skip

KEPT_MB = 300
"""Most memory that the libraries of a process keep beside its context: workspaces of cuBLAS."""
ASKS = "from agents.engines.local.loading import pick_device; pick_device()"


def run(setting: Setting) -> None:
    folder = setting.folder / "model"
    models.save(folder, models.size(setting, "0.5B", "tiny"), setting.device)
    (asked,) = models.prompts(1, 100, models.size(setting, 20, 6), top_k=1)

    async def use(engine: TransformersEngine) -> Any:
        return (await engine.generate(asked)).text

    before = free_mb(setting)
    texts = [with_engine(folder, use, dtype="float32", max_context=1024) for _ in range(2)]
    check("the same answer after a new start", texts[0] == texts[1], float(texts[0] == texts[1]))
    if setting.cuda:
        kept = before - free_mb(setting)
        check("memory that is kept after a stop", kept <= KEPT_MB, kept, "MB", f"at most {KEPT_MB} MB")
    else:
        skip("memory that is kept after a stop", "needs CUDA")
    env = os.environ | {"LBT_DEVICE": "cuda", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", ASKS], env=env, capture_output=True, text=True)
    refused = done.returncode != 0 and "EngineStartError" in done.stderr
    said = done.stderr.strip().splitlines()
    why = next((each for each in said if ".EngineStartError" in each), said[-1] if said else "")
    check("an agent whose GPU is hidden is refused", refused, float(refused), note=why[:200])


def free_mb(setting: Setting) -> float:
    if not setting.cuda:
        return 0.0
    # The context and the libraries of a product must not count.
    product = torch.ones(64, 64, device="cuda") @ torch.ones(64, 64, device="cuda")
    torch.cuda.synchronize()
    del product
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0] / 1e6


if __name__ == "__main__":
    phase(run)
