"""Who may say Hello under which name: one name stands for one role, one pool and one process. No socket, no I/O.

What the transport knows of a peer (its key, its process) comes with `Greeted`; broker/auth.py finds it out.
"""

from collections.abc import Collection, Mapping

from broker.auth import BROKER, CLASSROOM, MONITOR, Member
from broker.events import Greeted


class Members:
    """The names of a class, and the process that has each name.

    A name belongs to the first process that says Hello under it, until that process says Goodbye or ends.

    Args:
        members: what the name of each agent stands for; empty: any name may join any pool.
        supervised: names of agents whose processes the classroom's process starts.
        classroom: pid of the classroom's process; 0: unknown.
    """

    def __init__(self, members: Mapping[str, Member], supervised: Collection[str], classroom: int) -> None:
        self._members = members
        self._supervised = supervised
        self._classroom = classroom
        self._processes = {CLASSROOM: classroom}

    def process(self, name: str) -> int:
        """The pid of the process that has this name; 0: none has, or it is unknown."""
        return self._processes.get(name, 0)

    def objection(self, greeted: Greeted) -> str:
        """Why the peer may not be who it says; empty: it may."""
        hello, process = greeted.hello, greeted.process
        name, pool = hello.name, hello.pool or hello.name
        if greeted.user not in ("", name):
            return f"has the key of {greeted.user}"
        if name in (BROKER, MONITOR) or (name == CLASSROOM) != (hello.role == CLASSROOM):
            return f"may not have the role {hello.role}"
        if self._members and name != CLASSROOM:
            member = self._members.get(name)
            if member is None:
                return "is no agent of this class"
            if (hello.role, pool) != (member.role, member.pool):
                return f"is a {member.role} of pool {member.pool}, and no {hello.role} of pool {pool}"
        started = self._classroom and name != CLASSROOM and name in self._supervised
        if started and not (process or greeted.user):
            return "is an agent that run.py starts, and its process is unknown (is it in another container?)"
        if started and greeted.parent not in (0, self._classroom):
            return f"is an agent that run.py starts, and it did not start process {process}"
        if self.process(name) not in (0, process):
            return f"is the name of process {self.process(name)}, which still runs"
        return ""

    def join(self, name: str, process: int) -> None:
        """The process has the name from now on."""
        if process:
            self._processes[name] = process

    def leave(self, name: str, process: int = 0) -> None:
        """The process that has the name said Goodbye or ended; `process`: only if it is this one."""
        if process in (0, self.process(name)) and name != CLASSROOM:
            self._processes.pop(name, None)
