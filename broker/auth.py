"""Who may speak to the broker: folders that only their owner can enter, and CURVE keys.

On one machine the sockets lie in a folder of mode 0700, and the system keeps strangers out. Between machines
everything is encrypted, and only peers whose public key lies in the run's `keys/` are let in. What the transport
says of a peer, the peer itself cannot choose: the name of its key, or its process. Who may join is broker/members.py.
"""

import contextlib
import fcntl
import os
import re
import socket
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import IO

import msgspec
import zmq
from zmq.utils import z85

from broker.errors import ProtocolError
from broker.files import changeable, open_lock
from broker.protocol import LAST_PORT, Role

WORK, GAUGES, LOCK = "work", "gauges", "lock"
"""What lies in the folder of a run's sockets."""
BROKER = "broker"
CLASSROOM = "classroom"
MONITOR = "monitor"
ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"class"
MAX_SOCKET_PATH = 103
"""Bytes a path of a Unix socket may have on every system we know (macOS has the least)."""


class SecurityError(ProtocolError):
    """Something is open that must be closed, or a key is missing: what, where, and what to do."""


class Member(msgspec.Struct, frozen=True):
    """What an agent of a class is, and what the key of its name stands for."""

    role: Role
    pool: str


def process_of(address: str, said: int = 0) -> int:
    """The pid of the process at the other end of an ipc connection; 0: unknown, as in another pid namespace.

    On Linux the kernel tells it, in a `Peer-Address` of the form HOST:UID:GID:PID. Elsewhere the peer is believed.

    Args:
        address: the `Peer-Address`.
        said: the pid that the peer itself names.
    """
    if sys.platform != "linux":
        return said
    parts = address.split(":")
    return int(parts[3]) if len(parts) == 4 else 0


def is_running(pid: int) -> bool:
    """Whether a process of this machine runs: not one that has ended and that nobody has reaped yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        pass
    return _state_of(pid)[:1] != [b"Z"]


def parent_of(pid: int) -> int:
    """The pid of the parent of a process; 0: unknown."""
    found = _state_of(pid)
    return int(found[1]) if found else 0


def _state_of(pid: int) -> list[bytes]:
    """What Linux says of a process after its name: its state, its parent, and more; empty: nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def private_folder(folder: Path) -> Path:
    """`folder`, made if it is missing, which only this user can enter.

    Raises:
        SecurityError: it is somebody else's, open to others, or no folder.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SecurityError(f"{folder}: cannot be made: {error.strerror}") from error
    _check_private(folder, folder.lstat(), stat.S_IFDIR)
    return folder


def ipc_folder(run_folder: Path) -> Path:
    """The folder of a run's sockets: short, private, and the same for every process that knows the run's folder.

    Not in the run's folder: a socket's path has a tight limit, and runs may lie on a file system without sockets.

    Raises:
        SecurityError: see `user_folder`.
    """
    digest = blake2b(str(run_folder.resolve()).encode(), digest_size=6).hexdigest()
    return private_folder(user_folder() / digest)


def user_folder() -> Path:
    """This user's private folder for the sockets and locks of all classes on this machine.

    Not in /run/user: that folder vanishes when its user logs out, and a class may go on.

    Raises:
        SecurityError: see `private_folder`; or other users could put a folder of theirs in its place.
    """
    temporary = Path(tempfile.gettempdir())
    if why := changeable(temporary, sticky=True):
        raise SecurityError(
            f"{temporary}: {why}, so they could replace the sockets and locks of a class\n"
            f"let TMPDIR name another folder, or close this one: chmod +t {temporary}"
        )
    return private_folder(temporary / f"lbt-{os.getuid()}")


@contextlib.contextmanager
def sockets(run_folder: Path) -> Iterator[None]:
    """Keep the folder of a run's sockets while its class lasts, and remove it afterwards.

    Folders that killed classes left behind are removed first.

    Raises:
        SecurityError: see `ipc_folder`.
    """
    folder, lock = _hold(run_folder)
    with lock:
        for other in folder.parent.iterdir():
            if other != folder and not _in_use(other):
                _remove(other)
        try:
            yield
        finally:
            _remove(folder)


def _hold(run_folder: Path) -> tuple[Path, IO[str]]:
    """The folder of a run's sockets, and its lock, which is held until it is closed, however this process ends."""
    while True:
        folder = ipc_folder(run_folder)
        # Another class may take the folder for one that was left behind, until the lock is held.
        with contextlib.suppress(FileNotFoundError):
            lock = open_lock(folder / LOCK)
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK).stat()):
                    return folder, lock
            lock.close()


def _in_use(folder: Path) -> bool:
    """Whether a class holds the folder's lock, or, as earlier versions took none, a broker answers there."""
    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    with socket.socket(socket.AF_UNIX) as broker:
        broker.setblocking(False)  # a broker that is stopped takes no connection
        try:
            broker.connect(str(folder / WORK))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def _remove(folder: Path) -> None:
    """Remove a folder of sockets. One that is no such folder, or holds other things, is left as it is."""
    with contextlib.suppress(OSError):
        for name in (WORK, GAUGES, LOCK):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def endpoints(address: str, run_folder: Path) -> tuple[str, str]:
    """Where the broker is: for messages, and for gauges.

    Args:
        address: `ipc`, or `tcp://HOST:PORT`; gauges are then on the next port.
        run_folder: of the class.

    Raises:
        SecurityError: see `private_folder`; or the socket's path is too long.
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


def set_family(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Let `socket` bind or connect to an IPv6 address, if `endpoint` is one; ZeroMQ takes IPv4 only by itself."""
    socket.ipv6 = "[" in endpoint


def check_endpoint(endpoint: str, keys: str) -> None:
    """Refuse to bind where strangers could speak.

    Raises:
        SecurityError: why, and what to do.
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


# --- keys -----------------------------------------------------------------------------------------------


def make_keys(folder: Path, names: Iterable[str]) -> None:
    """Make a CURVE key pair for the broker and for each of `names` that has none yet.

    `NAME.key` is the secret half (0600), `NAME.pub` the public one; a key whose `NAME.pub` lies here is let in. A peer
    on another machine needs its own `NAME.key`, and `broker.pub`.

    Raises:
        SecurityError: see `private_folder`; or a name that cannot be a file's.
    """
    private_folder(folder)
    for name in (BROKER, *names):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise SecurityError(f"{name!r} cannot name a key file: letters, digits, _ . and - only")
        if not (folder / f"{name}.key").exists():
            public, secret = zmq.curve_keypair()
            _write(folder / f"{name}.pub", public)
            _write(folder / f"{name}.key", secret)


def allow_list(folder: Path) -> dict[bytes, str]:
    """Who is let in: the name of each public key in `folder`, by key."""
    paths = sorted(folder.glob("*.pub"))
    return {_read(path): path.stem for path in paths if path.stem != BROKER}


def secure_server(socket: "zmq.Socket[bytes]", folder: Path) -> None:
    """Make `socket` speak CURVE as the broker. A ZAP handler must be bound already."""
    socket.curve_secretkey = _read(folder / f"{BROKER}.key", secret=True)
    socket.curve_server = True
    socket.zap_domain = ZAP_DOMAIN
    # Without this, a missing handler would let everybody in.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: "zmq.Socket[bytes]", folder: Path, name: str) -> None:
    """Make `socket` speak CURVE as the peer `name`."""
    socket.curve_serverkey = _read(folder / f"{BROKER}.pub")
    secret = _read(folder / f"{name}.key", secret=True)
    socket.curve_secretkey, socket.curve_publickey = secret, zmq.curve_public(secret)


def zap_reply(request: list[bytes], allowed: Mapping[bytes, str]) -> list[bytes]:
    """The answer to one question of ZAP (ZeroMQ RFC 27): may this key in? The user id is the key's name."""
    if len(request) == 7 and request[0] == b"1.0" and request[5] == b"CURVE":
        name = allowed.get(z85.encode(request[6]))
        if name is not None:
            return [b"1.0", request[1], b"200", b"OK", name.encode(), b""]
    request_id = request[1] if len(request) > 1 else b""
    return [b"1.0", request_id, b"400", b"unknown key", b"", b""]


def _write(path: Path, text: bytes) -> None:
    # A leftover of a start that was interrupted between the two files is replaced.
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text + b"\n")


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        if secret:
            _check_private(path, path.lstat(), stat.S_IFREG)
        key = path.read_bytes().strip()
    except OSError as error:
        raise SecurityError(f"{path}: no key to be read there: {error.strerror}") from error
    if len(key) != 40:
        raise SecurityError(f"{path}: not a CURVE key (40 characters)")
    return key


def _check_private(path: Path, found: os.stat_result, kind: int) -> None:
    if stat.S_IFMT(found.st_mode) != kind:
        raise SecurityError(f"{path}: not a {'folder' if kind == stat.S_IFDIR else 'file'}, or a link; remove it")
    if found.st_uid != os.getuid():
        raise SecurityError(f"{path}: belongs to another user (uid {found.st_uid}); remove it, or set TMPDIR")
    if found.st_mode & 0o077:
        allowed = "700" if kind == stat.S_IFDIR else "600"
        raise SecurityError(f"{path}: open to others; close it with `chmod {allowed} {path}`")
