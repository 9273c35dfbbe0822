"""The arguments and the environment of vLLM for an agent, and checks before it loads."""

import contextlib
import functools
import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from agents.engines.base import EngineSettings, EngineStartError, Prompt
from agents.engines.local.loading import pick_dtype
from agents.engines.vllm.weights import EXTENSION, adaptable
from agents.placement.memory import MB, REQUESTS_AT_ONCE, VLLM_CACHE_BYTES
from broker.endpoints import user_folder
from broker.files import locked

log = logging.getLogger(__name__)

CAPACITY = REQUESTS_AT_ONCE["vllm"]
"""Requests at once if the scenario sets no capacity."""
LARGE_GPU_MB, LARGE_BATCH = 40_000, 8192
"""GPUs of this memory compute this many tokens in one step. vLLM's default for an embedded engine is 2048."""
BLOCK = 32
"""Tokens per cached block on a CPU (vLLM's default: 128), since only whole blocks of a prefix are cached."""
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM takes as `max_lora_rank`."""
LORAS = 4
"""Most adapters in one batch, of rank 64 or less: fewer of a higher rank, since each takes memory from the start."""
LORA_KEYS = ("enable_lora", "max_lora_rank", "max_loras", "lora_target_modules")
PROGRESS_EVERY = 8
"""Tokens between two progress reports, each of which takes time in the process that feeds the engine."""
ENVIRONMENT = {
    # A forked core would inherit this process's sockets and threads.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Placement assigns cores and threads; vLLM's own binding does not know the other agents.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}


def arguments(settings: EngineSettings, kind: str, gpu_mb: int = 0) -> dict[str, Any]:
    """Return vLLM's arguments; `engine_args` of the scenario override them.

    Args:
        settings: of the agent.
        kind: kind of device: `cpu` or `cuda`.
        gpu_mb: memory of its GPU; 0: unknown.
    """
    args: dict[str, Any] = {
        "model": str(settings.folder),
        "trust_remote_code": False,
        # vLLM needs its tokenizer for structured outputs only: prompts and completions are tokens.
        "skip_tokenizer_init": False,
        "load_format": "safetensors",
        "dtype": settings.dtype,
        # -1: the model's own limit, or less if the memory for keys and values holds less.
        "max_model_len": settings.max_context or -1,
        "max_num_seqs": settings.capacity or CAPACITY["cpu" if kind == "cpu" else "cuda"],
        "enable_prefix_caching": True,
        "seed": settings.seed % (1 << 31),
        "disable_log_stats": True,
        "worker_extension_cls": EXTENSION,
    }
    if kind == "cpu":
        args |= {
            "enforce_eager": True,
            "kv_cache_memory_bytes": VLLM_CACHE_BYTES,
            "block_size": BLOCK,
            # A worker within the core starts in half the time, takes 700 MB less, and does not busy-wait.
            "distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
        }
        if settings.dtype == "auto":
            # vLLM would take the model's bfloat16 even on CPUs that are slow in it.
            args["dtype"] = cpu_dtype()
    else:
        args["tensor_parallel_size"] = max(1, settings.gpus)
        if gpu_mb >= LARGE_GPU_MB:
            args["max_num_batched_tokens"] = LARGE_BATCH
        if settings.sleeps:
            args["enable_sleep_mode"] = True
        if settings.memory_share:
            args["gpu_memory_utilization"] = settings.memory_share
        if settings.cache_mb:
            # Then vLLM need not measure what is free, and agents on one GPU may load at the same time.
            args["kv_cache_memory_bytes"] = settings.cache_mb * MB
    return args | lora_arguments(settings.lora_rank, args["dtype"], settings.folder) | settings.options


def lora_arguments(rank: int, dtype: str, base: Path | None) -> dict[str, Any]:
    """Return the arguments with which vLLM keeps adapters beside its base weights; empty: it merges them.

    Args:
        rank: of the adapters; 0: there are none.
        dtype: of the computation. In float32 nothing is lost by merging, answers are faster, and vLLM's kernels for
            adapters on GPUs do not compute in it.
        base: folder of the base model.
    """
    if not rank or not base or dtype == "float32":
        return {}
    most = next(each for each in LORA_RANKS if each >= rank)
    at_once = max(1, min(LORAS, LORAS * 64 // most))
    return dict(zip(LORA_KEYS, (True, most, at_once, adaptable(base)), strict=True))


def sampling_params(prompt: Prompt, stops: Collection[int], kind: str, *, structured: bool) -> Any:
    """Return vLLM's parameters of one request.

    Args:
        prompt: the request.
        stops: tokens that end an answer.
        kind: kind of device: `cpu` or `cuda`.
        structured: whether this vLLM keeps to a structure.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling = prompt.sampling
    structure = prompt.structure if structured else None
    return SamplingParams(
        temperature=sampling.temperature,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        seed=None if kind == "cpu" else prompt.seed,
        structured_outputs=StructuredOutputsParams(regex=structure) if structure else None,
        stop_token_ids=sorted(stops),
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
        stream_interval=PROGRESS_EVERY,
    )


def cpu_dtype() -> str:
    """Return the best dtype for this machine's CPU."""
    import torch

    return str(pick_dtype(torch.device("cpu"))).removeprefix("torch.")


def check_seat(kind: str, settings: EngineSettings) -> None:
    """Raise EngineStartError if vLLM is built for another device than the agent's."""
    if kind == "cpu" and settings.gpus:
        raise EngineStartError("this vLLM is built for CPUs, and the agent runs on a GPU\ninstall vllm, or gpu: none")
    if kind != "cpu" and (not kind or os.environ.get("LBT_DEVICE") == "cpu"):
        raise EngineStartError(
            "this vLLM is built for GPUs, and the agent runs on the CPU\n"
            "install the CPU build (docs/engines.md), or take engine: transformers"
        )


@contextlib.contextmanager
def alone_on(gpus: str) -> Iterator[None]:
    """Hold locks on these GPUs: vLLM counts memory that others allocate while it loads as its own."""
    # Not in the cache folder, which may belong to root.
    folder = user_folder()
    with contextlib.ExitStack() as locks:
        # In a fixed order, so that two agents never wait for each other.
        for gpu in sorted(set(filter(None, gpus.split(",")))):
            wait = functools.partial(log.info, "waiting for another agent to load on GPU %s", gpu)
            locks.enter_context(locked(folder / f"gpu-{gpu.replace('/', '-')}.lock", wait))
        yield
