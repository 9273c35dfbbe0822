"""vLLM on the GPU, if it is installed: four agents in their shares, and scores beside those of transformers."""

import asyncio
from importlib.util import find_spec
from pathlib import Path

from agents import engines
from agents.engines.base import Settings
from tests.agents.engines.local.test_engine import prompt, save
from tests.gpu.checks import Setting, check, phase, skip
from tests.gpu.right import SOLUTIONS
from tests.gpu.sharing import share

FAR = 0.02
"""Most difference of mean log-probabilities in nats between the engines, in float32."""


def run(setting: Setting) -> None:
    if find_spec("vllm") is None:
        skip("four agents on one GPU", "vllm is not installed")
        return
    folder = save(setting.folder / "small", "qwen2")
    one, other = (asyncio.run(scores(name, folder)) for name in ("vllm", "transformers"))
    far = max(abs(a - b) for a, b in zip(one, other, strict=True))
    check("scores beside those of transformers", far <= FAR, far, "nats", f"at most {FAR}")
    share(setting, "vllm", "1.5B", 4)


async def scores(name: str, folder: Path) -> list[float]:
    settings = Settings("tiny", folder, 8, 1, dtype="float32", gpus=1, memory_share=0.3, cache_mb=1000)
    engine = engines.make(name, settings)
    await engine.start(lambda request_id, tokens: None)
    try:
        asked = (engine.logprobs(prompt("2 + 3?"), f" {text}") for text in SOLUTIONS)
        return [each.logprob for each in await asyncio.gather(*asked)]
    finally:
        await engine.stop()


if __name__ == "__main__":
    phase(run)
