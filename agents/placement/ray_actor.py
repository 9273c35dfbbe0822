"""The Ray actor of one agent: runs its process on a node, as `agents.main --invite` does on another host.

Ray imports this module on the node. What comes in and goes out are bytes of MessagePack.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agents.placement import invited
from agents.placement.launcher import start_here
from agents.placement.running_process import RunningProcess
from broker import invitation
from broker.child_process import NO_RESTART
from broker.errors import LbtError, PlacementError, ProtocolError, in_words
from broker.invitation import Invitation
from broker.reach import REACH_S, check_reachable
from broker.version import package_version

MAY_RESTART = 1
"""Exit code of a process that may succeed if it is started again."""
LOCK = "lock"
LOG_TAIL = 1 << 18
"""Bytes of the agent's log that come back to the host of the class."""
ADVICE = (
    "Does a firewall close the port? Let broker.address name an address of the host of the class that its nodes reach: "
    "--set broker.address=tcp://HOST:PORT"
)


class RayOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a node is to do."""

    invitation: Invitation
    python: str
    """Version of Python on the host of the class."""
    host: str
    """That host."""
    cores: int
    """Cores that the agent may use on the node."""
    again: bool = False
    """Whether the class runs already: what may pass is then no reason not to try again."""

    def __repr__(self) -> str:
        """Without the keys, for logs and tracebacks."""
        return f"RayOrder({self.invitation!r})"


class RayReport(msgspec.Struct, frozen=True):
    """How the agent's process ended."""

    code: int
    words: str
    log: bytes = b""
    """The end of its log."""


class AgentActor:
    """Runs one process of one agent."""

    def __init__(self) -> None:
        self._checked = threading.Event()
        self._refusal = ""
        self._leaving = False
        self._process: RunningProcess | None = None

    def refusal(self) -> str:
        """Why this node cannot run the agent; empty: it can. Waits until it is known, before any model is fetched."""
        self._checked.wait()
        return self._refusal

    def run(self, order: bytes) -> bytes:
        """Run the agent's process until it ends; returns a RayReport."""
        asked = msgspec.msgpack.decode(order, type=RayOrder)
        try:
            with _own_folder() as folder:
                report = self._run(asked, folder)
        finally:
            self._checked.set()
        return msgspec.msgpack.encode(report)

    def leave(self) -> None:
        """Let the agent finish its requests and leave."""
        self._leaving = True
        if self._process:
            self._process.terminate()

    def _run(self, order: RayOrder, folder: Path) -> RayReport:
        own, file = order.invitation, folder / f"{order.invitation.name}.invite"
        try:
            _check_versions(order)
            invitation.write(file, own)
            check_reachable(own.address, own.name, file, REACH_S, ADVICE)
            agent = invited.resolve_here(own, file, cores=order.cores)
            self._checked.set()
            child = invited.child_spec_here(agent, own, file)
        except (LbtError, OSError) as error:
            if isinstance(error, LbtError):
                error.agent = ""  # the class names it
            words = f"on node {_node()}: {in_words(error)}"
            self._refusal = "" if self._checked.is_set() else words
            passes = order.again and isinstance(error, ProtocolError | PlacementError | OSError)
            return RayReport(MAY_RESTART if passes else NO_RESTART, words)
        self._process = process = start_here(child)
        if self._leaving:
            process.terminate()
        process.wait()
        process.close()
        code = process.returncode or 0
        return RayReport(code, f"on node {_node()}: {process.describe_exit()}", _tail(child.log))


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """A private folder for the agent's key and log; what actors that were killed left behind is removed first."""
    prefix = f"lbt-ray-{os.getuid()}-"
    for other in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        with contextlib.suppress(OSError), (other / LOCK).open() as lock:  # a living actor has locked it
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    with (folder / "new").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "new").rename(folder / LOCK)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _check_versions(order: RayOrder) -> None:
    """Raises LbtError: the node has another Python, or another version of this program, than the class."""
    ours = f"Python {order.python}, version {order.invitation.version} of this program"
    theirs = f"Python {platform.python_version()}, version {package_version()} of this program"
    if theirs != ours:
        raise LbtError(
            f"it has {theirs}, and the host of the class, {order.host}, has {ours}\nInstall the same on all nodes."
        )


def _node() -> str:
    import ray

    return str(ray.util.get_node_ip_address())


def _tail(log: Path) -> bytes:
    return log.read_bytes()[-LOG_TAIL:] if log.is_file() else b""
