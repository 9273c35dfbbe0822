"""Who is there: joins and losses, processes that end, and pools that nobody serves.

The broker says who joined and who was lost, the launcher which process ended; this file brings the two
together, writes it down, and says when a class cannot go on. It asks no questions and reads no answers.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from broker.client import Client
from broker.messages import Gone, Joined, Lost, pool_of
from scenarios.gradebook.store import Store
from scenarios.schema import Scenario

BROKER = "broker"
"""The broker's name among the processes that the launcher watches."""


NOTED_S = 3.0
"""A pool that is empty for less than this is not worth a word: processes need a moment to start."""


class ClassFailure(Exception):
    """The class cannot go on; what is recorded stays, and it can be resumed."""


class Ended(Protocol):
    """What a launcher says of a process that ended."""

    @property
    def name(self) -> str:
        """Of the agent, or `broker`."""

    @property
    def detail(self) -> str:
        """How it ended, for people."""

    @property
    def will_restart(self) -> bool:
        """Whether it is started again."""


class Launcher(Protocol):
    """Starts, watches and restarts the processes of a class."""

    def ended(self) -> Iterable[Ended]:
        """What ended since the last call. Never waits."""

    def kill(self, name: str) -> None:
        """End a process that no longer answers; it counts as a death."""

    def last_words(self, name: str) -> str:
        """The end of its log, in a line, and where the log is."""


class Attendance:
    """The members of every pool, and how long a pool may stay empty."""

    def __init__(
        self,
        scenario: Scenario,
        store: Store,
        client: Client,
        launcher: Launcher,
        answerers: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_s = scenario.limits.empty_pool_s
        self._store = store
        self._client = client
        self._launcher = launcher
        self._answerers = answerers
        self._clock = clock
        self._members: dict[str, set[str]] = {agent.name: set() for agent in scenario.agents}
        self._loading: set[str] = set()
        self._empty_since: dict[str, float] = {}
        self._noted: set[str] = set()
        self._last: dict[str, str] = {}
        """How the last process of each pool ended."""
        self._left = Counter({agent.name: agent.replicas for agent in scenario.agents})
        """Processes of each pool that are not gone for good."""

    @property
    def anybody(self) -> bool:
        """Whether any agent is there that may have work under way: not one that still loads."""
        return any(members - self._loading for members in self._members.values())

    def joined(self, joined: Joined) -> None:
        """An agent said Hello, or its state changed.

        Raises:
            ClassFailure: it would answer as somebody else than the request ids say.
        """
        hello = joined.hello
        pool = hello.pool or hello.name
        if pool not in self._members:
            self._store.note(hello.name, "stranger", f"joined pool {pool!r}, which this class does not have")
            return
        expected = self._answerers.get(pool)
        if expected and hello.answerer != expected:
            raise ClassFailure(
                f"{hello.name} joined as another answerer than the scenario describes: its answers would be "
                "recorded under wrong ids.\nDoes an agent of another run use this broker?"
            )
        if hello.name not in self._members[pool]:
            self._store.note(hello.name, "joined", f"{hello.model} {hello.engine} {hello.device}".strip())
        elif hello.state == "ready":
            self._store.note(hello.name, "ready")
        self._members[pool].add(hello.name)
        (self._loading.add if hello.state in ("loading", "training") else self._loading.discard)(hello.name)

    def lost(self, lost: Lost) -> None:
        """An agent is no longer there; one that hangs is killed, so that the launcher starts it again."""
        self._members.get(lost.pool, set()).discard(lost.name)
        self._store.note(lost.name, "lost", f"{lost.why} {lost.detail}".strip()[:500])
        if lost.why in ("silent", "stalled"):
            self._launcher.kill(lost.name)

    def look(self, outstanding: Mapping[str, int]) -> None:
        """Look at processes and pools; `outstanding` says how many requests each pool still has to answer.

        Raises:
            ClassFailure: the broker or a pool that is needed is gone for good, or for too long.
        """
        for ended in self._launcher.ended():
            self._store.note(ended.name, "restart" if ended.will_restart else "gone", ended.detail[:500])
            if ended.name == BROKER:
                if not ended.will_restart:
                    raise ClassFailure(f"the broker cannot be kept running: {self._launcher.last_words(BROKER)}")
                continue
            self._client.send(Gone(name=ended.name, detail=ended.detail))
            self._last[pool_of(ended.name)] = ended.detail
            if not ended.will_restart:
                self._left[pool_of(ended.name)] -= 1
        self._look_at_pools({pool for pool, count in outstanding.items() if count})

    def _look_at_pools(self, needed: set[str]) -> None:
        now = self._clock()
        for pool, members in self._members.items():
            if members or pool not in needed:
                self._empty_since.pop(pool, None)
                self._noted.discard(pool)
                continue
            since = self._empty_since.setdefault(pool, now)
            if pool not in self._noted and now - since >= NOTED_S:
                self._noted.add(pool)
                self._store.note(pool, "waiting", f"nobody is there for its requests; waiting {self._limit_s:g} s")
            # Waiting pays while others have work, or while somebody may still come.
            hopeless = self._left[pool] <= 0 and not any(self._members[other] for other in needed - {pool})
            if hopeless:
                how = f"{self._last.get(pool, '')}; {self._launcher.last_words(pool)}".lstrip("; ")
                raise ClassFailure(f"agent {pool!r} is gone for good: {how}")
            if now - since > self._limit_s:
                raise ClassFailure(f"nobody has been there as {pool!r} for {self._limit_s:g} s; its requests wait")
