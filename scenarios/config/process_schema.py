"""The sections of scenario files about processes: limits and the broker. scenarios/config/schema.py has the others."""

from typing import Annotated

from msgspec import Meta

from scenarios.config.section import Count, Seconds, Section


class Limits(Section, frozen=True, kw_only=True):
    """Time limits and restarts."""

    stalled_s: Seconds = 300.0
    """If an agent makes no progress on a request for this long, the request is taken back and the agent restarted."""
    loading_s: Seconds = 900.0
    """An agent that takes longer to load is restarted."""
    training_s: Seconds = 3600.0
    """An agent whose training takes longer for one step is restarted; the training continues from its checkpoint."""
    empty_pool_s: Seconds = 120.0
    """If an agent that is needed has had no process, running or about to start, for this many seconds, the class stops;
    it can be resumed."""
    broker_s: Seconds = 60.0
    """If the broker's process runs but sends nothing for this long (at least three heartbeats), it is started again.
    The limit is ten times as long while that process waits for a processor or for the disk."""
    restarts: Count = 2
    """Largest number of restarts of each process of an agent, and of the broker."""
    drain_s: Seconds = 20.0
    """Time for unfinished requests after Ctrl-C."""


class Broker(Section, frozen=True, kw_only=True):
    """How the processes connect."""

    address: Annotated[str, Meta(pattern="^(ipc$|tcp://)")] = "ipc"
    """ipc: this machine only. tcp://HOST:PORT: other hosts, too, encrypted (CURVE) with keys in the run's folder. The
    monitor uses the next port; an IPv6 address is in brackets, tcp://[::1]:5599."""
    heartbeat_s: Seconds = 2.0
    """How often an agent sends a heartbeat. If none comes for three times this long, an agent that the run started is
    shown as silent, and any other counts as lost."""
