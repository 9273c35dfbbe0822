"""The broker with real sockets: peers that misbehave harm nobody but themselves."""

import re
import signal
import time
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

import broker.server as broker_module
from broker import auth, invitation
from broker.client import Client
from broker.errors import SecurityError
from broker.events import Incoming, Tick
from broker.gauges import Subscriber
from broker.protocol import (
    KINDS,
    Ack,
    Drain,
    Envelope,
    Gauges,
    Heartbeat,
    Hello,
    Joined,
    Lost,
    envelope,
    from_frames,
    pack,
)
from broker.server import BrokerServer, BrokerSpec
from broker.state import BrokerState
from broker.version import package_version
from broker.work_messages import Answered, Examine
from tests.broker.invariants import check
from tests.broker.running import (
    CLASSROOM,
    PATIENCE_S,
    QUESTION,
    answer,
    await_kind,
    await_message,
    await_results,
    broker_process,
    is_a,
    local,
    raw_peer,
    serving,
    short_folder,
    student,
)


def gauges_where(subscriber: Subscriber, wanted: str, least: int) -> Gauges:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        gauges = subscriber.latest(timeout=1.0)
        if gauges and getattr(gauges, wanted) >= least:
            return gauges
    raise AssertionError(f"no gauges with {wanted} >= {least}")


def test_a_question_is_answered_acknowledged_and_forgotten() -> None:
    with short_folder() as folder, serving(local(folder)) as _:
        endpoint = local(folder).endpoint
        with Client(endpoint, CLASSROOM) as classroom, Client(endpoint, student()) as ann:
            classroom.send(QUESTION, to="ann", request_id="r1", affinity="x", keep=True)
            [asked] = await_message(ann, is_a(Examine))
            assert asked == (QUESTION, "ann", "r1", "x")
            ann.send(Answered(text="56"), request_id="r1", affinity="x", keep=True)
            [answered] = await_message(classroom, is_a(Answered))
            assert answered == (Answered(text="56"), "ann", "r1", "x")
            assert len(ann._session.kept) == 1
            classroom.send(Ack(request_ids=("r1",)))
            assert ann._wait(lambda: not ann._session.kept, PATIENCE_S)


def test_many_questions_reach_all_of_a_pool() -> None:
    with short_folder() as folder, serving(local(folder)):
        endpoint = local(folder).endpoint
        names = ("ann", "bob")
        hellos = [Hello(name=name, role="student", pool="p", state="ready", credit=150) for name in names]
        with Client(endpoint, CLASSROOM) as classroom, Client(endpoint, hellos[0]) as ann:
            with Client(endpoint, hellos[1]) as bob:
                await_message(classroom, is_a(Joined), 2)
                for number in range(300):
                    classroom.send(QUESTION, to="p", request_id=str(number), keep=True)
                answer(ann, 150)
                answer(bob, 150)
                results = await_message(classroom, is_a(Answered), 300)
            [lost] = await_message(classroom, is_a(Lost))
            assert isinstance(lost.message, Lost)
            assert (lost.message.name, lost.message.why) == ("bob", "goodbye")
        assert sorted(int(r.request_id) for r in results) == list(range(300))
        assert {r.peer for r in results} == set(names)


def test_a_peer_that_never_reads_delays_no_other_and_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "SEND_HIGH_WATER", 1)
    monkeypatch.setattr(broker_module, "MAX_OUTBOX", 40)
    with short_folder() as folder, serving(local(folder, heartbeat_s=30.0)):
        endpoint = local(folder).endpoint
        long = Examine(problem="x" * 100_000, answer_form="word", sampling=QUESTION.sampling, material=())
        deaf, ann = (student(name, credit=500) for name in ("deaf", "ann"))
        with Client(endpoint, CLASSROOM) as classroom, Client(endpoint, ann) as reader, raw_peer(endpoint, deaf):
            await_message(classroom, is_a(Joined), 2)
            for number in range(150):
                classroom.send(long, to="deaf", request_id=f"d{number}", keep=True)
            for number in range(50):
                classroom.send(QUESTION, to="ann", request_id=f"a{number}", keep=True)
            answer(reader, 50)
            came = await_message(classroom, is_a(Answered, Lost), 51)
    [lost] = [r.message for r in came if isinstance(r.message, Lost)]
    assert (lost.name, lost.detail) == ("deaf", "does not read its messages")
    assert {r.request_id for r in came if isinstance(r.message, Answered)} == {f"a{n}" for n in range(50)}


def test_a_peer_of_another_version_is_refused_and_both_versions_are_named() -> None:
    ours = package_version()
    with short_folder() as folder, serving(local(folder)):
        endpoint = local(folder).endpoint
        other = structs.replace(student("eve"), version="0.0.9")
        with Client(endpoint, CLASSROOM) as classroom, Client(endpoint, student()):
            await_message(classroom, is_a(Joined))
            with raw_peer(endpoint, other) as eve:
                refusal = await_kind(eve, "Drain")
                [lost] = await_message(classroom, is_a(Lost))
            with raw_peer(endpoint, student("own")) as own:  # a program of the user names no version
                await_kind(own, "Welcome")
    why = f"has version 0.0.9 of this program, and this broker {ours}: both need the same"
    assert refusal == Drain(reason=f"eve {why}")
    assert isinstance(lost.message, Lost)
    assert (lost.message.name, lost.message.why, lost.message.detail) == ("eve", "refused", why)


@pytest.mark.parametrize("packed", [True, False])
def test_what_waits_for_a_peer_is_one_frame_if_it_reads_that(packed: bool) -> None:
    asked = [envelope(QUESTION, peer="ann", request_id=f"r{number}") for number in range(10)]
    with short_folder() as folder, serving(local(folder, heartbeat_s=30.0)):
        endpoint = local(folder).endpoint
        with raw_peer(endpoint, CLASSROOM) as classroom:
            classroom.send_multipart(pack([*asked, envelope(Heartbeat())]))
            welcomes = 0
            while welcomes < 2:  # the second one answers the heartbeat, and shows that the requests were read
                assert classroom.poll(int(1000 * PATIENCE_S))
                welcomes += sum(came.kind == "Welcome" for came in from_frames(classroom.recv_multipart()))
            with raw_peer(endpoint, structs.replace(student(credit=10), packed=packed)) as ann:
                assert ann.poll(int(1000 * PATIENCE_S))
                frames = ann.recv_multipart()
    assert len(frames) == (1 if packed else 5 * 11)
    welcome, *came = from_frames(frames)
    assert welcome.kind == "Welcome"
    assert came == asked


GARBAGE: list[list[bytes]] = [
    [b""],
    [b"\xff\xfe"],
    [b"Hello"],
    [b"Hello", b"", b"", b"", b"\xc1"],
    [b"Hello", b"", b"", b"", msgpack.packb({"name": "", "role": "student"})],
    *[
        [b"Hello", b"", b"", b"", msgpack.packb({"name": name, "role": "student"})]
        for name in ("x" * 65, "a\nb", "\x1b[2J")
    ],
    [b"Hello", b"", b"", b"", msgpack.packb({"name": "x", "pool": "a b", "role": "student"})],
    [b"Hello", b"", b"", b"", msgpack.packb({"name": "x", "model": "x" * 300, "role": "student"})],
    [b"\xff", b"", b"", b"", b""],
    [b"Exams", b"", b"", b"", b"\x80"],
    [b"Answered", b"", b"", b"", b"\x80"],
    [b"Welcome", b"", b"", b"", msgpack.packb({"epoch": "mine", "heartbeat_s": 1})],
    [b"x"] * 50_000,
]


def test_garbage_is_counted_and_dropped_and_others_go_on() -> None:
    with short_folder() as folder, serving(local(folder)):
        spec = local(folder)
        with Client(spec.endpoint, CLASSROOM) as classroom, Client(spec.endpoint, student()) as ann:
            with raw_peer(spec.endpoint) as rude, Subscriber(spec.gauges) as subscriber:
                for frames in GARBAGE:
                    rude.send_multipart(frames)
                gauges = gauges_where(subscriber, "dropped", len(GARBAGE))
            assert gauges.dropped == len(GARBAGE)
            classroom.send(QUESTION, to="ann", request_id="r1", keep=True)
            answer(ann, 1)
            await_message(classroom, is_a(Answered))


def test_a_frame_that_is_too_large_ends_the_connection_of_its_sender_only() -> None:
    with short_folder() as folder, serving(local(folder)):
        endpoint = local(folder).endpoint
        with raw_peer(endpoint) as rude, Client(endpoint, student()) as ann:
            rude.send_multipart([b"Answered", b"", b"r1", b"", bytes(3 << 20)])
            assert ann.wait_welcome(PATIENCE_S)


bodies = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(["name", "role", "pool", "state", "credit", "working", "request_ids", "progress", "pid"]),
        st.one_of(
            st.sampled_from(["ann", "student", "classroom", "ready", "loading", ""]),
            st.integers(-(2**63), 2**64 - 1),
            st.lists(st.sampled_from(["r1", "r2"]), max_size=3),
        ),
    ).map(msgpack.packb),
)
sent = st.builds(
    Envelope,
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(["", "ann", "p"]),
    st.sampled_from(["", "r1", "r2"]),
    st.sampled_from(["", "x"]),
    bodies,
)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), sent), max_size=30))
@settings(max_examples=150, deadline=None, database=None)
def test_nothing_a_peer_can_send_raises_out_of_the_broker(messages: list[tuple[bytes, Envelope]]) -> None:
    state = BrokerState(1.0, 10.0, 5, "e")
    for number, (peer, sent) in enumerate(messages):
        state.handle(Incoming(peer, sent), number / 2)
        state.handle(Tick(), number / 2)
        check(state)
        state.gauges()


def test_a_late_subscriber_gets_the_newest_gauges() -> None:
    with short_folder() as folder, serving(local(folder)):
        spec = local(folder)
        with Client(spec.endpoint, CLASSROOM) as classroom, Client(spec.endpoint, student()):
            await_message(classroom, is_a(Joined))
            with Subscriber(spec.gauges) as subscriber:
                gauges = gauges_where(subscriber, "dropped", 0)
                assert [peer.name for peer in gauges.peers] == ["ann"]
                classroom.send(QUESTION, to="nobody", request_id="r1")
                while gauges.queues.get("nobody") != 1:
                    gauges = gauges_where(subscriber, "dropped", 0)


def test_tcp_without_keys_is_refused(free_ports: tuple[str, str]) -> None:
    with pytest.raises(SecurityError, match="without keys"):
        BrokerServer(BrokerSpec(endpoint=free_ports[0], gauges=free_ports[1]))


def test_a_folder_that_others_can_enter_is_refused() -> None:
    with short_folder() as folder:
        folder.chmod(0o755)
        with pytest.raises(SecurityError, match="chmod 700"):
            BrokerServer(local(folder))


def test_a_peer_with_an_unknown_key_is_kept_out_and_others_are_not(
    tmp_path: Path, free_ports: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    keys, strange = tmp_path / "keys", tmp_path / "strange"
    auth.make_keys(keys, ["classroom", "ann", "monitor"])
    auth.make_keys(strange, ["eve"])
    (strange / "broker.pub").write_bytes((keys / "broker.pub").read_bytes())
    spec = BrokerSpec(endpoint=free_ports[0], gauges=free_ports[1], keys=str(keys), heartbeat_s=0.2)
    with serving(spec), Client(spec.endpoint, student("eve"), keys=strange) as eve:
        with Client(spec.endpoint, CLASSROOM, keys=keys) as classroom:
            with Client(spec.endpoint, student("ann"), keys=keys) as ann:
                classroom.send(QUESTION, to="ann", request_id="r1", keep=True)
                answer(ann, 1)
                await_message(classroom, is_a(Answered))
            with Subscriber(spec.gauges, keys) as monitor:
                assert gauges_where(monitor, "dropped", 0).dropped == 0
        while "does not know the key of eve" not in caplog.text:
            assert not eve.wait_welcome(0.05)
    assert "refused a connection from 127.0.0.1: unknown key" in caplog.text


@pytest.mark.parametrize("key_of_another_run", [False, True])
def test_a_peer_without_a_key_of_this_run_is_in_the_log(
    key_of_another_run: bool, tmp_path: Path, free_ports: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    keys, other = tmp_path / "keys", tmp_path / "other"
    for folder in (keys, other):
        auth.make_keys(folder, ["ann"])
    spec = BrokerSpec(endpoint=free_ports[0], gauges=free_ports[1], keys=str(keys), heartbeat_s=0.2)
    strange = other if key_of_another_run else None
    with serving(spec), raw_peer(spec.endpoint, student("ann"), keys=strange, key="ann") as ann:
        until = time.monotonic() + PATIENCE_S
        # Which of the two sides closes the connection first depends on the machine.
        while not re.search(r"refused a connection.*: it has no key, or the broker.pub of another run", caplog.text):
            assert time.monotonic() < until, "the broker is silent"
            assert not ann.poll(50)


def test_a_peer_cannot_take_a_name_that_is_not_its_keys(tmp_path: Path, free_ports: tuple[str, str]) -> None:
    keys, forged = tmp_path / "keys", tmp_path / "forged"
    auth.make_keys(keys, ["classroom", "ann", "monitor"])
    auth.make_keys(forged, [])
    (forged / "broker.pub").write_bytes((keys / "broker.pub").read_bytes())
    (forged / "classroom.key").write_bytes((keys / "ann.key").read_bytes())
    (forged / "classroom.key").chmod(0o600)
    spec = BrokerSpec(endpoint=free_ports[0], gauges=free_ports[1], keys=str(keys), heartbeat_s=0.2)
    with serving(spec), Client(spec.endpoint, CLASSROOM, keys=forged) as impostor:
        with Subscriber(spec.gauges, keys) as monitor:
            gauges_where(monitor, "dropped", 1)
        assert impostor.welcome is None


def test_an_invited_agent_whose_key_is_revoked_is_cut_off_and_its_requests_go_to_another(
    tmp_path: Path, free_ports: tuple[str, str]
) -> None:
    keys, file = tmp_path / "keys", tmp_path / "ann.invite"
    auth.make_keys(keys, ["classroom", "bob"])
    spec = BrokerSpec(endpoint=free_ports[0], gauges=free_ports[1], keys=str(keys), heartbeat_s=30.0)

    def member(name: str) -> Hello:
        return Hello(name=name, role="student", pool="p", state="ready", credit=4)

    with serving(spec), Client(spec.endpoint, CLASSROOM, keys=keys) as classroom:
        invite_ann(keys, file, spec)
        with Client(spec.endpoint, member("ann"), keys=file) as ann:
            await_message(classroom, is_a(Joined))
            classroom.send(QUESTION, to="p", request_id="r1", keep=True)
            await_message(ann, is_a(Examine))
            assert ann.why_give_up(PATIENCE_S) == ""
            auth.revoke(keys, "ann")
            [lost] = await_message(classroom, is_a(Lost))
            assert isinstance(lost.message, Lost) and lost.message.why == "revoked"
            ann.send(Answered(text="too late"), request_id="r1", keep=True)
            until = time.monotonic() + PATIENCE_S
            while not (trouble := ann.why_give_up(PATIENCE_S)):
                assert time.monotonic() < until
                ann.receive(0.05)
            assert "does not accept the key of ann: it was revoked" in trouble
            with Client(spec.endpoint, member("bob"), keys=keys) as bob:
                answer(bob, 1)
                [result] = await_results(classroom, "r1")
    assert result.peer == "bob"


def invite_ann(keys: Path, file: Path, spec: BrokerSpec) -> None:
    """Invite `ann` to a broker that serves already."""
    invited = invitation.make(
        "ann", "student", {}, run=keys.parent, address=spec.endpoint,
        broker_key=auth.public_key(keys, "broker"), own_keys=auth.admit(keys, "ann"), answerer="", seed=0,
    )  # fmt: skip
    invitation.write(file, invited)


def test_the_process_serves_until_it_gets_sigterm(tmp_path: Path) -> None:
    with short_folder() as folder:
        spec = local(folder)
        with broker_process(spec, tmp_path / "broker.log") as process, Client(spec.endpoint, student()) as ann:
            assert ann.wait_welcome(PATIENCE_S)
            process.send_signal(signal.SIGINT)
            ann.send(Answered(text=""), request_id="r1")
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == -signal.SIGTERM
        assert "serving" in (tmp_path / "broker.log").read_text()


def test_a_text_of_a_peer_forges_no_line_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    with short_folder() as folder, broker_process(local(folder), log):
        endpoint = local(folder).endpoint
        with Client(endpoint, CLASSROOM) as classroom, Client(endpoint, student()) as ann:
            assert classroom.wait_welcome(PATIENCE_S) and ann.wait_welcome(PATIENCE_S)
            ann.close(goodbye="bye\n2026-11-28 12:00:00,000 ERROR forged \x1b[2J\u202e\x9b")
            await_message(classroom, is_a(Lost))
    lines = log.read_text().splitlines()
    assert any("ERROR forged" in line for line in lines)
    assert not any(line.startswith("2026-11-28 12:00:00,000") for line in lines)
    assert all(line.isprintable() for line in lines)
