"""The arms of level 3 at equal numbers of requests, and the paired comparisons of the class with them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from scenarios.records.confusion import Confusion
from scenarios.records.iterate import ArmRun, Iteration
from scenarios.scoring.equal_requests import best_within, common_requests
from scenarios.scoring.f1_difference import Answered, F1Difference, f1_difference
from scenarios.scoring.statistics import mean, mean_interval

START = "start"
"""The class with its first sets, as an arm."""
When = Literal["equal_requests", "end"]


class Mean(msgspec.Struct, frozen=True):
    """Over independent runs."""

    mean: float | None
    ci95: tuple[float, float] | None
    """Student's t, clipped to 0 and 1; null for fewer than two runs."""
    n: int

    @staticmethod
    def of(values: Sequence[float | None]) -> "Mean":
        """The mean of the known values."""
        known = [value for value in values if value is not None]
        interval = mean_interval(known)
        clipped = (max(0.0, interval[0]), min(1.0, interval[1])) if interval else None
        return Mean(mean(known), clipped, len(known))


class IterateArmSummary(msgspec.Struct, frozen=True):
    """The class or one of its baselines, at its end."""

    name: str
    """start, class, random, self or search."""
    teacher_f1_train: Mean
    teacher_f1_test: Mean
    sets: float
    """Scored sets, the mean over runs."""
    requests: float | None
    """Distinct requests that it needs, with those that it shares with others and without held-out exams; the mean over
    runs. Null for the start, which is part of the class."""


class ArmAtRequests(msgspec.Struct, frozen=True):
    """An arm with the best set that it had kept after a number of requests."""

    name: str
    teacher_f1_train: Mean
    teacher_f1_test: Mean
    requests: float
    """What that set took, the mean over runs: less than allowed where the next round would have taken more."""


class ArmComparison(F1Difference, frozen=True, kw_only=True):
    """Two arms on the same held-out items."""

    a: str
    b: str
    at: When
    """end: each arm at its end, with its own number of requests."""


class EqualRequests(msgspec.Struct, frozen=True):
    """All arms at the largest number of requests that every one of them reached."""

    requests: list[int]
    """By run; held-out exams do not count."""
    arms: list[ArmAtRequests]


class ArmProgress(msgspec.Struct, frozen=True):
    """One arm of one run at one time: its best set so far."""

    arm: str
    run: int
    """From 1."""
    round: int
    """Random sets have one round, and an entry for each set."""
    requests: int
    """That it took; held-out exams do not count."""
    teacher_f1_train: float | None
    teacher_f1_test: float | None
    """Null where the set was not examined on held-out items: most random sets."""


class _Best(msgspec.Struct, frozen=True):
    """An arm's best set at some time, in one run."""

    course: ArmRun
    key: str
    requests: int

    @property
    def train(self) -> float | None:
        return _f1(self.course.train, self.key)

    @property
    def held_out(self) -> float | None:
        return _f1(self.course.held_out, self.key)

    @property
    def answers(self) -> Answered:
        """The teacher's held-out answers with it."""
        if (own := self.course.held_out_own.get(self.key)) is None:
            return {}
        return dict.fromkeys(own.right, True) | dict.fromkeys(own.wrong, False)


def arm_summaries(iteration: Iteration) -> list[IterateArmSummary]:
    """The class at its start, then every arm at its end."""
    ends = _at_the_end(iteration)
    names = dict.fromkeys(course.arm for course in iteration.courses)
    own = [msgspec.structs.replace(one, rounds=one.rounds[:1]) for one in iteration.courses if one.arm == "class"]
    by_name = {START: own} | {name: [one for one in iteration.courses if one.arm == name] for name in names}
    return [
        IterateArmSummary(
            name,
            *_means(ends.get(name, {})),
            sets=sum(len({key for round in one.rounds for key in round.scored}) for one in courses)
            / max(len(courses), 1),
            requests=None if name == START else sum(one.requests for one in courses) / len(courses),
        )
        for name, courses in by_name.items()
    ]


def equal_requests(iteration: Iteration) -> EqualRequests | None:
    """The arms at equal numbers of requests; None where there is one arm, or no run in which all have a result."""
    common, arms = _at_equal_requests(iteration)
    if not common or len(arms) < 2:
        return None
    return EqualRequests(
        requests=[common[run] for run in sorted(common)],
        arms=[
            ArmAtRequests(name, *_means(by_run), mean([best.requests for best in by_run.values()]) or 0.0)
            for name, by_run in arms.items()
        ],
    )


def arm_comparisons(iteration: Iteration) -> list[ArmComparison]:
    """The class minus every other arm, at equal numbers of requests and at the end, and minus its own start."""
    _, equal = _at_equal_requests(iteration)
    ends = _at_the_end(iteration)
    wanted: list[tuple[When, Mapping[str, Mapping[int, _Best]]]] = [("equal_requests", equal), ("end", ends)]
    return [
        ArmComparison(*msgspec.structs.astuple(found), a="class", b=name, at=at)
        for at, arms in wanted
        for name, other in arms.items()
        if name != "class" and (found := _compare(arms.get("class", {}), other, iteration.positive))
    ]


def arm_progress(iteration: Iteration) -> list[ArmProgress]:
    """F1 of every arm by the number of requests, arm by arm and run by run."""
    return [
        ArmProgress(
            course.arm,
            course.run + 1,
            min(number, len(course.rounds) - 1),
            state.requests,
            _f1(course.train, state.key),
            _f1(course.held_out, state.key),
        )
        for course in iteration.courses
        for number, state in enumerate(course.progress)
    ]


def _compare(a: Mapping[int, _Best], b: Mapping[int, _Best], positive: frozenset[str]) -> F1Difference | None:
    return f1_difference([(a[run].answers, b[run].answers) for run in sorted(a.keys() & b.keys())], positive)


def _at_equal_requests(iteration: Iteration) -> tuple[dict[int, int], dict[str, dict[int, _Best]]]:
    """By run the common number of requests; by arm and run the best set that it had then."""
    common: dict[int, int] = {}
    arms: dict[str, dict[int, _Best]] = {}
    for run in sorted({course.run for course in iteration.courses}):
        courses = [course for course in iteration.courses if course.run == run]
        if not (requests := common_requests([course.progress for course in courses])):
            continue
        common[run] = requests
        for course in courses:
            if state := best_within(course.progress, requests):
                arms.setdefault(course.arm, {})[run] = _Best(course, state.key, state.requests)
    return common, arms


def _at_the_end(iteration: Iteration) -> dict[str, dict[int, _Best]]:
    """By arm and run the best set at the end; first, those of the class at its start."""
    arms: dict[str, dict[int, _Best]] = {START: {}}
    for course in iteration.courses:
        places = ((START, 0), ("class", -1)) if course.arm == "class" else ((course.arm, -1),)
        for name, place in places:
            if course.rounds and (best := course.rounds[place].selected[:1]):
                arms.setdefault(name, {})[course.run] = _Best(course, best[0], course.requests)
    return arms


def _means(by_run: Mapping[int, _Best]) -> tuple[Mean, Mean]:
    """F1 on training items and on held-out ones."""
    return Mean.of([best.train for best in by_run.values()]), Mean.of([best.held_out for best in by_run.values()])


def _f1(answers: Mapping[str, Confusion], key: str) -> float | None:
    """F1 with a set, by its key; None where it was not examined."""
    return answers[key].f1 if key in answers else None
