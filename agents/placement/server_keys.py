"""Agents that send their texts and a key to a server: which host, and which variable holds the key."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.engines.base import EngineStartError
from agents.engines.openai.options import read_key, read_options
from broker.errors import PlacementError

if TYPE_CHECKING:
    from agents.placement.resolve import ResolvedAgent


def key_env(agent: "ResolvedAgent") -> str:
    """Return the name of the environment variable with the agent's key; empty if it sends none."""
    return read_options(agent.config.engine_args).key_env if agent.engine == "openai" else ""


def check_keys(agents: "Sequence[ResolvedAgent]") -> None:
    """Check that the keys of all agents at servers are set.

    Raises:
        PlacementError: a variable is not set, or holds no key.
    """
    for agent in agents:
        if key_env(agent):
            try:
                read_key(read_options(agent.config.engine_args))
            except EngineStartError as error:
                name, key = agent.config.name, ("engine_args", "key_env")
                raise PlacementError(error.message, agent=name, key=key) from error


def keys_sent(agents: "Sequence[ResolvedAgent]") -> list[str]:
    """Return a sentence for each pair of key and host, or of host alone where no key is sent."""
    senders: dict[tuple[str, str], dict[str, None]] = {}
    for agent in agents:
        if agent.engine == "openai":
            host = read_options(agent.config.engine_args).host
            senders.setdefault((key_env(agent), host), {})[agent.config.name] = None
    return [
        f"{', '.join(names)}: sends the key in {variable} to {host}"
        + ("" if os.environ.get(variable) else f" ({variable} is not set)")
        if variable
        else f"{', '.join(names)}: all its texts go to {host} (no key)"
        for (variable, host), names in senders.items()
    ]
