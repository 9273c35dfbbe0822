"""A class with levels after the first, as the monitor needs it: its own level, fed with what is recorded.

What is due, what came of it, which set was best and what a teacher was trained on is known to the level alone, and a
level is a function of the gradebook: so the monitor has one of its own and tells it every new result. What it then
shows is what the report will say. A look costs what came since the last one; summing up, which may cost more, is a
step of its own. Nothing is written, nothing is drawn; a class of level 1 is followed by ledger.py instead.
"""

import json
from collections import Counter, defaultdict

from scenarios.config.schema import Scenario
from scenarios.levels.base import Level, Outcome, Request, Result, Step
from scenarios.monitor.ledger import CHANGED, GRADE
from scenarios.monitor.lessons import Lessons, Sat, Tally
from scenarios.monitor.snapshot import LessonRow
from scenarios.session.run_dir import RunFolder
from scenarios.store.sqlite import ClassEvent, Store

BITE = 1000
"""Requests that one look asks the gradebook for at most."""

JOURNAL = "SELECT seq, request_id FROM grade WHERE seq > ? ORDER BY seq LIMIT ?"
"""Grades are numbered as they come, and every answer has one."""
JOURNAL_END = "SELECT coalesce(max(seq), 0) FROM grade"
ROWS = f"""
  SELECT r.request_id, text, answer, {GRADE}, failed, completion_tokens, finish_reason, score, prompt_tokens,
         cached_tokens, at
  FROM json_each(?) wanted CROSS JOIN result r ON r.request_id = wanted.value"""  # noqa: S608 - constants alone
GRADED = frozenset({"Teach", "Examine"})
"""Kinds whose results have a grade. The others are found by their stages, all results of a stage at once."""
OF_STAGES = "SELECT request_id FROM result WHERE stage IN (SELECT value FROM json_each(?))"
LESSONS = frozenset({"greedy", "teach", "exam", "grade"})
"""Stages that levels 1 and 2 begin with."""


class Shadow:
    """Follows one gradebook."""

    def __init__(self, store: Store, scenario: Scenario) -> None:
        self._store = store
        self._scenario = scenario
        self._seq = 0
        self.fresh: list[ClassEvent] = []
        """The events that the last look found."""
        self._forget()

    def _forget(self) -> None:
        """Know nothing but the events that were read."""
        self._level: Level | None = None
        self._unread: list[str] = []
        """Due, and not looked for yet: it may have been recorded before it was due."""
        self._awaited: dict[str, Request] = {}
        """Due, and not found so far."""
        self._ungraded = Counter[str]()
        """Those of them that no grade will tell of, by stage."""
        self.waiting = Counter[str]()
        """Requests without a result, by agent."""
        self._open = Counter[tuple[int, int, str]]()
        """The same by level, round and stage."""
        self._failures: list[str] = []
        self._graded = 0
        """The last grade that was noticed."""
        self._version: object = None
        self._more = False
        self._news = False
        """Whether something came that is not summed up."""
        self._lessons = Lessons(self._scenario)
        self.rows: dict[str, LessonRow] = {}
        self.agents: dict[str, Tally] = defaultdict(Tally)
        self.done = Counter[tuple[str, str]]()
        """Results by stage and agent."""
        self.level = 0
        """The last one that asked something; 0: none did."""
        self.asked = Counter[tuple[str, str]]()
        """Requests that were due so far, likewise."""
        self.last = ""
        """When the last result that was read was committed."""
        self.outcome = Outcome()
        """As it was last summed up."""
        self.totals: dict[str, int] = {}

    @property
    def behind(self) -> bool:
        """Whether the gradebook is known to hold more than was read so far, or may be."""
        return bool(self._unread) or self._more

    @property
    def failed(self) -> int:
        """Requests that failed and are not asked again."""
        return sum(tally.failed for tally in self.agents.values())

    @property
    def at_work(self) -> list[tuple[int, int, str]]:
        """Level, round and stage of the requests without a result."""
        return sorted(place for place, count in self._open.items() if count)

    def look(self) -> None:
        """Read what came since the last look, at most a bite."""
        self.fresh = self._store.events(after=self._seq)
        if self.fresh:
            self._seq = self.fresh[-1].seq
            self._failures += [event.detail.partition(" ")[0] for event in self.fresh if event.kind == "failed"]
            if any(event.kind == "retry" for event in self.fresh):
                self._forget()  # other requests are due than were
        if self._level is None:
            self._begin()
        if self._level is None:
            return
        ((version,),) = self._store.query(CHANGED)
        if version == self._version and not self.behind:
            return
        self._version = version
        for tp in self._read(self._level, self._new()):
            self.rows[tp] = self._lessons.row(tp)
        self.totals = {str(stage): int(str(n)) for stage, n in self._store.query("SELECT stage, requests FROM total")}

    def sum_up(self) -> None:
        """Bring `outcome` up to date."""
        if self._level is not None and self._news:
            self._news = False
            self.outcome = self._level.outcome()

    def _begin(self) -> None:
        """Make the level, once the problems and all who answer are known."""
        if not {agent.name for agent in self._scenario.agents} <= self._store.answerers().keys():
            return
        if (bank := self._store.bank()) is None:
            return
        ((self._graded,),) = self._store.query(JOURNAL_END)  # type: ignore[assignment]
        self._level = RunFolder(self._store.path.parent).level(self._scenario, bank, self._store)
        self._due(self._level.begin())

    def _due(self, step: Step) -> None:
        for request in step.requests:
            self._awaited[request.id] = request
            self._unread.append(request.id)
            self.waiting[request.to] += 1
            self.level = max(self.level, request.level)
            self._open[request.level, request.round, request.stage] += 1
            self.asked[request.stage, request.to] += 1
            self._news = self._news or not _of_lessons(request)
            self._ungraded[request.stage] += request.kind not in GRADED

    def _found(self, id: str) -> Request:
        request = self._awaited.pop(id)
        self._ungraded[request.stage] -= request.kind not in GRADED
        self.waiting[request.to] -= 1
        self._open[request.level, request.round, request.stage] -= 1
        self.done[request.stage, request.to] += 1
        return request

    def _new(self) -> list[str]:
        """Ids of requests that a result may have come of."""
        graded = self._store.query(JOURNAL, self._graded, BITE)
        self._more = len(graded) == BITE
        if graded:
            self._graded = int(str(graded[-1][0]))
        bite, self._unread = self._unread[:BITE], self._unread[BITE:]
        failed, self._failures = self._failures, []
        told = [*(str(row[1]) for row in graded), *failed, *bite]
        stages = [stage for stage, count in self._ungraded.items() if count]
        if stages and not self.behind:
            told += [str(row[0]) for row in self._store.query(OF_STAGES, json.dumps(stages))]
        return list(dict.fromkeys(id for id in told if id in self._awaited))

    def _read(self, level: Level, ids: list[str]) -> set[str]:
        """Tell the level what came; returns the TPs whose lessons changed."""
        touched = set()
        for row in self._store.query(ROWS, json.dumps(ids)):
            request = self._found(str(row[0]))
            result = Result(
                request_id=request.id,
                text=str(row[1]),
                answer=None if row[2] is None else str(row[2]),
                correct=bool(row[3]),
                failed=str(row[4]),
                completion_tokens=int(str(row[5])),
                finish_reason=str(row[6]),
                score=None if row[7] is None else float(str(row[7])),
            )
            self._due(level.receive(result))
            self._news = self._news or not _of_lessons(request)
            at = str(row[10])
            self.last = max(self.last, at)
            tally = Tally(1, int(result.failed != ""), int(str(row[8])), int(str(row[9])), result.completion_tokens)
            self.agents[request.to].add(tally)
            if _of_lessons(request) and request.round < 2:
                self._take_down(request, result, tally, at)
                touched.add(request.tp)
        return touched

    def _take_down(self, request: Request, result: Result, tally: Tally, at: str) -> None:
        """One result of level 1, or of level 2's first round: those that the gradebook's section shows."""
        lessons, failed = self._lessons, bool(result.failed)
        if request.stage in ("exam", "grade"):
            sat = lessons.exams.setdefault(request.tr, {}).setdefault((request.to, request.stage), Sat(Tally(), 0, 0.0))
            sat.tally.add(tally)
            sat.right += result.correct
            lessons.touch(request.tp, at)
            return
        lessons.came(request.id, request.tp, at)
        if request.stage == "greedy":
            lessons.greedy(request.tp, None if failed else result.correct)
        elif failed:
            lessons.failed(request.tp)
        else:
            lessons.rationale(request.id, request.tp, request.repeat, result.text, result.answer, result.correct)


def _of_lessons(request: Request) -> bool:
    """Whether it is one of the TRs, or their exams, that a level begins with: nothing is learnt from it alone."""
    return request.level < 3 and request.stage in LESSONS
