"""Addresses of a run's broker, and the private folder that holds its ipc sockets.

The folder has mode 0700, so the operating system keeps other users out. Its lock shows which folders are in use, so
folders that killed classes left behind can be removed.
"""

import contextlib
import fcntl
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO

import zmq

from broker.errors import ProtocolError, SecurityError
from broker.files import changeable, open_lock, private_folder
from broker.protocol import LAST_PORT

WORK, GAUGES, LOCK = "work", "gauges", "lock"
"""The files in the folder of a run's sockets."""
MAX_SOCKET_PATH = 103
"""Longest path of a Unix socket, in bytes, on all supported systems (macOS has the lowest limit)."""


def endpoints(address: str, run_folder: Path) -> tuple[str, str]:
    """The broker's endpoint for messages and its endpoint for gauges.

    Args:
        address: `ipc`, or `tcp://HOST:PORT`; gauges are then on the next port.
        run_folder: of the class.

    Raises:
        SecurityError: see `ipc_folder`; or the socket's path is too long.
        ProtocolError: the address is neither.
    """
    if address == "ipc":
        folder = ipc_folder(run_folder)
        if len(os.fsencode(folder / GAUGES)) > MAX_SOCKET_PATH:
            raise SecurityError(f"{folder}: too long for a socket's path; set TMPDIR to a shorter folder")
        return f"ipc://{folder / WORK}", f"ipc://{folder / GAUGES}"
    match = re.fullmatch(r"tcp://(\S+):(\d{1,5})", address)
    if not match or not 0 < int(match[2]) <= LAST_PORT:
        raise ProtocolError(f"{address!r} is no address: ipc, or tcp://HOST:PORT with a port from 1 to {LAST_PORT}")
    return address, f"tcp://{match[1]}:{int(match[2]) + 1}"


def check_endpoint(endpoint: str, keys: str) -> None:
    """Refuse an endpoint that strangers could reach.

    Raises:
        SecurityError: the reason, and what to do.
    """
    if endpoint.startswith("ipc://"):
        path = Path(endpoint.removeprefix("ipc://"))
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise SecurityError(f"{path}: too long for a socket's path; choose a shorter folder")
        if not path.parent.parent.is_dir():  # a program that cleans temporary folders may have removed both
            private_folder(path.parent.parent)
        private_folder(path.parent)
    elif not keys:
        raise SecurityError(f"{endpoint}: open to the network without keys; make them, or use address: ipc")


def set_family(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Allow IPv6 on `socket` if `endpoint` is an IPv6 address; ZeroMQ's default is IPv4 only."""
    socket.ipv6 = "[" in endpoint


def ipc_folder(run_folder: Path) -> Path:
    """The private folder of a run's sockets; every process that knows the run's folder computes the same path.

    It is not inside the run's folder: a socket's path must be short, and some file systems allow no sockets.

    Raises:
        SecurityError: see `user_folder`.
    """
    digest = blake2b(str(run_folder.resolve()).encode(), digest_size=6).hexdigest()
    return private_folder(user_folder() / digest)


def user_folder() -> Path:
    """This user's private folder for the sockets and locks of all classes on this machine.

    It is not in /run/user: that folder is removed when its user logs out, and a class may go on.

    Raises:
        SecurityError: see `private_folder`; or other users could replace the folder by another.
    """
    temporary = Path(tempfile.gettempdir())
    if why := changeable(temporary, sticky=True):
        raise SecurityError(
            f"{temporary}: {why}, so they could replace the sockets and locks of a class\n"
            f"let TMPDIR name another folder, or close this one: chmod +t {temporary}"
        )
    return private_folder(temporary / f"lbt-{os.getuid()}")


@contextlib.contextmanager
def lock_ipc_folder(run_folder: Path) -> Iterator[None]:
    """Keep the folder of a run's sockets while its class lasts, and remove it afterwards.

    Folders that killed classes left behind are removed first.

    Raises:
        SecurityError: see `ipc_folder`.
    """
    folder, lock = _lock(run_folder)
    with lock:
        for other in folder.parent.iterdir():
            if other != folder and not _in_use(other):
                remove_ipc_folder(other)
        try:
            yield
        finally:
            remove_ipc_folder(folder)


def remove_ipc_folder(folder: Path) -> None:
    """Remove a folder of sockets. A folder with other contents stays."""
    with contextlib.suppress(OSError):
        for name in (WORK, GAUGES, LOCK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def _lock(run_folder: Path) -> tuple[Path, IO[str]]:
    """The folder of a run's sockets, and its lock file, which stays locked until it is closed or the process ends."""
    while True:
        folder = ipc_folder(run_folder)
        # Until the lock is held, another class may remove the folder as one that was left behind.
        with contextlib.suppress(FileNotFoundError):
            lock = open_lock(folder / LOCK)
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK).stat()):
                    return folder, lock
            lock.close()


def _in_use(folder: Path) -> bool:
    """Whether a class holds the folder's lock. Earlier versions had no lock: then, whether a broker answers there."""
    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    with socket.socket(socket.AF_UNIX) as broker:
        broker.setblocking(False)  # a broker that is stopped accepts no connection
        try:
            broker.connect(str(folder / WORK))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True
