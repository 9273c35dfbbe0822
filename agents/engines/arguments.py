"""Checks `engine_args` before an engine is there: names and values, each mistake at its own entry.

Imports no engine. What an argument means stands beside the engine that takes it.
"""

import ast
import difflib
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from agents.engines.base import EngineStartError
from agents.memory import PREFIX_CACHE_MB

FIXED = frozenset({"model", "tokenizer", "trust_remote_code"})
"""Of vLLM, not free: they would change whose answers are recorded, or run code beside weights."""
WORDS = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list"}

Options = TypeVar("Options", bound=msgspec.Struct)


class TransformersOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `engine_args` of a transformers agent may hold."""

    prefix_cache_mb: Annotated[int, Meta(ge=0)] = PREFIX_CACHE_MB
    """For the keys and values of recent prompts, in MB (10^6 bytes); 0: none are kept."""
    kv_cache_mb: Annotated[int, Meta(ge=0)] = 0
    """For the keys and values of running requests, in MB (10^6 bytes) and at most; 0: 2000, but on CUDA half of the
    GPU's free memory. Where a long request needs more of it, fewer run at once."""


def read(args: dict[str, Any], cls: type[Options], *, set_by_run: str = "") -> Options:
    """`engine_args` as options of an engine.

    Args:
        args: as the scenario has them.
        cls: what the engine takes.
        set_by_run: the option that no scenario may set, which no message names.

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
            names = [field for field in cls.__struct_fields__ if field != set_by_run]
            problem = unknown(name, names) if found[1] == "unknown" else "is missing; this engine needs it"
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
    """Refuse arguments that vLLM does not take, or that are not free; the values are for vLLM itself.

    Raises:
        EngineStartError: the same.
    """
    for name in sorted(FIXED & args.keys()):
        raise EngineStartError("cannot be set: the agent's model settles it", key=("engine_args", name))
    names = vllm_arguments()
    for name in sorted(args.keys() - names if names else ()):
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise EngineStartError(f"vLLM has no such argument{hint}", key=("engine_args", name))


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
