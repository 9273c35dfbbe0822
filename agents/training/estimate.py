"""Estimate memory, disk and time of a training, without torch or files.

Rules of thumb, extrapolated from trainings of SmolLM2-135M on a CPU (tests/benchmarks/training.py prints both); nothing
was measured on GPUs. `plan` refuses a training that does not fit.
"""

from typing import Literal, NamedTuple

from broker.work_messages import Recipe

PROCESS_GB = {"cpu": 0.75, "cuda": 0.6, "mps": 0.6}
"""Memory of Python with torch, transformers and trl; on a GPU, of its context."""
SPEED = {"cpu": 70e9, "cuda": 40e12, "mps": 2e12}
"""Floating-point operations per second of a training: measured for a core, a cautious guess for a GPU."""


class Estimate(NamedTuple):
    """Memory, disk and time of a training."""

    memory_gb: float
    """Peak memory of the device; on a CPU of the process."""
    seconds: float
    """From the first step to the last."""
    host_gb: float
    """Memory of the machine beside that of a GPU: a checkpoint is copied into it before it is written. Else 0."""
    checkpoint_gb: float
    """Of the disk: what is trained and its two moments in float32."""
    weights_gb: float
    """Of the disk: the new weights in float32."""


def estimate(
    parameters: float,
    recipe: Recipe,
    pairs: int,
    tokens_per_pair: float,
    dtype: Literal["bfloat16", "float16", "float32"],
    device: Literal["cpu", "cuda", "mps"],
    cores: int = 1,
) -> Estimate:
    """Estimate a training to within about a third.

    Args:
        parameters: of the model.
        recipe: how it is trained.
        pairs: how many.
        tokens_per_pair: of prompt and chosen answer and prompt and rejected answer together.
        dtype: of frozen weights; what is trained is float32.
        device: where.
        cores: with `cpu`, how many.
    """
    frozen = 2 if dtype == "bfloat16" else 4
    # Layers and width grow together, and an adapter has two thin matrices for each square one.
    adapter = 27 * recipe.lora_rank * parameters**0.5
    values = adapter if recipe.lora else parameters
    checkpoint = 12 * values
    # Parameters, gradients and two moments, 4 bytes each. An Apple GPU shares the memory of copied checkpoints.
    trained = 16 * values + (checkpoint if device == "mps" else 0)
    passing = tokens_per_pair * (2 if recipe.method == "kto" else 0.5 if recipe.method == "sft" else 1)
    # Kept of each token: the inputs of all layers, then all of one layer at a time, and a tile of logits.
    kept = passing * 30 * parameters**0.5 + 4e8
    memory = PROCESS_GB[device] * 1e9 + (frozen * parameters if recipe.lora else 0) + trained + kept
    # Passes over every token, of two operations a parameter: forward, again for its checkpoints, backward (twice as
    # much where all weights are trained), and the reference.
    passes = 3 + (0 if recipe.lora else 1) + (0 if recipe.method == "sft" else 1) + (2 if recipe.method == "kto" else 0)
    used = tokens_per_pair * (0.5 if recipe.method == "sft" else 1)
    operations = 2 * passes * parameters * used * pairs * recipe.epochs
    return Estimate(
        memory / 1e9,
        operations / (SPEED[device] * (cores if device == "cpu" else 1)),
        PROCESS_GB["cpu"] + checkpoint / 1e9 if device == "cuda" else 0.0,
        checkpoint / 1e9,
        4 * values / 1e9,
    )


def memory_advice(recipe: Recipe) -> str:
    """What to lower where the memory does not suffice."""
    first = f"recipe.max_tokens (it is {recipe.max_tokens})"
    if not recipe.lora:
        return f"set recipe.lora: true, or lower {first}, or take a smaller teacher"
    return f"lower {first} or recipe.lora_rank (it is {recipe.lora_rank}), or take a smaller teacher"
