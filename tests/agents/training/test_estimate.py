import pytest

from agents.training.estimate import estimate, memory_advice
from broker.work_messages import Recipe

SMOLLM2 = 134.5e6


@pytest.mark.parametrize(
    ("parameters", "dtype", "published_gb"),
    [(8.03e9, "bfloat16", 17), (8.03e9, "float32", 33), (70.6e9, "bfloat16", 142)],
)
def test_an_adapter_takes_little_more_than_the_weights(parameters: float, dtype: str, published_gb: float) -> None:
    found = estimate(parameters, Recipe(), 100, 1000, dtype, "cuda")  # type: ignore[arg-type]
    assert published_gb < found.memory_gb < 1.5 * published_gb


def test_all_weights_take_four_copies_in_float32() -> None:
    assert estimate(8.03e9, Recipe(lora=False), 100, 1000, "bfloat16", "cuda").memory_gb > 16 * 8.03


def test_time_grows_with_pairs_and_epochs_and_memory_with_tokens_but_not_with_the_batch() -> None:
    one = estimate(SMOLLM2, Recipe(), 64, 400, "bfloat16", "cpu")
    twice = estimate(SMOLLM2, Recipe(epochs=2), 64, 400, "bfloat16", "cpu")
    assert twice.seconds == 2 * one.seconds and twice.memory_gb == one.memory_gb
    assert estimate(SMOLLM2, Recipe(), 64, 400, "bfloat16", "cpu", cores=2).seconds == one.seconds / 2
    assert estimate(SMOLLM2, Recipe(), 64, 2000, "bfloat16", "cpu").memory_gb > one.memory_gb
    assert estimate(SMOLLM2, Recipe(batch=64), 64, 400, "bfloat16", "cpu") == one


def test_where_memory_is_short_it_is_said_what_to_lower() -> None:
    assert "lora: true" in memory_advice(Recipe(lora=False)) and "max_tokens (it is 1024)" in memory_advice(Recipe())
