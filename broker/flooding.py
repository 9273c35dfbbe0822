"""Bounds the memory and the connections that peers can make a broker use.

ZeroMQ bounds each frame, and how many whole messages wait. It does not bound the frames of one message: it keeps them
until the last one has come, and says nothing of them before. So the memory of the process is watched. When it has
grown by too much more than the broker itself keeps, the connections that bring most are cut. An honest peer connects
again and repeats what it must.
Nor does ZeroMQ bound the connections: it ends the process where no file can be opened for one more.
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
"""How much the process may grow until connections are cut."""
CHECK_S = 0.05
"""Time between two looks at the memory."""
MOST_FILES = 1 << 16
"""Files that this process asks to open; it cuts connections when half of those it may open are."""
CUTS = 4
"""After so many in a row every connection is cut once; the memory that is still in use then may stay."""


def allow_many_connections() -> None:
    """Let this process open as many files as it may; many systems allow 1024 where nothing else is asked for."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class FloodGuard:
    """Watches the memory of this process. Without /proc (macOS) the memory is not known, and nothing is done.

    Args:
        endpoint: of the broker.
        kept_mb: about how much memory the broker needs for what it keeps.
    """

    def __init__(self, endpoint: str, kept_mb: Callable[[], float]) -> None:
        self._address = endpoint.partition("://")[2]
        self._kept_mb = kept_mb
        self._least_mb = memory_mb() + GROWTH_MB
        self.allowed_mb = self._least_mb
        self._checked_at = 0.0
        self._cuts = 0

    def look(self, now: float) -> list[str]:
        """Cut the connections that flood the broker; returns them in words. `now` is in seconds."""
        if now - self._checked_at < CHECK_S:
            return []
        self._checked_at = now
        with contextlib.suppress(OSError):  # no file is left even for this: some connections will end by themselves
            if 2 * len(os.listdir("/dev/fd")) > resource.getrlimit(resource.RLIMIT_NOFILE)[0]:
                return self._cut_most_connected()
        if memory_mb() > self.allowed_mb:
            self.allowed_mb = max(self.allowed_mb, self._least_mb + self._kept_mb())
        if memory_mb() <= self.allowed_mb or self._after_trim() <= self.allowed_mb:
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
        """Cut the connections with the most unread bytes; all, where no connection has any. Returns who they were."""
        unread = {_inode(one): _unread(one) for one in self._connections()}
        most = max(unread.values(), default=0)
        return self._cut_these({inode for inode, count in unread.items() if all_of_them or 2 * count >= most})

    def _cut_most_connected(self) -> list[str]:
        """Cut all connections of the peer that has most. Returns who it is."""
        peers = {_inode(one): _peer(one) for one in self._connections()}
        most = Counter(peers.values()).most_common(1)
        return self._cut_these({inode for inode, peer in peers.items() if peer == most[0][0]})[:1]

    def _cut_these(self, inodes: Collection[int]) -> list[str]:
        """Cut connections. Returns who was at the other end of each."""
        words = []
        for one in self._connections():
            if _inode(one) in inodes:
                with contextlib.suppress(OSError):  # it is closed meanwhile
                    words.append(_peer(one))
                    one.shutdown(socket.SHUT_RDWR)
        return words

    def _connections(self) -> Iterator[socket.socket]:
        """The connections to the broker's address, one after the other: each is a duplicate, closed before the next.

        More than one duplicate at a time could take the last files that this process may open.
        """
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # it is closed meanwhile, or no connection
                if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    continue
                with socket.socket(fileno=os.dup(int(name))) as one:
                    one.getpeername()  # fails for the listening socket
                    local = one.getsockname()
                    if self._address == local or (isinstance(local, tuple) and self._address.endswith(f":{local[1]}")):
                        yield one


def _inode(connection: socket.socket) -> int:
    """What a connection has in common with its duplicates."""
    return os.fstat(connection.fileno()).st_ino


def _unread(connection: socket.socket) -> int:
    """How many bytes wait in the kernel to be read."""
    return int.from_bytes(fcntl.ioctl(connection, termios.FIONREAD, bytes(4)), sys.byteorder)


def _peer(connection: socket.socket) -> str:
    """Who is at the other end: the address, or over ipc the process."""
    if connection.family != socket.AF_UNIX:
        return str(connection.getpeername()[0])
    if sys.platform != "linux":
        return "a process of this machine"
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return f"process {int.from_bytes(credentials[:4], sys.byteorder)}"
