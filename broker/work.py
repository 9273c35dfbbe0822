"""What the broker knows of work: what waits, who holds what, and which results are not acknowledged yet.

broker/state.py owns the agents and calls this file. Which agent of a pool gets which request is in broker/pool.py. No
socket, no clock, no I/O.
"""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from broker.events import Action, Forget, Note, Send
from broker.pool import Pool, PoolAgent, QueuedRequest
from broker.protocol import Ack, Envelope, envelope
from broker.work_messages import Failed, FailedKind, Message

MAX_UNASKED = 64 << 20
"""Bytes of results from one agent, for requests that this broker does not know, that wait for the classroom. After a
restart of the broker agents send such results; what is dropped is asked again."""
OVERHEAD = 1 << 13
"""Bytes that such a result counts for beside its body, so that those without a body are bounded too."""
MAX_DEATHS = 3
"""Of agents that held a request alone; then it is failed."""


class Out:
    """Collects what is to be done, and knows which peer is the classroom."""

    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.classroom: bytes | None = None

    def pass_on(self, peer: bytes, envelope: Envelope) -> None:
        """An envelope as it came."""
        self.actions.append(Send(peer, envelope))

    def send(self, peer: bytes, message: Message) -> None:
        """A message of the broker's own."""
        self.actions.append(Send(peer, envelope(message)))

    def tell_classroom(self, message: Message) -> None:
        """The same, to the classroom, if there is one."""
        if self.classroom is not None:
            self.send(self.classroom, message)

    def forget(self, peer: bytes) -> None:
        """What waits for this peer need not wait any more."""
        self.actions.append(Forget(peer))

    def note(self, text: str) -> None:
        """An ordinary line for the log."""
        self.actions.append(Note(text))

    def drop(self, text: str) -> None:
        """A line about a message that is dropped."""
        self.actions.append(Note(text, "dropped"))

    def warn(self, text: str) -> None:
        """A line about something that should not be."""
        self.actions.append(Note(text, "warning"))


class Finished(NamedTuple):
    """A result that the classroom has not acknowledged."""

    result: Envelope
    senders: set[bytes]
    """Who keeps it until then."""
    pool: str
    """Of the agent that sent it."""
    unasked_of: str = ""
    """The agent's name, where this broker did not know the request: see MAX_UNASKED."""


class Work:
    """All requests without a result, all results without an acknowledgement."""

    def __init__(self, credit: int, out: Out) -> None:
        self.credit = credit
        self.out = out
        self.pools: dict[str, Pool] = {}
        self.requests: dict[str, QueuedRequest] = {}
        """Those without a result."""
        self.finished: dict[str, Finished] = {}
        self.claims: dict[tuple[str, str], PoolAgent] = {}
        """Who works on what without a lease, by pool and request id."""
        self.unasked = Counter[str]()
        """Bytes of the unasked results that wait for the classroom, by agent."""
        self.requeued = 0
        self.draining = False

    def pool(self, name: str) -> Pool:
        """The pool of that name, made where there is none."""
        return self.pools.get(name) or self.pools.setdefault(name, Pool(name))

    # --- requests ---------------------------------------------------------------------------------------

    def submit(self, asked: Envelope, now: float) -> None:
        """Take a request, once; one that has a result already is answered with it."""
        request_id = asked.request_id
        finished = self.finished.get(request_id)
        if finished and finished.pool == asked.peer:
            self._deliver(finished.result)
            return
        if finished:  # by an agent that is not asked
            self._forget(request_id)
        if request_id in self.requests:
            return
        pool = self.pool(asked.peer)
        if pool.unfinished >= self.credit:
            detail = f"pool {pool.name} has {self.credit} unfinished requests, as many as this broker takes"
            self._fail(asked, pool, "refused", detail)
            return
        request = self.requests[request_id] = QueuedRequest(asked, pool)
        pool.unfinished += 1
        pool.push(request)
        agent = self.claims.get((pool.name, request_id))
        if agent and not agent.alone:
            self._unclaim(agent, request_id)
            self._adopt(agent, request, now)
        else:
            self.dispatch(pool, now)

    def dispatch(self, pool: Pool, now: float) -> None:
        """Lease what waits in `pool` as long as somebody has room."""
        while not self.draining and (taken := pool.take()):
            agent, request = taken
            self._lease(agent, request, now)
            self.out.pass_on(agent.identity, request.envelope)

    def claim(self, agent: PoolAgent, working: Collection[str], now: float) -> None:
        """What an agent says it works on is leased to it, if it waits; else it takes up room there."""
        self.unclaim_all(agent)
        agent.claimed = now
        for request_id in working:
            request = self.requests.get(request_id)
            if request and request.holder is None and request.pool is agent.pool and not agent.alone:
                self._adopt(agent, request, now)
            elif request is None or request.holder is not agent:
                self._claim(agent, request_id)
        agent.pool.recount(agent)

    def unclaim_all(self, agent: PoolAgent) -> None:
        """The agent works on nothing but its leases."""
        for request_id in list(agent.claims):
            self._unclaim(agent, request_id)

    def give_back(self, agent: PoolAgent, *, died: bool, detail: str, spared: Collection[str] = ()) -> None:
        """An agent is gone: its requests wait again, under suspicion if it died and they are not `spared`."""
        alone = len(agent.leases) + len(agent.claims) == 1
        self.unclaim_all(agent)
        held = list(agent.leases.values())
        agent.leases.clear()
        self.requeued += len(held)
        # Suspects are appended, others are put in front: either way they wait in the order they were leased.
        for request in held if died else reversed(held):
            request.holder = None
            if died and request.id not in spared:
                request.suspect = True
                request.deaths += alone
            if request.deaths < MAX_DEATHS:
                request.pool.put_back(request)
                continue
            del self.requests[request.id]
            request.pool.unfinished -= 1
            why = f"{MAX_DEATHS} agents died while they held it alone; the last, {agent.name}: {detail}"
            self._fail(request.envelope, request.pool, "deaths", why)

    # --- results ----------------------------------------------------------------------------------------

    def record(self, result: Envelope, sender: bytes, name: str, pool: str, now: float) -> str:
        """Take the first result of a request from an agent that holds it, or did until it was lost.

        One for a request that is not known here goes to the classroom, which may have asked for it from an earlier
        broker.

        Returns:
            Why it does not count; empty: it does, or it was there already.
        """
        request_id = result.request_id
        claimant = self.claims.get((pool, request_id))
        if claimant and claimant.identity == sender:
            self._unclaim(claimant, request_id)
            claimant.pool.recount(claimant)
        finished = self.finished.get(request_id)
        request = self.requests.get(request_id)
        objection = ""
        if finished:
            finished.senders.add(sender)
        elif request is None:
            size = OVERHEAD + len(result.body)
            if self.unasked[name] + size > MAX_UNASKED:
                objection = "which nobody asked, and too many such results wait"
            else:
                self.unasked[name] += size
                self.finished[request_id] = Finished(result._replace(peer=name), {sender}, pool, name)
                self._deliver(self.finished[request_id].result)
        elif request.pool.name != pool:
            objection = "which was asked of another pool"
        elif name not in request.holders:
            # It may have answered before a restart of the broker: it hears when another's result is on disk.
            request.late += () if sender in request.late else (sender,)
            objection = "which it does not hold"
        else:
            self._close(request, sender, now)
            self.finished[request_id] = Finished(result._replace(peer=name), {sender, *request.late}, pool)
            self._deliver(self.finished[request_id].result)
        if pool in self.pools:
            self.dispatch(self.pools[pool], now)
        return objection

    def acknowledge(self, request_ids: Collection[str], alive: Collection[bytes], now: float) -> None:
        """The classroom has these on disk: tell those who keep them."""
        by_sender: dict[bytes, list[str]] = {}
        for request_id in request_ids:
            finished = self._forget(request_id)
            if finished:
                for sender in finished.senders:
                    by_sender.setdefault(sender, []).append(request_id)
            elif request_id in self.requests:
                # It has a result from before this broker started.
                request = self.requests[request_id]
                self._close(request, b"", now)
                self.dispatch(request.pool, now)
        for sender, ids in by_sender.items():
            if sender in alive:
                self.out.send(sender, Ack(request_ids=tuple(ids)))

    def deliver_all(self) -> None:
        """All results that are not acknowledged, once more."""
        for finished in self.finished.values():
            self._deliver(finished.result)

    def _close(self, request: QueuedRequest, sender: bytes, now: float) -> None:
        """`request` needs no lease any more. Whoever else works on it still does: that room stays taken."""
        del self.requests[request.id]
        request.pool.unfinished -= 1
        holder, request.holder = request.holder, None
        if holder is None:
            request.pool.remove(request)
            return
        del holder.leases[request.id]
        if holder.identity != sender:
            holder.claimed = now
            self._claim(holder, request.id)
        holder.pool.recount(holder)

    def _fail(self, asked: Envelope, pool: Pool, kind: FailedKind, detail: str) -> None:
        failed = envelope(
            Failed(kind=kind, detail=detail), peer=pool.name, request_id=asked.request_id, affinity=asked.affinity
        )
        self.finished[asked.request_id] = Finished(failed, set(), pool.name)
        self._deliver(failed)

    def _forget(self, request_id: str) -> Finished | None:
        finished = self.finished.pop(request_id, None)
        if finished and finished.unasked_of:
            self.unasked[finished.unasked_of] -= OVERHEAD + len(finished.result.body)
            if not self.unasked[finished.unasked_of]:
                del self.unasked[finished.unasked_of]
        return finished

    def _deliver(self, result: Envelope) -> None:
        if self.out.classroom is not None:
            self.out.pass_on(self.out.classroom, result)

    # --- leases and claims ------------------------------------------------------------------------------

    def _lease(self, agent: PoolAgent, request: QueuedRequest, now: float) -> None:
        request.holder, request.moved = agent, now
        if agent.name not in request.holders:
            request.holders += (agent.name,)
        agent.leases[request.id] = request
        agent.affinity = request.affinity
        agent.pool.recount(agent)

    def _adopt(self, agent: PoolAgent, request: QueuedRequest, now: float) -> None:
        """Lease a waiting request to an agent that has it already: whoever works on it has not died of it."""
        request.pool.remove(request)
        request.suspect = False
        self._lease(agent, request, now)

    def _claim(self, agent: PoolAgent, request_id: str) -> None:
        agent.claims.add(request_id)
        self.claims[agent.pool.name, request_id] = agent

    def _unclaim(self, agent: PoolAgent, request_id: str) -> None:
        agent.claims.discard(request_id)
        if self.claims.get((agent.pool.name, request_id)) is agent:
            del self.claims[agent.pool.name, request_id]
