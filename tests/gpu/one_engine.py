"""An engine in a process of its own, which answers requests and prints what became of them as a line of JSON."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from agents import engines
from agents.engines.base import Completion, EngineDead, EngineSettings
from tests.gpu.models import prompts


async def main() -> None:
    """Answer `requests` requests of `length` and `new` tokens; the argument is a JSON object."""
    told: dict[str, Any] = json.loads(sys.argv[1])
    settings = EngineSettings(
        model="model",
        folder=Path(told["folder"]),
        capacity=0,
        threads=1,
        gpus=told["gpus"],
        memory_share=told["share"],
        cache_mb=told["cache_mb"],
        max_context=told["length"] + told["new"] + 60,
        dtype=told["dtype"],
    )
    engine = engines.make(told["engine"], settings)
    await engine.start(lambda request_id, tokens: None)
    asked = prompts(told["requests"], told["length"], told["new"], seed=told["seed"])
    done = await asyncio.gather(*map(engine.generate, asked), return_exceptions=True)
    failed = [each for each in done if not isinstance(each, Completion)]
    reserved = 0.0
    if told["gpus"]:
        import torch

        reserved = torch.cuda.max_memory_reserved() / 1e6
    await engine.stop()
    found = {
        "answered": len(done) - len(failed),
        "dead": any(isinstance(each, EngineDead) for each in failed),
        "why": str(failed[0])[:200] if failed else "",
        "reserved_mb": reserved,
    }
    print("FOUND " + json.dumps(found), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
