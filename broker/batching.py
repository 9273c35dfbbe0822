"""Many envelopes in one send, and frames without pyzmq's overhead. Used at both ends of the wire."""

from collections import deque
from collections.abc import Sequence

import zmq

from broker.protocol import MAX_BODY, Envelope, WireError

BATCH = 64
"""Envelopes that share one send."""
BATCH_BYTES = 1 << 18
MAX_FRAMES = 1 + 5 * BATCH
"""Of one send, with the routing id that a ROUTER puts in front."""
MAX_BYTES = 2 * MAX_BODY
"""Of one send: enough for one body of any size, or a batch, and the routes."""
NOBLOCK = int(zmq.NOBLOCK)
MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes]) -> None:
    """Send one multipart message without waiting; no frame is sent where there is no room for it.

    `send_multipart` and `recv_multipart` do the same with enum flags, whose arithmetic for every frame takes longer
    than the frame itself.

    Raises:
        zmq.ZMQError: as `send_multipart`; zmq.Again where there is no room.
    """
    for frame in frames[:-1]:
        socket.send(frame, MORE)
    socket.send(frames[-1], NOBLOCK)


def receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    """Take one multipart message without waiting.

    Raises:
        zmq.ZMQError: as `recv_multipart`; zmq.Again where nothing has come.
        WireError: it is larger than a sender may make it; nothing of it is kept.
    """
    frames = [socket.recv(NOBLOCK, copy=False)]
    while frames[-1].more:
        if len(frames) > MAX_FRAMES:
            frames.pop()
        frames.append(socket.recv(NOBLOCK, copy=False))
    if len(frames) > MAX_FRAMES or sum(map(len, frames)) > MAX_BYTES:
        raise WireError(f"one send of over {MAX_FRAMES - 1} frames or {MAX_BYTES} bytes")
    return frames


def first(outbox: deque[Envelope]) -> list[Envelope]:
    """The next envelopes to send together. They stay in `outbox` until they are sent: see `drop`."""
    batch: list[Envelope] = []
    size = 0
    for envelope in outbox:
        size += len(envelope.body)
        if batch and (len(batch) == BATCH or size > BATCH_BYTES):
            break
        batch.append(envelope)
    return batch


def drop(outbox: deque[Envelope], count: int) -> None:
    """The first `count` are on their way."""
    for _ in range(count):
        outbox.popleft()
