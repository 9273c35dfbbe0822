import importlib.util
import os
import pwd
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from agents import engines
from agents.engines.base import EngineStartError
from agents.models import catalogue
from agents.models.home import home_env
from agents.models.weights import cache_folder
from agents.placement import agent_process, hardware, resolve
from agents.placement.memory import Workload
from agents.training import preflight
from broker.errors import ModelError, PlacementError
from broker.protocol import Role
from broker.work_messages import Recipe
from scenarios.config.schema import Agent
from tests.agents.engines.local.test_engine import CONTEXT, save

TEACHER = Agent(name="teacher", engine="simulated")
QWEN = "qwen2.5-coder-0.5b-instruct"


def told(one: resolve.ResolvedAgent) -> dict[str, object]:
    models = {QWEN: catalogue.Model(QWEN, Path("/model"), "digest", parameters_mb=0, context=0)}
    spec = agent_process.agent_spec(
        one, models, seed=1, endpoint="ipc://x", keys="", answer_key=Path("/run/key"), run=Path("/run")
    )
    return {"name": spec.name, "pool": spec.pool, "role": spec.role, "answerer": spec.answerer}


def test_everybody_gets_a_seat_and_an_engine_teacher_first() -> None:
    agents = resolve.resolve_agents(
        TEACHER, [Agent(name="ada", model="simulated"), Agent(name="bob", engine="external")]
    )
    assert [(one.name, one.role, one.engine) for one in agents] == [
        ("teacher", "teacher", "simulated"),
        ("ada", "student", "simulated"),
        ("bob", "student", "external"),
    ]


def test_an_external_agent_has_no_model_and_no_device_of_ours() -> None:
    _, bob, eve = resolve.resolve_agents(
        TEACHER, [Agent(name="bob", engine="external"), Agent(name="eve", engine="external", model="mine")]
    )
    assert (bob.facts()["model"], bob.facts()["device"], bob.planned()["why"]) == ("", "external", "joins by itself")
    assert eve.facts()["model"] == "mine"


def test_an_agent_elsewhere_takes_nothing_of_this_host_not_even_a_model_of_the_catalogue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.models.catalogue.ensure", lambda name, progress: pytest.fail(f"{name} was fetched"))
    monkeypatch.setattr(engines, "vllm_build", lambda: "")
    far = Agent(name="far", model=QWEN, engine="vllm", elsewhere=True, dtype="float32", gpu=(8, 9))
    agents = resolve.resolve_agents(TEACHER, [far])
    assert (agents[1].seat.device, agents[1].needs, agents[1].memory(), agents[1].dtype) == (
        "elsewhere",
        "",
        {},
        "float32",
    )
    assert resolve.short_now(agents, in_turn=False) == ""
    models = resolve.fetch_models(agents, Console())
    assert models[QWEN].digest == catalogue.resolve(QWEN).digest != ""


def test_an_external_agent_takes_no_arguments() -> None:
    with pytest.raises(EngineStartError, match="the engine external takes no arguments") as caught:
        resolve.resolve_agents(TEACHER, [Agent(name="bob", engine="external", engine_args={"x": 1})])
    assert (caught.value.agent, caught.value.key) == ("bob", ("engine_args", "x"))


@pytest.mark.parametrize(
    ("build", "why"),
    [("", "vLLM is not installed"), ("cuda", "vLLM is built for GPUs, and this agent runs on a CPU")],
)
def test_an_argument_of_vllm_is_refused_with_why_auto_is_transformers(
    build: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "vllm_build", lambda: build)
    ada = Agent(name="ada", model=QWEN, gpu="none", engine_args={"max_num_seqs": 4})
    with pytest.raises(
        EngineStartError,
        match=f"it takes: prefix_cache_mb, kv_cache_mb, fixed_threads, quantization\nengine auto is .* {why}$",
    ):
        resolve.resolve_agents(TEACHER, [ada])


def test_replicas_are_processes_of_one_pool_that_answer_alike() -> None:
    _, *ada = resolve.resolve_agents(TEACHER, [Agent(name="ada", engine="simulated", replicas=3)])
    assert [one.name for one in ada] == ["ada", "ada.2", "ada.3"]
    assert {told(one)["pool"] for one in ada} == {"ada"}
    assert len({told(one)["answerer"] for one in ada}) == 1


def test_who_would_answer_otherwise_is_another_answerer() -> None:
    _, *students = resolve.resolve_agents(
        TEACHER,
        [
            Agent(name="a", engine="simulated"),
            Agent(name="b", engine="simulated", persona="You are terse."),
            Agent(name="c", engine="simulated", engine_args={"ability": 2}),
            Agent(name="d", engine="simulated", engine_args={"tokens_per_second": 9}, capacity=4),
        ],
    )
    a, b, c, d = (told(one)["answerer"] for one in students)
    assert len({a, b, c}) == 3
    assert a == d


def test_an_unknown_model_and_a_wrong_engine_argument_are_refused_before_anything_starts() -> None:
    with pytest.raises(ModelError, match="smollm2-135m-instruct"):
        resolve.resolve_agents(TEACHER, [Agent(name="ada", model="smollm2-135m")])
    with pytest.raises(EngineStartError, match="abilty"):
        resolve.resolve_agents(TEACHER, [Agent(name="ada", engine="simulated", engine_args={"abilty": 1})])


ASKED = {name: Workload(count=400, tokens=600) for name in ("ada", "bob", "cy")}


def here(memory_gb: float, *, bfloat16: bool = True) -> hardware.Machine:
    return hardware.Machine(cores=(0, 1, 2, 3), memory_mb=int(memory_gb * 1000), bfloat16=bfloat16)


def test_agents_that_take_turns_each_have_the_machine_to_themselves() -> None:
    students = [Agent(name=name, model=QWEN, engine="transformers") for name in ("ada", "bob")]
    with pytest.raises(PlacementError, match=r"need about 4\.5 GB.*\n.*\n.*the largest takes 2\.3 GB"):
        resolve.resolve_agents(TEACHER, students, here(4), workloads=ASKED)
    _, *seated = resolve.resolve_agents(TEACHER, students, here(4), workloads=ASKED, in_turn=True)
    assert [one.seat.threads for one in seated] == [4, 4]


@pytest.mark.parametrize(
    ("said", "bfloat16", "weights_mb"),
    [
        ("auto", True, 989 + 272),  # packed: the embedding is there twice
        ("auto", False, 2 * 989),
        ("float32", True, 2 * 989),
        ("bfloat16", False, 989 + 272),
        ("float16", True, 989),
    ],
)
def test_weights_are_counted_in_the_dtype_that_an_agent_computes_in(
    said: resolve.Dtype, bfloat16: bool, weights_mb: int
) -> None:
    ada = Agent(name="ada", model=QWEN, engine="transformers", dtype=said)
    _, seated = resolve.resolve_agents(TEACHER, [ada], here(64, bfloat16=bfloat16), workloads=ASKED)
    assert seated.seat.memory is not None and seated.seat.memory.weights_mb == weights_mb
    slots = 32 * 640 * 6144 * (2 if weights_mb < 1900 else 4) // 10**6
    assert seated.seat.memory.cache_mb == slots + 256


def test_vllm_is_counted_in_that_dtype_too() -> None:
    ada = Agent(name="ada", model=QWEN, engine="vllm")
    (_, narrow), (_, wide) = (resolve.resolve_agents(TEACHER, [ada], here(64, bfloat16=able)) for able in (True, False))
    assert narrow.memory()["weights_mb"] == 989 and wide.memory()["weights_mb"] == 2 * 989


def test_capacity_and_context_bound_what_running_requests_take() -> None:
    def cache_mb(**settings: Any) -> int:
        ada = Agent(name="ada", model=QWEN, engine="transformers", engine_args={"prefix_cache_mb": 0}, **settings)
        _, seated = resolve.resolve_agents(TEACHER, [ada], here(64), workloads=ASKED)
        return int(seated.memory()["cache_mb"])

    assert cache_mb(capacity=4) == cache_mb() // 8
    assert cache_mb(max_context=256) == cache_mb() * 256 // 640


@pytest.mark.parametrize(("memory", "engine"), [("24", "vllm"), ("8", "transformers")])
def test_auto_takes_vllm_on_a_cpu_only_where_the_memory_holds_it(
    monkeypatch: pytest.MonkeyPatch, memory: str, engine: str
) -> None:
    monkeypatch.setattr(engines, "vllm_build", lambda: "cpu")
    monkeypatch.setattr(sys, "platform", "linux")
    students = [Agent(name=name, model=QWEN) for name in ("ada", "bob")]
    teacher, *seated = resolve.resolve_agents(TEACHER, students, here(float(memory)), workloads=ASKED)
    assert [one.engine for one in seated] == [engine] * 2
    assert teacher.engine == "simulated" and "vLLM" not in teacher.seat.why
    assert all(("the memory does not hold vLLM" in one.seat.why) == (engine != "vllm") for one in seated)


def test_the_engine_and_so_the_answerer_does_not_depend_on_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "vllm_build", lambda: "cpu")
    monkeypatch.setattr(sys, "platform", "linux")
    student = Agent(name="ada", model=QWEN)
    for memory in (4, 24):
        free, full = (msgspec.structs.replace(here(memory), free_mb=mb) for mb in (memory * 1000, 100))
        assert resolve.resolve_agents(TEACHER, [student], free, workloads=ASKED) == resolve.resolve_agents(
            TEACHER, [student], full, workloads=ASKED
        )


def test_what_is_free_now_must_hold_agents_together_or_each_where_they_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    students = [Agent(name=name, model=QWEN, engine="transformers") for name in ("ada", "bob")]
    agents = resolve.resolve_agents(TEACHER, students, here(24), workloads=ASKED)

    def said(free_mb: int, *, in_turn: bool = False) -> str:
        monkeypatch.setattr(hardware, "this_machine", lambda: msgspec.structs.replace(here(24), free_mb=free_mb))
        return resolve.short_now(agents, in_turn=in_turn)

    # 2.3 GB each, and 2.4 GB stay free.
    assert said(7000) == said(5000, in_turn=True) == ""
    assert "need about 4.5 GB" in said(5000) and "time_share" in said(5000)
    assert "need about 2.3 GB" in said(4000, in_turn=True)
    monkeypatch.delattr(hardware, "this_machine")
    assert resolve.short_now(agents[:1], in_turn=False) == ""  # nobody computes here, so nothing is looked at


def test_lower_capacity_lowers_what_a_model_that_is_to_be_fetched_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    hub = "HuggingFaceTB/SmolLM2-{}-Instruct"

    def crew(capacity: int) -> list[Agent]:
        return [
            Agent(name=f"a{i}", model=hub.format(size), engine="transformers", capacity=capacity)
            for i, size in enumerate(("360M", "135M", "135M", "135M"))
        ]

    asked = {f"a{i}": Workload(count=400, tokens=600) for i in range(4)}
    with pytest.raises(PlacementError, match=r"ower capacity, lower engine_args\.kv_cache_mb") as caught:
        resolve.resolve_agents(TEACHER, crew(0), here(8, bfloat16=False), workloads=asked)
    assert len(str(caught.value).splitlines()) == 3
    assert resolve.resolve_agents(TEACHER, crew(4), here(8, bfloat16=False), workloads=asked)


def test_an_engine_that_was_named_or_given_arguments_is_refused_rather_than_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "vllm_build", lambda: "cpu")
    monkeypatch.setattr(sys, "platform", "linux")
    small = here(4)
    for student in (
        Agent(name="ada", model=QWEN, engine="vllm"),
        Agent(name="ada", model=QWEN, engine_args={"max_num_seqs": 8}),
    ):
        with pytest.raises(PlacementError, match="kv_cache_memory_bytes"):
            resolve.resolve_agents(TEACHER, [student], small)


def test_a_class_that_fits_with_no_engine_is_refused_with_the_numbers_of_the_smallest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "vllm_build", lambda: "cpu")
    monkeypatch.setattr(sys, "platform", "linux")
    students = [Agent(name=name, model=QWEN) for name in ("ada", "bob", "cy")]
    with pytest.raises(PlacementError, match=r"need about 6\.8 GB") as caught:
        resolve.resolve_agents(TEACHER, students, here(4), workloads=ASKED)
    assert "kv_cache_memory_bytes" not in str(caught.value)


@pytest.mark.parametrize("gpus", ["1x24", "8x141", "24,80"])
def test_what_every_agent_takes_is_known_before_anything_starts(gpus: str) -> None:
    students = [Agent(name="ada", model=QWEN), Agent(name="bob", model="smollm2-135m-instruct", gpu="none")]
    machine = msgspec.structs.replace(hardware.described_machine([f"gpus={gpus}", "memory=64"]), bfloat16=True)
    simulated, ada, bob = resolve.resolve_agents(TEACHER, students, machine, workloads=ASKED)
    assert simulated.memory() == {} and simulated.needs == ""
    assert set(ada.memory()) == {"weights_mb", "cache_mb", "engine_mb"}
    assert ada.memory()["cache_mb"] > 5_000 > bob.memory()["cache_mb"] > 0
    assert ada.seat.memory_share > 0 == bob.seat.memory_share
    assert (ada.needs, bob.needs) == ("2.8 GB", "1.4 GB")


def test_a_context_beyond_the_models_is_refused_before_anything_starts(tmp_path: Path) -> None:
    folder = str(save(tmp_path, "llama"))
    resolve.resolve_agents(
        TEACHER, [Agent(name="ada", model=folder, engine="transformers", max_context=CONTEXT)], here(64)
    )
    with pytest.raises(EngineStartError, match=rf"^ada: max_context: the model takes {CONTEXT} tokens at most"):
        resolve.resolve_agents(
            TEACHER, [Agent(name="ada", model=folder, engine="transformers", max_context=CONTEXT + 1)], here(64)
        )


# --- seats on GPUs -------------------------------------------------------------------------------------------

A10 = hardware.Gpu("0", "A10", 24_000)


def on_gpus(monkeypatch: pytest.MonkeyPatch, *, torch: str, **facts: Any) -> None:
    """As if this machine had these GPUs, and torch this build."""
    machine = hardware.Machine(cores=(0, 1), memory_mb=64_000, **facts)
    monkeypatch.setattr(hardware, "this_machine", lambda: machine)
    monkeypatch.setattr(engines, "vllm_build", lambda: "")
    monkeypatch.setattr(engines, "torch_build", lambda: torch)


@pytest.mark.parametrize("engine", ["auto", "transformers"])
@pytest.mark.parametrize("gpu", ["auto", 0])
@pytest.mark.parametrize("build", ["the CPU", "ROCm 6.4"])
def test_a_torch_that_cannot_use_the_gpu_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, engine: Any, gpu: Any, build: str
) -> None:
    on_gpus(monkeypatch, torch=build, gpus=(A10,))
    with pytest.raises(
        EngineStartError, match=rf"ada: gpu: .* torch [\d.]+\S* is built for {build}\npip install"
    ) as why:
        resolve.resolve_agents(TEACHER, [Agent(name="ada", model=QWEN, engine=engine, gpu=gpu)])
    assert len(str(why.value).splitlines()) == 2
    _, ada = resolve.resolve_agents(TEACHER, [Agent(name="ada", model=QWEN, engine=engine, gpu="none")])
    assert ada.seat.device == "CPU, 2 threads"
    on_gpus(monkeypatch, torch="CUDA 13.0", gpus=(A10,))
    _, ada = resolve.resolve_agents(TEACHER, [Agent(name="ada", model=QWEN, engine=engine, gpu=gpu)])
    assert ada.seat.gpus == ("0",)


def test_a_gpu_in_trouble_is_refused_to_those_who_would_sit_on_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpus(monkeypatch, torch="CUDA 13.0", gpu_trouble="GPU 0 is lost\nrepair it", gpu_expected=True)
    with pytest.raises(PlacementError, match=r"^ada: gpu: no GPU can be used: GPU 0 is lost\nrepair it$"):
        resolve.resolve_agents(TEACHER, [Agent(name="ada", model=QWEN)])
    resolve.resolve_agents(TEACHER, [Agent(name="ada", model=QWEN, gpu="none"), Agent(name="bob", model="simulated")])
    on_gpus(monkeypatch, torch="CUDA 13.0", gpu_trouble="nvidia-smi says: No devices were found")
    resolve.resolve_agents(TEACHER, [Agent(name="ada", model=QWEN)])


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", "the CPU"),
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "CUDA 13.0"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '6.4.43482-0f2d60242'\n", "ROCm 6.4.43482-0f2d60242"),
    ],
)
def test_the_build_of_torch_is_read_without_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, build: str
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
    (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
    assert engines.torch_build() == build


@pytest.mark.parametrize(
    ("facts", "engine", "asked", "dtype"),
    [
        ({"bfloat16": True}, "transformers", "auto", "bfloat16"),
        ({}, "vllm", "auto", "float32"),
        ({}, "transformers", "float16", "float16"),
        ({"gpus": (A10,)}, "transformers", "auto", "bfloat16"),
        ({"gpus": (msgspec.structs.replace(A10, bfloat16=False),)}, "transformers", "auto", "float16"),
        ({"gpus": (A10,)}, "vllm", "auto", "auto"),
        ({"mps": True}, "transformers", "auto", "float16"),
        ({}, "transformers int8", "auto", "float32, weights in int8"),
        ({"gpus": (A10,)}, "simulated", "auto", ""),
    ],
)
def test_the_dtype_that_an_agent_computes_in_is_recorded_with_its_device(
    facts: dict[str, Any], engine: Any, asked: Any, dtype: str
) -> None:
    engine, _, quantization = engine.partition(" ")
    args = {"quantization": quantization} if quantization else {}
    ada = Agent(name="ada", model=QWEN, engine=engine, dtype=asked, engine_args=args)
    _, seated = resolve.resolve_agents(TEACHER, [ada], hardware.Machine(cores=(0, 1), memory_mb=64_000, **facts))
    assert seated.facts()["dtype"] == dtype


# --- weights in int8 -----------------------------------------------------------------------------------------

INT8 = Agent(name="ada", model=QWEN, engine="transformers", engine_args={"quantization": "int8"})


def test_quantized_weights_are_another_answerer_and_take_less_memory() -> None:
    full = msgspec.structs.replace(INT8, name="bob", engine_args={"prefix_cache_mb": 200})
    _, a, b = resolve.resolve_agents(TEACHER, [INT8, full], here(24, bfloat16=False))
    assert told(a)["answerer"] != told(b)["answerer"]
    # 494.5 million weights in int8, the last layer too; and its 136.1 million as the embedding, in float32.
    assert (a.memory()["weights_mb"], b.memory()["weights_mb"]) == (1039, 2 * 989)


@pytest.mark.parametrize("facts", [{"gpus": (A10,)}, {"mps": True}])
def test_int8_is_refused_on_a_gpu_and_taken_beside_it(facts: dict[str, Any]) -> None:
    machine = hardware.Machine(cores=(0, 1), memory_mb=64_000, **facts)
    with pytest.raises(EngineStartError, match=r"int8 is for CPUs.*gpu: none") as caught:
        resolve.resolve_agents(TEACHER, [INT8], machine)
    assert (caught.value.agent, caught.value.key) == ("ada", ("engine_args", "quantization"))
    resolve.resolve_agents(TEACHER, [msgspec.structs.replace(INT8, gpu="none")], machine)


@pytest.mark.parametrize("engine", ["vllm", "openai", "simulated", "external"])
def test_int8_is_refused_with_other_engines(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "check_installed", lambda *_, **__: None)
    with pytest.raises(EngineStartError) as caught:
        resolve.resolve_agents(TEACHER, [msgspec.structs.replace(INT8, engine=engine)])
    assert (caught.value.agent, caught.value.key[:2]) == ("ada", ("engine_args", "quantization"))


# --- users without a home ------------------------------------------------------------------------------------


def test_a_user_without_name_and_home_is_given_both_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LBT_CACHE", "models")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "ann")
    assert home_env() == {"LBT_CACHE": str(tmp_path / "models")}
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    models = str(tmp_path / "models")
    assert home_env() == {"LBT_CACHE": models, "HOME": models, "USER": f"uid{os.getuid()}"}
    monkeypatch.delenv("HOME")
    assert home_env()["HOME"] == models


def unknown(uid: int) -> None:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


@pytest.mark.parametrize("xdg", ["cache", "./cache", ""])
def test_a_cache_folder_that_is_named_relative_to_nothing_does_not_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, xdg: str
) -> None:
    monkeypatch.delenv("LBT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "lbt-classroom"


# --- who can be trained --------------------------------------------------------------------------------------


def test_a_teacher_at_a_server_cannot_be_trained_and_a_simulated_one_can() -> None:
    preflight.check_trainable("simulated", "teacher")
    with pytest.raises(EngineStartError, match=r"its weights are not here\n.*level: 1"):
        preflight.check_trainable("openai", "teacher")


def test_training_without_its_packages_is_refused_with_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda package: None)
    preflight.check_trainable("simulated", "teacher")
    for engine in ("transformers", "vllm"):
        with pytest.raises(EngineStartError, match=r"pip install -e '?\"?\.\[train\]"):
            preflight.check_trainable(engine, "teacher")


def test_an_agent_is_told_where_its_run_keeps_trained_weights() -> None:
    (teacher,) = resolve.resolve_agents(TEACHER, [])
    spec = agent_process.agent_spec(
        teacher, {}, seed=1, endpoint="ipc://x", keys="", answer_key=Path("/run/key"), run=Path("/run")
    )
    assert (spec.weights_folder, spec.training_folder) == ("/run/weights", "/run/training")


@pytest.mark.parametrize(
    ("role", "engine", "in_turn", "late"),
    [
        ("teacher", "transformers", True, True),
        ("teacher", "vllm", True, True),
        ("teacher", "transformers", False, False),
        ("student", "transformers", True, False),
        ("teacher", "openai", True, False),
    ],
)
def test_only_an_engine_that_may_have_to_make_room_first_thing_is_late(
    role: Role, engine: str, in_turn: bool, late: bool
) -> None:
    (teacher,) = resolve.resolve_agents(TEACHER, [])
    one = msgspec.structs.replace(teacher, role=role, engine=engine)
    run = Path("/run")
    spec = agent_process.agent_spec(
        one, {}, seed=1, endpoint="", keys="", answer_key=run / "key", run=run, in_turn=in_turn
    )
    assert spec.lazy_start == late


@pytest.mark.parametrize(
    ("role", "gpu", "recipe", "in_turn", "told"),
    [
        ("teacher", "one", Recipe(lora_rank=8), False, (8, True)),
        ("teacher", "one", Recipe(lora=False), False, (0, True)),
        ("teacher", "exclusive", Recipe(), False, (16, False)),
        ("teacher", "none", Recipe(), False, (16, False)),
        ("teacher", "one", Recipe(), True, (16, False)),
        ("teacher", "one", None, False, (0, False)),
        ("student", "one", Recipe(), False, (0, False)),
    ],
)
def test_a_teacher_is_told_of_its_adapters_and_whether_its_engine_may_stay_on_the_gpu(
    role: Role, gpu: str, recipe: Recipe | None, in_turn: bool, told: tuple[int, bool]
) -> None:
    (teacher,) = resolve.resolve_agents(TEACHER, [])
    gpus = () if gpu == "none" else ("0",)
    seat = msgspec.structs.replace(teacher.seat, gpus=gpus, exclusive=gpu == "exclusive")
    one = msgspec.structs.replace(teacher, role=role, engine="vllm", seat=seat)
    run = Path("/run")
    spec = agent_process.agent_spec(
        one, {}, seed=1, endpoint="", keys="", answer_key=run / "key", run=run, in_turn=in_turn, recipe=recipe
    )
    assert (spec.lora_rank, spec.sleeps) == told
