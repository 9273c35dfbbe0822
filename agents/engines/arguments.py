"""Check names and values of `engine_args` without importing an engine; each error names its key."""

import ast
import difflib
import importlib.util
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from agents.engines.base import EngineStartError

VLLM_ALLOWED = frozenset(
    # Memory.
    {"gpu_memory_utilization", "kv_cache_memory_bytes", "kv_cache_dtype", "num_gpu_blocks_override", "block_size"}
    | {"cpu_offload_gb", "enable_prefix_caching", "prefix_caching_hash_algo", "disable_hybrid_kv_cache_manager"}
    # Batches.
    | {"max_num_seqs", "max_num_batched_tokens", "max_num_scheduled_tokens", "long_prefill_token_threshold"}
    | {"enable_chunked_prefill", "async_scheduling"}
    # How weights are read and rounded, not which weights.
    | {"quantization", "safetensors_load_strategy", "max_parallel_loading_workers"}
    # Compilation and kernels.
    | {"enforce_eager", "optimization_level", "performance_mode", "cudagraph_capture_sizes"}
    | {"max_cudagraph_capture_size", "attention_backend", "moe_backend", "linear_backend", "disable_cascade_attn"}
    # Several GPUs.
    | {"tensor_parallel_size", "pipeline_parallel_size", "enable_expert_parallel", "disable_custom_all_reduce"}
    # Features that a class of texts does not need: images, statistics, vLLM's tokenizer.
    | {"language_model_only", "disable_log_stats", "skip_tokenizer_init"}
)
"""Arguments of vLLM that a scenario may set: speed and memory. Some others import code by name (`worker_cls`,
`logits_processors`, `compilation_config`), unpickle weights (`load_format`), answer with another model (`hf_overrides`,
`speculative_config`), or connect to other machines (`kv_transfer_config`, `otlp_traces_endpoint`)."""
VLLM_SETTLED = {
    "model": "the agent's model settles it",
    "tokenizer": "the agent's model settles it",
    "dtype": "write dtype of the agent",
    "max_model_len": "write max_context of the agent",
    "seed": "write seed of the scenario",
    "enable_lora": "the class settles it, by learn.training.lora",
    "max_lora_rank": "the class settles it, by learn.training.lora_rank",
    "max_loras": "the class settles it, by learn.training.lora_rank",
    "enable_sleep_mode": "the class settles it: where the agent is trained",
}
"""Arguments that other keys of a scenario set."""
WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list"}

Options = TypeVar("Options", bound=msgspec.Struct)


class TransformersOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`engine_args` of a transformers agent."""

    prefix_cache_mb: Annotated[int, Meta(ge=0)] | None = None
    """MB (10^6 bytes) for the keys and values of recent prompts; 0: no prefix cache. Default: 256, on CUDA a fifth of
    the agent's memory for keys and values."""
    kv_cache_mb: Annotated[int, Meta(ge=0)] = 0
    """Most MB (10^6 bytes) for the keys and values of running requests; 0: 2000, on CUDA the rest of the agent's share
    of the memory. If requests need more, fewer run at once."""
    fixed_threads: bool = False
    """On a CPU: compute with as many threads as ever, also while other agents leave their cores idle. Slower, but then
    rounding does not depend on when others work."""
    quantization: Literal["int8"] | None = None
    """int8: hold and multiply the weights of linear layers in int8, on a CPU only: see agents/engines/local/int8.py."""


def read(args: dict[str, Any], cls: type[Options], *, set_by_run: Collection[str] = (), why: str = "") -> Options:
    """Convert `engine_args` to the options of an engine.

    Args:
        args: `engine_args` of the scenario.
        cls: type of the options.
        set_by_run: options that no scenario may set; messages do not list them.
        why: why this engine was chosen; added as a line to the message about an unknown or missing name.

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
    """Return the message about an argument that is none of `names`."""
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"no such argument;{hint} it takes: {', '.join(names)}"


def check_vllm(args: dict[str, Any]) -> None:
    """Refuse arguments unknown to vLLM, or about more than speed and memory. vLLM itself checks the values.

    Raises:
        EngineStartError: an argument is refused.
    """
    names = vllm_arguments() if args else set()
    for name, value in sorted(args.items()):
        if why := _refused(name, value, names):
            raise EngineStartError(why, key=("engine_args", name))


def _refused(name: str, value: Any, names: set[str]) -> str:
    """Return why an argument is refused; empty if it is accepted. `names`: arguments of the installed vLLM, if any."""
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
    if (name, value) == ("quantization", "int8"):
        return "vLLM does not quantize to int8 itself; take engine: transformers, on a CPU"
    return ""


def vllm_arguments() -> set[str]:
    """Read the names of vLLM's engine arguments from its source; importing takes seconds. Empty: not installed."""
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
