"""Limit the memory and the connections that peers can use in the broker.

ZeroMQ limits the size of each frame and the number of complete messages that wait. It does not limit the frames of one
message: it keeps them until the last one has come, and does not report them before. So this module watches the memory
of the process. If it grows by much more than the broker itself keeps, the connections with the most unread bytes are
cut; a correct peer connects again and repeats its messages. ZeroMQ does not limit the connections either, and ends the
process if it cannot open a file for another one.
"""

import contextlib
import ctypes
import fcntl
import os
import resource
import socket
import stat
import sys
import termios
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator

from broker.processes import memory_mb

GROWTH_MB = 128
"""How much the process may grow before connections are cut."""
CHECK_S = 0.05
"""Time between two checks."""
MOST_FILES = 1 << 16
"""How many open files this process asks for; it cuts connections when half of its limit is reached."""
CUTS = 4
"""After so many cuts in a row all connections are cut once, and the memory still in use after that is accepted."""


def allow_many_connections() -> None:
    """Raise this process's limit of open files; the default of many systems is 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    with contextlib.suppress(OSError, ValueError):  # macOS allows less than it reports
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def cut(descriptor: int) -> None:
    """Cut the connection behind a descriptor of this process; a correct peer connects again."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as one:  # it may be closed meanwhile
        one.shutdown(socket.SHUT_RDWR)


class FloodGuard:
    """Watches the memory and the open files of this process. Without /proc (macOS) the memory is not known.

    Args:
        endpoint: of the broker.
        kept_mb: returns the approximate memory of the envelopes that the broker keeps.
    """

    def __init__(self, endpoint: str, kept_mb: Callable[[], float]) -> None:
        self._address = endpoint.partition("://")[2]
        self._kept_mb = kept_mb
        self._least_mb = memory_mb() + GROWTH_MB
        self.allowed_mb = self._least_mb
        self._checked_at = 0.0
        self._cuts = 0

    def cut_flooding(self, now: float) -> list[str]:
        """Cut the connections that flood the broker. Returns a description of each. `now` is in seconds."""
        if now - self._checked_at < CHECK_S:
            return []
        self._checked_at = now
        with contextlib.suppress(OSError):  # no file is left even for this; connections that end will free some
            if 2 * len(os.listdir("/dev/fd")) > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
                return self._cut_most_connected()
        used_mb = memory_mb()
        if used_mb > self.allowed_mb:
            self.allowed_mb = max(self.allowed_mb, self._least_mb + self._kept_mb())
        if used_mb <= self.allowed_mb or self._after_trim() <= self.allowed_mb:
            self._cuts = 0
            return []
        self._cuts += 1
        if self._cuts <= CUTS:
            return self._cut()
        cut = self._cut(all_of_them=True)
        time.sleep(CHECK_S)  # ZeroMQ's thread frees what they held
        self.allowed_mb, self._cuts = self._after_trim() + GROWTH_MB, 0
        return cut

    def _after_trim(self) -> float:
        """The memory in use, in MB, once glibc has given back what is free."""
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim:
            trim(0)
        return memory_mb()

    def _cut(self, *, all_of_them: bool = False) -> list[str]:
        """Cut the connections with the most unread bytes; all, if no connection has any. Returns their peers."""
        unread = {_inode(one): _unread(one) for one in self._connections()}
        most = max(unread.values(), default=0)
        return self._cut_these({inode for inode, count in unread.items() if all_of_them or 2 * count >= most})

    def _cut_most_connected(self) -> list[str]:
        """Cut all connections of the peer that has the most. Returns the peer."""
        peers = {_inode(one): _peer(one) for one in self._connections()}
        most = Counter(peers.values()).most_common(1)
        return self._cut_these({inode for inode, peer in peers.items() if peer == most[0][0]})[:1]

    def _cut_these(self, inodes: Collection[int]) -> list[str]:
        """Cut connections. Returns their peers."""
        cut = []
        for one in self._connections():
            if _inode(one) in inodes:
                with contextlib.suppress(OSError):  # it has been closed meanwhile
                    cut.append(_peer(one))
                    one.shutdown(socket.SHUT_RDWR)
        return cut

    def _connections(self) -> Iterator[socket.socket]:
        """Duplicates of the connections to the broker's address; each is closed before the next one is made.

        Several duplicates at a time could reach the limit of open files.
        """
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # it has been closed meanwhile, or is no connection
                if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    continue
                with socket.socket(fileno=os.dup(int(name))) as one:
                    one.getpeername()  # fails for the listening socket
                    local = one.getsockname()
                    if self._address == local or (isinstance(local, tuple) and self._address.endswith(f":{local[1]}")):
                        yield one


def _inode(connection: socket.socket) -> int:
    """The inode of a connection, which its duplicates share."""
    return os.fstat(connection.fileno()).st_ino


def _unread(connection: socket.socket) -> int:
    """How many bytes of a connection wait in the kernel."""
    return int.from_bytes(fcntl.ioctl(connection, termios.FIONREAD, bytes(4)), sys.byteorder)


def _peer(connection: socket.socket) -> str:
    """The peer of a connection: its address, or over ipc its process."""
    if connection.family != socket.AF_UNIX:
        return str(connection.getpeername()[0])
    if sys.platform != "linux":
        return "a process of this machine"
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return f"process {int.from_bytes(credentials[:4], sys.byteorder)}"
