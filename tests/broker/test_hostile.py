"""Hostile peers at a real broker: over tcp with a student's key, and over ipc from another process."""

import contextlib
import errno
import os
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import broker.flooding as flooding
from broker import auth, child_process
from broker.client import Client
from broker.flooding import FloodGuard
from broker.gauges import Subscriber
from broker.members import Member
from broker.protocol import Drain, Hello, Joined, Lost, Role, Unknown, Welcome, envelope, to_frames
from broker.server import BrokerSpec
from broker.work_messages import Answered, Examine, Message, Sampling
from tests.broker.running import (
    CLASSROOM,
    PATIENCE_S,
    QUESTION,
    answer,
    await_kind,
    await_message,
    broker_process,
    is_a,
    local,
    raw_peer,
    serving,
    short_folder,
    student,
)
from tests.broker.test_server import gauges_where

MEMBERS = {
    "ada": Member("teacher", "ada"),
    "ann": Member("student", "ann"),
    "bob": Member("student", "bob"),
}


@pytest.fixture
def over_tcp(tmp_path: Path, free_ports: tuple[str, str]) -> Iterator[BrokerSpec]:
    """A broker with a key for everybody."""
    keys = tmp_path / "keys"
    auth.make_keys(keys, ["classroom", "monitor", *MEMBERS])
    spec = BrokerSpec(endpoint=free_ports[0], gauges=free_ports[1], keys=str(keys), heartbeat_s=0.2, members=MEMBERS)
    with serving(spec):
        yield spec


@pytest.mark.parametrize(
    ("key", "name", "role", "pool"),
    [
        ("ann", "classroom", "classroom", ""),
        ("ann", "ann", "classroom", ""),
        ("ann", "ann", "student", "bob"),
        ("ann", "ann", "teacher", ""),
        ("ann", "bob", "student", ""),
        ("ann", "ann.2", "student", "ann"),
        ("monitor", "monitor", "teacher", "ada"),
        ("monitor", "ada", "teacher", ""),
        ("classroom", "ann", "student", ""),
    ],
)
def test_a_key_stands_for_one_name_one_role_and_one_pool(
    key: str, name: str, role: Role, pool: str, over_tcp: BrokerSpec
) -> None:
    keys = Path(over_tcp.keys)
    hello = Hello(name=name, role=role, pool=pool, state="ready", credit=4)
    with raw_peer(over_tcp.endpoint, hello, keys=keys, key=key) as hostile:
        drain = await_kind(hostile, "Drain")
        assert isinstance(drain, Drain) and drain.reason
        with Client(over_tcp.endpoint, CLASSROOM, keys=keys) as classroom:
            assert classroom.wait_welcome(PATIENCE_S)
            with Client(over_tcp.endpoint, student("bob"), keys=keys) as bob:
                classroom.send(QUESTION, to="bob", request_id="r1", keep=True)
                hostile.send_multipart(to_frames([envelope(Answered(text="forged"), request_id="r1")]))
                answer(bob, 1)
                [answered] = await_message(classroom, is_a(Answered))
    assert answered.message == Answered(text="answer to r1")


def test_the_classroom_hears_of_a_refused_peer_once(over_tcp: BrokerSpec) -> None:
    keys = Path(over_tcp.keys)
    into_bobs = Hello(name="ann", role="student", pool="bob", state="ready", credit=4)
    with Client(over_tcp.endpoint, CLASSROOM, keys=keys) as classroom:
        assert classroom.wait_welcome(PATIENCE_S)
        for _ in range(2):
            with raw_peer(over_tcp.endpoint, into_bobs, keys=keys, key="ann") as hostile:
                await_kind(hostile, "Drain")
        with Client(over_tcp.endpoint, student("bob"), keys=keys):
            messages: list[Message] = []
            while not any(isinstance(message, Joined) for message in messages):
                messages += [received.message for received in classroom.receive(PATIENCE_S)]
    [lost] = [message for message in messages if isinstance(message, Lost)]
    assert (lost.name, lost.why) == ("ann", "refused")
    assert lost.detail == "is a student of pool ann, and no student of pool bob"


def test_a_message_over_the_routing_id_of_another_is_dropped(over_tcp: BrokerSpec) -> None:
    keys, forged = Path(over_tcp.keys), to_frames([envelope(Answered(text="forged"), request_id="r1")])
    with (
        Client(over_tcp.endpoint, CLASSROOM, keys=keys) as classroom,
        raw_peer(over_tcp.endpoint, student("bob"), keys=keys, key="bob", identity=b"bob-1") as bob,
    ):
        await_kind(bob, "Welcome")
        classroom.send(QUESTION, to="bob", request_id="r1", keep=True)
        await_kind(bob, "Examine")
        with raw_peer(over_tcp.endpoint, keys=keys, key="ann", identity=b"bob-1") as hostile:
            hostile.send_multipart(forged)
            hostile.send_multipart(to_frames([envelope(student("bob"))]))
            with Subscriber(over_tcp.gauges, keys) as monitor:
                gauges_where(monitor, "dropped", 2)
        bob.disconnect(over_tcp.endpoint)
        bob.connect(over_tcp.endpoint)
        bob.send_multipart(to_frames([envelope(Answered(text="mine"), request_id="r1")]))
        [answered] = await_message(classroom, is_a(Answered))
    assert (answered.message, answered.peer) == (Answered(text="mine"), "bob")


# --- ipc ------------------------------------------------------------------------------------------------

PEER = """
import sys, zmq
sys.path.insert(0, sys.argv[1])
from broker.protocol import Hello, Heartbeat, envelope, from_frames, to_frames
_, _, endpoint, name, role, pool, identity = sys.argv
socket = zmq.Context().socket(zmq.DEALER)
if identity:
    socket.identity = identity.encode()
socket.connect(endpoint)
socket.send_multipart(to_frames([envelope(Hello(name=name, role=role, pool=pool, state="ready", credit=4))]))
while True:
    if socket.poll(100):
        for came in from_frames(socket.recv_multipart()):
            print(came.kind, flush=True)
    socket.send_multipart(to_frames([envelope(Heartbeat(state="ready", credit=4))]))
"""


@contextlib.contextmanager
def another_process(
    endpoint: str, name: str, role: str = "student", pool: str = "", identity: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """A peer in another process. It prints each message that it receives."""
    words = [sys.executable, "-c", PEER, str(child_process.ROOT), endpoint, name, role, pool, identity]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_word(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_the_first_process_of_a_name_keeps_it_and_a_restarted_one_joins_at_once() -> None:
    with short_folder() as folder, serving(local(folder, heartbeat_s=60.0)):
        endpoint = local(folder).endpoint
        with Client(endpoint, CLASSROOM) as classroom, another_process(endpoint, "ann") as ann:
            assert first_word(ann) == "Welcome"
            with another_process(endpoint, "ann") as namesake:
                assert first_word(namesake) == "Drain"
            classroom.send(QUESTION, to="ann", request_id="r1", keep=True)
            assert first_word(ann) == "Examine", "it was not told to leave"
            ann.kill()
            os.waitid(os.P_PID, ann.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has reaped it
            with another_process(endpoint, "ann") as successor:
                assert first_word(successor) == "Welcome"
                assert first_word(successor) == "Examine"


def test_a_program_that_restarts_may_keep_its_routing_id() -> None:
    with short_folder() as folder, serving(local(folder, heartbeat_s=60.0)):
        endpoint = local(folder).endpoint
        with Client(endpoint, CLASSROOM) as classroom, another_process(endpoint, "ann", identity="fixed") as ann:
            assert first_word(ann) == "Welcome"
            classroom.send(QUESTION, to="ann", request_id="r1", keep=True)
            assert first_word(ann) == "Examine"
            ann.kill()
            ann.wait()
            with raw_peer(endpoint, identity=b"fixed") as hostile:
                hostile.send_multipart(to_frames([envelope(Answered(text="forged"), request_id="r1")]))
                assert isinstance(await_kind(hostile, "Unknown"), Unknown), "the answer does not count as ann's"
                hostile.send_multipart(to_frames([envelope(student())]))
                assert isinstance(await_kind(hostile, "Examine"), Examine)


def test_only_the_process_that_runs_the_class_is_the_classroom() -> None:
    with short_folder() as folder:
        spec = BrokerSpec(
            endpoint=f"ipc://{folder}/work", gauges=f"ipc://{folder}/gauges", members=MEMBERS, classroom=os.getpid()
        )
        with serving(spec), another_process(spec.endpoint, "classroom", "classroom") as hostile:
            assert first_word(hostile) == "Drain"
            with Client(spec.endpoint, CLASSROOM) as classroom:
                assert classroom.wait_welcome(PATIENCE_S)


def test_an_agent_that_the_class_starts_comes_from_no_other_process() -> None:
    with short_folder() as folder:
        spec = BrokerSpec(
            endpoint=f"ipc://{folder}/work",
            gauges=f"ipc://{folder}/gauges",
            members=MEMBERS,
            supervised=("classroom", "ann"),
            classroom=os.getpid(),
        )
        between = (
            f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, *{['-c', PEER]!r}, *sys.argv[1:]]))"
        )
        words = [sys.executable, "-c", between, str(child_process.ROOT), spec.endpoint, "ann", "student", "", ""]
        with serving(spec), subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as grandchild:
            try:
                assert first_word(grandchild) == "Drain"
                with another_process(spec.endpoint, "ann") as ann:
                    assert first_word(ann) == "Welcome"
            finally:
                for child in psutil.Process(grandchild.pid).children():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        child.kill()


# --- floods ---------------------------------------------------------------------------------------------


def test_a_send_that_is_too_large_is_dropped_whole() -> None:
    with short_folder() as folder, serving(local(folder)):
        endpoint = local(folder).endpoint
        answered = to_frames([envelope(Answered(text="x" * 600_000), request_id="r1")])
        with raw_peer(endpoint) as rude:
            rude.send_multipart(answered * 5)
            rude.send_multipart(to_frames([envelope(student())]) * 65)
            rude.send_multipart(to_frames([envelope(Answered(text=""), request_id="r1")]))
            assert isinstance(await_kind(rude, "Unknown"), Unknown)
            rude.send_multipart(to_frames([envelope(student())]) * 64)
            assert isinstance(await_kind(rude, "Welcome"), Welcome)


MB = 1_000_000
LONG_FRAME = b"\x03" + struct.pack(">Q", MB) + bytes(MB)
"""With the flag that more frames of the message follow."""


def speak_zmtp(path: Path) -> socket.socket:
    """A connection without ZeroMQ's library, which would keep an unfinished message to itself."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    connection.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    greeting = b""
    while len(greeting) < 64:
        greeting += connection.recv(64 - len(greeting))
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    connection.sendall(b"\x04" + bytes([len(ready)]) + ready)
    connection.recv(1000)
    return connection


def test_a_message_without_end_ends_the_connection_and_others_go_on(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the broker does not know its memory here")
    with short_folder() as folder:
        spec = local(folder)
        with broker_process(spec, tmp_path / "broker.log") as process:
            with Client(spec.endpoint, CLASSROOM) as classroom, Client(spec.endpoint, student()) as ann:
                await_message(classroom, is_a(Joined))
                with speak_zmtp(folder / "work") as hostile, pytest.raises(OSError):
                    while True:
                        hostile.sendall(LONG_FRAME)
                classroom.send(QUESTION, to="ann", request_id="r1", keep=True)
                await_message(ann, is_a(Examine))
            used_mb = psutil.Process(process.pid).memory_info().rss / MB
    assert f"cut the connection of process {os.getpid()}" in (tmp_path / "broker.log").read_text()
    assert used_mb < 2 * flooding.GROWTH_MB


CROWD = """
import select, socket, sys
held, cut = [], select.epoll()
while not cut.poll(0.02):
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    held.append(one)
    cut.register(one, select.EPOLLRDHUP)
"""
"""Opens connections until one is cut."""


def test_a_crowd_of_connections_from_one_process_is_cut_and_others_go_on(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("other systems do not let a process change the limits of another")
    with short_folder() as folder:
        spec = local(folder)
        with broker_process(spec, tmp_path / "broker.log") as process:
            with Client(spec.endpoint, CLASSROOM) as classroom, Client(spec.endpoint, student()) as ann:
                await_message(classroom, is_a(Joined))
                resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (400, 400))
                with subprocess.Popen([sys.executable, "-c", CROWD, str(folder / "work")]) as crowd:
                    assert crowd.wait(PATIENCE_S) == 0
                classroom.send(QUESTION, to="ann", request_id="r1", keep=True)
                await_message(ann, is_a(Examine))
            assert process.poll() is None
    assert f"cut the connection of process {crowd.pid}" in (tmp_path / "broker.log").read_text()


def test_a_class_of_many_long_requests_is_no_flood(tmp_path: Path) -> None:
    requests = 400
    long = Examine(problem="x" * 900_000, answer_form="number", sampling=Sampling(), material=())
    with short_folder() as folder:
        spec = local(folder)
        with broker_process(spec, tmp_path / "broker.log"), Client(spec.endpoint, CLASSROOM) as classroom:
            for number in range(requests):
                classroom.send(long, to="ann", request_id=f"r{number}", keep=True)
            with Subscriber(spec.gauges) as monitor:
                while gauges_where(monitor, "dropped", 0).queues.get("ann", 0) < requests:
                    pass
    assert "cut the connection" not in (tmp_path / "broker.log").read_text()


def test_a_connection_that_closes_while_it_is_cut_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
            guard = FloodGuard(f"tcp://127.0.0.1:{port}", lambda: 0.0)

            def closed(_: socket.socket) -> str:
                raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

            monkeypatch.setattr(flooding, "_peer", closed)
            monkeypatch.setattr(flooding, "memory_mb", lambda: 2 * guard.allowed_mb)
            assert guard.cut_flooding(1.0) == []


def test_memory_that_no_connection_brought_may_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    used_mb = 50.0
    monkeypatch.setattr(flooding, "memory_mb", lambda: used_mb)
    guard = FloodGuard("ipc:///nowhere", lambda: 0.0)
    used_mb += 2 * flooding.GROWTH_MB
    for look in range(flooding.CUTS + 1):
        assert guard.allowed_mb < used_mb
        guard.cut_flooding(1.0 + look)
    assert guard.allowed_mb == used_mb + flooding.GROWTH_MB
