"""Every message on the wire, and how it becomes bytes; what a class says about its subject is schoolwork.py.

A message is one frozen struct; its class name is its kind. The body is MessagePack, a map; unknown keys are
ignored and a missing key takes its default, so old and new peers can talk. `msgpack` makes the bytes, msgspec
says what they must hold. This file knows nothing of sockets, and the broker never decodes the body of a
piece of work.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgpack
import msgspec
from msgspec import Meta

from broker.errors import ProtocolError
from broker.work_messages import (
    Answered,
    Ask,
    Asked,
    Count,
    Examine,
    Explain,
    Explained,
    Failed,
    Feedback,
    Grade,
    Graded,
    Message,
    Progress,
    Reflect,
    Reflected,
    Revise,
    Revised,
    Taught,
    Teach,
    Train,
    Trained,
)

PROTOCOL = 1
MAX_BODY = 1 << 20
"""Bytes. A larger body is refused on the way out and dropped on the way in."""
LAST_PORT = 65534
"""Of a broker: its gauges take the next one."""

Role = Literal["teacher", "student", "classroom"]
AgentState = Literal["loading", "training", "ready", "draining"]
"""Who loads or trains is given nothing, and its leases do not run out."""


Credit = Annotated[int, Meta(ge=0, le=1 << 20)]
RequestIds = Annotated[tuple[Annotated[str, Meta(max_length=200)], ...], Meta(max_length=1 << 16)]


class WireError(ProtocolError):
    """Bytes that are not a message of this protocol."""


# --- life -----------------------------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True):
    """A peer announces itself, or says again who it is, to a broker that does not know it."""

    name: str
    role: Role
    pool: str = ""
    """Requests are addressed to a pool; agents of one pool are interchangeable. Empty: same as `name`."""
    answerer: str = ""
    """Digest of all that decides what this agent would answer: see agents.main.Answerer."""
    model: str = ""
    engine: str = ""
    device: str = ""
    prompts: str = ""
    pid: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    state: AgentState = "loading"
    credit: Credit = 0
    """How many requests the peer takes at once."""
    working: RequestIds = ()
    """Requests it holds already: a restarted broker must not give them to another."""
    protocol: int = PROTOCOL


class Welcome(Message, frozen=True, kw_only=True):
    """The broker knows the peer now."""

    epoch: str
    """Drawn anew at each start of the broker: a peer that sees another one says everything again."""
    heartbeat_s: float
    """How often to send a heartbeat. After three times this long without a message a peer counts as silent."""
    credit: int = 0
    """How many unfinished requests per pool the broker takes from this peer."""


class Unknown(Message, frozen=True, kw_only=True):
    """The broker heard from somebody it does not know: say `Hello` again."""


class Heartbeat(Message, frozen=True, kw_only=True):
    """Sent by the thread that owns the socket; `progress` and the figures come from the engine."""

    state: AgentState = "ready"
    credit: Credit = 0
    progress: RequestIds = ()
    """Requests that moved on since the last heartbeat: their leases are renewed."""
    completion_tokens: Count = 0
    """Since the agent started."""
    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    memory_mb: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    spent: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    """In this run, earlier sessions included, in the currency of its prices; None: it pays for nothing."""


class Ack(Message, frozen=True, kw_only=True):
    """Classroom to broker to agent: these results are committed, you may forget them."""

    request_ids: RequestIds


class Drain(Message, frozen=True, kw_only=True):
    """Classroom to broker: lease nothing more. Broker to agent: finish what you hold, then leave."""

    reason: str = ""
    """Why the broker refuses this peer; empty: it does not."""


class Goodbye(Message, frozen=True, kw_only=True):
    """A peer leaves on purpose; what it still holds goes back to its pool."""

    reason: str = ""


class Gone(Message, frozen=True, kw_only=True):
    """Classroom to broker: the supervisor saw this agent's process end."""

    name: str
    detail: str = ""
    pid: int = 0
    """Of the process that ended: another agent of this name is not affected. 0: unknown, so any agent of this name."""


class Joined(Message, frozen=True, kw_only=True):
    """Broker to classroom: an agent said Hello, or its state changed."""

    hello: Hello


class Lost(Message, frozen=True, kw_only=True):
    """Broker to classroom: an agent is no longer there."""

    name: str
    pool: str
    why: Literal["goodbye", "process", "silent", "stalled", "replaced", "refused"]
    detail: str = ""
    pid: int = 0
    """Of its process, as its Hello said; 0: it did not say."""


class Quiet(Message, frozen=True, kw_only=True):
    """Broker to classroom: a supervised agent sends nothing. Its process runs, so it keeps its place."""

    name: str
    seconds: float
    """How long the silence has lasted."""
    over: bool = False
    """The agent has sent something again."""


# --- gauges: PUB ----------------------------------------------------------------------------------------


class PeerGauge(msgspec.Struct, frozen=True, omit_defaults=True):
    """One agent as the broker sees it."""

    name: str
    role: Role
    pool: str
    model: str
    engine: str
    device: str
    state: str
    credit: int
    leases: int
    finished: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    memory_mb: float
    spent: float | None = None


class Gauges(Message, frozen=True, kw_only=True):
    """A picture of the broker, published a few times a second while something changes."""

    epoch: str
    peers: tuple[PeerGauge, ...]
    queues: dict[str, int]
    """Requests that wait, by pool."""
    dropped: int = 0
    """Frames that were no message of ours."""
    requeued: int = 0
    draining: bool = False


KINDS: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        Teach, Examine, Grade, Reflect, Revise, Ask, Explain, Train, Feedback,
        Taught, Answered, Graded, Reflected, Revised, Asked, Explained, Trained, Failed, Progress,
        Hello, Welcome, Unknown, Heartbeat, Ack, Drain, Goodbye, Gone, Joined, Lost, Quiet, Gauges,
    )
}  # fmt: skip
ANSWERS: dict[str, str] = {
    "Teach": "Taught",
    "Examine": "Answered",
    "Grade": "Graded",
    "Reflect": "Reflected",
    "Revise": "Revised",
    "Ask": "Asked",
    "Explain": "Explained",
    "Train": "Trained",
}
"""Which kind of result each kind of work ends in, unless it fails."""
WORK = frozenset(ANSWERS)
"""Kinds that are leased and must end in a result."""
RESULTS = frozenset({*ANSWERS.values(), "Failed"})


class Envelope(NamedTuple):
    """One message as it travels: five frames."""

    kind: str
    peer: str
    """On the way to the broker: the pool or agent it is for. On the way from it: the agent it is from."""
    request_id: str
    affinity: str
    """Requests of one affinity share a long prompt prefix; the broker keeps them on one agent."""
    body: bytes


def replica(pool: str, number: int) -> str:
    """The name of an agent among those that stand in for one another, from 1: peer, peer.2, peer.3."""
    return pool if number == 1 else f"{pool}.{number}"


def pool_of(name: str) -> str:
    """The pool that an agent of this name belongs to."""
    return name.partition(".")[0]


def encode(message: Message) -> bytes:
    """The body's bytes.

    Raises:
        WireError: it is larger than MAX_BODY.
    """
    body: bytes = msgpack.packb(msgspec.to_builtins(message))
    if len(body) > MAX_BODY:
        raise WireError(f"{type(message).__name__} of {len(body)} bytes: at most {MAX_BODY} go over the wire")
    return body


def decode(kind: str, body: bytes) -> Message:
    """The message that `body` holds.

    Raises:
        WireError: unknown kind, not MessagePack, too large, or not of that kind's shape.
    """
    cls = KINDS.get(kind)
    if cls is None:
        raise WireError(f"no message is called {kind[:40]!r}")
    if len(body) > MAX_BODY:
        raise WireError(f"{kind} of {len(body)} bytes: at most {MAX_BODY} are taken")
    try:
        data: Any = msgpack.unpackb(body)
        return msgspec.convert(data, cls)
    except (ValueError, TypeError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise WireError(f"{kind}: {str(error)[:200]}") from error


def envelope(message: Message, *, peer: str = "", request_id: str = "", affinity: str = "") -> Envelope:
    """`message`, ready to travel."""
    return Envelope(type(message).__name__, peer, request_id, affinity, encode(message))


def to_frames(envelopes: Iterable[Envelope]) -> list[bytes]:
    """Many messages as one multipart message: five frames each, one after the other."""
    frames: list[bytes] = []
    for kind, peer, request_id, affinity, body in envelopes:
        frames += (kind.encode(), peer.encode(), request_id.encode(), affinity.encode(), body)
    return frames


def from_frames(frames: Sequence[bytes]) -> Iterator[Envelope]:
    """The messages in a multipart message.

    Raises:
        WireError: not five frames each, or a route that is not short UTF-8 text.
    """
    if not frames or len(frames) % 5:
        raise WireError(f"{len(frames)} frames: a message has five")
    for start in range(0, len(frames), 5):
        route = frames[start : start + 4]
        if max(map(len, route)) > 200:
            raise WireError("a route frame longer than 200 bytes")
        try:
            kind, peer, request_id, affinity = map(bytes.decode, route)
        except UnicodeDecodeError as error:
            raise WireError(f"a route frame is not UTF-8: {error}") from error
        yield Envelope(kind, peer, request_id, affinity, frames[start + 4])


def digest(*parts: Any) -> str:
    """32 hex digits from `parts`, whatever the order of dict keys. Request ids and answerers are made of it."""
    blob = msgspec.json.encode(msgspec.to_builtins(parts), order="sorted")
    return hashlib.blake2b(blob, digest_size=16).hexdigest()
