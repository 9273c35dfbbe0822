"""Checks `engine_args` before an engine is there: names and values, each mistake at its own entry.

Imports no engine. What an argument means stands beside the engine that takes it.
"""

import ast
import difflib
import importlib.util
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from agents.engines.base import EngineStartError
from agents.placement.memory import PREFIX_CACHE_MB

VLLM_ALLOWED = frozenset(
    # Memory.
    {"gpu_memory_utilization", "kv_cache_memory_bytes", "kv_cache_dtype", "num_gpu_blocks_override", "block_size"}
    | {"cpu_offload_gb", "enable_prefix_caching", "prefix_caching_hash_algo", "disable_hybrid_kv_cache_manager"}
    # Batches.
    | {"max_num_seqs", "max_num_batched_tokens", "max_num_scheduled_tokens", "long_prefill_token_threshold"}
    | {"enable_chunked_prefill", "async_scheduling"}
    # Weights: how they are read and rounded, not which.
    | {"quantization", "safetensors_load_strategy", "max_parallel_loading_workers"}
    # Compilation and kernels.
    | {"enforce_eager", "optimization_level", "performance_mode", "cudagraph_capture_sizes"}
    | {"max_cudagraph_capture_size", "attention_backend", "moe_backend", "linear_backend", "disable_cascade_attn"}
    # Several GPUs.
    | {"tensor_parallel_size", "pipeline_parallel_size", "enable_expert_parallel", "disable_custom_all_reduce"}
    # What a class of texts can do without: images, statistics, vLLM's own tokenizer.
    | {"language_model_only", "disable_log_stats", "skip_tokenizer_init"}
)
"""What a scenario may set of vLLM: speed and memory. Among the rest are arguments that import code by its name
(`worker_cls`, `logits_processors`, `compilation_config`), unpickle weights (`load_format`), answer with another model
(`hf_overrides`, `speculative_config`), or talk to other machines (`kv_transfer_config`, `otlp_traces_endpoint`)."""
VLLM_SETTLED = {
    "model": "the agent's model settles it",
    "tokenizer": "the agent's model settles it",
    "dtype": "write dtype of the agent",
    "max_model_len": "write max_context of the agent",
    "seed": "write seed of the scenario",
}
"""What stands elsewhere in a scenario."""
WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list"}

Options = TypeVar("Options", bound=msgspec.Struct)


class TransformersOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `engine_args` of a transformers agent may hold."""

    prefix_cache_mb: Annotated[int, Meta(ge=0)] = PREFIX_CACHE_MB
    """For the keys and values of recent prompts, in MB (10^6 bytes); 0: none are kept."""
    kv_cache_mb: Annotated[int, Meta(ge=0)] = 0
    """For the keys and values of running requests, in MB (10^6 bytes) and at most; 0: 2000, but on CUDA half of the
    GPU's free memory. Where a long request needs more of it, fewer run at once."""


def read(args: dict[str, Any], cls: type[Options], *, set_by_run: Collection[str] = (), why: str = "") -> Options:
    """`engine_args` as options of an engine.

    Args:
        args: as the scenario has them.
        cls: what the engine takes.
        set_by_run: the options that no scenario may set, which no message names.
        why: why it is this engine; a line of its own after an unknown or missing name, unless empty.

    Raises:
        EngineStartError: an unknown name or a value out of bounds, at its key.
    """
    try:
        return msgspec.convert(args, cls)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$.")
        where = re.findall(r"\w+", path)
        if found := re.search(r"(unknown|missing required) field `(.*)`", problem, re.DOTALL):
            name = found[2]
            where = [name]
            names = [field for field in cls.__struct_fields__ if field not in set_by_run]
            problem = unknown(name, names) if found[1] == "unknown" else "is missing; this engine needs it"
            problem += f"\n{why}" if why else ""
        else:
            problem = re.sub(r"`(\w+)`", lambda word: WORDS.get(word[1], word[0]), problem)
            problem = problem.replace("Expected", "needs").replace(", got", ", has")
        raise EngineStartError(problem, key=("engine_args", *where)) from None


def unknown(name: str, names: Iterable[str]) -> str:
    """What to say of an argument that is none of `names`."""
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"no such argument;{hint} it takes: {', '.join(names)}"


def check_vllm(args: dict[str, Any]) -> None:
    """Refuse arguments that vLLM does not take, or that are more than a matter of speed and memory.

    Whether a value is in bounds is for vLLM itself to say.

    Raises:
        EngineStartError: the same.
    """
    names = vllm_arguments() if args else set()
    for name, value in sorted(args.items()):
        if why := _refused(name, value, names):
            raise EngineStartError(why, key=("engine_args", name))


def _refused(name: str, value: Any, names: set[str]) -> str:
    """Why vLLM is not given this argument; empty: it is. `names` are those of the installed vLLM, if there is one."""
    if name in VLLM_SETTLED:
        return f"cannot be set: {VLLM_SETTLED[name]}"
    if names and name not in names:
        near = difflib.get_close_matches(name, names & VLLM_ALLOWED, n=1)
        return "vLLM has no such argument" + (f"; did you mean {near[0]!r}?" if near else "")
    if name not in VLLM_ALLOWED:
        near = difflib.get_close_matches(name, VLLM_ALLOWED, n=1, cutoff=0.8)
        hint = f"; did you mean {near[0]!r}?" if near else ", listed in docs/engines.md"
        return f"is not taken: only arguments for speed and memory are{hint}"
    if not all(isinstance(item, str | int | float) for item in (value if isinstance(value, list) else [value])):
        return "needs a number, text, true or false, or a list of these"
    return ""


def vllm_arguments() -> set[str]:
    """The names of vLLM's engine arguments, from its source, as importing it takes seconds; empty: not installed."""
    spec = importlib.util.find_spec("vllm")
    source = Path(spec.origin).parent / "engine" / "arg_utils.py" if spec and spec.origin else None
    if source is None or not source.is_file():
        return set()
    classes = [node for node in ast.parse(source.read_text("utf-8")).body if isinstance(node, ast.ClassDef)]
    return {
        entry.target.id
        for node in classes
        if node.name in ("EngineArgs", "AsyncEngineArgs")
        for entry in node.body
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name)
    }
