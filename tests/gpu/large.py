"""A model of 7B: the time to load it, its speed, and the training of an adapter. Its weights are made on the GPU."""

import time

from broker.work_messages import Recipe
from tests.agents.engines.local.test_engine import with_engine
from tests.gpu import models
from tests.gpu.checks import Setting, check, info, phase
from tests.gpu.speed import measured
from tests.gpu.train import Training, trained


def run(setting: Setting) -> None:
    folder = setting.folder / "model"
    begin = time.monotonic()
    parameters = models.save(folder, "7B", setting.device)
    info("made in", time.monotonic() - begin, "s")
    begin = time.monotonic()

    async def nothing(engine: object) -> None:
        return None

    with_engine(folder, nothing, dtype="auto", max_context=1024)
    seconds = time.monotonic() - begin
    check("loaded and checked", seconds < 60, seconds, "s", "below 60 s")
    speed = measured(folder, [64], 300, 64)[64]
    check("engine, 64 requests", speed >= 1000, speed, "tokens/s", "at least 1000")
    training = Training("adapter of 7B", folder, parameters, Recipe(batch=1, max_tokens=1100), pairs=2, tokens=1000)
    trained(setting, [training])


if __name__ == "__main__":
    phase(run)
