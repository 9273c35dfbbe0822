"""Whatever the network and the processes do, no request is lost and none is recorded twice.

The broker's state and real sessions, with a wire between them that drops, duplicates, delays and reorders;
agents and brokers that die at any moment; and at the end, peace, in which all must come to its end.
"""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.actions import Send
from broker.delivery import DeliverySession, Received
from broker.events import BrokerPaused, Incoming, Sender, StateEvent, Tick
from broker.protocol import RESULTS, WORK, Ack, AgentState, Envelope, Gone, Goodbye, Hello, Lost, Role, envelope
from broker.state import BrokerState
from broker.work_messages import Answered, Examine, Exemplar, Failed, Message, Sampling
from tests.broker.invariants import check

HEARTBEAT_S, STALLED_S, CREDIT = 1.0, 8.0, 5
POOLS = {"ann": "ann", "bob": "twins", "ben": "twins"}
CAPACITY = {"ann": 1, "bob": 3, "ben": 2}
SUPERVISED = ("bob", "classroom")
QUESTION = Examine(problem="?", answer_form="number", sampling=Sampling(), material=(Exemplar("?", "!"),))
SENDER = Sender(process=0)
names = st.sampled_from(sorted(POOLS))
peers = st.sampled_from(["classroom", *sorted(POOLS)])


class Peer:
    """One process: its session, its connection, and what it is busy with."""

    def __init__(self, name: str, role: Role, identity: bytes, state: AgentState = "loading") -> None:
        self.name = name
        self.identity = identity
        self.session = DeliverySession(
            Hello(name=name, role=role, pool=POOLS.get(name, ""), credit=CAPACITY.get(name, 0), pid=1, state=state)
        )
        self.up: list[Envelope] = []
        self.down: list[Envelope] = []
        self.doing: dict[str, str] = {}

    def speak(self) -> None:
        session = self.session
        if session.greet_now:
            self.up.append(session.greeting())
        if session.greeted:
            self.up += session.outbox
            session.outbox.clear()

    def beat(self) -> None:
        self.session.count(list(self.doing), 0, 0, 0)
        if self.session.greeted:
            self.up.append(self.session.heartbeat())
            self.session.beaten()

    def reconnect(self) -> None:
        self.up.clear()
        self.down.clear()
        self.session.lost_connection()

    def answer(self, request_id: str) -> None:
        text = f"{self.doing.pop(request_id)} by {self.name}"
        self.session.post(envelope(Answered(text=text), request_id=request_id), keep=True)


class ClassAtSea(RuleBasedStateMachine):
    """The whole class."""

    @initialize()
    def begin(self) -> None:
        self.now = 0.0
        self.serial = 0
        self.orderly = True
        self.state = self.new_state()
        self.peers = {"classroom": Peer("classroom", "classroom", b"classroom")}
        self.ghosts: list[tuple[bytes, Envelope]] = []
        self.asked = Counter[str]()
        self.open: dict[str, str] = {}
        self.recorded: dict[str, Message] = {}
        self.unacknowledged: dict[str, Message] = {}
        for name in POOLS:
            self.start(name)

    def new_state(self) -> BrokerState:
        self.serial += 1
        return BrokerState(HEARTBEAT_S, STALLED_S, CREDIT, f"epoch {self.serial}", SUPERVISED)

    def start(self, name: str) -> None:
        """A process under this name; one that was there dies, with words of its still on the way."""
        if name in self.peers:
            before = self.peers[name]
            self.ghosts += [(before.identity, sent) for sent in before.up]
        self.serial += 1
        state: AgentState = "loading" if self.serial % 3 == 0 else "ready"
        self.peers[name] = Peer(name, "student", f"{name}-{self.serial}".encode(), state)

    # --- what the class does ----------------------------------------------------------------------------

    @rule(pool=st.sampled_from(["ann", "twins"]), affinity=st.sampled_from(["", "x", "y"]), count=st.integers(1, 3))
    def ask(self, pool: str, affinity: str, count: int) -> None:
        for _ in range(count):
            if self.asked[pool] < CREDIT:
                self.serial += 1
                request_id = f"r{self.serial}"
                self.asked[pool] += 1
                self.open[request_id] = pool
                self.peers["classroom"].session.post(
                    envelope(QUESTION, peer=pool, request_id=request_id, affinity=affinity), keep=True
                )

    @rule(rounds=st.integers(1, 3))
    def all_talk(self, rounds: int) -> None:
        for _ in range(rounds):
            for name in list(self.peers):
                self.peers[name].speak()
                self.broker_reads(name, len(self.peers[name].up))
            for name in list(self.peers):
                self.peer_reads(name, len(self.peers[name].down))

    @rule(name=peers)
    def peer_speaks(self, name: str) -> None:
        self.peers[name].speak()

    @rule(name=peers)
    def peer_beats(self, name: str) -> None:
        self.peers[name].beat()

    @rule(name=peers, count=st.integers(1, 6))
    def broker_reads(self, name: str, count: int) -> None:
        peer = self.peers[name]
        for _ in range(min(count, len(peer.up))):
            self.to_broker(peer.identity, peer.up.pop(0))

    @rule(name=peers, count=st.integers(1, 6))
    def peer_reads(self, name: str, count: int) -> None:
        peer = self.peers[name]
        for _ in range(min(count, len(peer.down))):
            self.to_peer(peer, peer.down.pop(0))

    @rule(name=names, state=st.sampled_from(["ready", "ready", "ready", "ready", "loading", "training"]))
    def agent_changes(self, name: str, state: AgentState) -> None:
        if self.peers[name].session.change(state, None):
            self.peers[name].beat()

    @rule(name=names, last=st.booleans())
    def agent_answers(self, name: str, last: bool) -> None:
        peer = self.peers[name]
        if peer.doing:
            peer.answer(list(peer.doing)[-1 if last else 0])

    @rule()
    def classroom_commits(self) -> None:
        if not self.unacknowledged:
            return
        for request_id, result in self.unacknowledged.items():
            if self.recorded.setdefault(request_id, result) is result:
                self.asked[self.open.pop(request_id)] -= 1
        ids = tuple(self.unacknowledged)
        self.unacknowledged.clear()
        self.peers["classroom"].session.post(envelope(Ack(request_ids=ids)), keep=False)

    @rule(seconds=st.sampled_from([0.3, 0.3, 0.3, 2.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.now += seconds
        self.do_all(Tick())

    @rule(seconds=st.sampled_from([1.0, 100.0]))
    def the_broker_sleeps(self, seconds: float) -> None:
        self.now += seconds
        self.do_all(BrokerPaused(seconds=seconds))

    # --- what goes wrong --------------------------------------------------------------------------------

    @rule(name=peers)
    def connection_breaks(self, name: str) -> None:
        self.peers[name].reconnect()

    @rule(name=names, noticed=st.booleans())
    def agent_dies(self, name: str, noticed: bool) -> None:
        self.start(name)
        if noticed:
            self.peers["classroom"].session.post(envelope(Gone(name=name)), keep=False)

    @rule(name=names)
    def agent_leaves(self, name: str) -> None:
        self.peers[name].up.append(envelope(Goodbye()))
        self.start(name)

    @rule()
    def broker_dies(self) -> None:
        self.state = self.new_state()
        self.ghosts.clear()
        for peer in self.peers.values():
            peer.reconnect()

    @precondition(lambda self: self.ghosts)
    @rule()
    def ghost_speaks(self) -> None:
        self.to_broker(*self.ghosts.pop(0))

    @rule(name=peers, down=st.booleans(), what=st.sampled_from(["drop", "twice", "late"]), where=st.integers(0, 3))
    def wire_misbehaves(self, name: str, down: bool, what: str, where: int) -> None:
        wire = self.peers[name].down if down else self.peers[name].up
        if where < len(wire):
            self.orderly = False
            message = wire.pop(where)
            if what == "twice":
                wire.insert(where, message)
            if what != "drop":
                wire.append(message)

    # --- how it works -----------------------------------------------------------------------------------

    def to_broker(self, identity: bytes, sent: Envelope) -> None:
        self.do_all(Incoming(identity, sent, SENDER))

    def do_all(self, event: StateEvent) -> None:
        known = {peer.identity: peer for peer in self.peers.values()}
        for action in self.state.handle(event, self.now):
            if isinstance(action, Send):
                if action.envelope.kind in WORK:
                    agent = self.state.peers.connections[action.peer].agent
                    assert agent
                    assert len(agent.leases) + len(agent.claims) <= agent.hello.credit, "more than it takes"
                if action.peer in known:
                    known[action.peer].down.append(action.envelope)
        check(self.state)

    def to_peer(self, peer: Peer, sent: Envelope) -> None:
        received = peer.session.take(sent)
        if received is None:
            return
        if peer.name == "classroom":
            self.classroom_hears(received)
        elif sent.kind in WORK:
            assert received.request_id not in peer.doing, "asked twice"
            peer.doing[received.request_id] = f"epoch {self.serial}"
            assert not self.orderly or len(peer.doing) <= CAPACITY[peer.name], "more than it takes"

    def classroom_hears(self, received: Received) -> None:
        message = received.message
        if type(message).__name__ in RESULTS:
            assert not (isinstance(message, Failed) and message.kind == "refused")
            self.unacknowledged.setdefault(received.request_id, message)
        elif isinstance(message, Lost) and message.why in ("silent", "stalled"):
            self.start(message.name)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        kept = self.peers["classroom"].session.kept.keys() if hasattr(self, "peers") else set[str]()
        got = self.recorded.keys() | self.unacknowledged.keys() if hasattr(self, "peers") else set[str]()
        assert not hasattr(self, "peers") or self.open.keys() <= kept | got

    def teardown(self) -> None:
        if not hasattr(self, "peers"):
            return
        for peer in self.peers.values():
            peer.reconnect()
        for _ in range(80):
            for name in list(self.peers):
                peer = self.peers[name]
                if name != "classroom":
                    peer.session.change("ready", None)
                peer.speak()
                peer.beat()
                self.broker_reads(name, len(peer.up))
            while self.ghosts:
                self.ghost_speaks()
            for name in list(self.peers):
                self.peer_reads(name, len(self.peers[name].down))
                for request_id in list(self.peers[name].doing):
                    self.peers[name].answer(request_id)
            self.classroom_commits()
            self.time_goes_by(0.3)
        assert not self.open, f"lost: {self.open}"
        assert not self.state.work.requests
        assert not self.state.work.finished
        assert not any(peer.session.kept for peer in self.peers.values()), "something is kept for ever"


ClassAtSea.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None, database=None)
TestClassAtSea = ClassAtSea.TestCase
