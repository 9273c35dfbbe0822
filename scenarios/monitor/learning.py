"""What the monitor shows of levels 2 and 3: rounds, trainings, and teachers that are measured.

The figures are those of the level and of the report (scenarios/scoring): nothing is counted here. Events report the
steps of trainings. How all this looks is sections.py.
"""

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from scenarios.config.schema import Scenario
from scenarios.levels.base import Outcome
from scenarios.monitor.state import Learning, RoundRow, TeacherRow, TrainingRow
from scenarios.records.confusion import pool
from scenarios.records.iterate import ArmRun, Iteration
from scenarios.records.learn import LearnRoundRecord, Training
from scenarios.scoring.teacher_metrics import standings
from scenarios.store.rows import ClassEvent

PACE_STEPS = 20
"""Steps over which the pace of a training is taken."""

StepEvent = tuple[str, int, int, dict[str, float | None]]
"""Request, step, steps, figures, as the classroom records them. A loss that is not a number is missing."""


class Curve:
    """The steps of one training."""

    def __init__(self) -> None:
        self.step = self.steps = 0
        self._losses: dict[int, float] = {}
        """By step: one that is taken again after a restart counts once."""
        self.figures: Mapping[str, float | None] = {}
        """Of the last step."""
        self._times: deque[tuple[int, datetime]] = deque(maxlen=PACE_STEPS)

    def add(self, step: int, steps: int, figures: Mapping[str, float | None], at: datetime) -> None:
        """Add a step."""
        if step <= self.step:
            self.interrupt()
            self._losses = {taken: loss for taken, loss in self._losses.items() if taken < step}
        self.step, self.steps, self.figures = step, steps, figures
        if (loss := figures.get("loss")) is not None:
            self._losses[step] = loss
        self._times.append((step, at))

    def interrupt(self) -> None:
        """Do not count the time until the next step."""
        self._times.clear()

    @property
    def step_s(self) -> float | None:
        """Seconds a step took lately."""
        if len(self._times) < 2:
            return None
        (first, began), (last, ended) = self._times[0], self._times[-1]
        return (ended - began).total_seconds() / (last - first)

    @property
    def losses(self) -> tuple[float, ...]:
        """By step."""
        return tuple(self._losses.values())


class Curves:
    """All trainings of a class by request."""

    def __init__(self) -> None:
        self._curves: dict[str, Curve] = {}

    def add_event(self, event: ClassEvent) -> None:
        """Add the step of an event `progress`; one that cannot be read is ignored."""
        with contextlib.suppress(msgspec.DecodeError):
            request, step, steps, figures = msgspec.json.decode(event.detail, type=StepEvent)
            self._curves.setdefault(request, Curve()).add(step, steps, figures, datetime.fromisoformat(event.at))

    def interrupt(self) -> None:
        """Another session begins: do not count the time since the last one."""
        for curve in self._curves.values():
            curve.interrupt()

    def of(self, request: str) -> Curve:
        """The curve of one training; an empty one if it took no step yet."""
        return self._curves.get(request, Curve())


class Figures(NamedTuple):
    """What is drawn from an outcome. It is kept, since an outcome changes less often than trainings take steps."""

    outcome: Outcome
    rounds: tuple[RoundRow, ...]
    teachers: tuple[TeacherRow, ...]


def figures(scenario: Scenario, outcome: Outcome, complete: bool) -> Figures:
    """Rounds of level 3 and teachers of level 2, as far as they are known."""
    iteration = outcome.iteration or Iteration()
    rounds = tuple(row for run in iteration.courses for row in _rounds(run))
    return Figures(outcome, rounds, tuple(_teachers(scenario, outcome.learnt, complete)))


def shown(of: Figures, curves: Curves) -> Learning:
    """All of it, with the trainings as they are now."""
    trainings = tuple(row for round in of.outcome.learnt for row in _trainings(round, curves))
    return Learning(of.rounds, trainings, of.teachers)


def _rounds(run: ArmRun) -> Iterator[RoundRow]:
    for round in run.rounds:
        best = round.selected[0] if round.selected else ""
        train, held_out = run.train.get(best), run.held_out.get(best)
        yield RoundRow(
            run=run.run + 1,
            arm=run.arm,
            number=round.number,
            sets=len(round.scored),
            train=train.f1 if train else None,
            held_out=held_out.f1 if held_out else None,
            students={name: answers.f1 for name, answers in pool(round.students).items()},
        )


def _trainings(round: LearnRoundRecord, curves: Curves) -> Iterator[TrainingRow]:
    by_request: dict[str, list[Training]] = {}
    for training in round.trainings:
        # Arms with the same pairs have one training; those without pairs have none.
        by_request.setdefault(training.request or training.label, []).append(training)
    for request, trainings in by_request.items():
        first, curve = trainings[0], curves.of(request)
        status = "training" if curve.steps else "waiting"
        if not first.request:
            status = "no pairs"
        elif first.weights or first.failed:
            status = "trained" if first.weights else "failed"
        left = (curve.steps - curve.step) * curve.step_s if curve.step_s is not None else None
        yield TrainingRow(
            round=round.number,
            arms=tuple(training.label for training in trainings),
            pairs=len(first.pairs),
            step=curve.step,
            steps=curve.steps or int(first.figures.get("steps", 0)),
            losses=curve.losses,
            margin=curve.figures.get("reward_margin"),
            accuracy=curve.figures.get("reward_accuracy"),
            left_s=left if status == "training" else None,
            status=status,
            step_s=curve.step_s,
        )


def _teachers(scenario: Scenario, rounds: tuple[LearnRoundRecord, ...], complete: bool) -> Iterator[TeacherRow]:
    for one in standings(scenario, rounds, complete=complete):
        if one.n or one.lbt is not None:
            yield TeacherRow(one.round, one.label, one.n, scenario.held_out, one.greedy, one.sampled, one.lbt)
