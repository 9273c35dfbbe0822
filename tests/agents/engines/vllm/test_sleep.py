"""A core of vLLM that sleeps on its GPU during a training. No GPU is used: the core is a fake."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.engines.base import EngineSettings
from agents.engines.vllm.config import arguments
from agents.engines.vllm.engine import VllmEngine
from agents.placement.memory import CONTEXT_MB

GPU_MB = 80_000
SETTINGS = EngineSettings(model="m", folder=Path("/m"), capacity=0, threads=1, gpus=1, memory_share=0.4, sleeps=True)
ROOM = 0.4 * GPU_MB + CONTEXT_MB
"""What a training may take."""


class Core:
    """What the engine uses of a core to stop and start it."""

    output_handler = None

    def __init__(self, free_mb: float = ROOM, wakes: bool = True, fails: str = "") -> None:
        self.log: list[str] = []
        self._free, self._wakes, self._fails = free_mb, wakes, fails

    async def sleep(self, level: int) -> None:
        self.log.append(f"sleep {level}")
        if self._fails == "sleep":
            raise RuntimeError("no memory to sleep in")

    async def collective_rpc(self, method: str) -> list[float]:
        assert method == "free_mb"
        return [self._free, self._free + 1]

    async def wake_up(self) -> bool:
        self.log.append("wake")
        if self._fails == "wake":
            raise RuntimeError("out of memory")
        return self._wakes

    def shutdown(self, timeout: float) -> None:
        self.log.append("end")


def course(monkeypatch: pytest.MonkeyPatch, core: Core, *, sleeps: bool = True, again: bool = True) -> tuple[Any, bool]:
    """An engine on `core` that stops for a training and starts again, and whether it loaded anew."""
    loaded: list[bool] = []

    def load(engine: VllmEngine) -> None:
        loaded.append(True)
        engine._llm = Core()

    monkeypatch.setattr(VllmEngine, "_load", load)
    engine = VllmEngine(msgspec.structs.replace(SETTINGS, sleeps=sleeps))
    engine._llm, engine._sleeps, engine._gpu_mb, engine._kind, engine._closed = core, sleeps, GPU_MB, "cuda", ""
    engine._adapters["w"] = "an adapter beside the base"
    rounds = engine._rounds

    async def main() -> None:
        await engine.stop(again=again)
        assert engine._closed == "the engine was stopped"
        await engine.start(lambda request_id, tokens: None)
        assert not engine._closed

    asyncio.run(main())
    assert (engine._rounds is rounds) == (not loaded) == bool(engine._adapters)
    return engine, bool(loaded)


def test_during_a_training_the_core_sleeps_and_keeps_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    core = Core()
    _, anew = course(monkeypatch, core)
    assert (core.log, anew) == (["sleep 1", "wake"], False)


@pytest.mark.parametrize(
    ("core", "log"),
    [
        (Core(free_mb=ROOM - 1), ["sleep 1", "end"]),
        (Core(fails="sleep"), ["sleep 1", "end"]),
        (Core(wakes=False), ["sleep 1", "wake", "end"]),
        (Core(fails="wake"), ["sleep 1", "wake", "end"]),
    ],
    ids=["it leaves too little room", "it cannot sleep", "it stays asleep", "it cannot wake"],
)
def test_a_core_that_cannot_sleep_ends_and_another_starts(
    monkeypatch: pytest.MonkeyPatch, core: Core, log: list[str]
) -> None:
    _, anew = course(monkeypatch, core)
    assert (core.log, anew) == (log, True)


@pytest.mark.parametrize("changes", [{"sleeps": False}, {"again": False}])
def test_a_core_ends_where_it_may_not_sleep_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, bool]
) -> None:
    core = Core()
    _, anew = course(monkeypatch, core, **changes)
    assert (core.log, anew) == (["end"], True)


def test_a_core_that_sleeps_ends_with_the_engine() -> None:
    core = Core()
    engine = VllmEngine(SETTINGS)
    engine._llm, engine._sleeps, engine._gpu_mb = core, True, GPU_MB

    async def main() -> None:
        await engine.stop(again=True)
        await engine.stop()
        await engine.stop()

    asyncio.run(main())
    assert core.log == ["sleep 1", "end"]


def test_only_a_core_on_a_gpu_is_made_to_sleep() -> None:
    assert arguments(SETTINGS, "cuda")["enable_sleep_mode"]
    assert "enable_sleep_mode" not in arguments(SETTINGS, "cpu")
    assert "enable_sleep_mode" not in arguments(msgspec.structs.replace(SETTINGS, sleeps=False), "cuda")
