"""How long it will still take, by stage: from how fast each agent was while it had something to do. Pure.

At the levels after the first agents wait for one another, so the time an agent had nothing to do says nothing of its
pace; and what a request takes depends on its stage.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

STUDENTS = frozenset({"ask", "exam", "grade", "probe_exam"})
"""Stages that the students are asked in; in all others it is the teacher."""
LIKE = {"greedy": "teach", "measure": "teach", "probe": "teach", "probe_exam": "exam", "test": "score"}
"""Stages that take as long as another one does."""
MEMORY_S = 300.0
"""What is older counts for half."""
ENOUGH_S, ENOUGH = 2.0, 10
"""Seconds of work in a stage, or requests, before anything is said of its pace."""

Counts = Mapping[tuple[str, str], int]
"""By stage and agent."""


class Pace:
    """Follows how fast agents are."""

    def __init__(self) -> None:
        self._before: Counts = {}
        self._since: dict[str, float] = {}
        """Since when agents were at work without a result: only those that had one before, and so are loaded."""
        self._spent: dict[tuple[str, str], float] = defaultdict(float)
        """Seconds by agent and kind of stage."""
        self._made: dict[tuple[str, str], float] = defaultdict(float)

    def note(self, clock: float, done: Counts, waiting: Mapping[str, int]) -> None:
        """Take down how far they are.

        Args:
            clock: monotonic seconds.
            done: results so far.
            waiting: requests without a result, by agent.
        """
        gained: dict[str, Counter[str]] = defaultdict(Counter)
        for (stage, agent), count in done.items():
            if (more := count - self._before.get((stage, agent), 0)) > 0 and self._before:
                gained[agent][LIKE.get(stage, stage)] += more
        self._before = dict(done)
        for agent, kinds in gained.items():
            if (since := self._since.get(agent)) is not None:
                for kind, count in kinds.items():
                    self._add(agent, kind, (clock - since) * count / kinds.total(), count)
            self._since[agent] = clock
        for agent in [agent for agent in self._since if not waiting.get(agent)]:
            del self._since[agent]
        for agent in {agent for _, agent in done} - self._since.keys():
            if waiting.get(agent):
                self._since[agent] = clock

    def left(self, agent: str, stage: str, requests: float) -> float | None:
        """Seconds that `agent` needs for so many requests of a stage; None: it was not seen at any like it."""
        key = agent, LIKE.get(stage, stage)
        if not requests:
            return 0.0
        if not self._made[key] or (self._spent[key] < ENOUGH_S and self._made[key] < ENOUGH):
            return None
        return requests * self._spent[key] / self._made[key]

    def _add(self, agent: str, kind: str, seconds: float, count: float) -> None:
        key = agent, kind
        if self._spent[key] > MEMORY_S:
            self._spent[key] /= 2
            self._made[key] /= 2
        self._spent[key] += seconds
        self._made[key] += count


def shares(stage: str, teacher: str, students: tuple[str, ...], asked: Counts) -> dict[str, float]:
    """Who will answer the requests of a stage that are not due yet, by share: as those that were, if there were any."""
    seen = {agent: count for (name, agent), count in asked.items() if name == stage and count}
    if not seen:
        seen = dict.fromkeys(students if stage in STUDENTS else (teacher,), 1)
    whole = sum(seen.values())
    return {agent: count / whole for agent, count in seen.items()}
