"""How fast agents work, by stage, while they have something to do.

Agents wait for one another, so the time without work says nothing of an agent's pace; and what a request takes
depends on its stage.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

STUDENTS = frozenset({"alone", "ask", "exam", "exam_repair", "grade", "probe_exam"})
"""Stages that the students are asked in; in all others it is the teacher."""
LIKE = dict.fromkeys(("greedy", "repair", "votes", "measure", "probe"), "teach") | {
    "alone": "exam",
    "exam_repair": "exam",
    "probe_exam": "exam",
    "test": "score",
}
"""Stages that take as long as another one does."""
HALF_LIFE_S = 300.0
"""Seconds of work after which earlier work counts half."""
ENOUGH_S, ENOUGH = 2.0, 10
"""Seconds of work in a stage, or requests, from which the pace is known."""

Counts = Mapping[tuple[str, str], int]
"""By stage and agent."""


class Pace:
    """Follows how fast agents are."""

    def __init__(self) -> None:
        self._before: Counts | None = None
        self._since: dict[str, float] = {}
        """The last result of agents at work. Before its first result an agent may have been loading."""
        self._seconds: dict[tuple[str, str], float] = defaultdict(float)
        """By agent and kind of stage."""
        self._results: dict[tuple[str, str], float] = defaultdict(float)

    def note(self, clock: float, done: Counts, waiting: Mapping[str, int]) -> None:
        """Note how far the agents are.

        Args:
            clock: monotonic seconds.
            done: results so far.
            waiting: requests without a result, by agent.
        """
        gained: dict[str, Counter[str]] = defaultdict(Counter)
        for (stage, agent), count in done.items():
            if self._before is not None and (more := count - self._before.get((stage, agent), 0)) > 0:
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
        """Seconds that `agent` needs for so many requests of a stage; None: its pace there is not known."""
        key = agent, LIKE.get(stage, stage)
        if not requests:
            return 0.0
        if not self._results[key] or (self._seconds[key] < ENOUGH_S and self._results[key] < ENOUGH):
            return None
        return requests * self._seconds[key] / self._results[key]

    def _add(self, agent: str, kind: str, seconds: float, count: float) -> None:
        key = agent, kind
        if self._seconds[key] > HALF_LIFE_S:
            self._seconds[key] /= 2
            self._results[key] /= 2
        self._seconds[key] += seconds
        self._results[key] += count


def requests_by_agent(
    stage: str, requests: int, asked: Counts, done: Counts, teacher: str, students: Sequence[str]
) -> dict[str, float]:
    """How many of the requests left in a stage each agent answers.

    Those that nobody was asked yet are spread as the earlier ones were; in a new stage evenly over who is asked there.
    `students` has the name of an agent as often as it has copies.
    """
    by_agent = {agent: n for (name, agent), n in asked.items() if name == stage and n}
    waiting = {agent: n - done.get((stage, agent), 0) for agent, n in by_agent.items()}
    if not by_agent:
        by_agent = Counter(students if stage in STUDENTS else [teacher])
    to_come = max(0, requests - sum(waiting.values())) / sum(by_agent.values())
    return {agent: waiting.get(agent, 0) + to_come * n for agent, n in by_agent.items()}
