"""Peers of the broker: how they join, what they may do over which connection, and how they are lost.

Part of the state machine in broker/state.py: no socket, no clock. Whether a process still runs is looked up in the
`ProcessTable`. The rules for names are in broker/members.py.
"""

from collections.abc import Collection

import msgspec

from broker.actions import ActionList
from broker.connection import BARRED, Connection, End
from broker.events import Sender
from broker.members import Members
from broker.pool import PoolAgent
from broker.processes import ProcessTable
from broker.protocol import PROTOCOL, AgentState, Drain, Hello, Joined, Lost, Quiet, Unknown, Welcome
from broker.work import Work

UNTIMED: tuple[AgentState, ...] = ("loading", "training")
"""States in which leases do not expire."""
MAX_FORMER = 4096
"""How many connections of agents that ended, or of refused peers, are remembered."""
MAX_REFUSALS = 256
"""How many different refusals the classroom is sent."""
MAX_ANNOUNCEMENTS = 4
"""How often between two ticks the classroom is sent `Joined` for one agent."""


class Peers:
    """The classroom, the agents and their connections.

    Args:
        epoch: identifies this start of the broker.
        heartbeat_s: after three times this long without a message a peer is silent.
        supervised: names of peers whose processes the run watches; silence does not end them.
        members: the rules for names.
        processes: the processes of this machine.
        out: collects the actions.
        work: the requests.
        version: of this program; a peer that names another one is refused; empty: none is.
    """

    def __init__(
        self,
        epoch: str,
        heartbeat_s: float,
        supervised: Collection[str],
        members: Members,
        processes: ProcessTable,
        out: ActionList,
        work: Work,
        version: str,
    ) -> None:
        self.epoch = epoch
        self._version = version
        self.heartbeat_s = heartbeat_s
        self.supervised = frozenset(supervised)
        self.members = members
        self.agents: dict[str, PoolAgent] = {}
        """Live agents by name."""
        self.connections: dict[bytes, Connection] = {}
        self._processes = processes
        self._out = out
        self._work = work
        self.classroom_heard_at = 0.0
        self._refusals: set[tuple[str, str]] = set()
        """Name and reason of each refusal that the classroom has heard of."""

    def connection(self, peer: bytes, sender: Sender, now: float) -> Connection | None:
        """The connection over which `sender` speaks; None: it belongs to another sender that still runs."""
        known = self.connections.get(peer)
        if known and known.sender != sender:
            process = known.sender.process
            if not process or peer == self._out.classroom or self._processes.is_running(process):
                self._out.drop(f"dropped: a message of {sender} over the routing id of {known.sender}")
                return None
            if known.agent:
                self.process_ended(known.agent.name, process, f"process {process} has ended", now)
            known = None
        if known is None:
            known = self.connections[peer] = Connection(sender)
        return known

    # --- joining ----------------------------------------------------------------------------------------

    def greet(self, peer: bytes, connection: Connection, hello: Hello, now: float) -> None:
        """Handle a Hello."""
        connection.reads_packed = hello.packed
        hello, process = self._identify(hello, connection.sender)
        owner = self.members[hello.name].process
        if owner not in (0, process) and not self._processes.is_running(owner):
            self.process_ended(hello.name, owner, f"process {owner} has ended", now)
            connection.end = None
        if connection.end in ("stalled", *BARRED) or self.is_replaced(connection):
            return
        known = connection.agent.name if connection.agent else connection.name if connection.end else ""
        parent = 0 if connection.sender.user else self._processes.parent_of(process)
        if hello.protocol != PROTOCOL:
            self._refuse(peer, connection, hello, f"speaks protocol {hello.protocol}, and this broker {PROTOCOL}")
        elif self._version and hello.version not in ("", self._version):
            versions = f"has version {hello.version} of this program, and this broker {self._version}"
            self._refuse(peer, connection, hello, f"{versions}: both need the same")
        elif objection := self.members.objection(hello, connection.sender.user, process, parent):
            self._refuse(peer, connection, hello, objection)
        elif hello.role == "classroom":
            self._greet_classroom(peer, connection, hello, process, now)
        elif peer == self._out.classroom:
            self._out.drop("the classroom said Hello as an agent")
        elif known and known != hello.name:
            self._out.drop(f"{known} said Hello as {hello.name}")
        elif connection.agent is None and self.members[hello.name].announcements >= MAX_ANNOUNCEMENTS:
            self._out.drop(f"{hello.name} joins too often: a Hello is ignored")
        elif hello.pid in self.members[hello.name].ended:
            self._out.log(f"{hello.name}: a Hello of process {hello.pid}, which has ended, is ignored")
            if connection.agent is None:
                self._remember(peer, connection, hello.name, hello.pool or hello.name, "process")
        else:
            self._greet_agent(peer, connection, hello, now)
            self.members.join(hello.name, process)

    def _identify(self, hello: Hello, sender: Sender) -> tuple[Hello, int]:
        """The Hello, over ipc with the pid that the transport knows; and the pid of its local process, or 0."""
        if sender.user:
            return hello, self.members.process(hello)
        process = hello.pid if sender.process is None else sender.process
        return msgspec.structs.replace(hello, pid=process), process

    def _greet_classroom(self, peer: bytes, connection: Connection, hello: Hello, process: int, now: float) -> None:
        before = self._out.classroom
        silent = hello.name not in self.supervised and now - self.classroom_heard_at > 3 * self.heartbeat_s
        if (before not in (None, peer) and not silent) or connection.agent:
            reason = f"{hello.name} is here already, over another connection"
            self._out.drop(f"refused: {reason}")
            self._out.send(peer, Drain(reason=reason))
            return
        if before not in (None, peer):
            self._out.discard_outbox(before)
        self.members.join(hello.name, process)
        self._out.classroom = peer
        self.classroom_heard_at = now
        self.welcome_classroom()
        self.announce_again(self.agents)
        # The classroom may have missed it, and only the classroom can end the process.
        for name in self.members.names.values():
            if name.hanging:
                self._out.send_to_classroom(name.hanging)
        self._work.deliver_all()

    def welcome_classroom(self) -> None:
        """Send the classroom a Welcome."""
        welcome = Welcome(epoch=self.epoch, heartbeat_s=self.heartbeat_s, credit=self._work.credit)
        self._out.send_to_classroom(welcome)

    def _greet_agent(self, peer: bytes, connection: Connection, hello: Hello, now: float) -> None:
        pool = self._work.pool(hello.pool or hello.name)
        working, hello = dict.fromkeys(hello.working), msgspec.structs.replace(hello, pool=pool.name, working=())
        agent, connection.end = connection.agent, None
        if agent is None:
            self._replace_namesake(hello, working, now)
            agent = PoolAgent(peer, hello, pool, now)
            connection.agent = self.agents[hello.name] = pool.agents[peer] = agent
            self.members[hello.name].hanging = None
            self._out.log(f"{hello.name} joined pool {pool.name}, {hello.state}, credit {hello.credit}")
            self._announce(agent)
        self.hear(agent, now)
        self._out.send(peer, Welcome(epoch=self.epoch, heartbeat_s=self.heartbeat_s))
        # It says Hello again after its connection broke: a lease that it does not name may not have reached it.
        for request_id, request in agent.leases.items():
            if request_id not in working:
                self._out.forward(peer, request.envelope)
        if self._work.draining:
            self._out.send(peer, Drain())
        self._work.claim(agent, working, now)
        self.update(agent, hello, now)

    def _replace_namesake(self, hello: Hello, working: Collection[str], now: float) -> None:
        """End the agent that has the name of a new one, and tell it to leave."""
        namesake = self.agents.get(hello.name)
        if namesake:
            detail = f"process {hello.pid} took the place of process {namesake.hello.pid}"
            self.end(namesake, "replaced", detail, continued=working)
            if namesake.pool.name != (hello.pool or hello.name):
                self._work.dispatch(namesake.pool, now)
            self._out.send(namesake.identity, Drain())

    def _refuse(self, peer: bytes, connection: Connection, hello: Hello, detail: str) -> None:
        """Refuse a Hello. A peer that has joined before stays what it is."""
        self._out.drop(f"refused: {hello.name} {detail}")
        if connection.agent or peer == self._out.classroom:
            return
        pool = hello.pool or hello.name
        self._remember(peer, connection, hello.name, pool, "refused")
        self._out.send(peer, Drain(reason=f"{hello.name} {detail}"))
        if (hello.name, detail) not in self._refusals and len(self._refusals) < MAX_REFUSALS:
            self._refusals.add((hello.name, detail))
            self._out.send_to_classroom(Lost(name=hello.name, pool=pool, why="refused", detail=detail, pid=hello.pid))

    def send_unknown(self, peer: bytes, connection: Connection, now: float) -> None:
        """Ask a peer for a Hello, and not for each of many messages that were on their way."""
        if connection.unknown_at is None or now - connection.unknown_at >= self.heartbeat_s / 2:
            connection.unknown_at = now
            self._out.send(peer, Unknown())

    # --- present ----------------------------------------------------------------------------------------

    def hear(self, agent: PoolAgent, now: float) -> None:
        """Note that an agent has sent something."""
        if agent.quiet:
            self.report_quiet(agent, now, over=True)
        agent.heard_at = now

    def report_quiet(self, agent: PoolAgent, now: float, *, over: bool) -> None:
        """Send the classroom `Quiet`."""
        agent.quiet = not over
        seconds = now - agent.heard_at
        self._out.log(f"{agent.name} {'is heard again after' if over else 'has sent nothing for'} {seconds:.1f} s")
        self._out.send_to_classroom(Quiet(name=agent.name, seconds=seconds, over=over))

    def update(self, agent: PoolAgent, hello: Hello, now: float) -> None:
        """Take over the state and credit that an agent reports."""
        before, agent.hello = agent.hello, hello
        if before.state in UNTIMED:
            for request in agent.leases.values():
                request.progress_at = now
        if before.state != hello.state:
            self._announce(agent)
        agent.pool.update_free(agent)
        self._work.dispatch(agent.pool, now)

    def _announce(self, agent: PoolAgent) -> None:
        """Send the classroom `Joined`; for an agent that changes all the time, at the next tick."""
        name = self.members[agent.name]
        if name.announcements >= MAX_ANNOUNCEMENTS:
            name.announcement_due = True
            return
        name.announcements += 1
        self._out.send_to_classroom(Joined(hello=msgspec.structs.replace(agent.hello, working=())))

    def announce_again(self, names: Collection[str]) -> None:
        """Send the classroom `Joined` for those of these agents that are connected."""
        for name in self.members.names.values():
            name.announcements, name.announcement_due = 0, False
        for agent in [self.agents[name] for name in names if name in self.agents]:
            self._announce(agent)

    # --- leaving ----------------------------------------------------------------------------------------

    def end(self, agent: PoolAgent, why: End, detail: str, continued: Collection[str] = ()) -> None:
        """Remove an agent. `continued`: those of its requests that its successor goes on with.

        The caller dispatches the pool, and does so after all agents that end at the same moment: otherwise one of them
        could be given what another held, and end with it.
        """
        pool, connection = agent.pool, self.connections[agent.identity]
        del self.agents[agent.name], pool.agents[agent.identity]
        pool.free.pop(agent.identity, None)
        connection.agent = None
        self._remember(agent.identity, connection, agent.name, pool.name, why)
        self._out.discard_outbox(agent.identity)
        if why != "goodbye":
            self._out.warn(f"{agent.name} is lost: {why} {detail}".strip())
        else:
            self._out.log(f"{agent.name} left: {detail or why}")
        lost = Lost(name=agent.name, pool=pool.name, why=why, detail=detail, pid=agent.hello.pid)
        if why in ("silent", "stalled") and agent.name in self.supervised:
            self.members[agent.name].hanging = lost
        self._out.send_to_classroom(lost)
        self._work.give_back(agent, died=why not in ("goodbye", "revoked"), detail=detail or why, continued=continued)

    def _end_and_dispatch(self, agent: PoolAgent, why: End, detail: str, now: float) -> None:
        self.end(agent, why, detail)
        self._work.dispatch(agent.pool, now)

    def leave(self, agent: PoolAgent, reason: str, now: float) -> None:
        """Handle an agent's Goodbye."""
        self.members.leave(agent.name)
        self._end_and_dispatch(agent, "goodbye", reason, now)

    def revoke(self, name: str, now: float) -> None:
        """End an agent whose key was revoked. Another key may have its name."""
        self.members.leave(name)
        if agent := self.agents.get(name):
            self._end_and_dispatch(agent, "revoked", "its key was revoked", now)

    def remove_classroom(self) -> None:
        """The classroom left, or does not read its messages. It may join again."""
        if self._out.classroom is not None:
            self._out.discard_outbox(self._out.classroom)
        self._out.classroom = None

    def end_unreading(self, peer: bytes, now: float) -> None:
        """End an agent that does not read its messages. A classroom receives all results when it joins again."""
        connection = self.connections.get(peer)
        if peer == self._out.classroom:
            self.remove_classroom()
            self._out.warn("the classroom does not read its messages")
        elif connection and connection.agent:
            self._end_and_dispatch(connection.agent, "silent", "does not read its messages", now)

    def process_ended(self, name: str, pid: int, detail: str, now: float) -> None:
        """End the agent of a process that has ended; `pid` 0: any process of this name."""
        self.members.leave(name, pid)
        record = self.members[name]
        if pid and name in self.supervised:
            record.ended.append(pid)
        if record.hanging and _may_be_same(pid, record.hanging.pid):
            record.hanging = None
        if (agent := self.agents.get(name)) and _may_be_same(pid, agent.hello.pid):
            self._end_and_dispatch(agent, "process", detail, now)

    def is_replaced(self, connection: Connection) -> bool:
        """Whether the agent that was connected may not come back, because another one has its name."""
        return connection.end in ("replaced", "stalled") and connection.name in self.agents

    def _remember(self, peer: bytes, connection: Connection, name: str, pool: str, end: End) -> None:
        connection.name, connection.pool, connection.end = name, pool, end
        self.connections[peer] = self.connections.pop(peer)  # the newest is last

    def forget_old(self, limit: float) -> None:
        """Forget the oldest connections of former agents, and strangers who were sent `Unknown` before `limit`."""
        former = [peer for peer, connection in self.connections.items() if connection.end]
        forgotten = set(former[:-MAX_FORMER])
        for peer, connection in self.connections.items():
            strange = not (connection.agent or connection.end or peer == self._out.classroom)
            if strange and (connection.unknown_at is None or connection.unknown_at < limit):
                forgotten.add(peer)
        for peer in forgotten:
            del self.connections[peer]


def _may_be_same(pid: int, other: int) -> bool:
    """Whether two pids may belong to one process; 0 is unknown."""
    return pid == other or 0 in (pid, other)
