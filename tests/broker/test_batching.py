"""Frames by hand are the frames that pyzmq's own multipart calls send and receive."""

from collections.abc import Iterator

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker import batching

Pair = tuple["zmq.Socket[bytes]", "zmq.Socket[bytes]"]
frames = st.lists(st.binary(max_size=300), min_size=1, max_size=12)
same_sockets = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(params=[1000])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two connected sockets that hold so many messages each.

    A sender learns only after a while that its full queue was emptied (libzmq looks at commands now and then).
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = context.socket(zmq.PAIR), context.socket(zmq.PAIR)
    for socket in sockets:
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = request.param
    sockets[0].bind("inproc://frames")
    sockets[1].connect("inproc://frames")
    yield sockets
    context.destroy(0)


@given(frames)
@same_sockets
def test_pyzmq_receives_a_send_by_hand(pair: Pair, sent: list[bytes]) -> None:
    batching.send(pair[0], sent)
    assert pair[1].recv_multipart() == sent


@given(frames)
@same_sockets
def test_a_send_of_pyzmq_is_received_by_hand(pair: Pair, sent: list[bytes]) -> None:
    pair[0].send_multipart(sent)
    assert batching.receive(pair[1])[1] == sent


@pytest.mark.parametrize("pair", [1], indirect=True)
def test_nothing_is_waited_for(pair: Pair) -> None:
    with pytest.raises(zmq.Again):
        batching.receive(pair[1])
    batching.send(pair[0], [b"one", b"message"])
    with pytest.raises(zmq.Again):
        for _ in range(10):
            batching.send(pair[0], [b"no", b"room"])
    assert pair[1].recv_multipart() == [b"one", b"message"]
