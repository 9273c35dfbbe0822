"""How well the teachers of level 2 do: what was measured, as values by problem. Pure.

Which of it stands in the summary, and how sure it is, is learning.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, get_args

import msgspec

from scenarios.gradebook.learnt import ARM_LABELS, Likelihood, Measured, Round, numbered
from scenarios.gradebook.scores import lbt_score
from scenarios.gradebook.statistics import ratio_interval
from scenarios.schema import ArmName, Scenario

ORIGINAL, BEFORE = "original", "before"
METHODS: dict[ArmName, str] = {
    "correctness": "correctness_dpo",
    "m2": "m2",
    "shuffled": "shuffled",
    "dense": "m2_dense",
}
"""What the summary calls an arm's teacher."""
LABELS = {ORIGINAL: "original", BEFORE: "before"} | {METHODS[arm]: ARM_LABELS[arm] for arm in METHODS}
"""What people read of a teacher."""
Measure = Literal["greedy", "sampled", "lbt"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
Values = Mapping[Measure, Mapping[str, float]]
"""By measure and problem, how well a teacher did."""


class Standing(msgspec.Struct, frozen=True):
    """How a teacher does in one round so far: the figures of its `TeacherSummary` that need no statistics."""

    round: int
    label: str
    """As people read it, with the number of its seed from the second on."""
    n: int
    greedy: float | None
    sampled: float | None
    lbt: float | None


def standings(scenario: Scenario, learnt: Sequence[Round], *, complete: bool) -> list[Standing]:
    """Every round's teachers as `summarize_rounds` has them, for whoever looks often."""
    known: dict[str, Measured] = {}
    found = []
    for one in learnt:
        known |= {measured.weights: measured for measured in one.measured}
        for name, of_seeds in named(one).items():
            for seed, weights in of_seeds.items():
                values = [how_well(scenario, one, known.get(weights), weights, kind, complete) for kind in MEASURES]
                shares = (mean(each.values()) for each in values)
                found.append(Standing(one.number, numbered(LABELS[name], seed), len(values[0]), *shares))
    return found


def named(one: Round) -> dict[str, dict[int, str]]:
    """The weights of a round's teachers, by what the summary calls them and training seed."""
    named = {ORIGINAL: {0: ""}} | ({BEFORE: {0: one.weights}} if one.weights else {})
    for training in one.trainings:
        if training.weights:
            named.setdefault(METHODS[training.arm], {})[training.seed] = training.weights
    return named


def how_well(
    scenario: Scenario, one: Round, measured: Measured | None, weights: str, measure: Measure, complete: bool
) -> dict[str, float]:
    """By problem, how well a teacher did."""
    learn = scenario.learn
    if measure == "lbt":
        own = weights == one.weights
        lessons = one.lessons if own else measured.taught if measured else ()
        names = [student.name for student in scenario.students]
        exams = len(names) * scenario.exam.problems * scenario.exam.repeats
        written = min(learn.rationales, scenario.lesson.rationales) if own else learn.rationales
        rows = {}
        for lesson in lessons:
            # Of the round's teacher as many TRs as of the others, so that none has more to choose from. What nobody sat
            # an exam under, for all of them failed, says nothing.
            trs = [tr for tr in lesson.rationales if tr.repeat < written and (tr.answer is None or tr.exams)]
            whole = len(trs) == written and all(tr.answer is None or len(tr.exams) == exams for tr in trs)
            if trs and (whole or complete):
                scores = [lbt_score(tr, names, scenario.scoring.merge) if tr.answer is not None else 0 for tr in trs]
                rows[lesson.tp] = float(sum(scores) / len(scores))
        return rows
    rows = {}
    for lesson in measured.held_out if measured else ():
        if not complete and (lesson.greedy is None or len(lesson.rationales) < learn.samples):
            continue
        if measure == "greedy":
            rows[lesson.tp] = float(lesson.greedy is not None and lesson.greedy.correct)
        elif learn.samples:
            rows[lesson.tp] = mean([float(tr.correct) for tr in lesson.rationales]) or 0.0
    return rows


def over_seeds(values: Mapping[int, Values]) -> Values:
    """By measure and problem, the mean over seeds of a teacher's values; problems that all of them have."""
    found: dict[Measure, Mapping[str, float]] = {}
    for kind in MEASURES:
        of_seeds = [one[kind] for one in values.values()]
        shared = set.intersection(*(set(one) for one in of_seeds))
        found[kind] = {tp: sum(one[tp] for one in of_seeds) / len(of_seeds) for tp in of_seeds[0] if tp in shared}
    return found


def drift(texts: Iterable[Likelihood]) -> tuple[float | None, tuple[float, float] | None]:
    """KL(their writer || original) in nats per token, estimated on its own texts, and a 95 % interval over problems.

    The estimate is the mean log-ratio of the sampled tokens: right on average, and perhaps below 0.
    """
    by_tp: dict[str, tuple[float, int]] = {}
    for one in texts:
        if one.own is not None and one.original is not None and one.tokens:
            total, tokens = by_tp.get(one.tp, (0.0, 0))
            by_tp[one.tp] = (total + one.tokens * (one.own - one.original), tokens + one.tokens)
    if not by_tp:
        return None, None
    groups = [by_tp[tp] for tp in sorted(by_tp)]
    return sum(total for total, _ in groups) / sum(tokens for _, tokens in groups), ratio_interval(groups)


def mean(values: Iterable[float]) -> float | None:
    """None of nothing."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
