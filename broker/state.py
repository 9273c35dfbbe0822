"""What the broker decides: `BrokerState.handle(event, now)` says what is to be done. No socket, no clock, no I/O.

It knows the peers: who they are, in which state, and when they are lost. What they work on is in broker/work.py; bytes
and sockets are in broker/server.py. Nothing here outlives the process: after a restart, agents and classroom tell a new
broker all that it must know.
"""

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from broker import events
from broker.auth import Member
from broker.events import Action, StateEvent
from broker.members import Members
from broker.pool import PoolAgent
from broker.protocol import PROTOCOL, Drain, Gauges, Hello, Joined, Lost, Quiet, Unknown, Welcome
from broker.work import Out, Work

UNTIMED = ("loading", "training")
"""States in which no lease runs out."""
MAX_FORMER = 4096
"""How many agents of the past are remembered."""
MAX_REFUSED = 256
"""How many names and reasons of refused peers are told to the classroom, each once."""
MAX_NEWS = 4
"""How often between two ticks the classroom hears of one agent that joins or changes its state."""
MAX_ENDED = 16
"""How many ended processes of each supervised agent are remembered."""

End = Literal["goodbye", "process", "silent", "stalled", "replaced", "refused"]
"""How an agent can come to its end; see `Lost`."""


class Former(NamedTuple):
    """Who was at a connection before it ended."""

    name: str
    pool: str
    why: End


class BrokerState:
    """All the broker knows.

    Args:
        heartbeat_s: how often peers send a heartbeat; after three times this long without a message they are silent.
        stalled_s: how long a lease may go without progress.
        credit: how many unfinished requests per pool are taken from the classroom.
        epoch: says which start of the broker this is.
        supervised: names of peers whose processes somebody watches: they are not lost because they are silent.
        members, classroom: see `Members`.
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
    ) -> None:
        self.heartbeat_s = heartbeat_s
        self.supervised = frozenset(supervised)
        self.stalled_s = stalled_s
        self.epoch = epoch
        self.out = Out()
        self.work = Work(credit, self.out)
        self.members = Members(members or {}, self.supervised, classroom)
        self.agents: dict[bytes, PoolAgent] = {}
        self.names: dict[str, PoolAgent] = {}
        self.former: OrderedDict[bytes, Former] = OrderedDict()
        self.hanging: dict[str, Lost] = {}
        """Supervised agents that were lost for not answering, until their process ends or they come back."""
        self.ended: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=MAX_ENDED))
        """The pids of the last processes of each supervised agent that ended. Their Hello may be read later."""
        self.dropped = 0
        """Messages that were no message, or not the sender's to send."""
        self.undelivered = 0
        """Feedback for pools with nobody in them."""
        self._classroom_heard = 0.0
        self._told_unknown: dict[bytes, float] = {}
        self._told_refused: set[tuple[str, str]] = set()
        self._news = Counter[str]()
        """How often the classroom heard of each agent since the last tick."""
        self._late_news: set[str] = set()
        """Of which agents it hears at the next tick."""

    def handle(self, event: StateEvent, now: float) -> list[Action]:
        """What is to be done about `event`, in order. `now` is monotonic, in seconds, and never goes back."""
        actions = self.out.actions = []
        kind, peer = type(event), event.peer
        if kind in FROM_ANYBODY:
            FROM_ANYBODY[kind](self, event, now)
        elif peer in self.agents:
            agent = self.agents[peer]
            self._hear(agent, now)
            if kind in FROM_AGENT:
                FROM_AGENT[kind](self, agent, event, now)
            else:
                self._drop(f"{agent.name} sent what only the classroom may: {kind.__name__}")
        elif peer == self.out.classroom:
            self._classroom_heard = now
            if kind in FROM_CLASSROOM:
                FROM_CLASSROOM[kind](self, event, now)
            else:
                self._drop(f"the classroom sent what only agents may: {kind.__name__}")
        elif peer in self.former:
            self._return(self.former[peer], event, now)
        else:
            self._unknown(peer, now)
        return actions

    def knows(self, peer: bytes) -> bool:
        """Whether messages for `peer` are worth keeping until it reads."""
        return peer in self.agents or peer == self.out.classroom

    def remembers(self, peer: bytes) -> bool:
        """Whether a connection is a peer's, or was."""
        return self.knows(peer) or peer in self.former

    def gauges(self) -> Gauges:
        """A picture for the monitor."""
        return Gauges(
            epoch=self.epoch,
            peers=tuple(agent.gauge() for agent in self.agents.values()),
            queues={pool.name: pool.waiting for pool in self.work.pools.values()},
            dropped=self.dropped,
            requeued=self.work.requeued,
            draining=self.work.draining,
        )

    # --- coming -----------------------------------------------------------------------------------------

    def _greeted(self, event: events.Greeted, now: float) -> None:
        peer, hello = event.peer, event.hello
        former = self.former.get(peer)
        if former and (former.why in ("stalled", "refused") or self._is_replaced(former)):
            return
        known = self.agents.get(peer) or former
        if hello.protocol != PROTOCOL:
            self._refuse(peer, hello, f"speaks protocol {hello.protocol}, and this broker {PROTOCOL}")
        elif objection := self.members.objection(event):
            self._refuse(peer, hello, objection)
        elif hello.role == "classroom":
            self._greet_classroom(event, now)
        elif peer == self.out.classroom:
            self._drop("the classroom said Hello as an agent")
        elif known and known.name != hello.name:
            self._drop(f"{known.name} said Hello as {hello.name}")
        elif peer not in self.agents and self._news[hello.name] >= MAX_NEWS:
            self._drop(f"{hello.name} comes too often: a Hello is ignored")
        elif hello.pid in self.ended.get(hello.name, ()):
            self.out.note(f"{hello.name}: a Hello of process {hello.pid}, which has ended, is ignored")
            self._remember(peer, Former(hello.name, hello.pool or hello.name, "process"))
        else:
            self._greet_agent(peer, hello, now)
            self.members.join(hello.name, event.process)

    def _greet_classroom(self, event: events.Greeted, now: float) -> None:
        peer, hello, before = event.peer, event.hello, self.out.classroom
        silent = hello.name not in self.supervised and now - self._classroom_heard > 3 * self.heartbeat_s
        there = before not in (None, peer) and not silent
        if there or peer in self.agents:
            taken = f"{hello.name} is here already, over another connection"
            self._drop(f"refused: {taken}")
            self.out.send(peer, Drain(reason=taken))
            return
        if before not in (None, peer):
            self.out.forget(before)
        self.members.join(hello.name, event.process)
        self.out.classroom, self._classroom_heard = peer, now
        self._welcome_classroom(peer)
        self._tell_news(self.names)
        # The classroom may have missed it, and it alone can end the process.
        for lost in self.hanging.values():
            self.out.tell_classroom(lost)
        self.work.deliver_all()

    def _welcome_classroom(self, peer: bytes) -> None:
        self.out.send(peer, Welcome(epoch=self.epoch, heartbeat_s=self.heartbeat_s, credit=self.work.credit))

    def _greet_agent(self, peer: bytes, hello: Hello, now: float) -> None:
        pool = self.work.pool(hello.pool or hello.name)
        working, hello = dict.fromkeys(hello.working), msgspec.structs.replace(hello, pool=pool.name, working=())
        agent = self.agents.get(peer)
        self.former.pop(peer, None)
        if agent is None:
            self._make_way(hello, working, now)
            agent = PoolAgent(peer, hello, pool, now)
            self.agents[peer] = self.names[hello.name] = pool.agents[peer] = agent
            self.hanging.pop(hello.name, None)
            self.out.note(f"{hello.name} joined pool {pool.name}, {hello.state}, takes {hello.credit} at once")
            self._joined(agent)
        self._hear(agent, now)
        self.out.send(peer, Welcome(epoch=self.epoch, heartbeat_s=self.heartbeat_s))
        # It says Hello again when its connection broke: a lease it does not name may never have reached it.
        for request_id, request in agent.leases.items():
            if request_id not in working:
                self.out.pass_on(peer, request.envelope)
        if self.work.draining:
            self.out.send(peer, Drain())
        self.work.claim(agent, working, now)
        self._change(agent, hello, now)

    def _make_way(self, hello: Hello, working: Collection[str], now: float) -> None:
        """The newest bearer of a name is the one; another is told to leave."""
        namesake = self.names.get(hello.name)
        if namesake:
            detail = f"process {hello.pid} took the place of process {namesake.hello.pid}"
            self._end(namesake, "replaced", detail, spared=working)
            if namesake.pool.name != (hello.pool or hello.name):
                self.work.dispatch(namesake.pool, now)
            self.out.send(namesake.identity, Drain())

    def _refuse(self, peer: bytes, hello: Hello, detail: str) -> None:
        """Send a peer away, and say so once. One that is here stays what it is."""
        self._drop(f"refused: {hello.name} {detail}")
        if peer in self.agents or peer == self.out.classroom:
            return
        pool = hello.pool or hello.name
        self._remember(peer, Former(hello.name, pool, "refused"))
        self.out.send(peer, Drain(reason=f"{hello.name} {detail}"))
        if (hello.name, detail) not in self._told_refused and len(self._told_refused) < MAX_REFUSED:
            self._told_refused.add((hello.name, detail))
            self.out.tell_classroom(Lost(name=hello.name, pool=pool, why="refused", detail=detail, pid=hello.pid))

    def _unknown(self, peer: bytes, now: float) -> None:
        """Once in a while, and not for each message of many that were on their way."""
        if now - self._told_unknown.get(peer, -self.heartbeat_s) >= self.heartbeat_s / 2:
            self._told_unknown[peer] = now
            self.out.send(peer, Unknown())

    # --- being there ------------------------------------------------------------------------------------

    def _hear(self, agent: PoolAgent, now: float) -> None:
        """The agent has sent something."""
        if agent.quiet:
            self._note_quiet(agent, now, over=True)
        agent.heard = now

    def _note_quiet(self, agent: PoolAgent, now: float, *, over: bool) -> None:
        agent.quiet = not over
        self.out.note(
            f"{agent.name} {'is heard again after' if over else 'has sent nothing for'} {now - agent.heard:.1f} s"
        )
        self.out.tell_classroom(Quiet(name=agent.name, seconds=now - agent.heard, over=over))

    def _beat(self, agent: PoolAgent, event: events.Beat, now: float) -> None:
        heartbeat = agent.heartbeat = event.heartbeat
        for request_id in heartbeat.progress:
            if request_id in agent.leases:
                agent.leases[request_id].moved = now
            elif request_id in agent.claims:
                agent.claimed = now
        if (heartbeat.state, heartbeat.credit) != (agent.hello.state, agent.hello.credit):
            hello = msgspec.structs.replace(agent.hello, state=heartbeat.state, credit=heartbeat.credit)
            self._change(agent, hello, now)

    def _change(self, agent: PoolAgent, hello: Hello, now: float) -> None:
        """The agent's state or credit may be another now."""
        before, agent.hello = agent.hello, hello
        if before.state in UNTIMED:
            for request in agent.leases.values():
                request.moved = now
        if before.state != hello.state:
            self._joined(agent)
        agent.pool.recount(agent)
        self.work.dispatch(agent.pool, now)

    def _resulted(self, agent: PoolAgent, event: events.Resulted, now: float) -> None:
        agent.finished += 1
        self._record(event, agent.name, agent.pool.name, now)

    def _record(self, event: events.Resulted, name: str, pool: str, now: float) -> None:
        if objection := self.work.record(event.result, event.peer, name, pool, now):
            self._drop(f"{name} answered {event.result.request_id}, {objection}")

    def _progressed(self, agent: PoolAgent, event: events.Progressed, now: float) -> None:
        request_id = event.progress.request_id
        if request_id in agent.leases:
            agent.leases[request_id].moved = now
        elif request_id not in agent.claims:
            self._drop(f"{agent.name} told progress of {request_id}, which it does not hold")
            return
        if self.out.classroom is not None:
            self.out.pass_on(self.out.classroom, event.progress._replace(peer=agent.name))

    def _classroom_beat(self, event: events.Beat, now: float) -> None:
        """Answer, so that the classroom knows that its broker lives and can be reached."""
        self._welcome_classroom(event.peer)

    def _submitted(self, event: events.Submitted, now: float) -> None:
        self.work.submit(event.request, now)

    def _acked(self, event: events.Acked, now: float) -> None:
        self.work.acknowledge(event.request_ids, self.agents.keys(), now)

    def _told(self, event: events.Notification, _now: float) -> None:
        to = event.feedback.peer
        agent = self.names.get(to)
        if agent is None and to in self.work.pools:
            agent = next(iter(self.work.pools[to].agents.values()), None)
        if agent is None:
            self.undelivered += 1
            self.out.note(f"feedback for {to}: nobody is there")
        else:
            self.out.pass_on(agent.identity, event.feedback)

    def _drain(self, _event: events.DrainAsked, _now: float) -> None:
        self.work.draining = True
        for peer in self.agents:
            self.out.send(peer, Drain())

    # --- going ------------------------------------------------------------------------------------------

    def _end(self, agent: PoolAgent, why: End, detail: str, spared: Collection[str] = ()) -> None:
        """An agent is no longer there. `spared`: requests of its that live on with its successor.

        Its pool is to be dispatched when all that end at the same moment have ended: else one of them would be
        given, and die of, what another held.
        """
        pool = agent.pool
        del self.agents[agent.identity], self.names[agent.name], pool.agents[agent.identity]
        pool.free.pop(agent.identity, None)
        self._remember(agent.identity, Former(agent.name, pool.name, why))
        self.out.forget(agent.identity)
        died = why != "goodbye"
        if died:
            self.out.warn(f"{agent.name} is lost: {why} {detail}".strip())
        else:
            self.out.note(f"{agent.name} left: {detail or why}")
        lost = Lost(name=agent.name, pool=pool.name, why=why, detail=detail, pid=agent.hello.pid)
        if why in ("silent", "stalled") and agent.name in self.supervised:
            self.hanging[agent.name] = lost
        self.out.tell_classroom(lost)
        self.work.give_back(agent, died=died, detail=detail or why, spared=spared)

    def _left(self, agent: PoolAgent, event: events.Left, now: float) -> None:
        self.members.leave(agent.name)
        self._end(agent, "goodbye", event.reason)
        self.work.dispatch(agent.pool, now)

    def _classroom_left(self, event: events.Left, _now: float) -> None:
        self.out.classroom = None
        self.out.forget(event.peer)

    def _process_ended(self, event: events.ProcessEnded, now: float) -> None:
        self.members.leave(event.name, event.pid)
        if event.pid and event.name in self.supervised:
            self.ended[event.name].append(event.pid)
        hanging = self.hanging.get(event.name)
        if hanging and _may_be_same(event.pid, hanging.pid):
            del self.hanging[event.name]
        agent = self.names.get(event.name)
        if agent and _may_be_same(event.pid, agent.hello.pid):
            self._end(agent, "process", event.detail)
            self.work.dispatch(agent.pool, now)

    def _reaped(self, event: events.Reaped, now: float) -> None:
        """The process of a name, or of a connection, has ended: another process may have that one now."""
        self._process_ended(event, now)
        self.former.pop(event.peer, None)

    def _clogged(self, event: events.Clogged, now: float) -> None:
        """An agent that does not read is as good as dead; a classroom hears all of it when it comes back."""
        if event.peer == self.out.classroom:
            self.out.classroom = None
            self.out.forget(event.peer)
            self.out.warn("the classroom does not read its messages")
        elif event.peer in self.agents:
            agent = self.agents[event.peer]
            self._end(agent, "silent", "does not read its messages")
            self.work.dispatch(agent.pool, now)

    def _return(self, former: Former, event: StateEvent, now: float) -> None:
        """Something from an agent that is no longer there: a result counts, and the agent may come back.

        But not one whose name another bears now, nor one that stalled and does not move.
        """
        if former.why == "refused":
            return
        moves = isinstance(event, events.Beat) and bool(event.heartbeat.progress)
        if isinstance(event, events.Resulted):
            moves = True
            self._record(event, former.name, former.pool, now)
        if self._is_replaced(former) or (former.why == "stalled" and not moves):
            return
        if not isinstance(event, events.Left):
            del self.former[event.peer]
            self._unknown(event.peer, now)
        elif former.name not in self.names:
            self.members.leave(former.name)

    def _is_replaced(self, former: Former) -> bool:
        return former.why in ("replaced", "stalled") and former.name in self.names

    def _tick(self, _event: events.Tick, now: float) -> None:
        limit = now - 3 * self.heartbeat_s
        pools = dict.fromkeys(agent.pool for agent in list(self.agents.values()) if self._look_at(agent, limit, now))
        for pool in pools:
            self.work.dispatch(pool, now)
        self._tell_news(self._late_news)
        self._told_unknown = {peer: at for peer, at in self._told_unknown.items() if at >= limit}
        for pool in [pool for pool in self.work.pools.values() if not pool.agents and not pool.unfinished]:
            del self.work.pools[pool.name]

    def _woke(self, event: events.Woke, now: float) -> None:
        """Nobody is to blame for the time this process did not run: all clocks stood still."""
        for agent in self.agents.values():
            agent.heard = min(now, agent.heard + event.seconds)
            agent.claimed = min(now, agent.claimed + event.seconds)
            for request in agent.leases.values():
                request.moved = min(now, request.moved + event.seconds)
        self._classroom_heard = min(now, self._classroom_heard + event.seconds)

    def _look_at(self, agent: PoolAgent, limit: float, now: float) -> bool:
        """End an agent that is lost or does not move; whether its pool has work or room to give.

        One that was not heard since `limit` is lost, unless it is supervised.
        """
        if agent.heard < limit and agent.name not in self.supervised:
            self._end(agent, "silent", f"nothing heard for {now - agent.heard:.1f} s")
            return True
        if agent.heard < limit and not agent.quiet:
            self._note_quiet(agent, now, over=False)
        if agent.hello.state in UNTIMED:
            return False
        stalled = next((r.id for r in agent.leases.values() if now - r.moved > self.stalled_s), None)
        if stalled:
            self._end(agent, "stalled", f"no progress on {stalled} for {self.stalled_s:g} s")
            return True
        if agent.claims and now - agent.claimed > self.stalled_s:
            # Nobody asked for what it claims to work on, and nothing more is heard of it: the room is free again.
            self.work.unclaim_all(agent)
            agent.pool.recount(agent)
            return True
        return False

    def _remember(self, peer: bytes, former: Former) -> None:
        self.former[peer] = former
        if len(self.former) > MAX_FORMER:
            self.former.popitem(last=False)

    def _joined(self, agent: PoolAgent) -> None:
        """Tell the classroom; of an agent that changes all the time, at the next tick."""
        if self._news[agent.name] >= MAX_NEWS:
            self._late_news.add(agent.name)
            return
        self._news[agent.name] += 1
        self.out.tell_classroom(Joined(hello=msgspec.structs.replace(agent.hello, working=())))

    def _tell_news(self, names: Collection[str]) -> None:
        """Tell the classroom of those of these agents that are there."""
        self._news.clear()
        self._late_news = set()
        for agent in [self.names[name] for name in names if name in self.names]:
            self._joined(agent)

    def _drop(self, text: str) -> None:
        self.dropped += 1
        self.out.drop(text)


def _may_be_same(pid: int, other: int) -> bool:
    """Whether two pids may be one process; 0 is unknown."""
    return pid == other or 0 in (pid, other)


FROM_ANYBODY: dict[type[StateEvent], Callable[[BrokerState, Any, float], None]] = {
    events.Greeted: BrokerState._greeted,
    events.Clogged: BrokerState._clogged,
    events.Reaped: BrokerState._reaped,
    events.Tick: BrokerState._tick,
    events.Woke: BrokerState._woke,
}
FROM_AGENT: dict[type[StateEvent], Callable[[BrokerState, PoolAgent, Any, float], None]] = {
    events.Beat: BrokerState._beat,
    events.Resulted: BrokerState._resulted,
    events.Progressed: BrokerState._progressed,
    events.Left: BrokerState._left,
}
FROM_CLASSROOM: dict[type[StateEvent], Callable[[BrokerState, Any, float], None]] = {
    events.Submitted: BrokerState._submitted,
    events.Acked: BrokerState._acked,
    events.Notification: BrokerState._told,
    events.Beat: BrokerState._classroom_beat,
    events.ProcessEnded: BrokerState._process_ended,
    events.DrainAsked: BrokerState._drain,
    events.Left: BrokerState._classroom_left,
}
