"""A pool: agents that stand in for one another, and the requests that wait for one of them.

Decides which agent gets which request next, and keeps the books that make this quick with many requests
waiting. It knows nothing of time, deaths or messages: those are broker/state.py.
"""

from collections import OrderedDict

from broker.protocol import Envelope, Heartbeat, Hello, PeerGauge


class QueuedRequest:
    """One piece of work that has no result yet: it waits in its pool, or one agent holds it."""

    __slots__ = ("deaths", "envelope", "holder", "holders", "late", "moved", "pool", "suspect")

    def __init__(self, envelope: Envelope, pool: "Pool") -> None:
        self.envelope = envelope
        self.pool = pool
        self.holder: PoolAgent | None = None
        self.holders: tuple[str, ...] = ()
        """Names of all agents that hold it or held it: a result of theirs counts."""
        self.late: tuple[bytes, ...] = ()
        """Connections of agents of the pool that answered it and never held it."""
        self.suspect = False
        """An agent died while it held this one: it is leased to an agent that holds nothing else."""
        self.deaths = 0
        """Of agents that held this one alone."""
        self.moved = 0.0
        """When it was leased, or last made progress."""

    @property
    def id(self) -> str:
        """Its request id."""
        return self.envelope.request_id

    @property
    def affinity(self) -> str:
        """A request that names none shares a prompt prefix with no other."""
        return self.envelope.affinity or self.envelope.request_id


class PoolAgent:
    """One live agent, as the broker knows it."""

    __slots__ = (
        "affinity",
        "claimed",
        "claims",
        "finished",
        "heard",
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
        self.heard = now
        self.quiet = False
        """The classroom knows that nothing is heard of it."""
        self.heartbeat = Heartbeat()
        self.leases: dict[str, QueuedRequest] = {}
        self.claims: set[str] = set()
        """What it works on without a lease: announced by it and not submitted yet, or finished by another."""
        self.claimed = now
        """When the claims were made."""
        self.affinity = ""
        """Of the request it was given last."""
        self.finished = 0

    @property
    def name(self) -> str:
        """As in its Hello."""
        return self.hello.name

    @property
    def busy(self) -> bool:
        """Whether it works on anything."""
        return bool(self.leases or self.claims)

    @property
    def alone(self) -> bool:
        """Whether it holds a suspect, and therefore gets nothing beside it."""
        return len(self.leases) == 1 and next(iter(self.leases.values())).suspect

    @property
    def room(self) -> int:
        """How many more requests it takes now."""
        if self.hello.state != "ready" or self.alone:
            return 0
        return self.hello.credit - len(self.leases) - len(self.claims)

    def gauge(self) -> PeerGauge:
        """A picture of it for the monitor."""
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
        """Those with room."""
        self.unfinished = 0
        """Requests that wait or are held."""
        self.waiting = 0
        # Ordered dicts: their first entry is found in constant time however many were taken before it.
        self.suspects: OrderedDict[str, QueuedRequest] = OrderedDict()
        self.groups: OrderedDict[str, OrderedDict[str, QueuedRequest]] = OrderedDict()
        """By affinity, the one that waits longest first."""

    def recount(self, agent: PoolAgent) -> None:
        """Note whether `agent` has room, after anything about it changed."""
        if agent.room > 0 and agent.identity in self.agents:
            self.free[agent.identity] = agent
        else:
            self.free.pop(agent.identity, None)

    def push(self, request: QueuedRequest) -> None:
        """A new request: behind those of its affinity."""
        self.groups.setdefault(request.affinity, OrderedDict())[request.id] = request
        self.waiting += 1

    def put_back(self, request: QueuedRequest) -> None:
        """A request that was held: before all others; a suspect behind the other suspects."""
        self.waiting += 1
        if request.suspect:
            self.suspects[request.id] = request
            return
        group = self.groups.setdefault(request.affinity, OrderedDict())
        group[request.id] = request
        group.move_to_end(request.id, last=False)
        self.groups.move_to_end(request.affinity, last=False)

    def remove(self, request: QueuedRequest) -> None:
        """Take a waiting request out of the queue."""
        self.waiting -= 1
        if request.suspect:
            del self.suspects[request.id]
            return
        group = self.groups[request.affinity]
        del group[request.id]
        if not group:
            del self.groups[request.affinity]

    def queued(self) -> list[QueuedRequest]:
        """All that wait, the next one first as far as affinity allows."""
        return [*self.suspects.values(), *(r for group in self.groups.values() for r in group.values())]

    def take(self) -> tuple[PoolAgent, QueuedRequest] | None:
        """Who gets what next, taken out of the queue; None: nothing waits, or nobody has room for it.

        While suspects wait, nothing else is given out: else no agent would ever be without work.
        """
        if not self.free or not self.waiting:
            return None
        if self.suspects:
            agent = next((agent for agent in self.free.values() if not agent.busy), None)
            if agent is None:
                return None
            request = next(iter(self.suspects.values()))
        else:
            agent, affinity = self._match()
            request = next(iter(self.groups[affinity].values()))
        self.remove(request)
        return agent, request

    def _match(self) -> tuple[PoolAgent, str]:
        """The affinity an agent served last; else the oldest that no other serves; else the oldest."""
        for agent in self.free.values():
            if agent.affinity in self.groups:
                return agent, agent.affinity
        agent = min(self.free.values(), key=lambda agent: len(agent.leases))
        served = {other.affinity for other in self.agents.values() if other is not agent}
        unserved = next((affinity for affinity in self.groups if affinity not in served), None)
        return agent, next(iter(self.groups)) if unserved is None else unserved
