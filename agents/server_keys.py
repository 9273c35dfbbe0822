"""Which agents send a key to a server: the variable that holds it, and the host it goes to."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.engines.servers.options import read_options

if TYPE_CHECKING:
    from agents.hiring import Hired


def key_env(agent: "Hired") -> str:
    """Name of the environment variable with the key of this agent's server; empty: it sends none."""
    return read_options(agent.wanted.engine_args).key_env if agent.engine == "openai" else ""


def keys_sent(agents: "Sequence[Hired]") -> list[str]:
    """Which variable goes to which host, a sentence for each pair."""
    senders: dict[tuple[str, str], dict[str, None]] = {}
    for agent in agents:
        if variable := key_env(agent):
            host = read_options(agent.wanted.engine_args).host
            senders.setdefault((variable, host), {})[agent.wanted.name] = None
    return [
        f"{', '.join(names)}: sends the key in {variable} to {host}"
        + ("" if os.environ.get(variable) else f" ({variable} is not set)")
        for (variable, host), names in senders.items()
    ]
