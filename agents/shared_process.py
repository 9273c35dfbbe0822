"""Main of a process of several simulated agents: a class of a thousand students needs no thousand processes.

Each agent has its own name, connection, engine and credit, as in a process of its own (agents/main.py). If one of them
breaks, the process ends, and the launcher starts all of them again.
"""

import asyncio
import logging
import sys

from agents import engines
from agents.main import AgentProcess, connect, settings
from agents.spec import AgentSpec, SharedProcessSpec
from broker import child_process, logs

log = logging.getLogger("agent")


async def serve(specs: tuple[AgentSpec, ...]) -> int:
    """Serve as all of these agents until they are drained, or one of them breaks; return the exit code."""
    agents = []
    for spec in specs:
        client, engine = connect(spec), engines.make(spec.engine, settings(spec))
        agents.append(asyncio.create_task(AgentProcess(spec, engine, client).run(), name=spec.name))
    code = 0
    for ended in asyncio.as_completed(agents):
        if (one := await ended) not in (0, child_process.NO_RESTART):
            return one
        code = code or one
    return code


def main() -> int:
    """Run the agents of the spec on standard input."""
    spec = child_process.receive(SharedProcessSpec)
    logs.configure()
    log.info("%d agents: %s", len(spec.agents), ", ".join(one.name for one in spec.agents))
    return asyncio.run(serve(spec.agents))


if __name__ == "__main__":
    sys.exit(main())
