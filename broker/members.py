"""The names of a class: each belongs to one role, one pool and one process. No socket, no I/O."""

from collections import deque
from collections.abc import Collection, Mapping

import msgspec

from broker.protocol import Hello, Lost, Role

BROKER, CLASSROOM, MONITOR = "broker", "classroom", "monitor"
"""Reserved names; no agent may have one."""
MAX_ENDED = 16
"""How many pids of ended processes are kept for each supervised agent."""


class Member(msgspec.Struct, frozen=True):
    """The role and pool that belong to the name of an agent."""

    role: Role
    pool: str
    far: bool = False
    """Whether its process runs on another host, where this program started it. Its pid means nothing here."""


class NameRecord:
    """What the broker knows about one name."""

    __slots__ = ("announcement_due", "announcements", "ended", "hanging", "process")

    def __init__(self) -> None:
        self.process = 0
        """Pid of the process that has the name; 0: none has, or it is unknown."""
        self.ended: deque[int] = deque(maxlen=MAX_ENDED)
        """Pids of its last processes that ended. A Hello of theirs may be read later."""
        self.hanging: Lost | None = None
        """How a supervised agent was lost, until its process ends or it comes back: the classroom must kill it."""
        self.announcements = 0
        """How often the classroom was sent `Joined` for it since the last tick."""
        self.announcement_due = False
        """The classroom is sent `Joined` for it at the next tick."""

    @property
    def unused(self) -> bool:
        """Whether the record holds nothing."""
        return not (self.process or self.ended or self.hanging or self.announcement_due)


class Members:
    """The rules for names, and a record of each name in use.

    A name belongs to the first process that says Hello under it, until that process says Goodbye or ends.

    Args:
        members: role and pool of each agent by name; empty: any name may join any pool.
        supervised: names of agents whose processes the classroom's process starts.
        classroom: pid of the classroom's process; 0: unknown.
    """

    def __init__(self, members: Mapping[str, Member], supervised: Collection[str], classroom: int) -> None:
        self._members = members
        self._supervised = supervised
        self._classroom = classroom
        self.names: dict[str, NameRecord] = {}
        self[CLASSROOM].process = classroom

    def __getitem__(self, name: str) -> NameRecord:
        """The record of a name, created if there is none."""
        return self.names.get(name) or self.names.setdefault(name, NameRecord())

    def objection(self, hello: Hello, user: str, process: int, parent: int) -> str:
        """Why a peer may not join; empty: it may.

        Args:
            hello: what it says.
            user: the name of its key; empty: a connection without keys.
            process: pid of its process; 0: unknown, as for a process of another host.
            parent: pid of that process's parent; 0: unknown.
        """
        name, pool = hello.name, hello.pool or hello.name
        if user not in ("", name):
            return f"has the key of {user}"
        if name in (BROKER, MONITOR) or (name == CLASSROOM) != (hello.role == CLASSROOM):
            return f"may not have the role {hello.role}"
        if self._members and name != CLASSROOM:
            member = self._members.get(name)
            if member is None:
                return "is no agent of this class"
            if (hello.role, pool) != (member.role, member.pool):
                return f"is a {member.role} of pool {member.pool}, and no {hello.role} of pool {pool}"
        started = self._classroom and name != CLASSROOM and name in self._supervised
        if started and not (process or user):
            return "is an agent that run.py starts, and its process is unknown (is it in another container?)"
        if started and parent not in (0, self._classroom):
            return f"is an agent that run.py starts, and it did not start process {process}"
        owner = self[name].process
        if owner not in (0, process):
            return f"is the name of process {owner}, which still runs"
        return ""

    def process(self, hello: Hello) -> int:
        """The pid of a peer with a key, if this program started its process on this host; else 0."""
        member = self._members.get(hello.name)
        return hello.pid if hello.name in self._supervised and not (member and member.far) else 0

    def join(self, name: str, process: int) -> None:
        """Note that a process has the name; 0: its pid is unknown."""
        if process:
            self[name].process = process

    def leave(self, name: str, process: int = 0) -> None:
        """Note that the process of a name said Goodbye or ended.

        Args:
            name: stays with the classroom's process in any case.
            process: nothing happens if the name belongs to another process; 0: any.
        """
        if name != CLASSROOM and process in (0, self[name].process):
            self[name].process = 0

    def remove_unused(self) -> None:
        """Forget names that nothing is known about."""
        self.names = {name: record for name, record in self.names.items() if not record.unused}
