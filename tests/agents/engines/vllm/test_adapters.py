"""Adapters that vLLM keeps beside its base weights."""

import asyncio
import logging
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from agents import engines
from agents.engines.base import Completion, EngineDead, EngineFailure, EngineSettings
from agents.engines.vllm import config
from agents.engines.vllm.config import arguments, lora_arguments
from agents.engines.vllm.engine import VllmEngine
from agents.spec import AgentSpec
from scenarios.report.spend import merged_in
from tests.agents.engines.local.test_engine import save
from tests.agents.engines.vllm import fakes
from tests.agents.engines.vllm.test_engine import Running, grade, prompt, solved
from tests.agents.models import trained_weights as make

ON_A_GPU = EngineSettings(model="some/model", folder=Path("/somewhere"), capacity=0, threads=1, gpus=1, lora_rank=16)
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@pytest.mark.parametrize(
    ("rank", "most", "at_once"), [(1, 1, 4), (16, 16, 4), (33, 64, 4), (128, 128, 2), (512, 512, 1)]
)
def test_vllm_keeps_adapters_of_the_classes_rank_beside_the_base(
    rank: int, most: int, at_once: int, tmp_path: Path
) -> None:
    told = arguments(msgspec.structs.replace(ON_A_GPU, lora_rank=rank, folder=save(tmp_path / "m", "llama")), "cuda")
    # Not the output layer, with which a core dies when it scores a text.
    assert told["lora_target_modules"] == sorted(LINEAR)
    assert (told["enable_lora"], told["max_lora_rank"], told["max_loras"]) == (True, most, at_once)


def test_adapters_are_merged_where_nothing_is_lost_by_it_and_nobody_without_adapters_pays_for_them(
    tmp_path: Path,
) -> None:
    for changes in ({"dtype": "float32"}, {"lora_rank": 0}):
        assert "enable_lora" not in arguments(msgspec.structs.replace(ON_A_GPU, **changes), "cuda")
    told = arguments(
        msgspec.structs.replace(ON_A_GPU, gpus=0, dtype="bfloat16", folder=save(tmp_path / "m", "llama")), "cpu"
    )
    assert told["enable_lora"] and told["max_lora_rank"] == 16


def test_a_teacher_that_is_trained_answers_untrained_as_one_that_is_not() -> None:
    spec = AgentSpec(
        name="t", pool="t", role="teacher", endpoint="", model="m", weights="w", engine="vllm", seed=1, device="cpu",
        prompts="1",
    )  # fmt: skip
    assert msgspec.structs.replace(spec, lora_rank=16).answerer == spec.answerer


class Core:
    """What the engine uses of vLLM; it takes adapters, or says why not."""

    def __init__(self, refuses: Exception | None = None, dtype: torch.dtype = torch.bfloat16) -> None:
        self.added: list[Any] = []
        self.refuses = refuses
        self.model_config = SimpleNamespace(dtype=dtype)

    async def add_lora(self, request: Any) -> None:
        if self.refuses:
            raise self.refuses
        self.added.append(request)

    async def collective_rpc(self, method: str, args: Any) -> None:
        """It loads all weights."""


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return fakes.install(monkeypatch)


def turns(engine: VllmEngine, *weights: str) -> list[Any]:
    """The request for vLLM that prompts for these weights go with, all at once."""

    async def one(which: str) -> Any:
        async with engine._turn(which) as adapter:
            await asyncio.sleep(0)
            return adapter

    async def main() -> list[Any]:
        return await asyncio.gather(*map(one, weights), return_exceptions=True)

    return asyncio.run(main())


def engine_with(core: Core, base: Path, weights: Path, switched: list[str] | None = None) -> VllmEngine:
    engine = VllmEngine(msgspec.structs.replace(ON_A_GPU, folder=base, weights_folder=str(weights)))

    async def switch(which: str) -> None:
        assert switched is not None
        switched.append(which)

    engine._llm, engine._beside = core, True
    if switched is not None:
        engine._rounds._switch = switch
    return engine


def with_output_layer(base: Path, weights: Path, digest: str) -> str:
    """An adapter like another one that also changes the output layer."""
    shutil.copytree(weights / digest, weights / "new")
    file = weights / "new" / "adapter_model.safetensors"
    rows, width = load_file(base / "model.safetensors")["lm_head.weight"].shape
    name = "base_model.model.lm_head.lora"
    more = {f"{name}_A.weight": torch.zeros(make.RANK, width), f"{name}_B.weight": torch.zeros(rows, make.RANK)}
    save_file(load_file(file) | more, file)
    return make.settle(weights / "new")


def test_an_adapter_is_loaded_once_and_switches_nothing_and_complete_weights_replace_the_base(
    tmp_path: Path, vllm: ModuleType
) -> None:
    base, weights = save(tmp_path / "base", "llama"), tmp_path / "weights"
    one, added = make.adapter(base, weights, 1)
    other, _ = make.adapter(base, weights, 2)
    whole = make.complete(base, weights, added)
    core, switched = Core(), list[str]()
    engine = engine_with(core, base, weights, switched)
    got = turns(engine, one, "", other, one)
    assert got == [(one, 1, str(weights / one)), None, (other, 2, str(weights / other)), got[0]]
    assert (core.added, switched) == ([got[0], got[2]], [])
    assert turns(engine, whole, one) == [None, got[0]]
    assert switched == [whole, ""]


@pytest.mark.parametrize(("kind", "together"), [("cpu", 2), ("cuda", 3)])
def test_the_base_computes_apart_from_adapters_on_a_cpu_and_beside_them_on_a_gpu(
    kind: str, together: int, tmp_path: Path, vllm: ModuleType
) -> None:
    base, weights = save(tmp_path / "base", "llama"), tmp_path / "weights"
    one, other = (make.adapter(base, weights, seed)[0] for seed in (1, 2))
    engine = engine_with(Core(), base, weights, [])
    engine._kind = kind
    now: set[str] = set()
    batches: list[set[str]] = []

    async def compute(which: str) -> None:
        async with engine._turn(which):
            now.add(which)
            for _ in range(9):
                await asyncio.sleep(0)
            batches.append(set(now))
            now.discard(which)

    async def main() -> None:
        for which in ("", one, other):  # vLLM has both adapters
            await compute(which)
        batches.clear()
        await asyncio.gather(*map(compute, (one, "", other)))

    asyncio.run(main())
    assert max(map(len, batches)) == together
    assert ({"", one} <= batches[0]) is (kind == "cuda")
    assert {one, other} in batches or kind == "cuda", "adapters share a batch"


def test_no_adapter_gets_the_number_of_one_whose_request_was_cancelled_while_it_loaded(
    tmp_path: Path, vllm: ModuleType
) -> None:
    base, weights = save(tmp_path / "base", "llama"), tmp_path / "weights"
    one, other = (make.adapter(base, weights, seed)[0] for seed in (1, 2))
    told: list[Any] = []
    loads = asyncio.Event()

    class Slow(Core):
        async def add_lora(self, request: Any) -> None:
            told.append(request)
            loads.set()
            if len(told) == 1:
                await asyncio.Event().wait()

    engine = engine_with(Slow(), base, weights, [])

    async def enter(which: str) -> None:
        async with engine._turn(which):
            pass

    async def main() -> None:
        begun = asyncio.create_task(enter(one))
        await loads.wait()
        begun.cancel()
        await enter(other)

    asyncio.run(main())
    # vLLM keeps what it has under a number, whatever name and folder come with it.
    assert [name for name, *_ in told] == [one, other] and told[0][1] != told[1][1]


def test_an_adapter_that_vllm_does_not_take_is_merged_and_the_log_says_why(
    tmp_path: Path, vllm: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    base, weights = save(tmp_path / "base", "llama"), tmp_path / "weights"
    one, _ = make.adapter(base, weights, 1)
    broken, _ = make.adapter(base, weights, 2, r=8)
    outer, _ = make.adapter(base, weights, 3, size=0.1)
    outer = with_output_layer(base, weights, outer)
    switched: list[str] = []
    engine = engine_with(Core(ValueError("unexpected target modules")), base, weights, switched)
    assert turns(engine, one, one) == [None, None]
    assert switched == [one]
    assert f"merges the adapter {one[:12]}, since vLLM cannot keep it beside" in caplog.text
    assert "unexpected target modules" in caplog.text
    assert turns(engine_with(Core(), base, weights, []), outer) == [None]
    assert f"merges the adapter {outer[:12]}, since vLLM cannot keep it beside: it changes lm_head" in caplog.text
    (refused,) = turns(engine, broken)
    assert isinstance(refused, EngineFailure) and "other shapes" in str(refused)
    (ended,) = turns(engine_with(Core(fakes.Dead()), base, weights, []), one)
    assert isinstance(ended, EngineDead)


@pytest.mark.parametrize(
    "says",
    ["Call to add_lora method failed: CUDA out of memory. Tried to allocate 20.00 MiB.", "can't allocate memory"],
)
def test_an_adapter_that_finds_no_memory_fails_its_request_and_is_loaded_for_the_next_one(
    tmp_path: Path, vllm: ModuleType, says: str
) -> None:
    base, weights = save(tmp_path / "base", "llama"), tmp_path / "weights"
    one, _ = make.adapter(base, weights, 1)
    core, switched = Core(RuntimeError(says)), list[str]()
    engine = engine_with(core, base, weights, switched)
    (failed,) = turns(engine, one)
    assert isinstance(failed, EngineFailure) and failed.kind == "engine" and "out of memory" in str(failed)
    core.refuses = None
    assert turns(engine, one, one) == [core.added[0]] * 2
    assert (len(core.added), switched) == (1, [])


@pytest.mark.parametrize(("dtype", "told"), [(torch.bfloat16, "bfloat16"), (torch.float32, "")])
def test_a_merge_that_rounds_is_written_down_for_the_report(
    tmp_path: Path, vllm: ModuleType, dtype: torch.dtype, told: str
) -> None:
    base, weights = save(tmp_path / "base", "llama"), tmp_path / "weights"
    one, added = make.adapter(base, weights, 1)
    whole = make.complete(base, weights, added)
    engine = engine_with(Core(ValueError("unexpected target modules"), dtype), base, weights)
    assert turns(engine, whole, one, "") == [None] * 3
    assert merged_in(tmp_path) == ({one: told} if told else {})


def test_a_model_beside_which_vllm_keeps_no_adapters_starts_without_them(
    vllm: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[dict[str, Any]] = []

    def from_engine_args(args: dict[str, Any]) -> str:
        asked.append(args)
        if "enable_lora" in args:
            raise ValueError("SomeForCausalLM does not support LoRA yet.")
        return "started"

    vllm.AsyncLLM = SimpleNamespace(from_engine_args=from_engine_args)  # type: ignore[attr-defined]
    engine = VllmEngine(ON_A_GPU)
    assert engine._loaded({"model": "m", "enable_lora": True, "max_loras": 4}) == "started"
    assert asked[1] == {"model": "m"}
    assert "cannot keep adapters beside this model, so it merges them" in caplog.text
    vllm.AsyncLLM.from_engine_args = lambda args: 1 / 0
    with pytest.raises(ZeroDivisionError):
        engine._loaded({"enable_lora": True})


@pytest.mark.models
@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(engines.vllm_build() != "cpu", reason="the CPU build of vLLM is not installed (docs/engines.md)")
def test_adapters_answer_beside_the_base_as_if_they_were_merged_and_leave_the_base_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from agents.models.catalogue import ensure

    base, folder = ensure("smollm2-135m-instruct").folder, tmp_path / "weights"
    one, added = make.adapter(base, folder, 1, size=0.05, target_modules=LINEAR)
    other, _ = make.adapter(base, folder, 2, size=0.05, target_modules=LINEAR)
    # vLLM wants to read in its configuration which modules an adapter is for.
    unclear, _ = make.adapter(base, folder, 3, size=0.05)
    whole = make.complete(base, folder, added)
    monkeypatch.setattr(config, "LORAS", 2)  # as many as there are: vLLM has no empty slot
    # In float32, where answers can be compared word by word.
    monkeypatch.setattr(config, "lora_arguments", lambda rank, dtype, base: lora_arguments(rank, "bfloat16", base))
    caplog.set_level(logging.INFO)
    running = Running(
        EngineSettings(
            model="smollm2",
            folder=base,
            capacity=16,
            threads=1,
            dtype="float32",
            max_context=1024,
            weights_folder=str(folder),
            lora_rank=make.RANK,
            options={"kv_cache_memory_bytes": 256 << 20},
        )
    )
    try:
        running.start()
        asked = [prompt(question) for question in ("Who has most pens of all?", "What is 3 + 3?", "Why?")]

        def said(*weights: str) -> list[list[str]]:
            mixed = [msgspec.structs.replace(each, weights=which) for which in weights for each in asked]
            done = running.ask(*mixed)
            assert all(isinstance(each, Completion) for each in done), done
            return [[each.text for each in done[n : n + 3]] for n in range(0, len(done), 3)]

        def likely(*weights: str) -> list[float]:
            pairs = [(msgspec.structs.replace(asked[1], weights=which), solved(3)) for which in weights]
            return [each.logprob for each in grade(running, *pairs)]

        beside, scored = said("", one, other), likely("", one, other)
        assert "computes with the weights" not in caplog.text
        assert beside[0] != beside[1] and beside[0] != beside[2]
        assert min(abs(scored[a] - scored[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 5e-4
        assert said(whole) == [beside[1]]
        assert likely(whole) == pytest.approx([scored[1]], abs=1e-4)
        assert abs(likely(unclear)[0] - scored[0]) > 5e-4
        assert f"merges the adapter {unclear[:12]}, since vLLM cannot keep it beside" in caplog.text
        assert said(other, "", one) == [beside[2], beside[0], beside[1]]
        assert said("") == [beside[0]]
        assert likely(one, "") == pytest.approx([scored[1], scored[0]], abs=1e-4)
    finally:
        running.stop()
