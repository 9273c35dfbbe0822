"""Many simulated students share processes, so that a class of a thousand needs PROCESSES of them and not a thousand.

`SharedProcessLauncher` makes such a process look like one process for each of its agents.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from msgspec.structs import replace

from agents.placement.launcher import ChildEnded, LocalLauncher
from agents.placement.resolve import ResolvedAgent

PROCESSES = 50
"""Simulated students up to this number have a process each; more share so many."""
OWN_PROCESS = frozenset({"crash_after", "hang_after", "pause_while", "pause_after"})
"""Arguments of the simulated engine that end or hold up the process of an agent, which is then its own."""


def shared_processes(agents: Sequence[ResolvedAgent], *, in_turn: bool) -> dict[str, tuple[str, ...]]:
    """The shared processes of a class by name, each with the names of its agents; empty: every agent has its own.

    Args:
        agents: every process of the class, as if it were its own.
        in_turn: the agents take turns, so each is started alone.
    """
    names = [
        one.name
        for one in agents
        if one.engine == "simulated" and one.role == "student" and not OWN_PROCESS & one.config.engine_args.keys()
    ]
    if in_turn or len(names) <= PROCESSES:
        return {}
    cuts = [number * len(names) // PROCESSES for number in range(PROCESSES + 1)]
    return {f"simulated.{number}": tuple(names[first:last]) for number, (first, last) in enumerate(pairwise(cuts), 1)}


def sharing_notice(agents: Sequence[ResolvedAgent], *, in_turn: bool) -> list[str]:
    """A sentence for the plan; none where every agent has a process of its own."""
    found = shared_processes(agents, in_turn=in_turn)
    if not found:
        return []
    return [f"{sum(map(len, found.values())):,} simulated students share {len(found)} processes."]


class SharedProcessLauncher:
    """A launcher whose processes may have several agents each; names are those of agents.

    Args:
        launcher: of the processes.
        members: the agents of each shared process, by its name.
    """

    def __init__(self, launcher: LocalLauncher, members: Mapping[str, Sequence[str]]) -> None:
        self._launcher = launcher
        self._members = members
        self._process = {agent: process for process, agents in members.items() for agent in agents}

    def start(self, later: Collection[str] = ()) -> None:
        """See LocalLauncher. A process starts later only if all its agents do."""
        processes = {self._of(name) for name in later}
        self._launcher.start({one for one in processes if set(self._agents(one)) <= set(later)})

    def ended(self, timeout_s: float = 0.0) -> list[ChildEnded]:
        """See LocalLauncher: an entry for each agent of a process that ended."""
        return [replace(one, name=name) for one in self._launcher.ended(timeout_s) for name in self._agents(one.name)]

    def start_child(self, name: str) -> None:
        """See LocalLauncher."""
        self._launcher.start_child(self._of(name))

    def stop_child(self, name: str) -> int:
        """See LocalLauncher. An agent that shares its process stays, and 0 is returned: others need the process."""
        return 0 if name in self._process else self._launcher.stop_child(name)

    def kill(self, name: str, why: str, pid: int = 0) -> None:
        """See LocalLauncher; the other agents of the process end, too."""
        self._launcher.kill(self._of(name), why, pid)

    def stop(self, grace_s: float) -> list[str]:
        """See LocalLauncher."""
        return self._launcher.stop(grace_s)

    def alive(self) -> set[str]:
        """The names of the agents whose processes run."""
        return {name for process in self._launcher.alive() for name in self._agents(process)}

    def unkillable(self) -> set[str]:
        """See LocalLauncher."""
        return {name for process in self._launcher.unkillable() for name in self._agents(process)}

    def starved(self, name: str) -> bool:
        """See LocalLauncher."""
        return self._launcher.starved(self._of(name))

    def last_error(self, name: str) -> str:
        """See LocalLauncher."""
        return self._launcher.last_error(self._of(name))

    def _of(self, agent: str) -> str:
        return self._process.get(agent, agent)

    def _agents(self, process: str) -> Sequence[str]:
        return self._members.get(process, (process,))
