"""Which agents send their texts, and a key, to a server: the host, and the variable that holds the key."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.engines.base import EngineStartError
from agents.engines.openai.key import read_key
from agents.engines.openai.options import read_options
from broker.errors import PlacementError

if TYPE_CHECKING:
    from agents.placement.resolve import ResolvedAgent


def key_env(agent: "ResolvedAgent") -> str:
    """Name of the environment variable with the key of this agent's server; empty: it sends none."""
    return read_options(agent.config.engine_args).key_env if agent.engine == "openai" else ""


def check_keys(agents: "Sequence[ResolvedAgent]") -> None:
    """Check that every agent at a server finds its key.

    Raises:
        PlacementError: the variable of one is not set, or holds no key.
    """
    for agent in agents:
        if key_env(agent):
            try:
                read_key(read_options(agent.config.engine_args))
            except EngineStartError as error:
                name, key = agent.config.name, ("engine_args", "key_env")
                raise PlacementError(error.message, agent=name, key=key) from error


def keys_sent(agents: "Sequence[ResolvedAgent]") -> list[str]:
    """Which variable goes to which host, or that the texts go there without a key: a sentence for each pair."""
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
