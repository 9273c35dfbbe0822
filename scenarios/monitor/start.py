"""What happens before the first answer: problems are made, and agents start and load their models."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from scenarios.config.schema import Scenario
from scenarios.monitor.state import AgentRow, StartRow
from scenarios.monitor.timeline import Timeline

DOING = {"starting": "starts", "joined": "has started", "loading": "loads"}
"""By state: what an agent does that cannot answer yet."""
AWAY = frozenset({"lost", "restarting", "gone", "left"})


class Start:
    """Follows the start of each session.

    Args:
        scenario: the class.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._in_turn = scenario.time_share
        self._session: datetime | None = None
        self._problems_s: float | None = None
        self._looked = self._over = False

    def rows(
        self, agents: Sequence[AgentRow], problems: str, timeline: Timeline, now: datetime
    ) -> tuple[StartRow, ...]:
        """What was done and what is under way; empty once every agent has been ready in this session.

        Args:
            agents: as they are now.
            problems: how many problems there are, in words; empty: they are not made yet.
            timeline: of the class.
            now: the time.
        """
        if timeline.began != self._session:
            self._session, self._problems_s, self._looked, self._over = timeline.began, None, False, False
        if self._session is None or self._over:
            return ()
        elapsed = max(0.0, (now - self._session).total_seconds())
        if problems and self._looked and self._problems_s is None:
            self._problems_s = elapsed
        self._looked = self._looked or not problems
        made = StartRow("problems", problems, self._problems_s, done=True)
        rows = [made if problems else StartRow("problems", "are being made", elapsed, done=False)]
        rows += self._agents(agents, timeline, elapsed)
        # Agents that take turns are not all ready at one time.
        ready = [row.done for row in rows[1:]]
        self._over = bool(problems) and (any(ready) if self._in_turn else all(ready))
        return () if self._over else tuple(rows)

    def _agents(self, agents: Sequence[AgentRow], timeline: Timeline, elapsed: float) -> Iterator[StartRow]:
        for agent in agents:
            model = agent.model or agent.engine or "its model"
            if agent.device:
                model += f" on {agent.device}"
            if agent.state in DOING or agent.state in AWAY:
                yield StartRow(agent.name, f"{DOING.get(agent.state, agent.state)}: {model}", elapsed, done=False)
            else:
                since = timeline.since.get(agent.name)
                seconds = (since - self._session).total_seconds() if since and self._session else None
                yield StartRow(agent.name, f"{agent.state}: {model}", seconds, done=True)
