"""What an agent takes of memory while it works: its weights, keys and values, and the engine itself. Estimates, pure.

MB are 10^6 bytes and GB are 10^9 bytes, here and everywhere else in this project. The figures beyond the weights were
measured with small models (docs/engines.md). Which agents fit where is decided in agents/placement/seats.py; this file
knows neither seats nor machines, and imports no engine.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from agents.models.weights import BYTES, Shape

MB = 1_000_000
OVERHEAD = 0.3
"""Of the weights, on top of them on a GPU: activations, and copies in the layout the device wants."""
CONTEXT_MB = 1024
"""On each GPU: the libraries, and the context of a process."""
SMALL_CACHE_MB = 512
"""On each GPU: keys and values, at least."""
CPU_ENGINE_MB = {"transformers": 300, "vllm": 1500}
"""On a CPU: the libraries and buffers of all its processes. vLLM has two, the agent's and the core's."""
CPU_OVERHEAD = {"transformers": 0.15, "vllm": 0.5}
"""Of the weights, on top of them on a CPU: activations, and what is copied while a model is loaded."""
VLLM_CACHE_BYTES = 2 << 30
"""Of keys and values on a CPU, unless `engine_args.kv_cache_memory_bytes` says otherwise. Taken at the start."""
SLOTS_MB = 2000
"""Of the transformers engine on a CPU, for the keys and values of running requests, at most; `engine_args.kv_cache_mb`
may say otherwise."""
PREFIX_CACHE_MB = 256
"""Of the transformers engine, for those of recent prompts, at most; `engine_args.prefix_cache_mb` may say otherwise."""
CPU_CAPACITY = 32
"""Requests that the transformers engine runs at once on a CPU, unless `capacity` says otherwise."""
ROOM = 128
"""Slots of the transformers engine hold a multiple of this many tokens."""


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


class Workload(msgspec.Struct, frozen=True):
    """What an agent is asked, as far as it decides how much its keys and values take. 0: not known."""

    count: int = 0
    """In the whole class."""
    tokens: int = 0
    """Prompt and completion of the longest one."""
    token_bytes: int = 0
    """Keys and values of one token."""
    capacity: int = 0
    """How many the agent runs at once; 0: as many as its engine does by itself."""


UNKNOWN = Workload()


def on_cpu(engine: str, weights_mb: int, args: Mapping[str, Any], requests: Workload = UNKNOWN) -> Memory:
    """The memory of an agent that computes on the CPU.

    Args:
        engine: one that loads a model: `vllm` or `transformers`.
        weights_mb: of its model, in the dtype it computes in.
        args: its `engine_args`. What an engine would refuse counts as not said.
        requests: what it is asked; where that is not known, its keys and values take all they may.
    """
    if engine == "vllm":
        cache_mb = _said(args, "kv_cache_memory_bytes", VLLM_CACHE_BYTES) // MB
    else:
        cache_mb = _slots_mb(args, requests) + _prefixes_mb(args, requests)
    return Memory(weights_mb, cache_mb, int(weights_mb * CPU_OVERHEAD[engine]) + CPU_ENGINE_MB[engine])


def weights_mb(size_mb: int, shape: Shape, dtype: str, *, packed: bool) -> int:
    """The memory of weights on the CPU.

    Args:
        size_mb: of the weights on the disk.
        shape: of the model.
        dtype: it computes in.
        packed: whether the engine packs weights in bfloat16, for which it copies a shared embedding.
    """
    if not shape.weight_bytes:
        return size_mb
    copied = shape.tied_values * BYTES[dtype] // MB if packed and dtype == "bfloat16" else 0
    return size_mb * BYTES[dtype] // shape.weight_bytes + copied


def room_for(tokens: int) -> int:
    """The length of a slot that holds so many tokens."""
    return -(-tokens // ROOM) * ROOM


def _slots_mb(args: Mapping[str, Any], requests: Workload) -> int:
    limit = _said(args, "kv_cache_mb", 0) or SLOTS_MB
    slot = room_for(requests.tokens) * requests.token_bytes / MB
    if not slot:
        return limit
    rows = requests.capacity or CPU_CAPACITY
    # One request is taken whatever it needs.
    return int(max(slot, min(limit, slot * min(rows, requests.count or rows))))


def _prefixes_mb(args: Mapping[str, Any], requests: Workload) -> int:
    limit = _said(args, "prefix_cache_mb", PREFIX_CACHE_MB)
    return min(limit, requests.count * requests.tokens * requests.token_bytes // MB or limit)


def _said(args: Mapping[str, Any], name: str, otherwise: int) -> int:
    said = args.get(name)
    return said if isinstance(said, int) and said >= 0 else otherwise


def on_gpus(weights_mb: int, granted_mb: float, gpus: int) -> Memory:
    """The memory of an agent on `gpus` GPUs that grant it `granted_mb` in all: keys and values get what is left."""
    engine_mb = int(weights_mb * OVERHEAD) + CONTEXT_MB * gpus
    return Memory(weights_mb, max(0, int(granted_mb) - weights_mb - engine_mb), engine_mb)


def need_mb(weights_mb: int, gpus: int = 1) -> int:
    """What an agent cannot do without, in MB on each of `gpus` GPUs that share its weights."""
    return int(weights_mb * (1 + OVERHEAD) / gpus) + CONTEXT_MB + SMALL_CACHE_MB
