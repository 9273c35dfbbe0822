"""The wire: envelopes, frames, and the messages by which peers join, live and leave.

Requests and results are in broker/work_messages.py. A message is one frozen struct, and its class name is its kind. Its
body is a MessagePack map: unknown keys are ignored and a missing key takes its default, so that peers of different
versions understand each other. The broker never decodes the body of a request or a result. No socket, no I/O.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from broker.errors import ProtocolError
from broker.work_messages import Count, Message

PROTOCOL = 2
MAX_BODY = 1 << 20
"""Largest body, in bytes: a larger one is refused when it is sent and dropped when it is received."""
MAX_ROUTE = 200
"""Largest route frame, in bytes."""
TOO_LONG = f"a route frame longer than {MAX_ROUTE} bytes"
BATCH = 64
"""Envelopes that share one send."""
LAST_PORT = 65534
"""Highest port of a broker; its gauges use the next one."""

Role = Literal["teacher", "student", "classroom"]
AgentState = Literal["loading", "training", "ready", "draining"]
"""An agent that is loading or training gets no requests, and its leases do not expire."""


Credit = Annotated[int, Meta(ge=0, le=1 << 20)]
RequestIds = Annotated[tuple[Annotated[str, Meta(max_length=200)], ...], Meta(max_length=1 << 16)]


class WireError(ProtocolError):
    """The bytes are not a message of this protocol."""


# --- peers -----------------------------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True):
    """A peer introduces itself to a broker that does not know it, or no longer knows it."""

    name: str
    role: Role
    pool: str = ""
    """Requests are addressed to a pool; the agents of a pool are interchangeable. Empty: same as `name`."""
    answerer: str = ""
    """Digest of everything that decides the agent's answers."""
    model: str = ""
    engine: str = ""
    device: str = ""
    prompts: str = ""
    pid: Annotated[int, Meta(ge=0, lt=2**31)] = 0
    state: AgentState = "loading"
    credit: Credit = 0
    """How many requests the peer accepts at once."""
    working: RequestIds = ()
    """Requests that it works on already: a restarted broker must not lease them to another agent."""
    protocol: int = PROTOCOL
    version: str = ""
    """Of this program; empty: the peer is another program."""
    packed: bool = False
    """The peer reads packed sends, see docs/protocol.md."""


class Welcome(Message, frozen=True, kw_only=True):
    """The broker accepts the peer."""

    epoch: str
    """Identifies this start of the broker. A peer that sees a new epoch sends again all messages that it keeps."""
    heartbeat_s: float
    """Time between two heartbeats. After three times this long without a message a peer is silent."""
    credit: int = 0
    """How many unfinished requests per pool the broker accepts from the classroom."""


class Unknown(Message, frozen=True, kw_only=True):
    """The broker received a message of a peer that it does not know: the peer must say `Hello`."""


class Heartbeat(Message, frozen=True, kw_only=True):
    """A peer is alive. The thread that owns the socket sends it; `progress` and the counts come from the engine."""

    state: AgentState = "ready"
    credit: Credit = 0
    progress: RequestIds = ()
    """Requests that made progress since the last heartbeat: their leases are renewed."""
    completion_tokens: Count = 0
    """Since the agent started, like the other counts."""
    prompt_tokens: Count = 0
    cached_tokens: Count = 0
    memory_mb: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    spent: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    """Cost in this run, with earlier sessions, in the currency of the agent's prices; None: it has no prices."""


class Ack(Message, frozen=True, kw_only=True):
    """Classroom to broker to agent: these results are committed and need not be kept."""

    request_ids: RequestIds


class Drain(Message, frozen=True, kw_only=True):
    """Classroom to broker: lease no more requests. Broker to agent: finish the requests you hold, then leave."""

    reason: str = ""
    """Why the broker refuses this peer; empty: it is not refused."""


class Goodbye(Message, frozen=True, kw_only=True):
    """A peer leaves on purpose; the requests that it holds go back to its pool."""

    reason: str = ""


class Gone(Message, frozen=True, kw_only=True):
    """Classroom to broker: the process of this agent has ended."""

    name: str
    detail: str = ""
    pid: int = 0
    """Of the process that ended: an agent of this name with another pid is not affected; 0: any agent of this name."""


class Joined(Message, frozen=True, kw_only=True):
    """Broker to classroom: an agent joined, or its state changed."""

    hello: Hello


class Lost(Message, frozen=True, kw_only=True):
    """Broker to classroom: an agent left or was lost, or a peer was refused."""

    name: str
    pool: str
    why: Literal["goodbye", "process", "silent", "stalled", "replaced", "refused", "revoked"]
    detail: str = ""
    pid: int = 0
    """Of its process, as in its Hello; 0: unknown."""


class Quiet(Message, frozen=True, kw_only=True):
    """Broker to classroom: a supervised agent is silent. Its process runs, so it keeps its requests."""

    name: str
    seconds: float
    """Since its last message."""
    over: bool = False
    """The agent has sent a message again."""


# --- gauges: PUB ----------------------------------------------------------------------------------------


class PeerGauge(msgspec.Struct, frozen=True, omit_defaults=True):
    """One agent in the gauges."""

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
    """A snapshot of the broker, published a few times a second while it changes."""

    epoch: str
    peers: tuple[PeerGauge, ...]
    queues: dict[str, int]
    """How many requests wait, by pool."""
    dropped: int = 0
    """Messages that could not be read, or that their sender may not send."""
    requeued: int = 0
    draining: bool = False


KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in Message.__subclasses__()}
"""All messages, those of broker/work_messages.py too."""
DECODERS = {name: msgspec.msgpack.Decoder(kind) for name, kind in KINDS.items()}
"""Of their bodies."""
ANSWERS: dict[str, str] = {
    "Teach": "Answered",
    "Examine": "Answered",
    "Grade": "Graded",
    "Reflect": "Answered",
    "Revise": "Answered",
    "Ask": "Answered",
    "Explain": "Answered",
    "Judge": "Answered",
    "Invent": "Answered",
    "Train": "Trained",
}
"""The kind of result of each kind of request, unless it fails."""
WORK = frozenset(ANSWERS)
"""Kinds of requests: they are leased and must end in a result."""
RESULTS = frozenset({*ANSWERS.values(), "Failed"})


class Envelope(NamedTuple):
    """A message with its route: five frames."""

    kind: str
    peer: str
    """To the broker: the pool or agent that the message is for. From the broker: the agent that sent it."""
    request_id: str
    affinity: str
    """Requests of one affinity share a long prompt prefix; the broker prefers one agent for them."""
    body: bytes


def replica(pool: str, number: int) -> str:
    """The name of a pool's agent by its number, from 1: peer, peer.2, peer.3."""
    return pool if number == 1 else f"{pool}.{number}"


def pool_of(name: str) -> str:
    """The pool of an agent with this name."""
    return name.partition(".")[0]


def encode(message: Message) -> bytes:
    """The body of a message, as bytes.

    Raises:
        WireError: it is larger than MAX_BODY.
    """
    body = msgspec.msgpack.encode(message)
    if len(body) > MAX_BODY:
        raise WireError(f"{type(message).__name__} of {len(body)} bytes: at most {MAX_BODY} go over the wire")
    return body


def decode(kind: str, body: bytes) -> Message:
    """The message in `body`.

    Raises:
        WireError: unknown kind, not MessagePack, too large, or not a message of that kind.
    """
    return (_decoded_request if kind in WORK else _decoded)(kind, body)


def _decoded(kind: str, body: bytes) -> Message:
    decoder = DECODERS.get(kind)
    if decoder is None:
        raise WireError(f"no message is called {kind[:40]!r}")
    if len(body) > MAX_BODY:
        raise WireError(f"{kind} of {len(body)} bytes: at most {MAX_BODY} are taken")
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise WireError(f"{kind}: {str(error)[:200]}") from error


def envelope(message: Message, *, peer: str = "", request_id: str = "", affinity: str = "") -> Envelope:
    """`message` with its route, ready to be sent."""
    kind = type(message).__name__
    body = _encoded_request(message) if kind in WORK else encode(message)
    return Envelope(kind, peer, request_id, affinity, body)


_encoded_request = lru_cache(maxsize=64)(encode)
_decoded_request = lru_cache(maxsize=64)(_decoded)
"""Requests are often equal: the students of a class are asked the same, and the copies of a student share a process."""


def to_frames(envelopes: Iterable[Envelope]) -> list[bytes]:
    """The frames of one multipart message: five for each envelope."""
    frames: list[bytes] = []
    for kind, peer, request_id, affinity, body in envelopes:
        frames += (kind.encode(), peer.encode(), request_id.encode(), affinity.encode(), body)
    return frames


def pack(envelopes: Sequence[Envelope]) -> list[bytes]:
    """The frames of one message to a peer that reads packed sends: one frame for several envelopes."""
    return to_frames(envelopes) if len(envelopes) == 1 else [_encode_packed(envelopes)]


def from_frames(frames: Sequence[bytes]) -> list[Envelope]:
    """The envelopes in a multipart message; a single frame is packed.

    Raises:
        WireError: the frames are not five for each envelope, or a route frame is not short UTF-8 text.
    """
    if len(frames) == 1:
        return _unpack(frames[0])
    if not frames or len(frames) % 5:
        raise WireError(f"{len(frames)} frames: a message has five")
    found = []
    for start in range(0, len(frames), 5):
        kind, peer, request_id, affinity, body = frames[start : start + 5]
        if len(kind) > MAX_ROUTE or len(peer) > MAX_ROUTE or len(request_id) > MAX_ROUTE or len(affinity) > MAX_ROUTE:
            raise WireError(TOO_LONG)
        try:
            fields = kind.decode(), peer.decode(), request_id.decode(), affinity.decode(), body
            found.append(tuple.__new__(Envelope, fields))  # faster than its own constructor
        except UnicodeDecodeError as error:
            raise WireError(f"a route frame is not UTF-8: {error}") from error
    return found


_encode_packed = msgspec.msgpack.Encoder().encode
_decode_packed = msgspec.msgpack.Decoder(Annotated[list[Envelope], Meta(max_length=BATCH)]).decode


def _unpack(frame: bytes) -> list[Envelope]:
    try:
        found = _decode_packed(frame)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a single frame that is no packed send: {str(error)[:200]}") from error
    short = MAX_ROUTE // 4  # a character has at most four bytes
    for kind, peer, request_id, affinity, _ in found:
        long = len(kind) > short or len(peer) > short or len(request_id) > short or len(affinity) > short
        if long and max(len(text.encode()) for text in (kind, peer, request_id, affinity)) > MAX_ROUTE:
            raise WireError(TOO_LONG)
    return found


def digest(*parts: Any) -> str:
    """A digest of `parts` as 32 hex digits, independent of the order of dict keys; for request ids and answerers."""
    blob = msgspec.json.encode(msgspec.to_builtins(parts), order="sorted")
    return hashlib.blake2b(blob, digest_size=16).hexdigest()
