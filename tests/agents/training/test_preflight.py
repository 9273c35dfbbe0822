"""What a training will take, before anything starts."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agents.engines.base import EngineStartError
from agents.placement import hardware, resolve
from agents.placement.memory import Workload
from agents.training.preflight import TrainingForecast, check_tokenizer, forecast
from broker.errors import PlacementError
from broker.work_messages import Recipe
from scenarios.config.schema import Agent
from tests.agents.engines.local.test_engine import save

QWEN = "qwen2.5-coder-0.5b-instruct"
TEACHER = Agent(name="teacher", model=QWEN, engine="transformers")
STUDENT = Agent(name="peer", model=QWEN, engine="transformers")


ASKED = {name: Workload(count=400, tokens=600) for name in ("teacher", "peer")}


def foreseen(
    machine: str,
    recipe: Recipe = Recipe(),  # noqa: B008
    *,
    in_turn: bool = False,
    bfloat16: bool = True,
    **more: Any,
) -> TrainingForecast | None:
    there = msgspec.structs.replace(hardware.described_machine(machine.split()), bfloat16=bfloat16)
    agents = resolve.resolve_agents(more.pop("teacher", TEACHER), [STUDENT], there, in_turn=in_turn, workloads=ASKED)
    return forecast(agents, recipe, trainings=3, pairs=16, tokens_per_pair=400, machine=there, in_turn=in_turn)


def test_int8_hides_a_training_of_all_weights_and_not_an_adapter() -> None:
    quantized = msgspec.structs.replace(TEACHER, engine_args={"quantization": "int8"})
    assert foreseen("memory=64 cores=2", Recipe(lora=True), teacher=quantized)
    with pytest.raises(EngineStartError, match=r"less than a step of int8.*\n.*lora: true") as caught:
        foreseen("memory=64 cores=2", Recipe(lora=False), teacher=quantized)
    assert (caught.value.agent, caught.value.key) == ("teacher", ("engine_args", "quantization"))


def test_memory_and_time_are_said_in_a_sentence() -> None:
    found = foreseen("memory=24 cores=2", in_turn=True)
    assert found is not None
    assert 1.5 < found.memory_gb < 4
    assert 60 < found.seconds < 900
    assert found.in_words("ada").startswith("ada: each of 3 trainings takes about 2.")
    assert "for 16 pairs, at most" in found.in_words("ada")


def test_weights_that_are_not_trained_are_counted_in_the_dtype_that_is_computed_in() -> None:
    narrow, wide = (foreseen("memory=24 cores=2", bfloat16=able) for able in (True, False))
    assert narrow is not None and wide is not None
    assert wide.memory_gb - narrow.memory_gb == pytest.approx(0.989)


def test_more_to_compute_takes_longer_and_more_of_what_is_trained_takes_more_memory() -> None:
    adapter, whole = (foreseen("memory=64 cores=2", Recipe(lora=lora)) for lora in (True, False))
    assert adapter is not None and whole is not None
    assert whole.memory_gb > 2 * adapter.memory_gb
    assert whole.seconds > adapter.seconds


def test_what_cannot_fit_is_refused_with_what_to_lower() -> None:
    with pytest.raises(PlacementError, match=r"teacher: a training needs about .* GB, and .* are there") as why:
        foreseen("memory=6 cores=2", Recipe(lora=False))
    assert "learn.training.lora: true" in str(why.value)


def test_the_checkpoints_of_a_training_on_a_gpu_need_memory_of_the_machine() -> None:
    found = foreseen("gpus=2x24 memory=64", Recipe(lora=False))
    assert found is not None and found.host_gb > 12 * 0.49
    assert "GB of the machine, and" in found.in_words("ada")
    with pytest.raises(PlacementError, match=r"needs about 6\.\d GB of the machine's memory, and 5\.\d GB are there"):
        foreseen("gpus=2x24 memory=6", Recipe(lora=False))


def test_the_weights_of_an_engine_that_sleeps_meanwhile_need_memory_of_the_machine_too() -> None:
    vllm = Agent(name="teacher", model=QWEN, engine="vllm")
    own, asleep, ended = (
        foreseen("gpus=2x24 memory=64", teacher=teacher, in_turn=in_turn)
        for teacher, in_turn in ((TEACHER, False), (vllm, False), (vllm, True))
    )
    assert own is not None and asleep is not None and ended is not None
    assert asleep.host_gb == pytest.approx(own.host_gb + 0.989)
    assert ended.host_gb == own.host_gb


def test_a_disk_that_is_too_small_for_weights_and_checkpoints_is_named_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, whole = (foreseen("memory=64 cores=2", Recipe(lora=lora)) for lora in (True, False))
    assert adapter is not None and whole is not None
    assert whole.disk_gb == pytest.approx((3 * 4 + 2 * 12) * 0.494, rel=0.02)
    assert f"{whole.disk_gb:.1f} GB of the run's disk" in whole.in_words("ada")
    asked: list[Path] = []

    def usage(path: Path) -> Any:
        asked.append(path)
        return SimpleNamespace(free=17.5e9)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert adapter.disk_shortage(tmp_path) == []
    (said,) = whole.disk_shortage(tmp_path / "a" / "run")
    assert f"up to {whole.disk_gb:.1f} GB into the run's folder, and 17.5 GB are free" in said
    assert len(said.splitlines()) == 2 and asked == [tmp_path, tmp_path]


def test_students_who_stay_leave_less_room_than_those_who_take_turns() -> None:
    assert foreseen("memory=4.4 cores=2", in_turn=True)
    with pytest.raises(PlacementError):
        foreseen("memory=4.4 cores=2")


def test_on_a_gpu_the_teachers_share_of_it_counts() -> None:
    assert foreseen("gpus=2x24 memory=64")
    # A small GPU that the teacher does not use takes nothing from it.
    assert foreseen("gpus=6,24 memory=64", Recipe(lora=False), teacher=msgspec.structs.replace(TEACHER, gpu=1))
    with pytest.raises(PlacementError, match="a training needs"):
        foreseen("gpus=2x6 memory=64", Recipe(lora=False))


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_a_gpu_that_serves_one_process_trains_no_teacher_beside_its_engine(engine: str) -> None:
    gpus = (hardware.Gpu("0", "H100", 80_000, exclusive=True), hardware.Gpu("1", "H100", 80_000))
    there = msgspec.structs.replace(hardware.described_machine(["memory=64"]), gpus=gpus)
    agents = resolve.resolve_agents(msgspec.structs.replace(TEACHER, gpu=0, engine=engine), [STUDENT], there)
    asked: dict[str, Any] = {"trainings": 1, "pairs": 16, "tokens_per_pair": 400, "machine": there}
    if engine == "vllm":
        assert forecast(agents, Recipe(), **asked)
        return
    with pytest.raises(PlacementError, match="a second process on the teacher's GPU"):
        forecast(agents, Recipe(), **asked)


def test_a_simulated_teacher_takes_nothing() -> None:
    assert foreseen("memory=24", teacher=Agent(name="teacher", engine="simulated")) is None


def test_a_teacher_at_a_server_cannot_be_trained() -> None:
    teacher = Agent(name="teacher", model="gpt", engine="openai", engine_args={"base_url": "http://127.0.0.1:9/v1"})
    agents = resolve.resolve_agents(teacher, [], hardware.described_machine(["memory=24"]))
    with pytest.raises(EngineStartError, match="cannot be trained"):
        forecast(agents, Recipe(), trainings=1, pairs=1, tokens_per_pair=1)


@pytest.mark.parametrize("kind", ["PreTrainedTokenizerFast", "TokenizersBackend"])
@pytest.mark.parametrize("named", [{}, {"eos_token": None, "pad_token": None}])
def test_a_tokenizer_without_padding_and_end_token_is_refused_before_a_class_begins(
    tmp_path: Path, kind: str, named: dict[str, str | None]
) -> None:
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({"tokenizer_class": kind, **named}))
    with pytest.raises(EngineStartError, match=rf"^ann: model: {tmp_path}: a training needs a pad_token"):
        check_tokenizer(tmp_path, "ann")
    config.write_text(json.dumps({"tokenizer_class": kind, "eos_token": "</s>"}))
    check_tokenizer(tmp_path, "ann")


def test_tokenizers_of_which_the_files_do_not_tell_all_are_left_to_the_training(tmp_path: Path) -> None:
    check_tokenizer(tmp_path, "ann")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    check_tokenizer(tmp_path, "ann")


def test_a_teacher_that_cannot_be_trained_for_its_tokenizer_is_refused_with_the_class(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "llama")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token": None, "pad_token": None}))
    teacher = Agent(name="teacher", model=str(folder), engine="transformers")
    agents = resolve.resolve_agents(teacher, [], hardware.described_machine(["memory=64"]))
    with pytest.raises(EngineStartError, match="a training needs a pad_token"):
        forecast(agents, Recipe(), trainings=1, pairs=1, tokens_per_pair=100)
