"""Ends a broker whose process runs but cannot be reached, so that the launcher starts it again.

A broker answers every heartbeat of the classroom. One that is silent for long is stopped, hangs, or has lost its
socket. One that waits for a processor on a busy machine gets more time. The launcher notices a broker that has ended.
"""

from typing import Protocol

from broker.client import Client
from scenarios.config.schema import Scenario
from scenarios.store.sqlite import Store

BROKER = "broker"
"""Name of the broker's process."""
STARVED = 10
"""How many times longer the broker may be silent while it waits for a processor or for the disk."""
SOCKET_S = 3.0
"""How long the broker's socket must be missing: a broker that starts makes it again."""


class BrokerLauncher(Protocol):
    """The part of a launcher that this module needs."""

    def starved(self, name: str) -> bool:
        """Whether the process waits for a processor or for the disk, and so cannot answer."""

    def kill(self, name: str, why: str, pid: int = 0) -> None:
        """End a process that hangs; this counts as a death.

        `pid` is the process that hangs; 0 means whichever runs under this name. Another process is left alone.
        """


class BrokerWatch:
    """Measures how long the broker of a class has been silent."""

    def __init__(self, scenario: Scenario, store: Store, client: Client, launcher: BrokerLauncher) -> None:
        self._quiet_s = 3 * scenario.broker.heartbeat_s
        self._limit_s = max(scenario.limits.broker_s, self._quiet_s)
        self._store = store
        self._client = client
        self._launcher = launcher
        self._heard = client.heard
        """Number of messages that had come from it at the last check."""
        self._silent_s = 0.0
        """Seconds since its last message, counted slower while its process is starved."""
        self._noted = False
        """Whether an event was written for its silence."""
        self._missing_s = 0.0
        """How long its socket has been missing while an agent could not connect."""

    def check(self, passed_s: float, *, runs: bool, awaited: bool) -> None:
        """Check the broker, `passed_s` after the last time.

        Args:
            passed_s: seconds, without time in which this process did not run.
            runs: whether the broker's process runs.
            awaited: whether an agent runs that has not reached the broker yet.
        """
        if not runs:
            self._silent_s = self._missing_s = 0.0
            return
        self._check_silence(passed_s)
        missing = self._client.missing_socket if awaited else ""
        self._missing_s = self._missing_s + passed_s if missing else 0.0
        if self._missing_s > SOCKET_S:
            self._missing_s = 0.0
            self._launcher.kill(BROKER, f"its socket {missing} is gone: does a program clean the temporary folder?")

    def _check_silence(self, passed_s: float) -> None:
        if self._client.heard != self._heard:
            self._heard, self._silent_s = self._client.heard, 0.0
            if self._noted:
                self._store.note(BROKER, "heard", "again")
            self._noted = False
            return
        self._silent_s += passed_s / STARVED if self._launcher.starved(BROKER) else passed_s
        if self._silent_s > self._limit_s:
            self._silent_s, self._noted = 0.0, False
            self._launcher.kill(BROKER, f"it said nothing for {self._limit_s:g} s (limits.broker_s)")
        elif self._silent_s > self._quiet_s and not self._noted:
            self._noted = True
            why = "the machine is busy, or the broker is stopped or cannot be reached"
            then = f"it is started again after {self._limit_s:g} s (limits.broker_s)"
            self._store.note(BROKER, "quiet", f"no word for {self._quiet_s:g} s: {why}; {then}")
