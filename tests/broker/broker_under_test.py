"""The state of a broker, driven by a test: each method handles an event and returns what was sent."""

from collections.abc import Iterable

from broker.actions import Action, Send
from broker.events import Incoming, Sender, StateEvent, Tick
from broker.pool import PoolAgent
from broker.protocol import (
    PROTOCOL,
    Ack,
    AgentState,
    Envelope,
    Gone,
    Goodbye,
    Heartbeat,
    Hello,
    Role,
    decode,
    envelope,
)
from broker.state import BrokerState
from broker.work_messages import Answered, Message
from tests.broker.invariants import check

C = b"classroom"
Sent = list[tuple[bytes, str, str]]


class FakeProcesses:
    """Processes that run until a test ends them."""

    def __init__(self) -> None:
        self.ended: set[int] = set()

    def is_running(self, pid: int) -> bool:
        return pid not in self.ended

    def parent_of(self, pid: int) -> int:
        return 0


class Broker:
    """A broker state. The methods return the envelopes that were sent: (peer, kind, request id)."""

    def __init__(
        self, *, credit: int = 100, heartbeat_s: float = 1.0, stalled_s: float = 10.0, supervised: Iterable[str] = ()
    ) -> None:
        self.processes = FakeProcesses()
        self.state = BrokerState(
            heartbeat_s, stalled_s, credit, "e1", frozenset(supervised), process_table=self.processes
        )
        self.now = 100.0
        self.actions: list[Action] = []

    def handle(self, event: StateEvent) -> Sent:
        self.actions = self.state.handle(event, self.now)
        check(self.state)
        return [(a.peer, a.envelope.kind, a.envelope.request_id) for a in self.actions if isinstance(a, Send)]

    def receive_envelope(self, peer: bytes, sent: Envelope, process: int | None = None) -> Sent:
        """`process`: None: that of the connection, 0 for a new one."""
        known = self.state.peers.connections.get(peer)
        sender = known.sender if known and process is None else Sender(process=process or 0)
        return self.handle(Incoming(peer, sent, sender))

    def receive(self, peer: bytes, message: Message, *, request_id: str = "", process: int | None = None) -> Sent:
        return self.receive_envelope(peer, envelope(message, request_id=request_id), process)

    def leave(self, peer: bytes, reason: str = "") -> Sent:
        return self.receive(peer, Goodbye(reason=reason))

    def messages_to(self, peer: bytes) -> list[Message]:
        """The messages to `peer` among the last actions."""
        sent = [a.envelope for a in self.actions if isinstance(a, Send) and a.peer == peer]
        return [decode(e.kind, e.body) for e in sent]

    def classroom(self, peer: bytes = C) -> Sent:
        return self.receive(peer, Hello(name="classroom", role="classroom"))

    def agent(
        self,
        peer: bytes,
        name: str = "",
        *,
        pool: str = "p",
        credit: int = 1,
        state: AgentState = "ready",
        working: Iterable[str] = (),
        pid: int = 0,
        role: Role = "student",
        protocol: int = PROTOCOL,
    ) -> Sent:
        hello = Hello(
            name=name or peer.decode(), role=role, pool=pool, credit=credit, state=state, working=tuple(working),
            pid=pid, protocol=protocol,
        )  # fmt: skip
        return self.receive(peer, hello, process=pid)

    def ask(self, *request_ids: str, pool: str = "p", affinity: str = "", peer: bytes = C) -> Sent:
        sent: Sent = []
        for request_id in request_ids:
            sent += self.receive_envelope(peer, Envelope("Examine", pool, request_id, affinity, b"question"))
        return sent

    def answer(self, peer: bytes, request_id: str, text: str = "42") -> Sent:
        return self.receive(peer, Answered(text=text), request_id=request_id)

    def ack(self, *request_ids: str) -> Sent:
        return self.receive(C, Ack(request_ids=request_ids))

    def beat(
        self, peer: bytes, *progress: str, state: AgentState = "ready", credit: int = 1, completion_tokens: int = 0
    ) -> Sent:
        heartbeat = Heartbeat(state=state, credit=credit, progress=progress, completion_tokens=completion_tokens)
        return self.receive(peer, heartbeat)

    def gone(self, name: str, pid: int = 0) -> Sent:
        return self.receive(C, Gone(name=name, pid=pid, detail="killed"))

    def wait(self, seconds: float) -> Sent:
        self.now += seconds
        return self.handle(Tick())

    def connected(self) -> dict[bytes, PoolAgent]:
        return {agent.identity: agent for agent in self.state.peers.agents.values()}

    def leases(self, peer: bytes) -> list[str]:
        return list(self.connected()[peer].leases)
