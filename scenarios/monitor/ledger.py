"""A class of level 1 as the monitor needs it: sums per lesson and per agent, kept up to date while it runs.

The first look reads everything, in bites; a later one reads the index of the results and fetches only what is
new, so that its cost follows what happened and not what is stored. Nothing is written, nothing is drawn.
"""

import json
from collections import defaultdict

from scenarios.config.schema import Scenario
from scenarios.monitor.lessons import Lessons, Sat, Tally
from scenarios.monitor.snapshot import LessonRow
from scenarios.store.sqlite import ClassEvent, Store

BITE = 250
"""TRs that one look fetches at most, so that the first look at a large class does not hold up the drawing."""

CHANGED = "PRAGMA data_version"
COUNT_TAUGHT = "SELECT count(*) FROM result WHERE stage IN ('greedy', 'teach')"
TAUGHT = "SELECT request_id FROM result WHERE stage IN ('greedy', 'teach')"
EXAMINED = "SELECT tr, count(*) FROM result WHERE tr <> '' GROUP BY tr"
# The latest grade by a look-up of its own: joined to the view, SQLite would read the whole table first.
GRADE = "(SELECT value FROM grade g WHERE g.request_id = r.request_id ORDER BY seq DESC LIMIT 1)"
RATIONALES = f"""
  SELECT r.request_id, agent, stage, tp, repeat, text, answer, failed, {GRADE}, prompt_tokens, cached_tokens,
         completion_tokens, at
  FROM json_each(?) wanted CROSS JOIN result r ON r.request_id = wanted.value"""  # noqa: S608 - constants alone
EXAMS = f"""
  SELECT tr, agent, stage, count(*), sum(failed <> ''), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens),
         sum(request_id IN (SELECT value FROM json_each(?))), total({GRADE}), max(at)
  FROM json_each(?) wanted CROSS JOIN result r ON r.tr = wanted.value
  WHERE r.tr <> '' GROUP BY tr, agent, stage"""  # noqa: S608 - constants alone


class StoreFollower:
    """Follows one gradebook."""

    def __init__(self, store: Store, scenario: Scenario) -> None:
        self._store = store
        self._lessons = Lessons(scenario)
        self._counts: dict[str, int] = {}
        self._version: object = None
        self._new_rationales: list[str] = []
        self._new_exams: list[str] = []
        self._dirty: set[str] = set()
        self._seq = 0
        self._retried: set[str] = set()
        """Failures that are asked again."""
        self.rows: dict[str, LessonRow] = {}
        self.agents: dict[str, Tally] = defaultdict(Tally)
        self.taught = {"greedy": 0, "teach": 0}
        self.fresh: list[ClassEvent] = []
        """The events that the last look found."""

    @property
    def behind(self) -> bool:
        """Whether the gradebook is known to hold more than was read so far."""
        return bool(self._new_rationales or self._new_exams)

    @property
    def failed(self) -> int:
        """Requests that failed and are not asked again."""
        return max(0, sum(tally.failed for tally in self.agents.values()) - len(self._retried))

    @property
    def last(self) -> str:
        """When the last result that was read was committed."""
        return max((row.last for row in self.rows.values()), default="")

    def look(self) -> None:
        """Read what came since the last look, at most a bite."""
        self.fresh = self._store.events(after=self._seq)
        if self.fresh:
            self._seq = self.fresh[-1].seq
            self._retried |= {event.detail for event in self.fresh if event.kind == "retry"}
        if not self.behind and not self._find():
            return
        if self._new_rationales:
            self._dirty |= self._read_rationales()
            if not self._new_rationales:
                self._new_exams.sort(key=lambda tr: self._lessons.lesson_of.get(tr, ""))
        # Digests are in no order of lessons: summing up after every bite of TRs would sum up everything each time.
        if not self._new_rationales:
            self._dirty |= self._read_exams()
            for tp in self._dirty:
                self.rows[tp] = self._lessons.row(tp)
            self._dirty.clear()

    def _find(self) -> bool:
        """Notice which results are new."""
        ((version,),) = self._store.query(CHANGED)
        if version == self._version:
            return False
        self._version = version
        ((taught,),) = self._store.query(COUNT_TAUGHT)
        if taught != len(self._lessons.lesson_of):
            ids = (str(row[0]) for row in self._store.query(TAUGHT))
            self._new_rationales = [i for i in ids if i not in self._lessons.lesson_of]
        counts = dict.fromkeys(self._counts, 0) | {str(tr): _int(n) for tr, n in self._store.query(EXAMINED)}
        # A TR may lose its exams to an identical one that came later with a smaller repeat.
        self._new_exams = [tr for tr, count in counts.items() if self._counts.get(tr, 0) != count]
        self._new_exams.sort(key=lambda tr: self._lessons.lesson_of.get(tr, ""))
        return self.behind

    def _read_rationales(self) -> set[str]:
        bite, self._new_rationales = self._new_rationales[:BITE], self._new_rationales[BITE:]
        touched = set()
        for row in self._store.query(RATIONALES, json.dumps(bite)):
            request_id, agent, stage, tp, text, failed, at = (str(row[i]) for i in (0, 1, 2, 3, 5, 7, 12))
            repeat, prompt, cached, completion = (_int(row[i]) for i in (4, 9, 10, 11))
            answer, correct = None if row[6] is None else str(row[6]), bool(row[8])
            self._lessons.came(request_id, tp, at)
            self.agents[agent].add(Tally(1, int(failed != ""), prompt, cached, completion))
            touched.add(tp)
            if request_id in self._retried:
                continue
            self.taught[stage] += 1
            if stage == "greedy":
                self._lessons.greedy(tp, correct if not failed else None)
            elif failed:
                self._lessons.failed(tp)
            else:
                self._lessons.rationale(request_id, tp, repeat, text, answer, correct)
        return touched

    def _read_exams(self) -> set[str]:
        bite, self._new_exams = self._new_exams[:BITE], self._new_exams[BITE:]
        # An exam may be committed between the two questions of one look; its TR is known at the next.
        known = [tr for tr in bite if tr in self._lessons.lesson_of]
        if len(known) < len(bite):
            self._version = None
        for tr in known:
            for (agent, _), sat in self._lessons.exams.pop(tr, {}).items():
                self.agents[agent].add(sat.tally, -1)
            self._counts[tr] = 0
        touched = set()
        for row in self._store.query(EXAMS, json.dumps(sorted(self._retried)), json.dumps(known)):
            tr, agent, stage, at = str(row[0]), str(row[1]), str(row[2]), str(row[10])
            done, failed, prompt, cached, completion, given_up = (_int(value) for value in row[3:9])
            sat = Sat(Tally(done, failed, prompt, cached, completion), given_up, float(str(row[9])))
            self._lessons.exams.setdefault(tr, {})[agent, stage] = sat
            self.agents[agent].add(sat.tally)
            self._counts[tr] += done
            tp = self._lessons.lesson_of[tr]
            self._lessons.touch(tp, at)
            touched.add(tp)
        return touched


def _int(value: object) -> int:
    """A whole number out of a row: SQLite's columns have no type that mypy could know."""
    if isinstance(value, int | float):
        return int(value)
    raise TypeError(f"the gradebook holds {value!r} where a number belongs")
