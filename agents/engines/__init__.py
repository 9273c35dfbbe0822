"""The engines that complete prompts, by name. A module is imported only in the process that runs its engine."""

import importlib
from typing import Any

from agents.engines.base import Engine, EngineStartError, Settings

ENGINES = {
    "transformers": ("agents.engines.transformers", "TransformersEngine"),
    "openai": ("agents.engines.openai", "OpenAIEngine"),
    "simulated": ("agents.engines.simulated", "SimulatedEngine"),
}

WITH_LOCAL_MODEL = frozenset({"transformers"})
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


def choose(engine: str, model: str) -> str:
    """What `auto` stands for: the simulated engine where no model is named, else transformers."""
    if engine != "auto":
        return engine
    return "simulated" if model == "simulated" else "transformers"


def check_args(engine: str, args: dict[str, Any]) -> None:
    """Refuse wrong arguments before anything starts, for engines that can say so without a heavy import.

    Raises:
        EngineStartError: an unknown name or a value out of bounds.
    """
    if engine == "simulated":
        from agents.engines import simulated

        simulated.read_options(args)
        if "answer_key" in args:
            raise EngineStartError("simulated engine: engine_args: answer_key is set by the run, and by nobody else")
    elif engine == "openai":
        from agents.engines import openai_options

        openai_options.read_options(args)
