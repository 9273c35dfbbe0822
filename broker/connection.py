"""What the broker knows about one connection. No socket, no I/O."""

from typing import Literal

from broker.events import Sender
from broker.pool import PoolAgent

End = Literal["goodbye", "process", "silent", "stalled", "replaced", "refused", "revoked"]
"""How an agent can end; see `Lost`."""
BARRED: tuple[End, ...] = ("refused", "revoked")
"""After these, nothing counts that comes over the same connection."""


class Connection:
    """What the broker knows about one connection, by its routing id."""

    __slots__ = ("agent", "end", "name", "pool", "reads_packed", "sender", "unknown_at")

    def __init__(self, sender: Sender) -> None:
        self.sender = sender
        """The connection belongs to its first sender."""
        self.agent: PoolAgent | None = None
        """The agent that is connected now."""
        self.end: End | None = None
        """How the agent that was connected ended, or `refused`; None: neither."""
        self.name = self.pool = ""
        """Of the agent that ended or was refused."""
        self.unknown_at: float | None = None
        """When it was last sent `Unknown`."""
        self.reads_packed = False
        """As its last Hello says."""
