"""How far a class with levels after the first is: its stages, the time left, and what its levels came to.

Made of what scenarios/monitor/shadow.py read, pace.py measured and learning.py sums up; reader.py puts it into the
picture. Of a class of level 1 alone the same is first.py.
"""

from collections.abc import Mapping

from scenarios.config.schema import Scenario
from scenarios.monitor.learning import Curves, figures, shown
from scenarios.monitor.pace import Pace, shares
from scenarios.monitor.shadow import Shadow
from scenarios.monitor.snapshot import Learning, StageRow, TrainingRow
from scenarios.store.sqlite import ClassEvent


class LevelFollower:
    """Follows one class through its levels."""

    def __init__(self, shadow: Shadow, scenario: Scenario) -> None:
        self._shadow = shadow
        self._scenario = scenario
        self._students = tuple(student.name for student in scenario.students)
        self._curves = Curves()
        self._pace = Pace()
        self._begun = False
        """Whether all that was there at first is read: what is read before happened long ago."""
        self._figures = figures(scenario, shadow.outcome, complete=False)
        self._complete = False
        self._learning: Learning | None = None
        """None: something changed since it was last asked for."""

    def hear(self, event: ClassEvent) -> None:
        """Take down what an event says of trainings."""
        if event.kind == "progress":
            self._curves.hear(event)
            self._learning = None
        elif event.kind == "started":
            self._curves.interrupt()

    def sum_up(self, *, complete: bool) -> None:
        """Bring the levels' figures up to date: the part that may cost more than reading."""
        self._shadow.sum_up()
        if self._figures.outcome is not self._shadow.outcome or complete != self._complete:
            self._figures = figures(self._scenario, self._shadow.outcome, complete)
            self._complete = complete
            self._learning = None

    @property
    def level(self) -> int:
        """That is at work."""
        return self._shadow.level or self._scenario.levels[0]

    @property
    def at_work(self) -> str:
        """The round and the stages under way at that level, in words."""
        open_now = [(round, stage) for level, round, stage in self._shadow.at_work if level == self.level]
        stages = ", ".join(dict.fromkeys(stage for _, stage in open_now))
        if not open_now or self.level == 1:
            return ""
        first, last = open_now[0][0], open_now[-1][0]
        if first < last:
            return f"rounds {first} to {last}: {stages}"
        return f"round {first}: {stages}" if first else f"start: {stages}"

    @property
    def learning(self) -> Learning:
        """Rounds, trainings and teachers."""
        if self._learning is None:
            self._learning = shown(self._figures, self._curves)
        return self._learning

    def stages(self, problems: int, clock: float) -> tuple[StageRow, ...]:
        """Every stage that is known of, with the time it still takes."""
        self._begun = self._begun or not self._shadow.behind
        if self._begun:
            self._pace.note(clock, self._shadow.done, self._shadow.waiting)
        rows, trainings = [], self.learning.trainings
        due = {stage for _, _, stage in self._shadow.at_work}
        for stage, total in self._in_order():
            done = min(total, sum(count for (name, _), count in self._shadow.done.items() if name == stage))
            left = self._left(stage, total - done, trainings)
            slowest = None if None in left.values() else max((s for s in left.values() if s is not None), default=0.0)
            rows.append(StageRow(stage, done, total, stage in due, slowest))
        return tuple(rows)

    def left(self, stages: tuple[StageRow, ...], clock: float) -> float | None:
        """Seconds until the class is through; None: it cannot be known yet.

        At levels 1 and 2 teacher and students mostly work side by side, at level 3 they wait for one another.
        """
        if not stages:
            return None
        needed: dict[str, float] = {}
        trainings = self.learning.trainings
        for stage in stages:
            for agent, seconds in self._left(stage.name, stage.total - stage.done, trainings).items():
                if seconds is None:
                    return None
                needed[agent] = needed.get(agent, 0.0) + seconds
        teacher = needed.pop(self._scenario.teacher.name, 0.0)
        students = max(needed.values(), default=0.0)
        return teacher + students if 3 in self._scenario.levels else max(teacher, students)

    def _in_order(self) -> list[tuple[str, int]]:
        """Stages in the order in which they were first asked, then those to come, as the gradebook has them."""
        order = {stage: n for n, stage in enumerate(dict.fromkeys(stage for stage, _ in self._shadow.asked))}
        totals = [(stage, total) for stage, total in self._shadow.totals.items() if total]
        return sorted(totals, key=lambda one: order.get(one[0], len(order)))

    def _left(self, stage: str, requests: int, trainings: tuple[TrainingRow, ...]) -> Mapping[str, float | None]:
        """Seconds by agent."""
        if stage == "train":
            return {self._scenario.teacher.name: _training_left(requests, trainings)}
        who = shares(stage, self._scenario.teacher.name, self._students, self._shadow.asked)
        return {agent: self._pace.left(agent, stage, requests * share) for agent, share in who.items()}


def _training_left(requests: int, trainings: tuple[TrainingRow, ...]) -> float | None:
    """Of so many trainings, the one under way among them: as if all took as many steps, at the pace of the last one."""
    if not requests:
        return 0.0
    for row in trainings:
        if row.left_s is not None and row.step < row.steps:
            return row.left_s * (1 + (requests - 1) * row.steps / (row.steps - row.step))
    paces = [row.steps * row.step_s for row in trainings if row.step_s is not None]
    return requests * paces[-1] if paces else None
