"""Several envelopes in one send, and faster sending and receiving than pyzmq's. Used by the broker and its peers."""

from collections import deque
from collections.abc import Sequence

import zmq
from zmq.backend import Socket as RawSocket

from broker.protocol import BATCH, MAX_BODY, Envelope, WireError

BATCH_BYTES = 1 << 18
MAX_FRAMES = 1 + 5 * BATCH
"""Most frames of one send, with the routing id that a ROUTER puts in front."""
MAX_BYTES = 2 * MAX_BODY
"""Most bytes of one send: enough for the largest body, or a batch, and the other frames."""
NOBLOCK = int(zmq.NOBLOCK)
MORE = int(zmq.NOBLOCK | zmq.SNDMORE)
_send, _receive = RawSocket.send, RawSocket.recv


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes]) -> None:
    """Send one multipart message without waiting, or nothing if there is no room for it.

    `send_multipart` and `recv_multipart` compute enum flags for every frame, and `send` looks at options that are never
    given, which takes longer than sending it.

    Raises:
        zmq.ZMQError: as `send_multipart`; zmq.Again if there is no room.
    """
    for frame in frames[:-1]:
        _send(socket, frame, MORE)
    _send(socket, frames[-1], NOBLOCK)


def receive(socket: zmq.Socket[bytes]) -> tuple[zmq.Frame, list[bytes]]:
    """Receive one multipart message without waiting: its first frame, which knows the sender, and what all frames hold.

    Raises:
        zmq.ZMQError: as `recv_multipart`; zmq.Again if nothing has come.
        WireError: it is larger than allowed; all of it is discarded.
    """
    first = frame = _receive(socket, NOBLOCK, False)
    contents = [first.bytes]
    while frame.more:
        frame = _receive(socket, NOBLOCK, False)
        if len(contents) <= MAX_FRAMES:
            contents.append(frame.bytes)
    if len(contents) > MAX_FRAMES or sum(map(len, contents)) > MAX_BYTES:
        raise WireError(f"one send of over {MAX_FRAMES - 1} frames or {MAX_BYTES} bytes")
    return first, contents


def next_batch(outbox: deque[Envelope]) -> list[Envelope]:
    """The next envelopes to send together. They stay in `outbox` until `remove_sent` removes them."""
    batch: list[Envelope] = []
    size = 0
    for envelope in outbox:
        size += len(envelope.body)
        if batch and (len(batch) == BATCH or size > BATCH_BYTES):
            break
        batch.append(envelope)
    return batch


def remove_sent(outbox: deque[Envelope], count: int) -> None:
    """Remove the first `count` envelopes, which were sent."""
    for _ in range(count):
        outbox.popleft()
