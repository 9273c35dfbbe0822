"""A real broker in a thread, and peers that talk to it."""

import contextlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from broker import auth, child_process
from broker.client import Client
from broker.delivery import Received
from broker.protocol import Hello, decode, envelope, from_frames, to_frames
from broker.server import BrokerServer, BrokerSpec
from broker.work_messages import Answered, Examine, Exemplar, Message, Sampling

PATIENCE_S = 600.0
QUESTION = Examine(problem="8 · 7?", answer_form="number", sampling=Sampling(), material=(Exemplar("6 · 7?", "42"),))
CLASSROOM = Hello(name="classroom", role="classroom")


def student(name: str = "ann", *, credit: int = 4) -> Hello:
    return Hello(name=name, role="student", state="ready", credit=credit)


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A private folder whose path leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="lbt"))
    yield folder
    shutil.rmtree(folder)


def local(folder: Path, *, heartbeat_s: float = 0.2, credit: int = 1024) -> BrokerSpec:
    return BrokerSpec(
        endpoint=f"ipc://{folder}/work", gauges=f"ipc://{folder}/gauges", heartbeat_s=heartbeat_s, credit=credit
    )


@contextlib.contextmanager
def serving(spec: BrokerSpec) -> Iterator[None]:
    """A broker that serves in a thread for as long as the block lasts; what it raises is raised here."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def run(broker: BrokerServer) -> None:
        try:
            with broker:
                broker.run(stop)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, args=(BrokerServer(spec),))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert not errors, errors


@contextlib.contextmanager
def broker_process(spec: BrokerSpec, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A broker in a process, which is killed at the end of the block."""
    process = child_process.spawn("broker.server", spec, env={}, log=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin
        process.stdin.close()


@contextlib.contextmanager
def raw_peer(
    endpoint: str, hello: Hello | None = None, *, keys: Path | None = None, key: str = "", identity: bytes = b""
) -> Iterator["zmq.Socket[bytes]"]:
    """A peer without manners: a bare DEALER, which has room for little that it does not read."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.rcvhwm = 1
    socket.linger = 0
    if keys:
        auth.secure_client(socket, keys, key)
    if identity:
        socket.identity = identity
    socket.connect(endpoint)
    if hello:
        socket.send_multipart(to_frames([envelope(hello)]))
    yield socket
    context.destroy(0)


def await_kind(socket: "zmq.Socket[bytes]", kind: str) -> Message:
    """The next message of this kind that a raw peer gets; others are thrown away."""
    while socket.poll(int(1000 * PATIENCE_S)):
        for came in from_frames(socket.recv_multipart()):
            if came.kind == kind:
                return decode(kind, came.body)
    raise AssertionError(f"waited in vain for {kind}")


def await_message(client: Client, wanted: Callable[[Received], bool], count: int = 1) -> list[Received]:
    """At least `count` messages that are wanted; others are thrown away."""
    found: list[Received] = []
    while len(found) < count:
        received = client.receive(PATIENCE_S)
        assert received, f"waited in vain; so far {found}"
        found += filter(wanted, received)
    return found


def is_a(*kinds: type[Message]) -> Callable[[Received], bool]:
    return lambda received: isinstance(received.message, kinds)


def answer(client: Client, count: int) -> None:
    """Be a student that answers `count` questions."""
    for asked in await_message(client, is_a(Examine), count):
        client.send(Answered(text=f"answer to {asked.request_id}"), request_id=asked.request_id, keep=True)


def await_results(client: Client, *request_ids: str) -> list[Received]:
    """The first result of each of these; a result may come more than once."""
    found: dict[str, Received] = {}
    while not found.keys() >= set(request_ids):
        for received in await_message(client, is_a(Answered)):
            found.setdefault(received.request_id, received)
    return [found[request_id] for request_id in request_ids]
