"""Lets agents take turns on a machine that does not hold them all (`time_share`).

The processes of one agent run at a time. When it has nothing left to answer they are ended, and those of the next
agent with work are started: the teacher first, then one student after the other.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from broker.client import Client
from broker.protocol import Gone
from scenarios.session.liveness import TURN_OVER


class SeatLauncher(Protocol):
    """The part of a launcher that time sharing needs."""

    def start_child(self, name: str) -> None:
        """Start a process that was stopped, or not started with the class."""

    def stop_child(self, name: str) -> int:
        """End a process until `start_child`; this does not count as a death. Returns its pid; 0: none runs."""


class TimeSharing:
    """Decides whose processes run.

    Args:
        processes: the names of each agent's processes, by agent, in the order of turns.
        launcher: starts and ends the processes.
        client: tells the broker that a process has ended, so that it need not find out.
    """

    def __init__(self, processes: Mapping[str, Sequence[str]], launcher: SeatLauncher, client: Client) -> None:
        self._processes = processes
        self._launcher = launcher
        self._client = client
        self.current = ""
        """The agent whose processes run; empty: none yet."""

    def check(self, outstanding: Mapping[str, int]) -> None:
        """Change over, if the current agent has nothing left to answer and another has."""
        if outstanding.get(self.current):
            return
        waiting = [agent for agent in self._processes if outstanding.get(agent)]
        if not waiting:
            return
        for name in self._processes.get(self.current, ()):
            pid = self._launcher.stop_child(name)
            self._client.send(Gone(name=name, detail=TURN_OVER, pid=pid))
        self.current = waiting[0]
        for name in self._processes[self.current]:
            self._launcher.start_child(name)

    def present(self, outstanding: Mapping[str, int]) -> dict[str, int]:
        """Unanswered requests of the agents that should run: the current one and those that are external."""
        return {agent: n for agent, n in outstanding.items() if agent == self.current or agent not in self._processes}
