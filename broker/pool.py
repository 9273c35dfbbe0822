"""A pool: interchangeable agents, and the requests that wait for one of them.

It decides which agent gets which request next, in constant time however many requests wait. Time, deaths and messages
are in broker/state.py.
"""

from collections import OrderedDict

from broker.protocol import Envelope, Heartbeat, Hello, PeerGauge


class QueuedRequest:
    """A request without a result: it waits in its pool, or one agent holds it (has a lease on it)."""

    __slots__ = (
        "affinity",
        "envelope",
        "holder",
        "holders",
        "id",
        "killed",
        "late_senders",
        "pool",
        "progress_at",
        "suspect",
    )

    def __init__(self, envelope: Envelope, pool: "Pool") -> None:
        self.envelope = envelope
        self.id = envelope.request_id
        self.affinity = envelope.affinity or envelope.request_id
        """Requests of the same affinity share a prompt prefix. A request that names none has one that no other has."""
        self.pool = pool
        self.holder: PoolAgent | None = None
        self.holders: tuple[str, ...] = ()
        """Names of all agents that hold it or held it: their results count."""
        self.late_senders: tuple[bytes, ...] = ()
        """Connections of agents of the pool that answered it without ever holding it."""
        self.suspect = False
        """An agent died while it held this request: it is leased only to an agent that holds nothing else."""
        self.killed: tuple[bytes, ...] = ()
        """Connections of the agents that died while they held this request and nothing else."""
        self.progress_at = 0.0
        """When it was leased, or last made progress."""


class PoolAgent:
    """A live agent, as the broker knows it."""

    __slots__ = (
        "affinity",
        "claims",
        "claims_progress_at",
        "finished",
        "heard_at",
        "heartbeat",
        "hello",
        "identity",
        "leases",
        "pool",
        "quiet",
    )

    def __init__(self, identity: bytes, hello: Hello, pool: "Pool", now: float) -> None:
        self.identity = identity
        self.hello = hello
        self.pool = pool
        self.heard_at = now
        self.quiet = False
        """The classroom was sent `Quiet` for it."""
        self.heartbeat = Heartbeat()
        self.leases: dict[str, QueuedRequest] = {}
        self.claims: set[str] = set()
        """What it works on without a lease: requests that are not submitted yet, or that another agent has answered."""
        self.claims_progress_at = now
        """When the claims were made, or last made progress."""
        self.affinity = ""
        """Of its newest lease."""
        self.finished = 0

    @property
    def name(self) -> str:
        """The name in its Hello."""
        return self.hello.name

    @property
    def busy(self) -> bool:
        """Whether it works on anything."""
        return bool(self.leases or self.claims)

    @property
    def holds_suspect(self) -> bool:
        """Whether it holds a suspect; then it gets no other request."""
        return len(self.leases) == 1 and next(iter(self.leases.values())).suspect

    @property
    def room(self) -> int:
        """How many more requests it accepts now."""
        hello, held = self.hello, len(self.leases)
        if hello.state != "ready" or (held == 1 and self.holds_suspect):
            return 0
        return hello.credit - held - len(self.claims)

    def gauge(self) -> PeerGauge:
        """A snapshot for the monitor."""
        hello, figures = self.hello, self.heartbeat
        return PeerGauge(
            name=hello.name,
            role=hello.role,
            pool=hello.pool,
            model=hello.model,
            engine=hello.engine,
            device=hello.device,
            state=hello.state,
            credit=hello.credit,
            leases=len(self.leases),
            finished=self.finished,
            prompt_tokens=figures.prompt_tokens,
            cached_tokens=figures.cached_tokens,
            completion_tokens=figures.completion_tokens,
            memory_mb=figures.memory_mb,
            spent=figures.spent,
        )


class Pool:
    """The agents of one pool and its queue."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.agents: dict[bytes, PoolAgent] = {}
        self.free: dict[bytes, PoolAgent] = {}
        """Agents with room."""
        self.unfinished = 0
        """Requests that wait or are held."""
        self.waiting = 0
        # In an OrderedDict the first entry is found in constant time, however many were removed before it.
        self.suspects: OrderedDict[str, QueuedRequest] = OrderedDict()
        self.groups: OrderedDict[str, OrderedDict[str, QueuedRequest]] = OrderedDict()
        """Waiting requests by affinity; the affinity that waits longest is first."""

    def update_free(self, agent: PoolAgent) -> None:
        """Update `free` after a change of `agent`."""
        if agent.room > 0 and agent.identity in self.agents:
            self.free[agent.identity] = agent
        else:
            self.free.pop(agent.identity, None)

    def push(self, request: QueuedRequest) -> None:
        """Add a new request behind the others of its affinity."""
        group = self.groups.get(request.affinity)
        if group is None:
            group = self.groups[request.affinity] = OrderedDict()
        group[request.id] = request
        self.waiting += 1

    def put_back(self, request: QueuedRequest) -> None:
        """Add a request that was held, before all others; a suspect goes behind the other suspects."""
        self.waiting += 1
        if request.suspect:
            self.suspects[request.id] = request
            return
        group = self.groups.setdefault(request.affinity, OrderedDict())
        group[request.id] = request
        group.move_to_end(request.id, last=False)
        self.groups.move_to_end(request.affinity, last=False)

    def remove(self, request: QueuedRequest) -> None:
        """Remove a waiting request."""
        self.waiting -= 1
        if request.suspect:
            del self.suspects[request.id]
            return
        group = self.groups[request.affinity]
        del group[request.id]
        if not group:
            del self.groups[request.affinity]

    def next_lease(self) -> tuple[PoolAgent, QueuedRequest] | None:
        """Remove the next request from the queue; returns it and the agent that gets it, or None if there is no pair.

        While suspects wait, nothing else is leased: otherwise no agent would ever be idle, as a suspect needs.
        """
        if not self.free or not self.waiting:
            return None
        if self.suspects:
            agent = next((agent for agent in self.free.values() if not agent.busy), None)
            if agent is None:
                return None
            _, request = self.suspects.popitem(last=False)
        else:
            agent, affinity = self._match()
            group = self.groups[affinity]
            _, request = group.popitem(last=False)
            if not group:
                del self.groups[affinity]
        self.waiting -= 1
        return agent, request

    def _match(self) -> tuple[PoolAgent, str]:
        """The agent and the affinity to serve next.

        The first choice is an agent's last affinity, the second the oldest affinity that no other agent serves, the
        third the oldest.
        """
        for agent in self.free.values():
            if agent.affinity in self.groups:
                return agent, agent.affinity
        agent = min(self.free.values(), key=lambda agent: len(agent.leases))
        served = {other.affinity for other in self.agents.values() if other is not agent}
        unserved = next((affinity for affinity in self.groups if affinity not in served), None)
        return agent, next(iter(self.groups)) if unserved is None else unserved
