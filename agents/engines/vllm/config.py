"""What vLLM is told: an agent's settings and seat, as its arguments and environment. And whether it may load there.

Engine and requests are agents/engines/vllm/engine.py.
"""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator
from typing import Any

from agents.engines.base import EngineStartError, Settings
from agents.engines.local.loading import pick_dtype
from agents.engines.vllm.weights import EXTENSION
from agents.models.fetch import locked
from agents.placement.memory import VLLM_CACHE_BYTES
from broker.endpoints import user_folder

log = logging.getLogger(__name__)

CAPACITY = {"cpu": 64, "cuda": 256}
"""Requests at once where the scenario names no number."""
BLOCK = 32
"""Tokens per cached block on a CPU, where 128 is the default: a shared prefix is only cached in whole blocks."""
ENVIRONMENT = {
    # A forked core would inherit this process's sockets and threads in mid-air.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # The seat has settled cores and threads already; vLLM's own binding knows nothing of other agents.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}


def arguments(settings: Settings, kind: str) -> dict[str, Any]:
    """What vLLM is told on a device of that kind (`cpu`, `cuda`); `engine_args` of the scenario have the last word."""
    told: dict[str, Any] = {
        "model": str(settings.folder),
        "trust_remote_code": False,
        # Only for structured outputs: prompts go in as tokens, and completions come out as tokens.
        "skip_tokenizer_init": False,
        "load_format": "safetensors",
        "dtype": settings.dtype,
        # -1: the model's own limit, or less where the memory for keys and values holds less.
        "max_model_len": settings.max_context or -1,
        "max_num_seqs": settings.capacity or CAPACITY["cpu" if kind == "cpu" else "cuda"],
        "enable_prefix_caching": True,
        "seed": settings.seed % (1 << 31),
        "disable_log_stats": True,
        "worker_extension_cls": EXTENSION,
    }
    if kind == "cpu":
        told |= {
            "enforce_eager": True,
            "kv_cache_memory_bytes": VLLM_CACHE_BYTES,
            "block_size": BLOCK,
            # One worker lives in the core itself: half the start, 700 MB less, and no core kept busy by waiting.
            "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
        }
        if settings.dtype == "auto":
            # vLLM would take the model's bfloat16 on any CPU, however slowly it computes in it.
            told["dtype"] = cpu_dtype()
    else:
        told["tensor_parallel_size"] = max(1, settings.gpus)
        if settings.memory_share:
            told["gpu_memory_utilization"] = settings.memory_share
    return told | settings.options


def cpu_dtype() -> str:
    """The dtype that this machine's CPU is best at."""
    import torch

    return str(pick_dtype(torch.device("cpu"))).removeprefix("torch.")


def check_seat(kind: str, settings: Settings) -> None:
    """Refuse a build of vLLM that is not for the device this agent sits on.

    Raises:
        EngineStartError: with what to do.
    """
    if kind == "cpu" and settings.gpus:
        raise EngineStartError("this vLLM is built for CPUs, and the agent sits on a GPU\ninstall vllm, or gpu: none")
    if kind != "cpu" and (not kind or os.environ.get("LBT_DEVICE") == "cpu"):
        raise EngineStartError(
            "this vLLM is built for GPUs, and the agent sits on the CPU\n"
            "install the CPU build (docs/engines.md), or take engine: transformers"
        )


@contextlib.contextmanager
def alone_on(gpus: str) -> Iterator[None]:
    """Load while no other agent of this user loads on these GPUs: vLLM counts what others allocate as its own."""
    # Not in the cache, which may be root's.
    folder = user_folder()
    with contextlib.ExitStack() as held:
        # In one order for all, so that two agents never wait for each other.
        for gpu in sorted(set(filter(None, gpus.split(",")))):
            wait = functools.partial(log.info, "waiting for another agent to load on GPU %s", gpu)
            held.enter_context(locked(folder / f"gpu-{gpu.replace('/', '-')}.lock", wait))
        yield
