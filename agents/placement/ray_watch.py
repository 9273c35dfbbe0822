"""Notices that a Ray cluster does not answer any more: Ray itself would end this program without advice."""

import threading
import time
from collections.abc import Callable, Mapping

from broker.reach import unreachable

LOOK_S = 1.0
"""How long a port is tried, and the time between two looks."""
LOST_S = 60.0
"""How long one may be silent before the cluster is lost: as long as Ray waits for a head that is started again."""


class ClusterWatch:
    """Looks in a thread whether a cluster answers.

    Args:
        addresses: HOST:PORT of each process of Ray without which no class runs, by what it is.
        lost_s: how long one of them may be silent before the cluster is lost.
        probe: says why an endpoint cannot be reached until a time; see `unreachable`.
    """

    def __init__(
        self,
        addresses: Mapping[str, str],
        lost_s: float = LOST_S,
        *,
        probe: Callable[[str, float], str] = unreachable,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._addresses = dict(addresses)
        self._lost_s = lost_s
        self._probe = probe
        self._clock = clock
        self._answered_at = clock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch-ray", daemon=True)
        self.lost = threading.Event()
        """Set once the cluster is lost, which is for good."""
        self.why = ""
        """What did not answer, once it is lost."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopped.set()

    def silent(self) -> str:
        """Which process does not answer now; empty: all do."""
        for what, address in self._addresses.items():
            if self._probe(f"tcp://{address}", time.monotonic() + LOOK_S):
                return f"{what} ({address})"
        return ""

    def answers(self) -> bool:
        """Wait until the cluster answers, or is lost; returns whether it answers."""
        while not self.lost.is_set():
            if not self.look():
                return True
        return False

    def look(self) -> str:
        """Look once, and set `lost` if the cluster has been silent for too long; returns `silent`."""
        silent = self.silent()
        if not silent:
            self._answered_at = self._clock()
        elif self._clock() - self._answered_at >= self._lost_s:
            self.why = f"{silent} has not answered for {self._lost_s:g} s"
            self.lost.set()
        return silent

    def _watch(self) -> None:
        while not self.lost.is_set() and not self._stopped.wait(LOOK_S):
            self.look()
