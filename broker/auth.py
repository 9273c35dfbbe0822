"""CURVE keys of a run: make and load key files, and secure sockets with them.

Connections over tcp are encrypted with CURVE, and the broker accepts only public keys that lie in the run's `keys/`.
pyzmq's certificate files (`zmq.auth.create_certificates`) are not used: they swap the meaning of `NAME.key`, which
docs/protocol.md promises to hold the secret key alone, and are readable by other users.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import zmq

from broker.errors import SecurityError
from broker.files import check_private, private_folder
from broker.members import BROKER

ZAP_DOMAIN = "class"


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


def allow_list(folder: Path) -> dict[bytes, str]:
    """The public keys in `folder` and their names, without the broker's own.

    Raises:
        SecurityError: a file cannot be read, or holds no key.
    """
    paths = sorted(folder.glob("*.pub"))
    return {_read(path): path.stem for path in paths if path.stem != BROKER}


def secure_server(socket: "zmq.Socket[bytes]", folder: Path) -> None:
    """Make `socket` the broker's end of CURVE connections. A ZAP handler must run already.

    Raises:
        SecurityError: the broker's key is missing, damaged or open to others.
    """
    socket.curve_secretkey = _read(folder / f"{BROKER}.key", secret=True)
    socket.curve_server = True
    socket.zap_domain = ZAP_DOMAIN.encode()
    # Without this option, ZeroMQ accepts every key if no ZAP handler runs.
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def secure_client(socket: "zmq.Socket[bytes]", folder: Path, name: str) -> None:
    """Make `socket` the end of peer `name` of a CURVE connection.

    Raises:
        SecurityError: a key is missing, damaged or open to others.
    """
    socket.curve_serverkey = _read(folder / f"{BROKER}.pub")
    secret = _read(folder / f"{name}.key", secret=True)
    socket.curve_secretkey, socket.curve_publickey = secret, zmq.curve_public(secret)


def _write(path: Path, key: bytes) -> None:
    # A start that was interrupted between the two files may have left one.
    path.unlink(missing_ok=True)
    path.touch(0o600, exist_ok=False)
    path.write_bytes(key + b"\n")


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
