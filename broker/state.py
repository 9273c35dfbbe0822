"""The broker as a state machine: `BrokerState.handle(event, now)` returns the actions to perform, in order.

It reads the clock from `now` and knows no socket. This file decides who may send what, and when an agent is silent or
stalled. Peers and connections are in broker/peers.py, requests in broker/work.py, sockets in broker/server.py. Nothing
survives a restart: agents and classroom then send a new broker all that it must know.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from broker import processes
from broker.actions import Action, ActionList
from broker.connection import BARRED, Connection
from broker.events import BrokerPaused, Incoming, Malformed, OutboxFull, Revoked, StateEvent, Tick, read
from broker.members import Member, Members
from broker.peers import UNTIMED, Peers
from broker.pool import PoolAgent
from broker.processes import ProcessTable
from broker.protocol import (
    RESULTS,
    WORK,
    Ack,
    Drain,
    Envelope,
    Gauges,
    Gone,
    Goodbye,
    Heartbeat,
    Hello,
    WireError,
)
from broker.work import Work
from broker.work_messages import Message


class BrokerState:
    """All that the broker knows.

    Args:
        heartbeat_s: how often peers send a heartbeat; after three times this long without a message they are silent.
        stalled_s: how long a lease may go without progress.
        credit: how many unfinished requests per pool are accepted from the classroom.
        epoch: identifies this start of the broker.
        supervised: names of peers whose processes the run watches: silence does not end them.
        members: see `Members`.
        classroom: see `Members`.
        process_table: looks up processes of this machine.
        version: of this program; a peer that names another one is refused; empty: none is.
    """

    def __init__(
        self,
        heartbeat_s: float,
        stalled_s: float,
        credit: int,
        epoch: str,
        supervised: Collection[str] = (),
        members: Mapping[str, Member] | None = None,
        classroom: int = 0,
        process_table: ProcessTable = processes,
        version: str = "",
    ) -> None:
        self.stalled_s = stalled_s
        self.out = ActionList()
        self.work = Work(credit, self.out)
        rules = Members(members or {}, supervised, classroom)
        self.peers = Peers(epoch, heartbeat_s, supervised, rules, process_table, self.out, self.work, version)

    def handle(self, event: StateEvent, now: float) -> list[Action]:
        """Handle an event. `now` is monotonic, in seconds, and never decreases."""
        actions = self.out.start()
        if isinstance(event, Incoming):  # nearly always, and faster than a pattern
            self._receive(event, now)
            return actions
        match event:
            case Malformed(reason):
                self.out.drop(f"dropped: {reason}")
            case OutboxFull(peer):
                self.peers.end_unreading(peer, now)
            case Revoked(name):
                self.peers.revoke(name, now)
            case Tick():
                self._tick(now)
            case BrokerPaused(seconds):
                self._shift_clocks(seconds, now)
        return actions

    def knows(self, peer: bytes) -> bool:
        """Whether messages for `peer` are worth keeping until it reads."""
        connection = self.peers.connections.get(peer)
        return peer == self.out.classroom or bool(connection and connection.agent)

    def reads_packed(self, peer: bytes) -> bool:
        """Whether `peer` reads several envelopes in one frame."""
        connection = self.peers.connections.get(peer)
        return bool(connection and connection.reads_packed)

    def kept(self) -> Iterator[Envelope]:
        """The envelopes that the state keeps: unfinished requests, and results without an acknowledgement."""
        for request in self.work.requests.values():
            yield request.envelope
        for finished in self.work.finished.values():
            yield finished.result

    def gauges(self) -> Gauges:
        """A snapshot for the monitor."""
        return Gauges(
            epoch=self.peers.epoch,
            peers=tuple(agent.gauge() for agent in self.peers.agents.values()),
            queues={pool.name: pool.waiting for pool in self.work.pools.values()},
            dropped=self.out.dropped,
            requeued=self.work.requeued,
            draining=self.work.draining,
        )

    # --- messages ---------------------------------------------------------------------------------------

    def _receive(self, event: Incoming, now: float) -> None:
        peer, envelope, sender = event.peer, event.envelope, event.sender
        kind = envelope.kind
        try:
            message = read(envelope)
        except WireError as error:
            self.out.drop(f"dropped: {error}")
            return
        connection = self.peers.connections.get(peer)
        if connection is None or connection.sender != sender:
            connection = self.peers.connection(peer, sender, now)
        if connection is None:
            return
        if isinstance(message, Hello):
            self.peers.greet(peer, connection, message, now)
        elif agent := connection.agent:
            self.peers.hear(agent, now)
            if handler := FROM_AGENT.get(kind):
                handler(self, agent, message, now)
            else:
                self.out.drop(f"{agent.name} sent a {kind}, which only the classroom may send")
        elif peer == self.out.classroom:
            self.peers.classroom_heard_at = now
            if act := FROM_CLASSROOM.get(kind):
                act(self, message, now)
            else:
                self.out.drop(f"the classroom sent a {kind}, which only agents may send")
        elif connection.end:
            self._receive_from_former(peer, connection, message, now)
        else:
            self.peers.send_unknown(peer, connection, now)

    def _receive_from_former(
        self, peer: bytes, connection: Connection, message: Message | Envelope, now: float
    ) -> None:
        """Handle a message of an agent that was lost: a result counts, and the agent may come back.

        Agents that were refused or replaced may not come back; one that stalled may after a result or progress.
        """
        if connection.end in BARRED:
            return
        moves = isinstance(message, Heartbeat) and bool(message.progress)
        if isinstance(message, Envelope) and message.kind in RESULTS:
            moves = True
            self._record(message, peer, connection.name, connection.pool, now)
        if self.peers.is_replaced(connection) or (connection.end == "stalled" and not moves):
            return
        if not isinstance(message, Goodbye):
            connection.end = None
            self.peers.send_unknown(peer, connection, now)
        elif connection.name not in self.peers.agents:
            self.peers.members.leave(connection.name)

    def _agent_heartbeat(self, agent: PoolAgent, heartbeat: Heartbeat, now: float) -> None:
        agent.heartbeat = heartbeat
        for request_id in heartbeat.progress:
            if request_id in agent.leases:
                agent.leases[request_id].progress_at = now
            elif request_id in agent.claims:
                agent.claims_progress_at = now
        if (heartbeat.state, heartbeat.credit) != (agent.hello.state, agent.hello.credit):
            hello = msgspec.structs.replace(agent.hello, state=heartbeat.state, credit=heartbeat.credit)
            self.peers.update(agent, hello, now)

    def _agent_result(self, agent: PoolAgent, result: Envelope, now: float) -> None:
        agent.finished += 1
        self._record(result, agent.identity, agent.name, agent.pool.name, now)

    def _record(self, result: Envelope, peer: bytes, name: str, pool: str, now: float) -> None:
        if objection := self.work.record(result, peer, name, pool, now):
            self.out.drop(f"{name} answered {result.request_id}, {objection}")

    def _agent_progress(self, agent: PoolAgent, progress: Envelope, now: float) -> None:
        request_id = progress.request_id
        if request_id in agent.leases:
            agent.leases[request_id].progress_at = now
        elif request_id not in agent.claims:
            self.out.drop(f"{agent.name} sent progress of {request_id}, which it does not hold")
            return
        self.out.forward_to_classroom(progress._replace(peer=agent.name))

    def _agent_goodbye(self, agent: PoolAgent, goodbye: Goodbye, now: float) -> None:
        self.peers.leave(agent, goodbye.reason, now)

    def _classroom_heartbeat(self, _heartbeat: Heartbeat, _now: float) -> None:
        """Answer, so that the classroom knows that its broker lives and can be reached."""
        self.peers.welcome_classroom()

    def _classroom_work(self, request: Envelope, now: float) -> None:
        self.work.submit(request, now)

    def _classroom_ack(self, ack: Ack, now: float) -> None:
        alive = {agent.identity for agent in self.peers.agents.values()}
        self.work.acknowledge(ack.request_ids, alive, now)

    def _classroom_feedback(self, feedback: Envelope, _now: float) -> None:
        to = feedback.peer
        agent = self.peers.agents.get(to)
        if agent is None and to in self.work.pools:
            agent = next(iter(self.work.pools[to].agents.values()), None)
        if agent is None:
            self.out.log(f"feedback for {to}: no agent is connected")
        else:
            self.out.forward(agent.identity, feedback)

    def _classroom_gone(self, gone: Gone, now: float) -> None:
        self.peers.process_ended(gone.name, gone.pid, gone.detail, now)

    def _classroom_drain(self, _drain: Drain, _now: float) -> None:
        self.work.draining = True
        for agent in self.peers.agents.values():
            self.out.send(agent.identity, Drain())

    def _classroom_goodbye(self, _goodbye: Goodbye, _now: float) -> None:
        self.peers.remove_classroom()

    # --- time -------------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        """End agents that are silent or stalled; send and forget what is due."""
        limit = now - 3 * self.peers.heartbeat_s
        agents = list(self.peers.agents.values())
        for pool in dict.fromkeys(agent.pool for agent in agents if self._check(agent, limit, now)):
            self.work.dispatch(pool, now)
        names = self.peers.members.names
        self.peers.announce_again([name for name, record in names.items() if record.announcement_due])
        self.peers.members.remove_unused()
        self.peers.forget_old(limit)
        self.work.remove_unused_pools()

    def _check(self, agent: PoolAgent, limit: float, now: float) -> bool:
        """End an agent that is silent or stalled. Returns whether its pool has work or room to give.

        An agent that was not heard since `limit` is silent; that ends it unless it is supervised.
        """
        if agent.heard_at < limit and agent.name not in self.peers.supervised:
            self.peers.end(agent, "silent", f"nothing heard for {now - agent.heard_at:.1f} s")
            return True
        if agent.heard_at < limit and not agent.quiet:
            self.peers.report_quiet(agent, now, over=False)
        if agent.hello.state in UNTIMED:
            return False
        stalled = next((r.id for r in agent.leases.values() if now - r.progress_at > self.stalled_s), None)
        if stalled:
            self.peers.end(agent, "stalled", f"no progress on {stalled} for {self.stalled_s:g} s")
            return True
        if agent.claims and now - agent.claims_progress_at > self.stalled_s:
            # Nobody submitted what it says it works on, and it reports no progress: the room is free again.
            agent.claims.clear()
            agent.pool.update_free(agent)
            return True
        return False

    def _shift_clocks(self, seconds: float, now: float) -> None:
        """Move all clocks by a time in which the broker did not run, so that it counts against nobody."""
        for agent in self.peers.agents.values():
            agent.heard_at = min(now, agent.heard_at + seconds)
            agent.claims_progress_at = min(now, agent.claims_progress_at + seconds)
            for request in agent.leases.values():
                request.progress_at = min(now, request.progress_at + seconds)
        self.peers.classroom_heard_at = min(now, self.peers.classroom_heard_at + seconds)


FROM_AGENT: dict[str, Callable[[BrokerState, PoolAgent, Any, float], None]] = {
    "Heartbeat": BrokerState._agent_heartbeat,
    "Progress": BrokerState._agent_progress,
    "Goodbye": BrokerState._agent_goodbye,
    **dict.fromkeys(RESULTS, BrokerState._agent_result),
}
FROM_CLASSROOM: dict[str, Callable[[BrokerState, Any, float], None]] = {
    "Heartbeat": BrokerState._classroom_heartbeat,
    "Ack": BrokerState._classroom_ack,
    "Feedback": BrokerState._classroom_feedback,
    "Gone": BrokerState._classroom_gone,
    "Drain": BrokerState._classroom_drain,
    "Goodbye": BrokerState._classroom_goodbye,
    **dict.fromkeys(WORK, BrokerState._classroom_work),
}
