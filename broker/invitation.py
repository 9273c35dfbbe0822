"""The invitation of one agent: a credential file with which it joins a class from another host.

`python run.py invite` writes it, `python -m agents.main --invite FILE` reads it. It holds a secret key, so only its
owner may read it, and nothing of it is logged.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from broker.errors import ProtocolError, SecurityError
from broker.files import check_private
from broker.protocol import PROTOCOL
from broker.version import package_version

MODE = 0o600
CurveKey = Annotated[str, Meta(min_length=40, max_length=40)]


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent needs to join one class."""

    run: str
    """The run's id: the name of its folder."""
    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}(\.[0-9]{1,9})?\Z")]
    """Name of the agent's process, and of its log on the joining host."""
    role: Literal["teacher", "student"]
    address: Annotated[str, Meta(pattern=r"^tcp://\S+:[0-9]{1,5}\Z")]
    """Of the broker, as the agent's host reaches it: tcp://HOST:PORT."""
    broker_key: CurveKey
    """The broker's public CURVE key."""
    public_key: CurveKey
    secret_key: CurveKey
    """The agent's own key pair."""
    protocol: int = PROTOCOL
    version: str
    """Of the package that runs the class."""
    answerer: str
    """The digest that the agent must have, see `Hello.answerer`."""
    seed: int
    """Of the class."""
    agent: dict[str, Any]
    """The agent's section of the scenario."""
    restarts: int = 0
    """Most restarts of its process."""
    run_folder: str = ""
    """Of the class, on the host of the broker: simulated agents read their answer key there."""

    def __repr__(self) -> str:
        """Without the keys, for logs and tracebacks."""
        return f"Invitation({self.name} to {self.run} at {self.address})"


def make(
    name: str,
    role: Literal["teacher", "student"],
    agent: Any,
    *,
    run: Path,
    address: str,
    broker_key: str,
    own_keys: tuple[str, str],
    answerer: str,
    seed: int,
    restarts: int = 0,
) -> Invitation:
    """The invitation of the process `name` to the class in the folder `run`, by this version of the program.

    `agent` is its section of the scenario, `own_keys` its public key and its secret key; the rest: see `Invitation`.
    """
    public, secret = own_keys
    return Invitation(
        run=run.name,
        name=name,
        role=role,
        address=address,
        broker_key=broker_key,
        public_key=public,
        secret_key=secret,
        version=package_version(),
        answerer=answerer,
        seed=seed,
        agent=msgspec.to_builtins(agent),
        restarts=restarts,
        run_folder=str(run),
    )


def write(path: Path, invitation: Invitation) -> None:
    """Write an invitation to a new file that only its owner can read.

    Raises:
        SecurityError: the file exists already, or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE), "wb") as file:
            os.fchmod(file.fileno(), MODE)
            file.write(msgspec.json.format(msgspec.json.encode(invitation)) + b"\n")
    except FileExistsError as error:
        raise SecurityError(f"{path}: is there already; remove it, or name another file with --out") from error
    except OSError as error:
        raise SecurityError(f"{path}: cannot be written: {error.strerror}") from error


def read(path: Path) -> Invitation:
    """Read an invitation.

    Raises:
        SecurityError: it cannot be read, or is open to others.
        ProtocolError: it is damaged, or of another version of this program.
    """
    try:
        check_private(path)
        content = path.read_bytes()
    except OSError as error:
        raise SecurityError(f"{path}: no invitation to be read there: {error.strerror}") from error
    try:
        plain = msgspec.json.decode(content)
        if isinstance(plain, dict) and "protocol" in plain:
            _check_versions(path, plain)
        return msgspec.convert(plain, Invitation)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path}: not an invitation, or damaged: {error}\nWrite it anew: run.py invite") from error


def _check_versions(path: Path, plain: dict[str, Any]) -> None:
    """Refuse an invitation by another version, whose fields may have another meaning."""
    version = package_version()
    theirs, ours = (
        f"version {v}, protocol {p}" for v, p in ((plain.get("version"), plain["protocol"]), (version, PROTOCOL))
    )
    if theirs != ours:
        raise ProtocolError(
            f"{path}: the class runs {theirs}; this host has {ours}\nInstall the same version on both hosts."
        )
