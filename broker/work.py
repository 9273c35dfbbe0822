"""The broker's requests: which wait, which agent holds which, and which results are not acknowledged yet.

broker/peers.py owns the agents, and broker/pool.py decides which agent of a pool gets which request. No socket, no
clock, no I/O.
"""

from collections import Counter
from collections.abc import Collection

import msgspec

from broker.actions import ActionList
from broker.pool import Pool, PoolAgent, QueuedRequest
from broker.protocol import Ack, Envelope, envelope
from broker.work_messages import Failed, FailedKind

MAX_UNASKED = 64 << 20
"""Bytes of unasked results that are kept for each agent. An unasked result belongs to a request that this broker does
not know: after a restart of the broker agents send such results. What is dropped is asked again."""
OVERHEAD = 1 << 13
"""Bytes that an unasked result counts beside its body, so that their number is bounded too."""
MAX_DEATHS = 3
"""A request fails after so many deaths of agents that held nothing else."""


class Finished(msgspec.Struct, frozen=True):
    """A result that the classroom has not acknowledged."""

    result: Envelope
    senders: set[bytes]
    """Connections of the agents that sent it; they keep it until the acknowledgement."""
    pool: str
    """Of the agent that sent it."""
    unasked_of: str = ""
    """The agent's name if the result is unasked, see MAX_UNASKED; else empty."""


class Work:
    """All requests without a result, and all results without an acknowledgement.

    Args:
        credit: how many unfinished requests per pool are accepted.
        out: collects the actions.
    """

    def __init__(self, credit: int, out: ActionList) -> None:
        self.credit = credit
        self.out = out
        self.pools: dict[str, Pool] = {}
        self.requests: dict[str, QueuedRequest] = {}
        """Requests without a result, by id."""
        self.finished: dict[str, Finished] = {}
        self.unasked = Counter[str]()
        """Bytes of the unasked results, by agent."""
        self.requeued = 0
        self.draining = False

    def pool(self, name: str) -> Pool:
        """The pool of that name, created if there is none."""
        return self.pools.get(name) or self.pools.setdefault(name, Pool(name))

    def remove_unused_pools(self) -> None:
        """Forget pools without agents and requests."""
        self.pools = {name: pool for name, pool in self.pools.items() if pool.agents or pool.unfinished}

    # --- requests ---------------------------------------------------------------------------------------

    def submit(self, asked: Envelope, now: float) -> None:
        """Accept a request, once. If it has a result already, send the result."""
        request_id = asked.request_id
        finished = self.finished.get(request_id)
        if finished and finished.pool == asked.peer:
            self.out.forward_to_classroom(finished.result)
            return
        if finished:  # by an agent of another pool
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
        for agent in pool.agents.values():
            if request_id in agent.claims and not agent.holds_suspect:
                agent.claims.discard(request_id)
                self._adopt(agent, request, now)
                return
        self.dispatch(pool, now)

    def dispatch(self, pool: Pool, now: float) -> None:
        """Lease waiting requests of `pool` as long as an agent has room."""
        while not self.draining and (taken := pool.next_lease()):
            agent, request = taken
            self._lease(agent, request, now)
            self.out.forward(agent.identity, request.envelope)

    def claim(self, agent: PoolAgent, working: Collection[str], now: float) -> None:
        """Lease to an agent the requests that it works on, if they wait; the others are claims, which take up room."""
        agent.claims.clear()
        agent.claims_progress_at = now
        for request_id in working:
            request = self.requests.get(request_id)
            if request and request.holder is None and request.pool is agent.pool and not agent.holds_suspect:
                self._adopt(agent, request, now)
            elif request is None or request.holder is not agent:
                agent.claims.add(request_id)
        agent.pool.update_free(agent)

    def give_back(self, agent: PoolAgent, *, died: bool, detail: str, continued: Collection[str] = ()) -> None:
        """Let the requests of an agent that ended wait again.

        Args:
            agent: that ended.
            died: it did not leave on purpose, so its requests become suspects.
            detail: how it ended.
            continued: its successor works on these, so they are no suspects.
        """
        alone = len(agent.leases) + len(agent.claims) == 1
        held = list(agent.leases.values())
        agent.leases.clear()
        self.requeued += len(held)
        # Suspects are appended and others are put in front: both orders keep the order of the leases.
        for request in held if died else reversed(held):
            request.holder = None
            if died and request.id not in continued:
                request.suspect = True
                request.killed += (agent.identity,) * alone
            if len(request.killed) < MAX_DEATHS:
                request.pool.put_back(request)
                continue
            del self.requests[request.id]
            request.pool.unfinished -= 1
            why = f"{MAX_DEATHS} agents died while they held it alone; the last, {agent.name}: {detail}"
            self._fail(request.envelope, request.pool, "deaths", why)

    # --- results ----------------------------------------------------------------------------------------

    def record(self, result: Envelope, sender: bytes, name: str, pool: str, now: float) -> str:
        """Accept the first result of a request, from an agent that holds the request or held it until it was lost.

        A result of an unknown request goes to the classroom, which may have submitted the request to an earlier broker.

        Returns:
            Why the result does not count; empty: it does, or the request had one already.
        """
        request_id = result.request_id
        known = self.pools.get(pool)
        agent = known.agents.get(sender) if known else None
        if agent and request_id in agent.claims:
            agent.claims.discard(request_id)
            agent.pool.update_free(agent)
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
                self.finished[request_id] = Finished(_sent_by(name, result), {sender}, pool, name)
                self.out.forward_to_classroom(self.finished[request_id].result)
        elif request.pool.name != pool:
            objection = "which was asked of another pool"
        elif name not in request.holders:
            # It may have answered before a restart of the broker, and keeps its result until an Ack.
            request.late_senders += () if sender in request.late_senders else (sender,)
            objection = "which it does not hold"
        else:
            self._close(request, sender, now)
            sent = _sent_by(name, result)
            self.finished[request_id] = Finished(sent, {sender, *request.late_senders}, pool)
            self.out.forward_to_classroom(sent)
        if known:
            self.dispatch(known, now)
        return objection

    def acknowledge(self, request_ids: Collection[str], alive: Collection[bytes], now: float) -> None:
        """Forget results that the classroom has committed, and send `Ack` to the agents that keep them.

        Args:
            request_ids: of the results.
            alive: the connections of live agents.
            now: in seconds.
        """
        by_sender: dict[bytes, list[str]] = {}
        for request_id in request_ids:
            finished = self._forget(request_id)
            if finished:
                for sender in finished.senders:
                    by_sender.setdefault(sender, []).append(request_id)
            elif request_id in self.requests:
                # The classroom got its result through an earlier broker.
                request = self.requests[request_id]
                self._close(request, b"", now)
                self.dispatch(request.pool, now)
        for sender, ids in by_sender.items():
            if sender in alive:
                self.out.send(sender, Ack(request_ids=tuple(ids)))

    def deliver_all(self) -> None:
        """Send all results without an acknowledgement to the classroom again."""
        for finished in self.finished.values():
            self.out.forward_to_classroom(finished.result)

    def _close(self, request: QueuedRequest, sender: bytes, now: float) -> None:
        """Remove a request that has a result. If another agent holds it and works on it, its lease becomes a claim."""
        del self.requests[request.id]
        request.pool.unfinished -= 1
        holder, request.holder = request.holder, None
        if holder is None:
            request.pool.remove(request)
            return
        del holder.leases[request.id]
        if holder.identity != sender:
            holder.claims_progress_at = now
            holder.claims.add(request.id)
        holder.pool.update_free(holder)

    def _fail(self, asked: Envelope, pool: Pool, kind: FailedKind, detail: str) -> None:
        failed = envelope(
            Failed(kind=kind, detail=detail), peer=pool.name, request_id=asked.request_id, affinity=asked.affinity
        )
        self.finished[asked.request_id] = Finished(failed, set(), pool.name)
        self.out.forward_to_classroom(failed)

    def _forget(self, request_id: str) -> Finished | None:
        finished = self.finished.pop(request_id, None)
        if finished and finished.unasked_of:
            self.unasked[finished.unasked_of] -= OVERHEAD + len(finished.result.body)
            if not self.unasked[finished.unasked_of]:
                del self.unasked[finished.unasked_of]
        return finished

    # --- leases ------------------------------------------------------------------------------

    def _lease(self, agent: PoolAgent, request: QueuedRequest, now: float) -> None:
        request.holder, request.progress_at = agent, now
        if agent.name not in request.holders:
            request.holders += (agent.name,)
        agent.leases[request.id] = request
        agent.affinity = request.affinity
        agent.pool.update_free(agent)

    def _adopt(self, agent: PoolAgent, request: QueuedRequest, now: float) -> None:
        """Lease a waiting request to an agent that works on it already; the agent lives, so it was not killed."""
        request.pool.remove(request)
        request.suspect = False
        request.killed = tuple(one for one in request.killed if one != agent.identity)
        self._lease(agent, request, now)


def _sent_by(name: str, result: Envelope) -> Envelope:
    """The result, with the name of the agent that sent it; `_replace` takes five times as long."""
    kind, _, request_id, affinity, body = result
    return Envelope(kind, name, request_id, affinity, body)
