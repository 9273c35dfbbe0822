"""Let an agent on the CPU compute on the cores of those that have nothing to do.

Threads are dealt out once, when a class is placed. Once a teacher has solved its last problem, its cores would be idle
while a student still takes exams. So the agents of a machine share a table, one byte for each: 1 while the agent has
requests. An engine that can change its number of threads reads the table before every step.

Other programs may need these cores, too. An engine that computes with more threads than cores are free waits for a core
in every matrix product: a class beside busy programs took six times as long. So an agent takes more threads only while
it need not wait for a core, and gives them back for a while once it must. Linux says how long threads waited; on other
systems no agent takes more than its own.

The table is memory that the processes share: a file without a name, whose descriptor the children inherit.
"""

import mmap
import os
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

MOST_THREADS = 8
"""Most threads of an agent, with those on cores of idle agents: small models gain little from more."""
AT_WORK, IDLE = 1, 0
LOOK_S = 0.5
"""How often an agent looks whether its threads had to wait, where other agents are idle."""
MOST_WAITING = 0.2
"""Share of the time for which its threads, all together, waited for a core: from this on it leaves cores to others."""
FIRST_PAUSE_S, LAST_PAUSE_S = 10.0, 160.0
"""Shortest and longest pause between giving cores back and taking them again; it doubles each time."""


class CoreSeat(msgspec.Struct, frozen=True):
    """One agent's entry in the table, as part of its spec."""

    descriptor: int
    """Of the table; the process inherits it."""
    entry: int
    entries: int
    cores: int
    """How many agents can compute at once with one thread each."""
    threads: int
    """Of this agent while all are at work."""
    most_threads: int
    """The most threads that it takes."""


class CoreTable:
    """The table, in the process that starts the agents."""

    def __init__(self, entries: int) -> None:
        """Make a table of idle agents.

        Raises:
            OSError: there is no room for a file of this length.
        """
        self.entries = entries
        with tempfile.TemporaryFile(buffering=0) as file:
            # Written, not truncated to its length: where the disk is full, the first use of a hole ends the process.
            file.write(bytes([IDLE]) * entries)
            self.descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.descriptor)
        self._bytes = mmap.mmap(self.descriptor, entries)

    def set_idle(self, entry: int) -> None:
        """Note that an agent is idle: its process has ended, perhaps in the midst of its work."""
        self._bytes[entry] = IDLE


def waited_s() -> float | None:
    """Seconds for which the threads of this process have waited for a core, together; None: the system does not say."""
    total, found = 0, False
    for task in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, ValueError, IndexError):  # a thread may end meanwhile
            total += int(task.read_text().split()[1])
            found = True
    return total / 1e9 if found else None


class CoreShare:
    """The table, in an agent."""

    def __init__(
        self,
        seat: CoreSeat,
        *,
        waited: Callable[[], float | None] = waited_s,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the table that this process inherited.

        Args:
            seat: of this agent.
            waited: see `waited_s`.
            clock: in seconds.

        Raises:
            OSError: it inherited none.
        """
        self._seat = seat
        self._waited = waited
        self._clock = clock
        self._bytes = mmap.mmap(seat.descriptor, seat.entries)
        self._last_look: tuple[float, float] | None = None
        """When it last looked, and for how long its threads had waited by then; None: there are no idle cores."""
        self._uses_idle_cores = False
        """Whether it computes on cores of idle agents."""
        self._pause_until = 0.0
        self._pause_s = FIRST_PAUSE_S

    def set_at_work(self, at_work: bool) -> None:
        """Tell the other agents whether this one has requests."""
        self._bytes[self._seat.entry] = AT_WORK if at_work else IDLE

    def threads(self) -> int:
        """Return the threads for now: the cores are dealt out among the agents at work. Call it before every step."""
        share = self._fair_share()
        if share <= self._seat.threads:
            self._last_look, self._uses_idle_cores = None, False
            return self._seat.threads
        self._decide()
        return share if self._uses_idle_cores else self._seat.threads

    def _fair_share(self) -> int:
        seat = self._seat
        at_work = [entry for entry in range(seat.entries) if self._bytes[entry] == AT_WORK or entry == seat.entry]
        # Core number i goes to the agent at work with the number i modulo how many they are.
        return min(seat.most_threads, len(range(at_work.index(seat.entry), seat.cores, len(at_work))))

    def _decide(self) -> None:
        """Take the cores of idle agents once this one need not wait for a core, and give them back once it must."""
        now = self._clock()
        if self._last_look and now - self._last_look[0] < LOOK_S:
            return
        if (waited := self._waited()) is None:
            return
        before, self._last_look = self._last_look, (now, waited)
        if before is None:
            return
        if waited - before[1] < MOST_WAITING * (now - before[0]):
            self._pause_s = max(self._pause_s / 2, FIRST_PAUSE_S) if self._uses_idle_cores else self._pause_s
            self._uses_idle_cores = now >= self._pause_until
        elif self._uses_idle_cores:
            self._uses_idle_cores, self._pause_until = False, now + self._pause_s
            self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)
