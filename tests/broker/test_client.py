"""The client with real sockets: brokers that come late, die, or are somebody else."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import zmq

from broker import auth
from broker.client import Client, ClientError
from broker.errors import SecurityError
from broker.gauges import Subscriber
from broker.protocol import (
    MAX_BODY,
    Ack,
    Drain,
    Goodbye,
    Heartbeat,
    Hello,
    Joined,
    Lost,
    Welcome,
    WireError,
    decode,
    envelope,
    from_frames,
    to_frames,
)
from broker.work_messages import Answered, Examine, Message
from tests.broker.running import (
    CLASSROOM,
    PATIENCE_S,
    QUESTION,
    answer,
    await_message,
    await_results,
    is_a,
    local,
    serving,
    short_folder,
    student,
)
from tests.classes import ROOT


class FakeBroker:
    """A ROUTER that a test plays by hand."""

    def __init__(self, endpoint: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.bind(endpoint)
        self.peer = b""
        self.waiting: list[Message] = []

    def next(self, kind: type[Message]) -> Message:
        """The next message of that kind; others are thrown away."""
        while True:
            while self.waiting:
                message = self.waiting.pop(0)
                if isinstance(message, kind):
                    return message
            assert self.socket.poll(1000 * int(PATIENCE_S)), f"no {kind.__name__} came"
            self.peer, *frames = self.socket.recv_multipart()
            self.waiting += [decode(e.kind, e.body) for e in from_frames(frames)]

    def say(self, *messages: Message) -> None:
        self.socket.send_multipart([self.peer, *to_frames(map(envelope, messages))])

    def close(self) -> None:
        self.context.destroy(0)


def test_messages_sent_before_the_broker_runs_arrive() -> None:
    with short_folder() as folder:
        endpoint = local(folder).endpoint
        with Client(endpoint, CLASSROOM) as classroom, Client(endpoint, student()) as ann:
            classroom.send(QUESTION, to="ann", request_id="r1", keep=True)
            assert classroom.wait_welcome(0.01) is None
            with serving(local(folder)):
                answer(ann, 1)
                await_message(classroom, is_a(Answered))
                assert classroom.wait_welcome(0) is not None


def test_the_classroom_hears_from_its_broker_while_nothing_else_happens() -> None:
    with short_folder() as folder:
        spec = local(folder)
        with serving(spec), Client(spec.endpoint, CLASSROOM) as classroom:
            assert classroom.wait_welcome(PATIENCE_S)
            heard = classroom.heard
            for _ in range(int(PATIENCE_S)):
                if classroom.heard > heard + 1:
                    break
                classroom.receive(1.0)
            assert classroom.heard > heard + 1


def test_a_connected_peer_notices_that_the_socket_was_removed() -> None:
    with short_folder() as folder:
        spec = local(folder)
        with serving(spec), Client(spec.endpoint, student()) as ann:
            assert ann.missing_socket == "" and ann.wait_welcome(PATIENCE_S)
            assert ann.missing_socket == ""
            (folder / "work").unlink()
            assert ann.missing_socket == f"{folder}/work"


def test_peers_send_a_restarted_broker_all_that_it_must_know() -> None:
    with short_folder() as folder:
        spec = local(folder)
        with Client(spec.endpoint, CLASSROOM) as classroom, Client(spec.endpoint, student(credit=2)) as ann:
            with serving(spec):
                for number in range(4):
                    classroom.send(QUESTION, to="ann", request_id=f"r{number}", keep=True)
                await_message(ann, is_a(Examine), 2)
                first = classroom.wait_welcome(PATIENCE_S)
            ann.send(Answered(text="56"), request_id="r0", keep=True)
            with serving(spec):
                await_results(classroom, "r0")
                [next_one] = await_message(ann, is_a(Examine))
                assert next_one.request_id == "r2", "r1 is under way and not asked again"
                for request_id in ("r1", "r2"):
                    ann.send(Answered(text="56"), request_id=request_id, keep=True)
                answer(ann, 1)
                await_results(classroom, "r1", "r2", "r3")
                assert len(ann._session.kept) == 4
                classroom.send(Ack(request_ids=("r0", "r1", "r2", "r3")))
                assert ann._wait(lambda: not ann._session.kept, PATIENCE_S)
                second = classroom.welcome
                assert first and second and first.epoch != second.epoch


def test_an_agent_is_lost_after_its_last_messages() -> None:
    with short_folder() as folder, serving(local(folder)):
        endpoint = local(folder).endpoint
        with Client(endpoint, CLASSROOM) as classroom:
            assert classroom.wait_welcome(PATIENCE_S), "it is sent no `Lost` of agents that left before it joined"
            with Client(endpoint, student()) as ann:
                assert ann.wait_welcome(PATIENCE_S)
                for number in range(200):
                    ann.send(Answered(text="56"), request_id=f"r{number}", keep=True)
                ann.close("tired")
            came = await_message(classroom, is_a(Answered, Lost), 201)
            assert isinstance(came[-1].message, Lost), "all it had said came before"
            assert came[-1].message.detail == "tired"


def test_heartbeats_come_by_themselves_and_at_once_after_a_change() -> None:
    with short_folder() as folder:
        endpoint = local(folder).endpoint
        broker = FakeBroker(endpoint)
        with Client(endpoint, student()) as ann:
            broker.next(Hello)
            broker.say(Welcome(epoch="e", heartbeat_s=0.05))
            broker.next(Heartbeat)
            ann.beat(progress=("r1",), completion_tokens=3)
            while not (beat := broker.next(Heartbeat)) or beat.progress != ("r1",):  # type: ignore[attr-defined]
                pass
            broker.say(Welcome(epoch="e2", heartbeat_s=1000.0))
            ann.beat(state="draining", credit=0)
            while not (beat := broker.next(Heartbeat)) or beat.state != "draining":  # type: ignore[attr-defined]
                pass
            assert beat.completion_tokens == 3  # type: ignore[attr-defined]
        assert broker.next(Goodbye)
        broker.close()


def test_a_message_that_is_posted_while_the_thread_reads_its_wake_up_is_sent_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with short_folder() as folder:
        endpoint = local(folder).endpoint
        broker = FakeBroker(endpoint)
        with Client(endpoint, student()) as ann:
            broker.next(Hello)
            broker.say(Welcome(epoch="e", heartbeat_s=1e6))
            while ann.wait_welcome(PATIENCE_S) is None:
                pass

            def read(self: socket.socket, size: int) -> bytes:
                ann._wake()  # as another thread does that has posted something
                return os.read(self.fileno(), size)

            with monkeypatch.context() as patch:
                patch.setattr(socket.socket, "recv", read)
                ann.beat(state="draining")
                while broker.next(Heartbeat).state != "draining":  # type: ignore[attr-defined]
                    pass
            ann.beat(state="ready")
            while broker.next(Heartbeat).state != "ready":  # type: ignore[attr-defined]
                pass
        broker.close()


def test_unreadable_messages_of_a_broker_are_dropped() -> None:
    with short_folder() as folder:
        endpoint = local(folder).endpoint
        broker = FakeBroker(endpoint)
        with Client(endpoint, student()) as ann:
            broker.next(Hello)
            broker.socket.send_multipart([broker.peer, b"no", b"envelope"])
            broker.socket.send_multipart([broker.peer, b"Joined", b"", b"", b"", b"\xc1"])
            broker.say(Welcome(epoch="e", heartbeat_s=1.0), Drain())
            assert [r.message for r in ann.receive(PATIENCE_S)] == [Drain()]
            assert ann.dropped == 2
        broker.close()


def test_hello_is_repeated_until_the_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.client.GREET_EVERY_S", 0.05)
    with short_folder() as folder:
        endpoint = local(folder).endpoint
        broker = FakeBroker(endpoint)
        with Client(endpoint, student()):
            assert broker.next(Hello) == broker.next(Hello)
        broker.close()


def test_too_many_messages_for_a_missing_broker_are_refused() -> None:
    with short_folder() as folder, Client(local(folder).endpoint, CLASSROOM, queue=3) as classroom:
        for _ in range(3):
            classroom.send(Drain())
        with pytest.raises(ClientError, match="is it there"):
            classroom.send(Drain())


def test_a_message_that_is_too_large_is_refused_where_it_is_sent() -> None:
    with short_folder() as folder, Client(local(folder).endpoint, student()) as ann, pytest.raises(WireError):
        ann.send(Answered(text="x" * (MAX_BODY + 1)), request_id="r1")


def test_a_full_inbox_stops_reading_and_loses_nothing() -> None:
    with short_folder() as folder:
        endpoint = local(folder).endpoint
        broker = FakeBroker(endpoint)
        with Client(endpoint, student(), queue=2) as ann:
            broker.next(Hello)
            broker.say(Welcome(epoch="e", heartbeat_s=1.0))
            for _ in range(600):
                broker.say(Drain())
            came = 0
            while came < 600:
                received = ann.receive(PATIENCE_S)
                assert received
                came += len(received)
        broker.close()


def test_closing_wakes_waiting_callers_and_refuses_later_messages() -> None:
    with short_folder() as folder:
        ann = Client(local(folder).endpoint, student())
        ann.start()
        got: list[int] = []
        waiting = threading.Thread(target=lambda: got.append(len(ann.receive())))
        waiting.start()
        ann.close()
        ann.close()
        waiting.join(PATIENCE_S)
        assert got == [0]
        with pytest.raises(ClientError, match="closed"):
            ann.send(Drain())


def test_a_client_that_was_never_started_can_be_closed() -> None:
    Client("ipc:///nowhere", student()).close()


def test_a_client_without_its_key_does_not_start(tmp_path: Path) -> None:
    auth.make_keys(tmp_path / "keys", [])
    client = Client("tcp://127.0.0.1:9", student("ann"), keys=tmp_path / "keys")
    with pytest.raises(SecurityError, match=r"ann\.key"):
        client.start()


def test_a_restarted_agent_takes_over_from_its_former_self() -> None:
    with short_folder() as folder, serving(local(folder)):
        endpoint = local(folder).endpoint
        with Client(endpoint, CLASSROOM) as classroom, Client(endpoint, student()) as old:
            await_message(classroom, is_a(Joined))
            with Client(endpoint, student()):
                [lost] = await_message(classroom, is_a(Lost))
                assert isinstance(lost.message, Lost)
                assert lost.message.why == "replaced"
                await_message(old, is_a(Drain))


def test_no_gauges_is_no_picture() -> None:
    with short_folder() as folder, Subscriber(local(folder).gauges) as subscriber:
        assert subscriber.latest() is None


FLOOD = """
import sys, zmq
from broker.protocol import Welcome, envelope, to_frames
from broker.work_messages import Feedback
socket = zmq.Context().socket(zmq.ROUTER)
socket.bind(sys.argv[1])
if not socket.poll(600_000):
    sys.exit("nobody says Hello")
peer, *_ = socket.recv_multipart()
socket.send_multipart([peer, *to_frames([envelope(Welcome(epoch=sys.argv[2], heartbeat_s=1.0))])])
many = list(to_frames([envelope(Feedback(about="a"))] * 64))
for number in range(1_000_000):
    socket.send_multipart([peer, *many])
    if number == 200:
        print("flooding", flush=True)
"""
READER = """
import sys
from broker.client import Client
from broker.protocol import Hello
with Client(sys.argv[1], Hello(name="ann", role="student")) as client:
    while True:
        print(len(client.receive()), flush=True)
"""


def test_a_broker_killed_while_a_peer_reads_does_not_end_the_peer() -> None:
    with short_folder() as folder:
        endpoint = local(folder).endpoint
        run = [sys.executable, "-c"]
        with subprocess.Popen([*run, READER, endpoint], cwd=ROOT, stdout=subprocess.DEVNULL) as reader:
            try:
                for number in range(15):
                    flood = [*run, FLOOD, endpoint, str(number)]
                    with subprocess.Popen(flood, cwd=ROOT, stdout=subprocess.PIPE) as broker:
                        try:
                            assert broker.stdout and broker.stdout.readline() == b"flooding\n"
                        finally:
                            broker.kill()
                    assert reader.poll() is None
            finally:
                reader.kill()
