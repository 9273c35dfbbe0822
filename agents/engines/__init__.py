"""The engines that complete prompts, by name. A module is imported only in the process that runs its engine."""

import importlib
from typing import Any

from agents.engines.base import Engine, EngineStartError, Settings

ENGINES = {
    "transformers": ("agents.engines.transformers", "TransformersEngine"),
    "simulated": ("agents.engines.simulated", "SimulatedEngine"),
}

WITH_LOCAL_MODEL = frozenset({"transformers"})
"""Engines that load a model's files from a folder."""


def make(name: str, settings: Settings) -> Engine:
    """The engine of that name, not started yet.

    Raises:
        EngineStartError: an engine argument it does not take.
    """
    module, cls = ENGINES[name]
    engine: Engine = getattr(importlib.import_module(module), cls)(settings)
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
        from agents.engines.simulated import read_options

        read_options(args)
        if "answer_key" in args:
            raise EngineStartError("simulated engine: engine_args: answer_key is set by the run, and by nobody else")
