"""The level-2 part of the summary: the arms, teachers and comparisons of each round."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal

import msgspec

from scenarios.config.schema import Scenario
from scenarios.records.learn import MACHINE_DEPENDENT, Gaps, LearnRoundRecord, Measured, Training
from scenarios.report.learn_notes import merge_notes, notes
from scenarios.report.methods import Comparison, Method, compare
from scenarios.report.training_records import TrainingRecords
from scenarios.scoring.statistics import mean, wilson
from scenarios.scoring.teacher_metrics import (
    MEASURES,
    METHODS,
    ORIGINAL,
    Measure,
    Values,
    drift,
    how_well,
    named,
    over_seeds,
)

AGAINST = ("shuffled", "correctness_dpo", "m2_dense", "m2")
"""In the order in which teachers are compared with those before them."""


class LearnArmSummary(msgspec.Struct, frozen=True):
    """One arm of a round, with one training seed."""

    arm: str
    status: Literal["trained", "training", "failed", "no pairs"]
    pairs: int
    """It was trained on, or is to be."""
    available: int
    """By the rule, before all arms were cut to equally many."""
    gaps: Gaps
    mean_gap: float | None
    """Of the pairs it was trained on."""
    weights: str
    failed: str
    figures: dict[str, float]
    """At the end of the training: pairs (used), steps, seconds, loss, reward_margin ..."""
    curve: list[dict[str, float]]
    """The same by step."""
    seed: int = 0
    """Which of the arm's seeds, from 0."""


class SeedSummary(msgspec.Struct, frozen=True):
    """The figures of `TeacherSummary` for one training seed."""

    seed: int
    weights: str
    greedy: float | None
    sampled: float | None
    lbt: float | None
    drift: float | None


class TeacherSummary(msgspec.Struct, frozen=True):
    """One teacher, measured. Shares are null where nothing was measured.

    Of an arm with several training seeds every figure is the mean over them, and a problem counts once all of them
    are measured on it: the intervals are over problems; `by_seed` shows how much the mean depends on the seed.
    """

    teacher: str
    """original; before (the round's own, from round 2 on); or the arm's name among the methods."""
    weights: str
    """Of several seeds, the first's."""
    n: int
    """Held-out problems."""
    greedy: float | None
    ci95: tuple[float, float]
    """Wilson, of greedy."""
    sampled: float | None
    """pass@1: the mean over problems of the share of right samples."""
    answered: float | None
    """Share of the samples with a readable answer."""
    length: float | None
    """Mean length of the samples in tokens; those cut off count as long as they are."""
    lbt: float | None
    """LbT score of its new TRs on the TPs: mean over TPs of the mean over TRs; a TR without an answer scores 0, and one
    whose exams all failed does not count. The TRs of all the round's teachers are scored on the exams that all of them
    have."""
    lbt_problems: int
    drift: float | None
    """KL(this || original) in nats per token, on its own texts at temperature 1, one per held-out problem; an
    estimate, which may come out below 0."""
    drift_ci95: tuple[float, float] | None = None
    """Student's t, over problems; null for fewer than two."""
    by_seed: tuple[SeedSummary, ...] = ()
    """Empty where there is one seed."""


class LearnComparison(Comparison, frozen=True, kw_only=True):
    """Two teachers on the same problems."""

    measure: Measure
    by_seed: tuple[float, ...] = ()
    """The difference by training seed, where one of them, or both, were trained with several."""


class LearnRoundSummary(msgspec.Struct, frozen=True):
    """One round of level 2."""

    round: int
    finished: bool
    arms: list[LearnArmSummary]
    teachers: list[TeacherSummary]
    paired: list[LearnComparison]
    notes: list[str]
    """Sentences about the arms."""
    lbt_left_out: int = 0
    """Exam answers that no LbT score counts: the same exam (student, EP, repeat) failed under another TR of the TP, by
    whichever teacher."""


def summarize_rounds(
    scenario: Scenario,
    learnt: Sequence[LearnRoundRecord],
    records: TrainingRecords,
    *,
    complete: bool,
    merged: Mapping[str, str] | None = None,
) -> list[LearnRoundSummary]:
    """Every round that has begun.

    Args:
        scenario: the class.
        learnt: its rounds.
        records: curves and times of its trainings.
        complete: of a complete class every problem counts; else those on which all is there.
        merged: see `RunFacts.merged`; None: nothing was.
    """
    known: dict[str, Measured] = {}
    found = []
    for one in learnt:
        known |= {measured.weights: measured for measured in one.measured}
        told = [*notes(scenario, one), *merge_notes(one, merged or {})]
        found.append(_round(scenario, one, known, records, told, complete))
    return found


def methods(rounds: Sequence[LearnRoundSummary], learnt: Sequence[LearnRoundRecord]) -> dict[str, Method]:
    """original, correctness_dpo, m2, shuffled: greedy, on the held-out problems, in the last round that has them."""
    trained = {arm.arm for one in rounds for arm in one.arms}
    # Those of the paper and its control always have their names; what else was trained has its own.
    names = [ORIGINAL, *(name for arm, name in METHODS.items() if arm != "dense" or arm in trained)]
    found = {name: Method() for name in names}
    lengths = {
        measured.weights: sum(lesson.greedy.completion_tokens for lesson in measured.held_out if lesson.greedy)
        for one in learnt
        for measured in one.measured
    }
    for one in rounds:
        for row in one.teachers:
            if row.teacher in found and row.n:
                spent = [lengths.get(one.weights, 0) for one in row.by_seed] or [lengths.get(row.weights, 0)]
                tokens = round(sum(spent) / len(spent))
                found[row.teacher] = Method(row.greedy, row.ci95, row.n, tokens)
    return found


def comparisons(rounds: Sequence[LearnRoundSummary]) -> list[Comparison]:
    """The greedy answers of every two of these methods, in the last round that has them."""
    names = {ORIGINAL, *METHODS.values()}
    found = {(pair.a, pair.b): pair for one in rounds for pair in one.paired if pair.measure == "greedy"}
    return [
        Comparison(*(getattr(pair, field) for field in Comparison.__struct_fields__))
        for pair in found.values()
        if {pair.a, pair.b} <= names
    ]


def _round(
    scenario: Scenario,
    one: LearnRoundRecord,
    known: Mapping[str, Measured],
    records: TrainingRecords,
    told: list[str],
    complete: bool,
) -> LearnRoundSummary:
    teachers = named(one)
    values, left_out = how_well(scenario, one, known, complete=complete)
    return LearnRoundSummary(
        round=one.number,
        finished=one.finished,
        arms=[_arm(training, records) for training in one.trainings],
        teachers=[_teacher(name, of_seeds, known, values[name]) for name, of_seeds in teachers.items()],
        paired=list(_comparisons(values, scenario.seed)),
        notes=told,
        lbt_left_out=left_out,
    )


def _arm(training: Training, records: TrainingRecords) -> LearnArmSummary:
    ended: Literal["trained", "training"] = "trained" if training.weights else "training"
    curve = records.curves.get(training.request, [])
    figures = dict(training.figures)
    if figures:  # it is trained: what differs from one machine to the next is no part of its result
        figures |= {name: value for name, value in (curve[-1] if curve else {}).items() if name in MACHINE_DEPENDENT}
        figures |= {"seconds": seconds} if (seconds := records.seconds.get(training.request)) else {}
    return LearnArmSummary(
        arm=training.arm,
        status="no pairs" if not training.pairs else "failed" if training.failed else ended,
        pairs=len(training.pairs),
        available=training.available,
        gaps=training.gaps,
        mean_gap=mean([pair.gap for pair in training.pairs]),
        weights=training.weights,
        failed=training.failed,
        figures=figures,
        curve=curve,
        seed=training.seed,
    )


def _teacher(
    name: str, of_seeds: Mapping[int, str], known: Mapping[str, Measured], values: Mapping[int, Values]
) -> TeacherSummary:
    """One teacher, from the weights of its seeds and how well each of them did."""
    means = over_seeds(values)
    greedy = means["greedy"]
    measured = [known[weights] for weights in of_seeds.values() if weights in known]
    drifted, drift_ci95 = drift([text for one in measured for text in one.drift])
    samples = [tr for one in measured for lesson in one.held_out for tr in lesson.rationales if lesson.tp in greedy]
    return TeacherSummary(
        teacher=name,
        weights=next(iter(of_seeds.values())),
        n=len(greedy),
        greedy=mean(greedy.values()),
        ci95=wilson(sum(greedy.values()), len(greedy)),
        sampled=mean(means["sampled"].values()),
        answered=mean([float(tr.answer is not None) for tr in samples]),
        length=mean([float(tr.completion_tokens) for tr in samples]),
        lbt=mean(means["lbt"].values()),
        lbt_problems=len(means["lbt"]),
        drift=drifted,
        drift_ci95=drift_ci95,
        by_seed=tuple(_of_a_seed(seed, weights, known, values[seed]) for seed, weights in of_seeds.items())
        if len(of_seeds) > 1
        else (),
    )


def _of_a_seed(seed: int, weights: str, known: Mapping[str, Measured], values: Values) -> SeedSummary:
    return SeedSummary(
        seed=seed,
        weights=weights,
        greedy=mean(values["greedy"].values()),
        sampled=mean(values["sampled"].values()),
        lbt=mean(values["lbt"].values()),
        drift=drift(known[weights].drift if weights in known else ())[0],
    )


def _comparisons(values: Mapping[str, Mapping[int, Values]], seed: int) -> Iterator[LearnComparison]:
    """Every two teachers; of each pair the more trained one comes first."""
    names = sorted(values, key=lambda name: AGAINST.index(name) if name in AGAINST else -1)
    means = {name: over_seeds(values[name]) for name in names}
    for b, a in combinations(names, 2):
        for measure in MEASURES:
            one, other = means[a][measure], means[b][measure]
            if both := sorted(one.keys() & other.keys()):
                found = compare(a, b, [one[tp] for tp in both], [other[tp] for tp in both], seed)
                by_seed = _differences(values[a], values[b], measure, both)
                yield LearnComparison(*msgspec.structs.astuple(found), measure=measure, by_seed=by_seed)


def _differences(
    a: Mapping[int, Values], b: Mapping[int, Values], measure: Measure, both: Sequence[str]
) -> tuple[float, ...]:
    """By seed, the mean difference between two teachers; a teacher with one seed is compared with each of the other."""
    if len(a) == len(b) == 1:
        return ()
    seeds = sorted(a.keys() & b.keys() if min(len(a), len(b)) > 1 else max(a, b, key=len))

    def at(one: Mapping[int, Values], seed: int) -> float:
        values = (one[seed] if len(one) > 1 else next(iter(one.values())))[measure]
        return sum(values[tp] for tp in both) / len(both)

    return tuple(at(a, seed) - at(b, seed) for seed in seeds)
