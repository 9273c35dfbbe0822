"""Share the cores of a machine among the agents on the CPU."""

from collections.abc import Mapping

import msgspec

from agents.core_sharing import MOST_THREADS
from agents.placement.hardware import Machine


class Cores(msgspec.Struct, frozen=True):
    """The cores and threads that one agent on the CPU may use."""

    cores: tuple[int, ...]
    """The cores that it may run on."""
    threads: int
    """While all agents are at work."""
    most_threads: int
    """While the others have nothing to do."""
    at_once: int
    """How many cores all agents share."""

    @property
    def device(self) -> str:
        """As text: `CPU, 1 to 2 threads`."""
        span = f"{self.threads} to {self.most_threads}" if self.most_threads > self.threads else str(self.threads)
        return f"CPU, {span} thread{'s' if self.most_threads > 1 else ''}"


def share_cores(agents: Mapping[str, bool], machine: Machine) -> tuple[dict[str, Cores], str]:
    """Return what each agent on the CPU may use, and the reason.

    Args:
        agents: the agents on the CPU, and whether their engines can change the number of their threads.
        machine: the machine.
    """
    count, at_once = len(agents), machine.core_quota or len(machine.cores)
    if not count:
        return {}, ""
    shared = {}
    ends = [round(len(machine.cores) * i / count) for i in range(count + 1)]
    for i, (agent, flexible) in enumerate(agents.items()):
        # One thread each at least, since more threads than cores wait for each other inside every matrix product.
        threads = max(1, len(range(i, at_once, count)))
        most = max(threads, min(at_once, MOST_THREADS)) if flexible and count > 1 else threads
        cores = machine.cores
        if count <= at_once and not machine.core_quota and most == threads:
            # A quota limits time, not cores: with pinning, all containers of a host would share its first cores.
            cores = machine.cores[ends[i] : ends[i + 1]]
            threads = most = len(cores)
        shared[agent] = Cores(cores, threads, most, at_once)
    return shared, _sharing(count, at_once, "a quota of " if machine.core_quota and count <= at_once else "")


def _sharing(agents: int, cores: int, quota: str = "") -> str:
    """Describe how agents share cores."""
    who = "1 agent has" if agents == 1 else f"{agents} agents share"
    return f"{who} {quota}{cores} core{'' if cores == 1 else 's'}"
