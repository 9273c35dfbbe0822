"""What came of level 2, round by round, as it stands in summary.json: arms, teachers, comparisons. Pure.

How pairs are chosen is pairs.py, how sure a figure is statistics.py, how it is printed learning_tables.py.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal, get_args

import msgspec

from scenarios.gradebook.learnt import Likelihood, Measured, Round, Training
from scenarios.gradebook.lessons import Lesson
from scenarios.gradebook.pairs import Gaps
from scenarios.gradebook.scores import lbt_score
from scenarios.gradebook.statistics import paired, wilson
from scenarios.gradebook.summary import Comparison, Method
from scenarios.schema import ArmName, Scenario

ORIGINAL, BEFORE = "original", "before"
METHODS: dict[ArmName, str] = {
    "correctness": "correctness_dpo",
    "m2": "m2",
    "shuffled": "shuffled",
    "dense": "m2_dense",
}
"""What the summary calls an arm's teacher."""
AGAINST = ("shuffled", "correctness_dpo", "m2_dense", "m2")
"""In the order in which teachers are compared with those before them."""
Measure = Literal["greedy", "sampled", "lbt"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
SEEN = 0.01
"""Where fewer of a teacher's weights differ once they are rounded for its engine, most of the training is not seen."""
Curves = Mapping[str, list[dict[str, float]]]
"""By request of a training: what it told on its way."""


class ArmSummary(msgspec.Struct, frozen=True):
    """One arm of a round."""

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
    """As the training told them at its end: pairs (used), steps, seconds, loss, reward_margin ..."""
    curve: list[dict[str, float]]
    """The same on its way, by step."""


class TeacherSummary(msgspec.Struct, frozen=True):
    """One teacher, measured. Shares are null where nothing was measured."""

    teacher: str
    """original; before (the round's own, from round 2 on); or the arm's name among the methods."""
    weights: str
    n: int
    """Held-out problems."""
    greedy: float | None
    ci95: tuple[float, float]
    """Wilson, of greedy."""
    sampled: float | None
    """pass@1: the mean over problems of the share of right samples."""
    answered: float | None
    """Share of the samples in which there is an answer to find."""
    length: float | None
    """Mean length of the samples in tokens; those cut off count as long as they are."""
    lbt: float | None
    """LbT score of its new TRs on the TPs: mean over TPs of the mean over TRs; a TR without an answer scores 0."""
    lbt_problems: int
    drift: float | None
    """KL(this || original) in nats per token, on its own texts at temperature 1, one per held-out problem; an
    estimate, which may come out below 0."""


class LearnComparison(Comparison, frozen=True, kw_only=True):
    """Two teachers on the same problems."""

    measure: Measure


class RoundSummary(msgspec.Struct, frozen=True):
    """One round of level 2."""

    round: int
    finished: bool
    arms: list[ArmSummary]
    teachers: list[TeacherSummary]
    paired: list[LearnComparison]
    notes: list[str]
    """What the reader should know about the arms, a sentence each."""


def summarize_rounds(
    scenario: Scenario, learnt: Sequence[Round], curves: Curves, *, complete: bool
) -> list[RoundSummary]:
    """Every round that has begun.

    Args:
        scenario: the class.
        learnt: its rounds.
        curves: what trainings told on their way.
        complete: of a complete class every problem counts; else those on which all is there.
    """
    known: dict[str, Measured] = {}
    found = []
    for one in learnt:
        known |= {measured.weights: measured for measured in one.measured}
        found.append(_round(scenario, one, known, curves, complete))
    return found


class Standing(msgspec.Struct, frozen=True):
    """How a teacher does in one round so far: the figures of its `TeacherSummary` that need no statistics."""

    round: int
    teacher: str
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
        for name, weights in _named(one).items():
            values = [_values(scenario, one, known.get(weights), weights, kind, complete) for kind in MEASURES]
            found.append(Standing(one.number, name, len(values[0]), *(_mean(each.values()) for each in values)))
    return found


def methods(rounds: Sequence[RoundSummary], learnt: Sequence[Round]) -> dict[str, Method]:
    """original, correctness_dpo, m2, shuffled: greedy, on the held-out problems, in the last round that has them."""
    trained = {arm.arm for one in rounds for arm in one.arms}
    # Those of the paper and its control always have their names; what else was trained has its own.
    names = [ORIGINAL, *(name for arm, name in METHODS.items() if arm != "dense" or arm in trained)]
    found = {name: Method(None, wilson(0, 0), 0, 0, None, None) for name in names}
    lengths = {
        measured.weights: sum(lesson.greedy.completion_tokens for lesson in measured.held_out if lesson.greedy)
        for one in learnt
        for measured in one.measured
    }
    for one in rounds:
        for row in one.teachers:
            if row.teacher in found and row.n:
                found[row.teacher] = Method(row.greedy, row.ci95, row.n, lengths.get(row.weights, 0), None, None)
    return found


def comparisons(rounds: Sequence[RoundSummary]) -> list[Comparison]:
    """The greedy answers of every two of these methods, in the last round that has them."""
    names = {ORIGINAL, *METHODS.values()}
    found = {(pair.a, pair.b): pair for one in rounds for pair in one.paired if pair.measure == "greedy"}
    return [
        Comparison(p.a, p.b, p.difference, p.ci95, p.wins, p.losses, p.p_value, p.n)
        for p in found.values()
        if {p.a, p.b} <= names
    ]


def _round(
    scenario: Scenario, one: Round, known: Mapping[str, Measured], curves: Curves, complete: bool
) -> RoundSummary:
    named = _named(one)
    values = {
        name: {measure: _values(scenario, one, known.get(weights), weights, measure, complete) for measure in MEASURES}
        for name, weights in named.items()
    }
    return RoundSummary(
        round=one.number,
        finished=one.finished,
        arms=[_arm(training, curves) for training in one.trainings],
        teachers=[_teacher(name, named[name], known.get(named[name]), values[name]) for name in named],
        paired=list(_comparisons(values, scenario.seed)),
        notes=list(_notes(scenario, one)),
    )


def _named(one: Round) -> dict[str, str]:
    """The weights of a round's teachers, by what the summary calls them."""
    named = {ORIGINAL: ""} | ({BEFORE: one.weights} if one.weights else {})
    return named | {METHODS[training.arm]: training.weights for training in one.trainings if training.weights}


def _arm(training: Training, curves: Curves) -> ArmSummary:
    ended: Literal["trained", "training"] = "trained" if training.weights else "training"
    return ArmSummary(
        arm=training.arm,
        status="no pairs" if not training.pairs else "failed" if training.failed else ended,
        pairs=len(training.pairs),
        available=training.available,
        gaps=training.gaps,
        mean_gap=_mean([pair.gap for pair in training.pairs]),
        weights=training.weights,
        failed=training.failed,
        figures=training.figures,
        curve=curves.get(training.request, []),
    )


def _values(
    scenario: Scenario, one: Round, measured: Measured | None, weights: str, measure: Measure, complete: bool
) -> dict[str, float]:
    """By problem, how well a teacher did."""
    learn = scenario.learn
    if measure == "lbt":
        own = weights == one.weights
        lessons = one.lessons if own else measured.taught if measured else ()
        names = [student.name for student in scenario.students]
        exams = len(names) * scenario.exam.problems * scenario.exam.repeats
        rows = {}
        for lesson in lessons:
            # Of the round's teacher as many TRs as of the others, so that none has more to choose from.
            trs = [tr for tr in lesson.rationales if tr.repeat < learn.rationales]
            whole = len(trs) == learn.rationales and all(tr.answer is None or len(tr.exams) == exams for tr in trs)
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
            rows[lesson.tp] = _mean([float(tr.correct) for tr in lesson.rationales]) or 0.0
    return rows


def _teacher(
    name: str, weights: str, measured: Measured | None, values: Mapping[Measure, Mapping[str, float]]
) -> TeacherSummary:
    greedy = values["greedy"]
    counted: list[Lesson] = [lesson for lesson in (measured.held_out if measured else ()) if lesson.tp in greedy]
    samples = [tr for lesson in counted for tr in lesson.rationales]
    right = int(sum(greedy.values()))
    return TeacherSummary(
        teacher=name,
        weights=weights,
        n=len(greedy),
        greedy=_mean(greedy.values()),
        ci95=wilson(right, len(greedy)),
        sampled=_mean(values["sampled"].values()),
        answered=_mean([float(tr.answer is not None) for tr in samples]),
        length=_mean([float(tr.completion_tokens) for tr in samples]),
        lbt=_mean(values["lbt"].values()),
        lbt_problems=len(values["lbt"]),
        drift=_drift(measured.drift if measured else ()),
    )


def _drift(texts: Iterable[Likelihood]) -> float | None:
    known = [(one.tokens, one.own - one.original) for one in texts if one.own is not None and one.original is not None]
    tokens = sum(n for n, _ in known)
    return sum(n * difference for n, difference in known) / tokens if tokens else None


def _comparisons(values: Mapping[str, Mapping[Measure, Mapping[str, float]]], seed: int) -> Iterator[LearnComparison]:
    """Every two teachers, the one that has learnt more first."""
    names = sorted(values, key=lambda name: AGAINST.index(name) if name in AGAINST else -1)
    for b, a in combinations(names, 2):
        for measure in MEASURES:
            one, other = values[a][measure], values[b][measure]
            if both := sorted(one.keys() & other.keys()):
                found = paired([one[tp] for tp in both], [other[tp] for tp in both], seed)
                yield LearnComparison(
                    a,
                    b,
                    found.difference,
                    found.ci95,
                    found.wins,
                    found.losses,
                    found.p_value,
                    n=len(both),
                    measure=measure,
                )


def _notes(scenario: Scenario, one: Round) -> Iterator[str]:
    trainings, gap = one.trainings, scenario.learn.gap
    if not trainings:
        yield "Its pairs are not chosen yet: TRs or exams are still missing."
        return
    for empty in (training for training in trainings if not training.pairs):
        found = empty.gaps
        if found.largest is None:
            why = "no problem has two different rationales that were examined"
        else:
            why = f"of {found.pairs:,} pairs of rationales the largest gap is {found.largest:.2f}, not above {gap:g}"
        yield f"{empty.arm} has no preference pairs and is not trained: {why}."
    trained = [training for training in trainings if training.pairs]
    if any(len(training.pairs) < training.available for training in trained):
        had = ", ".join(f"{training.arm} {training.available:,}" for training in trained)
        yield f"Pairs by the rule: {had}. All were cut to {len(trained[0].pairs):,}, so that arms can be compared."
    for a, b in combinations(trained, 2):
        if a.request == b.request:
            yield f"{a.arm} and {b.arm} chose the same pairs: one training stands for both."
    for training in trained:
        if training.failed:
            yield f"The training of {training.arm} failed ({training.failed}): its teacher is not there to measure."
        used = training.figures.get("pairs", len(training.pairs))
        if used < len(training.pairs):
            left_out = len(training.pairs) - int(used)
            lost = f"{left_out:,} of {len(training.pairs):,} pairs were too long and left out"
            yield f"{training.arm}: {lost}, so other arms may have had more."
        if (changed := training.figures.get("changed", 1.0)) < SEEN:
            yield (
                f"{training.arm}: once rounded to what its engine computes in, {changed:.2%} of its weights differ "
                "from those before, which hides most of the training: raise learn.training.learning_rate, or set "
                "teacher.dtype to float32."
            )


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
