"""How far a class is: its stages, the time left, and what its levels came to.

It is made of what follow.py reads, pace.py measures and learning.py sums up; reader.py puts it into the snapshot.
"""

from scenarios.config.schema import Scenario
from scenarios.monitor.follow import Follower
from scenarios.monitor.kinds import kinds
from scenarios.monitor.learning import Curves, figures, shown
from scenarios.monitor.pace import STUDENTS, Pace, requests_by_agent
from scenarios.monitor.state import Learning, StageRow, TrainingRow
from scenarios.store.rows import ClassEvent

TEACHING = ("greedy", "teach")
"""Stages of the teacher whose results students are asked about."""


class ClassProgress:
    """Follows one class through its levels."""

    def __init__(self, follower: Follower, scenario: Scenario) -> None:
        self._follower = follower
        self._scenario = scenario
        kind = kinds(scenario)
        self._students = [kind[student.name] for student in scenario.students]
        self._curves = Curves()
        self._pace = Pace()
        self._begun = False
        """Whether everything recorded at first is read: what is read before happened long ago."""
        self._figures = figures(scenario, follower.outcome, complete=False)
        self._complete = False
        self._learning: Learning | None = None
        """None: something changed since the last call."""

    def add_event(self, event: ClassEvent) -> None:
        """Note what an event says of trainings."""
        if event.kind == "progress":
            self._curves.add_event(event)
            self._learning = None
        elif event.kind == "started":
            self._curves.interrupt()

    def sum_up(self, *, complete: bool) -> None:
        """Bring the levels' figures up to date. This may cost more than reading."""
        self._follower.sum_up()
        if self._figures.outcome is not self._follower.outcome or complete != self._complete:
            self._figures = figures(self._scenario, self._follower.outcome, complete)
            self._complete = complete
            self._learning = None

    @property
    def level(self) -> int:
        """The level at work."""
        return self._follower.level or self._scenario.levels[0]

    @property
    def at_work(self) -> str:
        """The round and the stages under way at that level, in words."""
        places = [(round, stage) for level, round, stage in self._follower.at_work if level == self.level]
        stages = ", ".join(dict.fromkeys(stage for _, stage in places))
        if not places or self.level == 1:
            return ""
        first, last = places[0][0], places[-1][0]
        if first < last:
            return f"rounds {first} to {last}: {stages}"
        return f"round {first}: {stages}" if first else f"start: {stages}"

    @property
    def learning(self) -> Learning:
        """Rounds, trainings and teachers."""
        if self._learning is None:
            self._learning = shown(self._figures, self._curves)
        return self._learning

    def stages(self, clock: float) -> tuple[StageRow, ...]:
        """Every known stage, with the time it still takes: those that were asked first come first."""
        follower = self._follower
        self._begun = self._begun or not follower.behind
        if self._begun:
            self._pace.note(clock, follower.done, follower.waiting)
        order = {stage: n for n, stage in enumerate(dict.fromkeys(stage for stage, _ in follower.asked))}
        due = {stage for _, _, stage in follower.at_work}
        rows = []
        for stage, total in sorted(follower.totals.items(), key=lambda one: order.get(one[0], len(order))):
            done = min(total, sum(count for (name, _), count in follower.done.items() if name == stage))
            seconds = self._seconds(stage, total - done).values()
            left = None if None in seconds else max((s for s in seconds if s is not None), default=0.0)
            rows.append(StageRow(stage, done, total, stage in due, left))
        return tuple(rows)

    def left(self, stages: tuple[StageRow, ...]) -> float | None:
        """Seconds until the class is complete; None: it cannot be known yet.

        At levels 1 and 2 teacher and students mostly work side by side, at level 3 they wait for one another.
        """
        if not stages or not self._begun:
            return None
        teaching = any(stage.done < stage.total for stage in stages if stage.name in TEACHING)
        needed: dict[str, float] = {}
        for stage in stages:
            for agent, seconds in self._seconds(stage.name, stage.total - stage.done).items():
                if seconds is not None:
                    needed[agent] = needed.get(agent, 0.0) + seconds
                elif not (teaching and stage.name in STUDENTS):  # students may have nothing to do yet
                    return None
        if not needed:
            return None
        teacher = needed.pop(self._scenario.teacher.name, 0.0)
        students = max(needed.values(), default=0.0)
        return teacher + students if 3 in self._scenario.levels else max(teacher, students)

    def _seconds(self, stage: str, requests: int) -> dict[str, float | None]:
        """Seconds by agent for so many more requests of a stage; None: not known."""
        if stage == "train":
            return {self._scenario.teacher.name: _training_left(requests, self.learning.trainings)}
        teacher, asked, done = self._scenario.teacher.name, self._follower.asked, self._follower.done
        shares = requests_by_agent(stage, requests, asked, done, teacher, self._students)
        return {agent: self._pace.left(agent, stage, n) for agent, n in shares.items()}


def _training_left(requests: int, trainings: tuple[TrainingRow, ...]) -> float | None:
    """Seconds for so many trainings with the one under way, if all take as many steps, at the pace of the last one."""
    if not requests:
        return 0.0
    for row in trainings:
        if row.left_s is not None and row.step < row.steps:
            return row.left_s * (1 + (requests - 1) * row.steps / (row.steps - row.step))
    paces = [row.steps * row.step_s for row in trainings if row.step_s is not None]
    return requests * paces[-1] if paces else None
