"""How well the teachers of level 2 do: their measured values by problem. report/learn.py has the statistics."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Literal, get_args

import msgspec

from scenarios.config.schema import ArmName, Scenario
from scenarios.records.learn import ARM_LABELS, LearnRoundRecord, Likelihood, Measured, numbered
from scenarios.records.observe import Rationale
from scenarios.scoring.lbt import exact_mean, exam_marks, mean_marks, on_common_slots
from scenarios.scoring.statistics import mean, ratio_interval

ORIGINAL, BEFORE = "original", "before"
METHODS: dict[ArmName, str] = {
    "correctness": "correctness_dpo",
    "m2": "m2",
    "shuffled": "shuffled",
    "dense": "m2_dense",
}
"""The name of an arm's teacher in the summary."""
LABELS = {ORIGINAL: "original", BEFORE: "before"} | {METHODS[arm]: ARM_LABELS[arm] for arm in METHODS}
"""The name of a teacher in reports."""
Measure = Literal["greedy", "sampled", "lbt"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
Values = Mapping[Measure, Mapping[str, float]]
"""How well a teacher did, by measure and problem."""


class Standing(msgspec.Struct, frozen=True):
    """How a teacher does in one round so far: the figures of its `TeacherSummary` without intervals."""

    round: int
    label: str
    """Its name in reports, with the number of its seed from the second on."""
    n: int
    greedy: float | None
    sampled: float | None
    lbt: float | None


def standings(scenario: Scenario, learnt: Sequence[LearnRoundRecord], *, complete: bool) -> list[Standing]:
    """The teachers of every round, as in `summarize_rounds`, for a monitor that looks often."""
    known: dict[str, Measured] = {}
    found = []
    for one in learnt:
        known |= {measured.weights: measured for measured in one.measured}
        teachers, _ = how_well(scenario, one, known, complete=complete)
        for name, of_seeds in teachers.items():
            for seed, values in of_seeds.items():
                shares = (mean(values[kind].values()) for kind in MEASURES)
                found.append(Standing(one.number, numbered(LABELS[name], seed), len(values["greedy"]), *shares))
    return found


def named(one: LearnRoundRecord) -> dict[str, dict[int, str]]:
    """The weights of a round's teachers, by their name in the summary and training seed."""
    named = {ORIGINAL: {0: ""}} | ({BEFORE: {0: one.weights}} if one.weights else {})
    for training in one.trainings:
        if training.weights:
            named.setdefault(METHODS[training.arm], {})[training.seed] = training.weights
    return named


def how_well(
    scenario: Scenario, one: LearnRoundRecord, known: Mapping[str, Measured], *, complete: bool
) -> tuple[dict[str, dict[int, Values]], int]:
    """The values of a round's teachers by name and seed, and the number of EAs that their LbT scores leave out."""
    teachers = named(one)
    everybody = {weights for of_seeds in teachers.values() for weights in of_seeds.values()}
    taught = {weights: _taught(scenario, one, known.get(weights), weights, complete) for weights in everybody}
    lbt, left_out = _on_common_slots(scenario, taught)
    values: dict[str, dict[int, Values]] = {}
    for name, of_seeds in teachers.items():
        values[name] = {
            seed: _held_out(scenario, known.get(weights), complete) | {"lbt": lbt[weights]}
            for seed, weights in of_seeds.items()
        }
    return values, left_out


def _held_out(scenario: Scenario, measured: Measured | None, complete: bool) -> dict[Measure, Mapping[str, float]]:
    """The accuracy of its greedy answers and of its samples."""
    samples = scenario.learn.samples
    lessons = [
        lesson
        for lesson in (measured.held_out if measured else ())
        if complete or (lesson.greedy is not None and len(lesson.rationales) >= samples)
    ]
    return {
        "greedy": {one.tp: float(one.greedy is not None and one.greedy.correct) for one in lessons},
        "sampled": {one.tp: mean([float(tr.correct) for tr in one.rationales]) or 0.0 for one in lessons if samples},
    }


def _taught(
    scenario: Scenario, one: LearnRoundRecord, measured: Measured | None, weights: str, complete: bool
) -> dict[str, list[Rationale]]:
    """By TP, the TRs whose LbT scores measure a teacher."""
    learn, own = scenario.learn, weights == one.weights
    lessons = one.lessons if own else measured.taught if measured else ()
    exams = len(scenario.students) * scenario.exam.problems * scenario.exam.repeats
    # Of the round's teacher as many TRs as of the others, so that none has more to choose from.
    written = min(learn.rationales, scenario.lesson.rationales) if own else learn.rationales
    rows = {}
    for lesson in lessons:
        # A TR whose exams all failed says nothing.
        trs = [tr for tr in lesson.rationales if tr.repeat < written and (tr.answer is None or tr.exams)]
        whole = len(trs) == written and all(tr.answer is None or len(tr.exams) == exams for tr in trs)
        if trs and (whole or complete):
            rows[lesson.tp] = trs
    return rows


def _on_common_slots(
    scenario: Scenario, taught: Mapping[str, Mapping[str, Sequence[Rationale]]]
) -> tuple[dict[str, dict[str, float]], int]:
    """By weights and TP the mean LbT score, on the EAs that the TRs of all teachers have; and the number of other EAs.

    A TR without an answer scores 0. A TP on which the TRs have no EA in common counts for no teacher.
    """
    names = [student.name for student in scenario.students]
    means: dict[str, dict[str, float]] = {weights: {} for weights in taught}
    left_out = 0
    for tp in sorted({tp for by_tp in taught.values() for tp in by_tp}):
        marks = {
            (weights, tr.repeat): exam_marks(tr)
            for weights, by_tp in taught.items()
            for tr in by_tp.get(tp, ())
            if tr.answer is not None
        }
        compared = on_common_slots(marks, names)
        left_out += sum(map(len, marks.values())) - sum(map(len, compared.values()))
        scores = mean_marks(marks, names, scenario.scoring.merge, exact_mean)
        if marks and not scores:
            continue
        for weights, by_tp in taught.items():
            if trs := by_tp.get(tp):
                of_trs = [scores.get((weights, tr.repeat), Fraction(0)) for tr in trs]
                means[weights][tp] = float(exact_mean(of_trs))
    return means, left_out


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
