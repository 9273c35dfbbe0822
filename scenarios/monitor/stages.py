"""The gradebook of a class without teaching problems, as the monitor needs it: sums per stage and per agent.

Level 3 has no lesson that could be shown in a row of its own; how its rounds go is told by events. Nothing is
written, nothing is drawn.
"""

from collections import Counter, defaultdict

from scenarios.gradebook.store import Event, Store
from scenarios.monitor.ledger import Tally
from scenarios.monitor.snapshot import LessonRow, StageRow

CHANGED = "PRAGMA data_version"
SUMS = """
  SELECT agent, stage, count(*), sum(failed <> ''), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens),
         max(at)
  FROM result GROUP BY agent, stage"""
TOTALS = "SELECT stage, requests FROM total"


class StageLedger:
    """Follows one gradebook."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._version: object = None
        self._seq = 0
        self._done = Counter[str]()
        self._totals: dict[str, int] = {}
        self.rows: dict[str, LessonRow] = {}
        self.agents: dict[str, Tally] = defaultdict(Tally)
        self.fresh: list[Event] = []
        """The events that the last look found."""
        self.last = ""
        """When the last result that was read was committed."""
        self.behind = False
        """Every look reads all there is."""

    def look(self) -> None:
        """Read what came since the last look."""
        self.fresh = self._store.events(after=self._seq)
        if self.fresh:
            self._seq = self.fresh[-1].seq
        ((version,),) = self._store.query(CHANGED)
        if version == self._version:
            return
        self._version = version
        self._totals = {str(stage): int(str(requests)) for stage, requests in self._store.query(TOTALS)}
        self._done.clear()
        self.agents.clear()
        for agent, stage, *sums, at in self._store.query(SUMS):
            tally = Tally(*(int(str(value)) for value in sums))
            self.agents[str(agent)].add(tally)
            self._done[str(stage)] += tally.done
            self.last = max(self.last, str(at))

    def stages(self) -> tuple[StageRow, ...]:
        """How far each stage is. While a class goes on, its totals are what may still come."""
        names = dict.fromkeys((*self._totals, *self._done))
        rows = (StageRow(name, self._done[name], max(self._totals.get(name, 0), self._done[name])) for name in names)
        return tuple(row for row in rows if row.total)
