"""Agents that take turns on a machine which does not hold them all (`time_share`).

One agent is there at a time; when nothing is left for it to answer it is sent away, and the next that has
something to answer is brought. So the teacher comes first, and then one student after the other.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from broker.client import Client
from broker.protocol import Gone
from scenarios.session.liveness import TURN_OVER


class SeatLauncher(Protocol):
    """The part of a launcher that turns need."""

    def bring(self, name: str) -> None:
        """Start a process that rests."""

    def send_away(self, name: str) -> int:
        """End a process until it is brought back; this is no death. Returns its pid; 0: none runs."""


class Turns:
    """Whose turn it is.

    Args:
        crews: the names of each agent's processes, by agent, in the order of turns.
        launcher: starts and ends the processes.
        client: tells the broker that a process is gone, so that it need not find out.
    """

    def __init__(self, crews: Mapping[str, Sequence[str]], launcher: SeatLauncher, client: Client) -> None:
        self._crews = crews
        self._launcher = launcher
        self._client = client
        self.current = ""
        """The agent that is there; empty: nobody yet."""

    def look(self, outstanding: Mapping[str, int]) -> None:
        """Change over, if the one who is there has nothing left and another has."""
        if outstanding.get(self.current):
            return
        waiting = [agent for agent in self._crews if outstanding.get(agent)]
        if not waiting:
            return
        for name in self._crews.get(self.current, ()):
            pid = self._launcher.send_away(name)
            self._client.send(Gone(name=name, detail=TURN_OVER, pid=pid))
        self.current = waiting[0]
        for name in self._crews[self.current]:
            self._launcher.bring(name)

    def here(self, outstanding: Mapping[str, int]) -> dict[str, int]:
        """What is outstanding for those who should be there: external agents, and whose turn it is."""
        return {agent: n for agent, n in outstanding.items() if agent == self.current or agent not in self._crews}
