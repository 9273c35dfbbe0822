"""Many envelopes in one send: what makes a Python broker quick. Used at both ends of the wire."""

from collections import deque

from broker.messages import Envelope

BATCH = 64
"""Envelopes that share one send."""
BATCH_BYTES = 1 << 18


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
