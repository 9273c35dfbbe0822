"""Follows a class: feeds its recorded results to a level, as resume and replay do.

A level is a function of the recorded results, so what it says here is what the report will say. The cost of a look
depends on what came since the last one, not on what is stored. Nothing is written.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from scenarios.config.schema import Scenario
from scenarios.levels.base import Level, Outcome, Request, Result, Step
from scenarios.levels.observe.invention import AGREE
from scenarios.levels.observe.self_debug import REPAIRS
from scenarios.levels.steered import SteeredLevel
from scenarios.monitor.kinds import kinds
from scenarios.monitor.lessons import Lessons
from scenarios.monitor.state import LessonRow, RunningResults
from scenarios.session.run_dir import RunFolder
from scenarios.store.changes import DROPPED
from scenarios.store.rows import ClassEvent
from scenarios.store.sqlite import LATEST_GRADE, Store

BATCH = 1000
"""Requests that one look reads at most, so that a large class does not hold up the drawing."""

CHANGED = "PRAGMA data_version"
COLUMNS = """r.request_id, text, answer, {grade}, failed, completion_tokens, finish_reason, score, prompt_tokens,
  cached_tokens, {failing}, at"""
NEWLY_GRADED = f"""
  SELECT g.seq, {COLUMNS.format(grade="g.value", failing="{failing}")}
  FROM grade g CROSS JOIN result r ON r.request_id = g.request_id
  WHERE g.seq > ? ORDER BY g.seq LIMIT ?"""  # noqa: S608 - our own names
"""Grades are numbered as they come, and every answer has one."""
GRADED_AGAIN = """
  SELECT request_id, value FROM grade WHERE request_id IN (
    SELECT request_id FROM grade GROUP BY request_id HAVING count(*) > 1) ORDER BY seq"""
LAST_GRADE = "SELECT coalesce(max(seq), 0) FROM grade"
RESULTS = f"""
  SELECT {COLUMNS.format(grade=LATEST_GRADE, failing="{failing}")}
  FROM json_each(?) wanted CROSS JOIN result r ON r.request_id = wanted.value"""  # noqa: S608 - our own names
RESULTS_OF_STAGES = "SELECT request_id FROM result WHERE stage IN (SELECT value FROM json_each(?))"
GRADED = frozenset({"Teach", "Examine"})
"""Kinds whose results have a grade. Results of other kinds are found by their stages."""
LESSON_STAGES = frozenset({"greedy", "teach", "exam", "grade", *REPAIRS.values()})
"""Stages that levels 1 and 2 begin with."""


Row = tuple[Any, ...]
"""A result, as COLUMNS has it."""


@dataclass(slots=True)
class AgentTotals:
    """What one agent did. Tokens are counted over all its results."""

    done: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    last: Request | None = None
    """The request that it answered last."""


class Follower:
    """Follows one gradebook.

    Attributes:
        events: those that the last look found.
        lessons: the figures of level 1, or of level 2's first round, by TP.
        agents: by name; the copies of a student together, and in a large class all of one kind (kinds.py); so below.
        done, asked: results, and requests so far, by stage and agent.
        waiting: requests without a result, by agent.
        level: the highest one that asked something; 0: none did.
        last: when the last result that was read was committed.
        totals: requests by stage, as the level knows them.
        outcome: the level's, as of the last `sum_up`.
    """

    def __init__(self, store: Store, scenario: Scenario) -> None:
        self._store = store
        self._scenario = scenario
        kind = kinds(scenario)
        self._row_of = {name: kind[pool] for name, pool in scenario.pools.items()}
        """By name of the teacher and of every student: the agent that answers for it, or its kind."""
        self._seq = 0
        self.events: list[ClassEvent] = []
        self._reset()

    def _reset(self) -> None:
        """Forget everything but the events that were read."""
        self._level: SteeredLevel | None = None
        self._unread: list[str] = []
        """Due and not looked up yet: their results may have been recorded before they were due."""
        self._awaited: dict[str, Request] = {}
        self._ungraded = Counter[str]()
        """Awaited requests whose results have no grade, by stage."""
        self._open = Counter[tuple[int, int, str, str]]()
        """Awaited requests by level, round, stage and agent."""
        self._failures: list[str] = []
        """Requests that failed, by the events; their results have no grade."""
        self._last_grade = self._grades = 0
        """The number of the last grade that was read, and of the last one that was there at first."""
        self._graded_again: dict[str, float] = {}
        """The latest grades of results that had several at first."""
        self._version: object = None
        self._more_grades = False
        self._outcome_changed = False
        self._lessons = Lessons(self._scenario, {}, {})
        self.lessons: dict[str, LessonRow] = {}
        self.agents: dict[str, AgentTotals] = defaultdict(AgentTotals)
        self.done = Counter[tuple[str, str]]()
        self.asked = Counter[tuple[str, str]]()
        self.waiting = Counter[str]()
        self.level = 0
        self.last = ""
        self.totals: dict[str, int] = {}
        self.outcome = Outcome()

    @property
    def behind(self) -> bool:
        """Whether the gradebook may hold results that were due and not read so far."""
        return bool(self._unread) or self._more_grades

    @property
    def read(self) -> float:
        """Share of what was recorded at first that is read."""
        return min(1.0, self._last_grade / self._grades) if self.behind and self._grades else 1.0

    @property
    def failed(self) -> int:
        """Requests that failed and are not asked again."""
        return sum(agent.failed for agent in self.agents.values())

    @property
    def not_asked(self) -> Mapping[tuple[str, str], int]:
        """How many requests were not asked of dropped students, by student and stage."""
        return self._level.not_asked if self._level else {}

    @property
    def at_work(self) -> list[tuple[int, int, str]]:
        """Level, round and stage of the requests without a result."""
        return sorted({place[:3] for place, count in self._open.items() if count})

    def look(self) -> None:
        """Read what came since the last look, at most a batch."""
        self.events = self._store.events(after=self._seq)
        if self.events:
            self._seq = self.events[-1].seq
            self._failures += [event.detail.partition(" ")[0] for event in self.events if event.kind == "failed"]
            if any(event.kind in ("retry", DROPPED) for event in self.events):
                self._reset()  # other requests are due than before
        level = self._level = self._level or self._begin()
        if level is None:
            return
        ((version,),) = self._store.query(CHANGED)
        if version == self._version and not self.behind:
            return
        self._version = version
        fed = self._feed(level, self._new_results())
        exam = self._scenario.exam
        fewer = exam.allocation != "full" or exam.maker == "invented"
        records = {lesson.tp: lesson for lesson in level.outcome().lessons} if fewer else {}
        for tp in fed:
            self.lessons[tp] = self._lessons.row(tp, records.get(tp), level.exams_not_asked[tp])
        self.totals = {stage: total for stage, total in level.totals().items() if total}
        self.asked, self.waiting = Counter(), Counter()
        for (at_level, _, stage, agent), count in self._open.items():
            self.level = max(self.level, at_level)
            self.asked[stage, agent] += count
            self.waiting[agent] += count
        for place, count in self.done.items():
            self.asked[place] += count

    def sum_up(self) -> None:
        """Bring `outcome` up to date. This may cost more than a look."""
        if self._level is not None and self._outcome_changed:
            self._outcome_changed = False
            self.outcome = self._level.outcome()

    def standing(self) -> RunningResults:
        """How often each method is right so far."""
        return self._lessons.standing()

    def _begin(self) -> SteeredLevel | None:
        """Make the level, once the problems and all who answer are known."""
        answerers = self._store.answerers()
        if not self._row_of.keys() <= answerers.keys():
            return None
        if (bank := self._store.bank()) is None:
            return None
        forms = {item.tp.id: item.tp.form for item in bank.items}
        abstaining = {item.tp.id for item in bank.items if item.abstains}
        self._lessons = Lessons(self._scenario, forms, answerers, abstaining)
        ((grades,),) = self._store.query(LAST_GRADE)
        self._grades = int(str(grades))
        self._graded_again = dict(cast("list[tuple[str, float]]", self._store.query(GRADED_AGAIN)))
        level = RunFolder(self._store.path.parent).level(self._scenario, bank, self._store, self._lessons.grader.same)
        self._add_requests(level.begin())
        return level

    def _add_requests(self, step: Step) -> None:
        for request in step.requests:
            self._awaited[request.id] = request
            self._unread.append(request.id)
            self._open[request.level, request.round, request.stage, self._row_of[request.to]] += 1
            self._ungraded[request.stage] += not _graded(request)
            if request.level > 1 and _after_lessons(request):
                self._outcome_changed = True

    def _new_results(self) -> list[Row]:
        """Results that may be due: in the order of their grades; at the end, those not found so, too."""
        graded = cast("list[Row]", self._store.query(self._sql(NEWLY_GRADED), self._last_grade, BATCH))
        self._more_grades = len(graded) == BATCH
        if graded:
            self._last_grade = graded[-1][0]
        rows = [row[1:] for row in graded]
        if self._more_grades:
            return rows
        self._unread = [id for id in self._unread if id in self._awaited]
        batch, self._unread = self._unread[:BATCH], self._unread[BATCH:]
        self._failures = [id for id in self._failures if id in self._awaited]
        ids = [*batch, *self._failures]
        stages = [stage for stage, count in self._ungraded.items() if count]
        if stages and not self.behind:
            ids += [str(row[0]) for row in self._store.query(RESULTS_OF_STAGES, json.dumps(stages))]
        read = {row[0] for row in rows}
        wanted = list(dict.fromkeys(id for id in ids if id in self._awaited and id not in read))
        return rows + cast("list[Row]", self._store.query(self._sql(RESULTS), json.dumps(wanted))) if wanted else rows

    def _sql(self, query: str) -> str:
        """A query with the columns that class.db of earlier versions lacks."""
        return query.format(failing=self._store.column("failing"))

    def _feed(self, level: Level, rows: list[Row]) -> set[str]:
        """Give results to the level; returns the TPs whose lessons changed."""
        changed = set()
        for id, text, answer, grade, failed, tokens, finish_reason, score, prompted, cached, failing, at in rows:
            if (request := self._awaited.pop(id, None)) is None:
                continue  # graded twice, or not due yet
            correct = bool(self._graded_again.get(id, grade) if self._graded_again else grade)
            pool = self._row_of[request.to]
            result = Result(
                id, text, answer, correct, failed, tokens, finish_reason, score, prompted, cached, failing=failing
            )
            self._open[request.level, request.round, request.stage, pool] -= 1
            self._ungraded[request.stage] -= not _graded(request)
            self.done[request.stage, pool] += 1
            self._add_requests(level.receive(result))
            self.last = max(self.last, at)
            agent = self.agents[pool]
            agent.done += 1
            agent.failed += bool(failed)
            agent.prompt_tokens += prompted
            agent.cached_tokens += cached
            agent.completion_tokens += tokens
            agent.last = request
            if request.level > 1 and _after_lessons(request):
                self._outcome_changed = True
            elif request.stage in LESSON_STAGES and request.round < 2:
                self._lessons.add(request, result, at)
                changed.add(request.tp)
        return changed


def _graded(request: Request) -> bool:
    """Whether its result has a grade; answers to problems whose gold answer is not known yet have none."""
    return request.kind in GRADED and request.stage != AGREE


def _after_lessons(request: Request) -> bool:
    """Whether figures of levels 2 and 3 depend on it."""
    return request.level > 2 or (request.level == 2 and request.stage not in LESSON_STAGES)
