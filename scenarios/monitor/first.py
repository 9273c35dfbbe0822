"""How far a class of level 1 alone is: its stages and the time left.

Made of what scenarios/monitor/ledger.py read; reader.py puts it into the picture. A class with further levels is
course.py, which has the same methods.
"""

from collections import deque

from scenarios.config.schema import Scenario
from scenarios.monitor.ledger import StoreFollower
from scenarios.monitor.snapshot import Learning, StageRow
from scenarios.store.sqlite import ClassEvent

SPEED_S = 5.0
"""Less than this long nothing is said of an agent's pace."""
PACE_S = 60.0
"""Over how many seconds the pace is taken from which the time left is estimated."""


class FirstLevel:
    """Follows one class of level 1."""

    level = 1
    at_work = ""
    learning = Learning()

    def __init__(self, ledger: StoreFollower, scenario: Scenario) -> None:
        self._ledger = ledger
        self._scenario = scenario
        self._pace: deque[tuple[float, dict[str, int]]] = deque()

    def hear(self, event: ClassEvent) -> None:
        """Nothing that happens says how far it is."""

    def sum_up(self, *, complete: bool) -> None:
        """All is summed up while it is read."""

    def stages(self, problems: int, clock: float) -> tuple[StageRow, ...]:
        """Greedy answers, TRs and exams of so many TPs."""
        lesson, exam = self._scenario.lesson, self._scenario.exam
        rows = self._ledger.rows.values()
        unseen = max(0, problems - len(rows)) * lesson.rationales
        per_tr = len(self._scenario.students) * exam.problems * exam.repeats
        taught = self._ledger.taught
        totals = {
            "greedy": (taught["greedy"], problems * lesson.greedy),
            "teach": (taught["teach"], problems * lesson.rationales),
            "exam": (sum(row.exams for row in rows), sum(row.exams_total for row in rows) + unseen * per_tr),
        }
        if exam.score == "logprob":
            # Each exam problem once, however often it is answered.
            totals["grade"] = (sum(row.grades for row in rows), totals["exam"][1] // exam.repeats)
        return tuple(StageRow(name, done, total) for name, (done, total) in totals.items() if total)

    def left(self, stages: tuple[StageRow, ...], clock: float) -> float | None:
        """Seconds until the slowest agent is through at its recent pace. They work side by side."""
        done = {name: tally.done for name, tally in self._ledger.agents.items()}
        if self._ledger.behind:
            self._pace.clear()
            return None
        if not self._pace or self._pace[-1][1] != done:
            self._pace.append((clock, done))
        while len(self._pace) > 2 and self._pace[1][0] <= clock - PACE_S:
            self._pace.popleft()
        open_by_stage = {stage.name: max(0, stage.total - stage.done) for stage in stages}
        teaching = open_by_stage.get("greedy", 0) + open_by_stage.get("teach", 0)
        exams = {student.name: 0 for student in self._scenario.students}
        total = sum(stage.total for stage in stages if stage.name in ("exam", "grade")) // len(exams)
        remaining = {self._scenario.teacher.name: teaching}
        remaining |= {name: max(0, total - done.get(name, 0)) for name in exams}
        if not any(remaining.values()):
            return 0.0
        left = []
        for name, count in remaining.items():
            # From an agent's first result on: the time before it was spent on loading.
            since, before = next(((at, was) for at, was in self._pace if was.get(name)), (clock, done))
            made = done.get(name, 0) - before.get(name, 0)
            if count and made and clock - since >= SPEED_S:
                left.append(count * (clock - since) / made)
            elif count and not (teaching and name in exams):
                return None
        return max(left, default=None)
