"""What can happen to the broker, and what it can want done: the two vocabularies of broker/state.py.

One small frozen struct each. `event_of` makes an event of what a peer sent; it decodes messages of life, and
leaves work, results and feedback as the bytes they are.
"""

import re
from typing import Literal

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


class StateEvent(msgspec.Struct, frozen=True):
    """Something that happened."""

    peer: bytes
    """The connection it came over: a ZeroMQ routing id. A process that starts again comes over another one."""


class Greeted(StateEvent, frozen=True):
    """A peer said who it is."""

    hello: Hello
    user: str = ""
    """The name of its key; empty: a connection without keys."""
    process: int = 0
    """The pid of its process; 0: unknown, as for a process of another host."""
    parent: int = 0
    """The pid of that process's parent; 0: unknown."""


class Submitted(StateEvent, frozen=True):
    """The classroom asks something of a pool."""

    request: Envelope


class Resulted(StateEvent, frozen=True):
    """An agent has a result."""

    result: Envelope


class Progressed(StateEvent, frozen=True):
    """An agent tells how far a long request has come; the request goes on."""

    progress: Envelope


class Notification(StateEvent, frozen=True):
    """The classroom tells a pool something and wants no answer."""

    feedback: Envelope


class Acked(StateEvent, frozen=True):
    """The classroom has these results on disk."""

    request_ids: tuple[str, ...]


class Beat(StateEvent, frozen=True):
    """A peer is alive, and these requests moved on."""

    heartbeat: Heartbeat


class Left(StateEvent, frozen=True):
    """A peer leaves on purpose."""

    reason: str


class ProcessEnded(StateEvent, frozen=True):
    """The supervisor saw the process of an agent end."""

    name: str
    pid: int
    detail: str


class Reaped(ProcessEnded, frozen=True):
    """The broker itself found that a process has ended; `peer` is the connection over which another speaks now."""


class DrainAsked(StateEvent, frozen=True):
    """The classroom wants nothing more to be leased."""


class Clogged(StateEvent, frozen=True):
    """A peer has not read its messages for so long that no more are kept for it."""


class Tick(StateEvent, frozen=True):
    """Time went by."""

    peer: bytes = b""


class Woke(StateEvent, frozen=True):
    """The broker itself did not run for so long (stopped, or starved): what was said meanwhile is still unread."""

    peer: bytes = b""
    seconds: float = 0.0


class Send(msgspec.Struct, frozen=True):
    """Give this envelope to that peer; it may wait for the peer to read, in order."""

    peer: bytes
    envelope: Envelope


class Forget(msgspec.Struct, frozen=True):
    """The peer is no longer there: what waits for it may be thrown away."""

    peer: bytes


class Note(msgspec.Struct, frozen=True):
    """A line for the log."""

    text: str
    level: Literal["info", "warning", "dropped"] = "info"
    """dropped: a peer sent what it may not. Peers can cause any number of these, so not every one is written."""


Action = Send | Forget | Note

NAME = re.compile(r"[\w.-]{1,64}")


def event_of(peer: bytes, envelope: Envelope) -> StateEvent:
    """What it means that `peer` sent `envelope`.

    Raises:
        WireError: it is no message of this protocol, or none that a broker takes.
    """
    kind = envelope.kind
    if kind in RESULTS or kind in WORK:
        if not envelope.request_id:
            raise WireError(f"{kind} without a request id")
        return Resulted(peer, envelope) if kind in RESULTS else Submitted(peer, envelope)
    if kind == "Feedback":
        return Notification(peer, envelope)
    if kind == "Progress":
        return Progressed(peer, envelope)
    match decode(kind, envelope.body):
        case Heartbeat() as heartbeat:
            return Beat(peer, heartbeat)
        case Ack(request_ids=request_ids):
            return Acked(peer, request_ids)
        case Hello() as hello:
            return Greeted(peer, checked(hello))
        case Goodbye(reason=reason):
            return Left(peer, printable(reason[:500]))
        case Gone(name=name, pid=pid, detail=detail):
            return ProcessEnded(peer, name, pid, printable(detail[:500]))
        case Drain():
            return DrainAsked(peer)
    raise WireError(f"{kind} is not for a broker")


def checked(hello: Hello) -> Hello:
    """`hello`, fit to be passed on: its texts become route frames, lines of logs and parts of other messages.

    Raises:
        WireError: a name that is none, or a text longer than a route frame.
    """
    for name in (hello.name, hello.pool or hello.name):
        if not NAME.fullmatch(name):
            raise WireError(f"Hello from {name[:64]!r}: a name has 1 to 64 letters, digits, _ . and -")
    texts = {field: getattr(hello, field) for field in ("answerer", "model", "engine", "device", "prompts")}
    for field, text in texts.items():
        if len(text.encode()) > 200:
            raise WireError(f"Hello whose {field} is longer than 200 bytes")
    return msgspec.structs.replace(hello, **{field: printable(text) for field, text in texts.items()})
