"""What an agent takes of memory while it works: its weights, keys and values, and the engine itself. Estimates, pure.

The figures beyond the weights were measured with small models (docs/engines.md). Who fits where is decided in
agents/placement.py; this file knows neither seats nor machines, and imports no engine.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

OVERHEAD = 0.3
"""Of the weights, on top of them: activations, and copies in the layout the device wants."""
CONTEXT_MB = 1024
"""On each GPU: the libraries, and the context of a process."""
SMALL_CACHE_MB = 512
"""On each GPU: keys and values, at least."""
CPU_ENGINE_MB = {"transformers": 800, "vllm": 1536}
"""On a CPU: the libraries and buffers of all its processes. vLLM has two, the agent's and the core's."""
CPU_OVERHEAD = {"transformers": 0.0, "vllm": OVERHEAD}
"""Of the weights. Where transformers packs them, what is mapped from the file beside is shared and can be dropped."""
VLLM_CACHE_MB = 2048
"""Of keys and values on a CPU (MiB), unless `engine_args.kv_cache_memory_bytes` says otherwise. Taken at the start."""
PREFIX_CACHE_MB = 256
"""Of the transformers engine, unless `engine_args.prefix_cache_mb` says otherwise."""


class Memory(msgspec.Struct, frozen=True):
    """One agent's memory, in MB: on all its GPUs together, or on the machine."""

    weights_mb: int
    cache_mb: int
    """Keys and values."""
    engine_mb: int

    @property
    def total_mb(self) -> int:
        """All of it."""
        return self.weights_mb + self.cache_mb + self.engine_mb


def on_cpu(engine: str, weights_mb: int, args: Mapping[str, Any]) -> Memory:
    """The memory of an agent that computes on the CPU.

    Args:
        engine: one that loads a model: `vllm` or `transformers`.
        weights_mb: of its model.
        args: its `engine_args`. What an engine would refuse counts as not said.
    """
    cache_mb = VLLM_CACHE_MB if engine == "vllm" else PREFIX_CACHE_MB
    said = args.get("kv_cache_memory_bytes" if engine == "vllm" else "prefix_cache_mb")
    if isinstance(said, int) and said >= 0:
        cache_mb = said >> 20 if engine == "vllm" else said
    return Memory(weights_mb, cache_mb, int(weights_mb * CPU_OVERHEAD[engine]) + CPU_ENGINE_MB[engine])


def on_gpus(weights_mb: int, granted_mb: float, gpus: int) -> Memory:
    """The memory of an agent on `gpus` GPUs that grant it `granted_mb` in all: keys and values get what is left."""
    engine_mb = int(weights_mb * OVERHEAD) + CONTEXT_MB * gpus
    return Memory(weights_mb, max(0, int(granted_mb) - weights_mb - engine_mb), engine_mb)


def need_mb(weights_mb: int, gpus: int = 1) -> int:
    """What an agent cannot do without, in MB on each of `gpus` GPUs that share its weights."""
    return int(weights_mb * (1 + OVERHEAD) / gpus) + CONTEXT_MB + SMALL_CACHE_MB
