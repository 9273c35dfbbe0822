"""What agents take of memory: estimates against what was measured, and how arguments move them."""

import json
from pathlib import Path

import pytest

from agents.models.catalogue import resolve
from agents.models.weights import Shape, guessed_shape, shape_of
from agents.placement.memory import Memory, Workload, need_mb, on_cpu, on_gpus, weights_mb

VLLM = [
    # Peak of proportional set sizes over both processes of an agent, MB: SmolLM2 135M, Qwen2.5 0.5B and 1.5B, in a
    # class of two on an AMD CPU, then in classes of three and four on an Intel CPU with AMX.
    (270, {"kv_cache_memory_bytes": 2 << 30}, 3752),
    (989, {}, 4987),
    (270, {"kv_cache_memory_bytes": 256 << 20}, 1872),
    (989, {"kv_cache_memory_bytes": 512 << 20}, 3359),
    (989, {}, 5300),
    (3088, {}, 7600),
]


@pytest.mark.parametrize(("weights", "args", "measured"), VLLM)
def test_estimates_of_vllm_on_a_cpu_are_near_what_was_measured(
    weights: int, args: dict[str, int], measured: int
) -> None:
    assert on_cpu("vllm", weights, args).total_mb == pytest.approx(measured, rel=0.2)


TRANSFORMERS = [
    # Likewise, in float32: the main class with 4 problems and 4 rationales, and with 2 and 2. With how often
    # an agent was asked, and the tokens of its longest request.
    ("qwen2.5-coder-0.5b-instruct", 20, 397, 2846),
    ("qwen2.5-coder-0.5b-instruct", 32, 533, 3310),
    ("smollm2-135m-instruct", 32, 522, 1804),
    ("qwen2.5-coder-0.5b-instruct", 6, 397, 2576),
    ("qwen2.5-coder-0.5b-instruct", 8, 533, 2751),
    ("smollm2-135m-instruct", 8, 522, 1183),
]


@pytest.mark.parametrize(("name", "count", "tokens", "measured"), TRANSFORMERS)
def test_estimates_of_transformers_on_a_cpu_are_near_what_was_measured(
    name: str, count: int, tokens: int, measured: int
) -> None:
    model = resolve(name)
    weights = weights_mb(model.size_mb, model.shape, "float32", packed=True)
    asked = Workload(count=count, tokens=tokens, token_bytes=4 * model.shape.token_values)
    assert on_cpu("transformers", weights, {}, asked).total_mb == pytest.approx(measured, rel=0.2)


TOKEN = 24_576
"""Bytes of keys and values of a token of Qwen2.5 0.5B in float32."""


def cache_mb(args: dict[str, int] | None = None, /, **requests: int) -> int:
    asked = Workload(**{"count": 100, "tokens": 600, "token_bytes": TOKEN} | requests)
    return on_cpu("transformers", 989, {"prefix_cache_mb": 0} | (args or {}), asked).cache_mb


def test_running_requests_take_a_slot_each_that_holds_the_longest() -> None:
    assert cache_mb() == 32 * 640 * TOKEN // 10**6
    assert cache_mb(tokens=640) == cache_mb() < cache_mb(tokens=641)
    assert cache_mb(capacity=8) == 8 * 640 * TOKEN // 10**6
    assert cache_mb(count=5) == 5 * 640 * TOKEN // 10**6


def test_slots_take_at_most_what_they_may() -> None:
    assert cache_mb(tokens=8000) == 2000
    assert cache_mb({"kv_cache_mb": 300}) == 300
    assert cache_mb({"kv_cache_mb": 300}, tokens=30_000) == 30_080 * TOKEN // 10**6  # a single request is taken


@pytest.mark.parametrize("unknown", ["tokens", "token_bytes"])
def test_slots_whose_size_is_not_known_are_counted_at_the_most(unknown: str) -> None:
    assert cache_mb(**{unknown: 0}) == 2000
    assert cache_mb({"kv_cache_mb": 300}, **{unknown: 0}) == 300


def test_the_prefix_cache_takes_no_more_than_all_requests_fill() -> None:
    def prefixes(**requests: int) -> int:
        return cache_mb({"prefix_cache_mb": 256}, **requests) - cache_mb(**requests)

    assert prefixes() == prefixes(count=0) == 256
    assert prefixes(count=5) == 5 * 600 * TOKEN // 10**6
    assert cache_mb({"prefix_cache_mb": 0}) == cache_mb()


def test_an_argument_that_an_engine_would_refuse_counts_as_not_said() -> None:
    assert on_cpu("vllm", 270, {"kv_cache_memory_bytes": "2 GB"}) == on_cpu("vllm", 270, {"prefix_cache_mb": 0})


def test_weights_are_counted_in_the_dtype_that_is_computed_in() -> None:
    stored = Shape(weight_bytes=2, tied_values=10_000_000)
    assert weights_mb(1000, stored, "float32", packed=True) == 2000
    assert weights_mb(1000, stored, "bfloat16", packed=False) == 1000
    assert weights_mb(1000, stored, "bfloat16", packed=True) == 1020  # the embedding once more
    assert weights_mb(4000, Shape(weight_bytes=4), "bfloat16", packed=False) == 2000
    assert weights_mb(1000, stored, "float32", packed=True, int8=True) == 500 + 40  # the embedding stays in the dtype
    apart = Shape(weight_bytes=2, untied_values=10_000_000)
    assert weights_mb(1000, apart, "bfloat16", packed=True, int8=True) == 490 + 20
    assert weights_mb(1000, Shape(weight_bytes=2), "float32", packed=True, int8=True) == 2000  # embedding not known
    assert weights_mb(700, Shape(), "float32", packed=True) == 700  # quantized, or not known


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (
            {"num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 64,
             "vocab_size": 100, "tie_word_embeddings": True, "dtype": "bfloat16"},
            Shape(weight_bytes=2, token_values=2 * 2 * 4 * 8, tied_values=6400, heads=8),
        ),
        (
            {"num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": None, "hidden_size": 64,
             "head_dim": 16, "vocab_size": 100, "torch_dtype": "float32"},
            Shape(weight_bytes=4, token_values=2 * 2 * 8 * 16, untied_values=6400, heads=8),
        ),
        (
            {"dtype": "float16", "quantization_config": {}, "text_config": {
                "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8}},
            Shape(token_values=2 * 8, heads=1),
        ),
        ({}, Shape()),
    ],
)  # fmt: skip
def test_the_shape_of_a_model_comes_from_its_configuration(
    tmp_path: Path, config: dict[str, object], shape: Shape
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert shape_of(tmp_path) == shape


@pytest.mark.parametrize(
    ("name", "layers", "heads", "dim"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 30, 3, 64),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", 32, 5, 64),
        ("HuggingFaceTB/SmolLM2-1.7B-Instruct", 24, 32, 64),
        ("Qwen/Qwen2.5-0.5B-Instruct", 24, 2, 64),
        ("Qwen/Qwen2.5-1.5B-Instruct", 28, 2, 128),
        ("Qwen/Qwen2.5-7B-Instruct", 28, 4, 128),
        ("Qwen/Qwen3-0.6B", 28, 8, 128),
        ("meta-llama/Llama-3.1-8B-Instruct", 32, 8, 128),
        ("meta-llama/Llama-2-7b-chat-hf", 32, 32, 128),
        ("meta-llama/Llama-2-13b-chat-hf", 40, 40, 128),
    ],
)
def test_keys_and_values_of_a_model_that_is_to_be_fetched_are_bounded_by_its_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, layers: int, heads: int, dim: int
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = resolve(name)
    assert not model.at_hand
    assert 2 * layers * heads * dim <= model.shape.token_values <= model.size_mb * 1000


def test_nothing_is_guessed_of_a_model_whose_size_is_not_known() -> None:
    assert guessed_shape(0) == Shape(weight_bytes=2)


def test_the_catalogue_knows_the_shapes_of_its_models() -> None:
    smollm2, qwen = resolve("smollm2-135m-instruct"), resolve("qwen2.5-coder-0.5b-instruct")
    assert (smollm2.shape.token_values * 4, qwen.shape.token_values * 4) == (46_080, TOKEN)


@pytest.mark.parametrize("gpus", [1, 4])
def test_on_gpus_the_cache_gets_what_weights_and_engine_leave(gpus: int) -> None:
    taken = on_gpus(10_000, 60_000, gpus)
    assert taken == Memory(10_000, 60_000 - 10_000 - 3000 - 1024 * gpus, 3000 + 1024 * gpus)
    assert on_gpus(10_000, gpus * need_mb(10_000, gpus), gpus).cache_mb == 512 * gpus
    assert on_gpus(10_000, 10_000, gpus).cache_mb == 0
