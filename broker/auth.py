"""CURVE keys of a run: make and load key files, and secure sockets with them.

Connections over tcp are encrypted with CURVE, and the broker accepts only public keys that lie in the run's `keys/`.
pyzmq's certificate files (`zmq.auth.create_certificates`) are not used: they swap the meaning of `NAME.key`, which
docs/protocol.md promises to hold the secret key alone, and are readable by other users.
"""

import re
import time
from collections.abc import Iterable
from pathlib import Path

import zmq

from broker import invitation
from broker.errors import SecurityError
from broker.files import check_private, private_folder, write_atomically
from broker.members import BROKER, CLASSROOM, MONITOR

MESSAGES, GAUGES = "class", "gauges"
"""ZAP domains of the broker's sockets."""
READERS = (CLASSROOM, MONITOR)
"""Names whose keys may read the gauges."""
SETTLED_NS = 2_000_000_000
"""A folder that changed later than this may change once more under the same time: file systems count it coarsely."""


def make_keys(folder: Path, names: Iterable[str]) -> None:
    """Make a CURVE key pair for the broker and for each of `names` that has none yet.

    `NAME.key` is the secret key (0600), `NAME.pub` the public one; the broker accepts a key whose `NAME.pub` is in
    the folder. A peer on another machine needs its own `NAME.key`, and `broker.pub`.

    Raises:
        SecurityError: see `private_folder`; or a name cannot be a file's.
    """
    private_folder(folder)
    for name in (BROKER, *names):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name):
            raise SecurityError(f"{name!r} cannot name a key file: letters, digits, _ . and - only")
        if not (folder / f"{name}.key").exists():
            public, secret = zmq.curve_keypair()
            _write(folder / f"{name}.pub", public)
            _write(folder / f"{name}.key", secret)


def public_key(folder: Path, name: str) -> str:
    """The public key of a peer, or of the broker.

    Raises:
        SecurityError: it is missing or damaged.
    """
    return _read(folder / f"{name}.pub").decode()


def secret_key(folder: Path, name: str) -> str:
    """The secret key of a peer.

    Raises:
        SecurityError: it is missing, damaged or open to others.
    """
    return _read(folder / f"{name}.key", secret=True).decode()


def admit(folder: Path, name: str) -> tuple[str, str]:
    """Make a key pair for a peer on another host, and accept it; returns the public key and the secret one.

    The secret key is not stored. A secret key that the peer had here is removed, since the public key replaces its own.
    """
    public, secret = zmq.curve_keypair()
    (folder / f"{name}.key").unlink(missing_ok=True)
    _write(folder / f"{name}.pub", public)
    return public.decode(), secret.decode()


def revoke(folder: Path, name: str) -> bool:
    """Remove the keys of a peer. Returns whether there were any. A running broker cuts its connection."""
    existed = (folder / f"{name}.pub").is_file()
    for suffix in ("pub", "key"):
        (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    return existed


class KeyRing:
    """The public keys in a folder that changes while a class runs.

    Args:
        folder: read anew whenever a file was added, replaced or removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed_at = 0
        self._names: dict[str, str] = {}

    def name_of(self, key: str) -> str:
        """The name of a public key; empty: it is not accepted, or not yet read."""
        return self._names.get(key, "")

    def reload(self) -> list[str]:
        """Read the folder again if it has changed. Returns the names whose key is not accepted any more.

        Raises:
            SecurityError: see `allow_list`; the keys stay as they were.
        """
        changed_at = self._folder.stat().st_mtime_ns
        if changed_at == self._changed_at:
            return []
        before, self._names = self._names, {key.decode(): name for key, name in allow_list(self._folder).items()}
        self._changed_at = changed_at if abs(time.time_ns() - changed_at) > SETTLED_NS else 0
        return [name for key, name in before.items() if key not in self._names]


def allow_list(folder: Path) -> dict[bytes, str]:
    """The public keys in `folder` and their names, without the broker's own.

    Raises:
        SecurityError: a file cannot be read, or holds no key.
    """
    paths = sorted(folder.glob("*.pub"))
    return {_read(path): path.stem for path in paths if path.stem != BROKER}


def secure_server(socket: "zmq.Socket[bytes]", folder: Path, domain: str) -> None:
    """Make `socket` the broker's end of CURVE connections. A ZAP handler must run already.

    Args:
        socket: not bound yet.
        folder: with the broker's key.
        domain: MESSAGES, or GAUGES, where only the keys of READERS are accepted.

    Raises:
        SecurityError: the broker's key is missing, damaged or open to others.
    """
    socket.curve_secretkey = _read(folder / f"{BROKER}.key", secret=True)
    socket.curve_server = True
    socket.zap_domain = domain.encode()
    # Without this option, ZeroMQ accepts every key if no ZAP handler runs.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: "zmq.Socket[bytes]", folder: Path, name: str) -> None:
    """Make `socket` the end of peer `name` of a CURVE connection. `folder` may be the file of an invitation.

    Raises:
        SecurityError: a key is missing, damaged or open to others.
        ProtocolError: see `invitation.read`.
    """
    if folder.is_file():
        invited = invitation.read(folder)
        try:
            socket.curve_serverkey = invited.broker_key.encode()
            socket.curve_secretkey, socket.curve_publickey = invited.secret_key.encode(), invited.public_key.encode()
        except zmq.ZMQError as error:
            raise SecurityError(f"{folder}: a key in it is damaged\nWrite it anew: run.py invite") from error
        return
    socket.curve_serverkey = _read(folder / f"{BROKER}.pub")
    secret = _read(folder / f"{name}.key", secret=True)
    socket.curve_secretkey, socket.curve_publickey = secret, zmq.curve_public(secret)


def _write(path: Path, key: bytes) -> None:
    """Write a key file, which no reader sees in part: the broker reads the folder while a class runs."""
    write_atomically(path, key + b"\n", sync=False, mode=0o600)


def _read(path: Path, *, secret: bool = False) -> bytes:
    try:
        if secret:
            check_private(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise SecurityError(f"{path}: no key to be read there: {error.strerror}") from error
    if len(key) != 40:
        raise SecurityError(f"{path}: not a CURVE key (40 characters)")
    return key
