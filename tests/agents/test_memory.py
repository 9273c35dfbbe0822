"""What agents take of memory: estimates against what was measured, and how arguments move them."""

import pytest

from agents.memory import Memory, need_mb, on_cpu, on_gpus

MEASURED = [
    # Peak of proportional set sizes over all processes of an agent, MB: SmolLM2 135M and Qwen2.5 0.5B, vLLM in a
    # class of two, transformers in the main class, in which three agents map one file of weights.
    ("vllm", 270, {}, 3752),
    ("vllm", 989, {}, 4987),
    ("vllm", 270, {"kv_cache_memory_bytes": 256 << 20}, 1872),
    ("vllm", 989, {"kv_cache_memory_bytes": 512 << 20}, 3359),
    ("transformers", 270, {}, 1260),
    ("transformers", 989, {}, 1964),
]


@pytest.mark.parametrize(("engine", "weights", "args", "measured"), MEASURED)
def test_estimates_on_a_cpu_are_near_what_was_measured(
    engine: str, weights: int, args: dict[str, int], measured: int
) -> None:
    assert on_cpu(engine, weights, args).total_mb == pytest.approx(measured, rel=0.2)


def test_an_argument_that_an_engine_would_refuse_counts_as_not_said() -> None:
    assert on_cpu("vllm", 270, {"kv_cache_memory_bytes": "2 GB"}) == on_cpu("vllm", 270, {"prefix_cache_mb": 0})
    assert on_cpu("transformers", 270, {"prefix_cache_mb": 0}).cache_mb == 0


@pytest.mark.parametrize("gpus", [1, 4])
def test_on_gpus_the_cache_gets_what_weights_and_engine_leave(gpus: int) -> None:
    taken = on_gpus(10_000, 60_000, gpus)
    assert taken == Memory(10_000, 60_000 - 10_000 - 3000 - 1024 * gpus, 3000 + 1024 * gpus)
    assert on_gpus(10_000, gpus * need_mb(10_000, gpus), gpus).cache_mb == 512 * gpus
    assert on_gpus(10_000, 10_000, gpus).cache_mb == 0
