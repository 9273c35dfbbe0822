"""The events that the broker's state machine handles: an envelope from a peer, or something that is no message.

`read` decodes the messages that the broker itself understands, and checks them.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import msgspec

from broker.printable import printable
from broker.protocol import (
    RESULTS,
    WORK,
    Ack,
    Drain,
    Envelope,
    Gone,
    Goodbye,
    Heartbeat,
    Hello,
    WireError,
    decode,
)
from broker.work_messages import Message

NAME = re.compile(r"[\w.-]{1,64}")
UNDECODED = frozenset({"Feedback", "Progress"})
"""Kinds that the broker passes on without reading their body, beside work and results."""


class Sender(NamedTuple):
    """What the transport knows about the sender of a message. The sender itself cannot choose it."""

    user: str = ""
    """The name of its CURVE key; empty: a connection without keys."""
    process: int | None = None
    """Pid of its process, over ipc; 0: of another pid namespace; None: the transport does not know."""

    def __str__(self) -> str:
        return self.user or f"process {self.process}"


@lru_cache(maxsize=4096)
def key_holder(name: str) -> Sender:
    """The sender with the key of this name."""
    return Sender(user=name)


class Incoming(msgspec.Struct, frozen=True):
    """A peer sent an envelope."""

    peer: bytes
    """The ZeroMQ routing id of the connection. A process that restarts uses another one."""
    envelope: Envelope
    sender: Sender = Sender()


class Malformed(NamedTuple):
    """A peer sent frames that are no message of this protocol."""

    reason: str


class OutboxFull(NamedTuple):
    """A peer has not read its messages for so long that no more are kept for it."""

    peer: bytes


class Revoked(NamedTuple):
    """The key of a name was revoked; its connection is cut."""

    name: str


class Tick(NamedTuple):
    """Time passed."""


class BrokerPaused(NamedTuple):
    """The broker itself did not run (stopped, or starved); messages of that time are still unread."""

    seconds: float


StateEvent = Incoming | Malformed | OutboxFull | Revoked | Tick | BrokerPaused


def read(envelope: Envelope) -> Message | Envelope:
    """The message in `envelope`; the envelope itself if the broker passes it on without decoding it.

    Raises:
        WireError: it is no message of this protocol, or none for a broker.
    """
    kind = envelope.kind
    if kind in RESULTS or kind in WORK:
        if not envelope.request_id:
            raise WireError(f"{kind} without a request id")
        return envelope
    if kind in UNDECODED:
        return envelope
    match decode(kind, envelope.body):
        case Heartbeat() | Ack() | Drain() as message:
            return message
        case Hello() as hello:
            return checked(hello)
        case Goodbye(reason=reason):
            return Goodbye(reason=printable(reason[:500]))
        case Gone(name=name, pid=pid, detail=detail):
            return Gone(name=name, pid=pid, detail=printable(detail[:500]))
    raise WireError(f"{kind} is not for a broker")


def checked(hello: Hello) -> Hello:
    """`hello` with printable texts: they become route frames, log lines and parts of other messages.

    Raises:
        WireError: a name that is not allowed, or a text longer than a route frame.
    """
    for name in (hello.name, hello.pool or hello.name):
        if not NAME.fullmatch(name):
            raise WireError(f"Hello from {name[:64]!r}: a name has 1 to 64 letters, digits, _ . and -")
    texts = {field: getattr(hello, field) for field in ("answerer", "model", "engine", "device", "prompts", "version")}
    for field, text in texts.items():
        if len(text.encode()) > 200:
            raise WireError(f"Hello whose {field} is longer than 200 bytes")
    return msgspec.structs.replace(hello, **{field: printable(text) for field, text in texts.items()})
