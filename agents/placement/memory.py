"""Estimate the memory of an agent: weights, keys and values, and the engine itself.

MB are 10^6 bytes and GB are 10^9 bytes, here and everywhere else in this project. docs/performance.md has the
measurements.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from agents.models.weights import BYTES, Shape

MB = 1_000_000
GPU_OVERHEAD = 0.3
"""Additional memory on a GPU per weight: activations, and copies in the device's layout."""
CONTEXT_MB = 1024
"""MB on each GPU for libraries and the context of a process."""
SMALL_CACHE_MB = 512
"""Least MB of keys and values on each GPU."""
CPU_ENGINE_MB = {"transformers": 300, "vllm": 1500}
"""MB on a CPU for libraries and buffers of all processes; vLLM has two."""
CPU_OVERHEAD = {"transformers": 0.15, "vllm": 0.5}
"""Additional memory on a CPU per weight: activations, and copies while a model is loaded."""
VLLM_CACHE_BYTES = 2 << 30
"""Bytes of keys and values on a CPU, allocated at the start; `engine_args.kv_cache_memory_bytes` overrides it."""
SLOTS_MB = 2000
"""Most MB of the transformers engine on a CPU for the keys and values of running requests; `engine_args.kv_cache_mb`
overrides it."""
PREFIX_CACHE_MB = 256
"""Most MB of the transformers engine for recent prompts; `engine_args.prefix_cache_mb` overrides it."""
REQUESTS_AT_ONCE = {
    "vllm": {"cpu": 64, "cuda": 256},
    "transformers": {"cpu": 32, "mps": 32, "cuda": 64},
    "simulated": {"cpu": 32},
}
"""Requests that one process of an agent runs at once, by engine and device; `capacity` overrides it."""
SLOT_STEP = 128
"""The length of slots of the transformers engine is a multiple of this number of tokens."""


class Memory(msgspec.Struct, frozen=True):
    """Memory of an agent in MB: on all its GPUs together, or on the machine."""

    weights_mb: int
    cache_mb: int
    """Keys and values."""
    engine_mb: int

    @property
    def total_mb(self) -> int:
        """Total memory."""
        return self.weights_mb + self.cache_mb + self.engine_mb


class Workload(msgspec.Struct, frozen=True):
    """The requests of an agent, as far as they decide the memory of keys and values. 0: unknown."""

    count: int = 0
    """Number of requests in the whole class."""
    tokens: int = 0
    """Tokens of prompt and completion of the longest request."""
    token_bytes: int = 0
    """Bytes of keys and values of one token."""
    capacity: int = 0
    """Requests that the agent runs at once; 0: the engine's default."""


UNKNOWN = Workload()


def on_cpu(engine: str, weights_mb: int, args: Mapping[str, Any], workload: Workload = UNKNOWN) -> Memory:
    """Return the memory of an agent on the CPU.

    Args:
        engine: `vllm` or `transformers`.
        weights_mb: MB of its model, in the dtype it computes in.
        args: its `engine_args`; invalid values are ignored.
        workload: its requests; if unknown, keys and values take their maximum.
    """
    if engine == "vllm":
        cache_mb = _value(args, "kv_cache_memory_bytes", VLLM_CACHE_BYTES) // MB
    else:
        cache_mb = _slots_mb(args, workload) + _prefixes_mb(args, workload)
    return Memory(weights_mb, cache_mb, int(weights_mb * CPU_OVERHEAD[engine]) + CPU_ENGINE_MB[engine])


def weights_mb(size_mb: int, shape: Shape, dtype: str, *, packed: bool, int8: bool = False) -> int:
    """Return the memory of weights on the CPU in MB.

    Args:
        size_mb: MB of the weights on the disk.
        shape: shape of the model.
        dtype: dtype of the computation.
        packed: whether the engine packs bfloat16 weights, which copies a shared embedding.
        int8: whether linear layers are in int8, beside an embedding in the dtype.
    """
    if not shape.weight_bytes:
        return size_mb
    if int8 and (embedding := shape.tied_values + shape.untied_values):
        linear = size_mb * MB // shape.weight_bytes - shape.untied_values
        return (linear + embedding * BYTES[dtype]) // MB
    copied = shape.tied_values * BYTES[dtype] // MB if packed and dtype == "bfloat16" else 0
    return size_mb * BYTES[dtype] // shape.weight_bytes + copied


def slot_length(tokens: int) -> int:
    """Return the length of a slot for this number of tokens."""
    return -(-tokens // SLOT_STEP) * SLOT_STEP


def _slots_mb(args: Mapping[str, Any], workload: Workload) -> int:
    limit = _value(args, "kv_cache_mb", 0) or SLOTS_MB
    slot = slot_length(workload.tokens) * workload.token_bytes / MB
    if not slot:
        return limit
    rows = workload.capacity or REQUESTS_AT_ONCE["transformers"]["cpu"]
    # A single request is accepted whatever it needs.
    return int(max(slot, min(limit, slot * min(rows, workload.count or rows))))


def _prefixes_mb(args: Mapping[str, Any], workload: Workload) -> int:
    limit = _value(args, "prefix_cache_mb", PREFIX_CACHE_MB)
    return min(limit, workload.count * workload.tokens * workload.token_bytes // MB or limit)


def _value(args: Mapping[str, Any], name: str, default: int) -> int:
    value = args.get(name)
    return value if isinstance(value, int) and value >= 0 else default


def on_gpus(weights_mb: int, granted_mb: float, gpus: int) -> Memory:
    """Return the memory of an agent on `gpus` GPUs with `granted_mb` in all: keys and values get the rest."""
    engine_mb = int(weights_mb * GPU_OVERHEAD) + CONTEXT_MB * gpus
    return Memory(weights_mb, max(0, int(granted_mb) - weights_mb - engine_mb), engine_mb)


def need_mb(weights_mb: int, gpus: int = 1) -> int:
    """Return the least MB of an agent on each of `gpus` GPUs that share its weights."""
    return int(weights_mb * (1 + GPU_OVERHEAD) / gpus) + CONTEXT_MB + SMALL_CACHE_MB
