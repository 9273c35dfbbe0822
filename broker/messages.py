"""Every message on the wire, and how it becomes bytes.

A message is one frozen struct; its class name is its kind. The body is MessagePack, a map; unknown keys are
ignored and a missing key takes its default, so old and new peers can talk. `msgpack` makes the bytes, msgspec
says what they must hold. This file knows nothing of sockets, and the broker never decodes the body of a
piece of work.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgpack
import msgspec

PROTOCOL = 1
MAX_BODY = 1 << 20
"""Bytes. A larger body is refused on the way out and dropped on the way in."""

AnswerForm = Literal["number", "latex", "word", "yes_no"]
"""What an answer looks like: prompts ask for it and graders parse it."""
Role = Literal["teacher", "student", "classroom"]
AgentState = Literal["loading", "ready", "draining"]


class WireError(ValueError):
    """Bytes that are not a message of this protocol."""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages."""


class Exemplar(msgspec.Struct, frozen=True):
    """A problem and a worked solution of it: a demonstration, or teaching material (TP and TR)."""

    problem: str
    rationale: str


class Sampling(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a completion is drawn. `temperature: 0` is greedy decoding."""

    temperature: float = 0.7
    """0: greedy, always the likeliest token."""
    top_k: int = 20
    """Only the k likeliest tokens; 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability."""
    max_tokens: int = 200
    """Where a completion is cut off."""


# --- work: classroom to agent ---------------------------------------------------------------------------


class Teach(Message, frozen=True, kw_only=True):
    """Solve a teaching problem (TP) and explain the solution. Answered by `Taught`."""

    problem: str
    answer_form: AnswerForm
    sampling: Sampling
    demonstrations: tuple[Exemplar, ...] = ()
    weights: str = ""
    """Digest of the weights that must answer; empty: whatever the agent holds."""


class Examine(Message, frozen=True, kw_only=True):
    """Solve an exam problem (EP), with teaching material as in-context example. Answered by `Answered`."""

    problem: str
    answer_form: AnswerForm
    sampling: Sampling
    material: tuple[Exemplar, ...]
    demonstrations: tuple[Exemplar, ...] = ()
    weights: str = ""


class Feedback(Message, frozen=True, kw_only=True):
    """What a lesson did, told once to a teacher (per TR) or a student (per TP). Asks for no answer."""

    about: str
    """Request id of the TR, or the id of the TP."""
    lbt_scores: dict[str, float] = {}
    """Mean correctness of the exam answers, by student."""
    failed: tuple[str, ...] = ()
    """Texts of the exam problems that were answered wrong at least once."""


# --- results: agent to classroom ------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one completion cost."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that the engine had from earlier prompts."""
    cacheable_tokens: int = 0
    """Prompt tokens that a perfect prefix cache would have had: an estimate."""
    completion_tokens: int = 0
    seconds: float = 0.0
    """From the moment the engine took the request up to its last token."""
    finish_reason: Literal["stop", "length"] = "stop"


class Taught(Message, frozen=True, kw_only=True):
    """A teaching rationale (TR), with the teaching answer (TA) in its text."""

    text: str
    usage: Usage = Usage()


class Answered(Message, frozen=True, kw_only=True):
    """An exam rationale (ER), with the exam answer (EA) in its text."""

    text: str
    usage: Usage = Usage()


FailedKind = Literal["context", "engine", "deaths", "unsupported", "refused"]


class Failed(Message, frozen=True, kw_only=True):
    """A request that has no result and will get none: data, recorded like a result."""

    kind: FailedKind
    """context: longer than the model's context; engine: the engine refused or broke on it; deaths: agents
    died three times while holding it alone; unsupported: not a kind this agent knows; refused: the broker
    took no more requests."""
    detail: str = ""


# --- life -----------------------------------------------------------------------------------------------


class Hello(Message, frozen=True, kw_only=True):
    """A peer announces itself, or says again who it is, to a broker that does not know it."""

    name: str
    role: Role
    pool: str = ""
    """Requests are addressed to a pool; agents of one pool are interchangeable. Empty: same as `name`."""
    answerer: str = ""
    """Digest of all that decides what this agent would answer: see agents.agent.Answerer."""
    model: str = ""
    engine: str = ""
    device: str = ""
    prompts: str = ""
    pid: int = 0
    state: AgentState = "loading"
    credit: int = 0
    """How many requests the peer takes at once."""
    working: tuple[str, ...] = ()
    """Requests it holds already: a restarted broker must not give them to another."""
    protocol: int = PROTOCOL


class Welcome(Message, frozen=True, kw_only=True):
    """The broker knows the peer now."""

    epoch: str
    """Drawn anew at each start of the broker: a peer that sees another one says everything again."""
    heartbeat_s: float
    """A peer that says nothing for three times this long is taken for dead."""
    credit: int = 0
    """How many unfinished requests per pool the broker takes from this peer."""


class Unknown(Message, frozen=True, kw_only=True):
    """The broker heard from somebody it does not know: say `Hello` again."""


class Heartbeat(Message, frozen=True, kw_only=True):
    """Sent by the thread that owns the socket; `progress` and the figures come from the engine."""

    state: AgentState = "ready"
    credit: int = 0
    progress: tuple[str, ...] = ()
    """Requests that moved on since the last heartbeat: their leases are renewed."""
    completion_tokens: int = 0
    """Since the agent started."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    memory_mb: float = 0.0


class Ack(Message, frozen=True, kw_only=True):
    """Classroom to broker to agent: these results are committed, you may forget them."""

    request_ids: tuple[str, ...]


class Drain(Message, frozen=True, kw_only=True):
    """Classroom to broker: lease nothing more. Broker to agent: finish what you hold, then leave."""


class Goodbye(Message, frozen=True, kw_only=True):
    """A peer leaves on purpose; what it still holds goes back to its pool."""

    reason: str = ""


class Gone(Message, frozen=True, kw_only=True):
    """Classroom to broker: the supervisor saw this agent's process end."""

    name: str
    detail: str = ""
    pid: int = 0
    """Of the process that ended: another that took the name meanwhile is left in peace. 0: whoever bears it."""


class Joined(Message, frozen=True, kw_only=True):
    """Broker to classroom: an agent said Hello, or its state changed."""

    hello: Hello


class Lost(Message, frozen=True, kw_only=True):
    """Broker to classroom: an agent is no longer there."""

    name: str
    pool: str
    why: Literal["goodbye", "process", "silent", "stalled", "replaced", "refused"]
    detail: str = ""


# --- gauges: PUB ----------------------------------------------------------------------------------------


class PeerGauge(msgspec.Struct, frozen=True):
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
        Teach, Examine, Feedback, Taught, Answered, Failed, Hello, Welcome, Unknown, Heartbeat, Ack, Drain,
        Goodbye, Gone, Joined, Lost, Gauges,
    )
}  # fmt: skip
WORK = frozenset({"Teach", "Examine"})
"""Kinds that are leased and must end in a result."""
RESULTS = frozenset({"Taught", "Answered", "Failed"})


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
        if any(len(part) > 200 for part in route):
            raise WireError("a route frame longer than 200 bytes")
        try:
            kind, peer, request_id, affinity = (part.decode() for part in route)
        except UnicodeDecodeError as error:
            raise WireError(f"a route frame is not UTF-8: {error}") from error
        yield Envelope(kind, peer, request_id, affinity, frames[start + 4])


def digest(*parts: Any) -> str:
    """32 hex digits from `parts`, whatever the order of dict keys. Request ids and answerers are made of it."""
    blob = msgspec.json.encode(msgspec.to_builtins(parts), order="sorted")
    return hashlib.blake2b(blob, digest_size=16).hexdigest()
