"""What the operating system knows about processes: who is at the other end of a connection, parents, memory."""

import os
import sys
from pathlib import Path
from typing import Protocol


class ProcessTable(Protocol):
    """What the broker's state machine looks up; tests put their own in the place of this module."""

    def is_running(self, pid: int, /) -> bool:
        """Whether the process runs."""

    def parent_of(self, pid: int, /) -> int:
        """The pid of its parent; 0: unknown."""


def process_of(address: str) -> int | None:
    """The pid of the process at the other end of an ipc connection.

    Args:
        address: the connection's `Peer-Address`, which the Linux kernel fills: HOST:UID:GID:PID.

    Returns:
        0 if the process is in another pid namespace; None if this system does not report it.
    """
    if sys.platform != "linux":
        return None
    parts = address.split(":")
    return int(parts[3]) if len(parts) == 4 else 0


def is_running(pid: int) -> bool:
    """Whether a process of this machine runs. A process that has ended does not run, even if nobody has reaped it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        pass
    return _stat(pid)[:1] != [b"Z"]


def parent_of(pid: int) -> int:
    """The pid of a process's parent; 0: unknown."""
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def memory_mb() -> float:
    """Resident memory of this process, in MB; 0 on systems without /proc."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            pages = int(file.read(200).split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat after the name: state, parent and more; empty if they cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []
