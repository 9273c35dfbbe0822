"""Notes on the arms of a round of level 2, a sentence each."""

from collections.abc import Iterator, Mapping
from itertools import combinations

from scenarios.config.schema import Scenario
from scenarios.records.learn import ARM_LABELS, LearnRoundRecord
from scenarios.report.formatting import many, percent

SEEN = 0.01
"""If a smaller share of a teacher's weights differs once they are rounded for its engine, most training is lost."""


def notes(scenario: Scenario, one: LearnRoundRecord) -> Iterator[str]:
    """Why arms have no teacher, or fewer pairs than there were, and what their figures mean."""
    learn, trainings, gap = scenario.learn, one.trainings, scenario.learn.gap
    if not trainings:
        yield "Its pairs are not chosen yet: TRs, exams, or answers of the original teacher are still missing."
        return
    # The gaps of an arm are the same with every seed: a shuffle exchanges scores within a problem.
    for empty in (training for training in trainings if not (training.pairs or training.seed)):
        found = empty.gaps
        if found.largest is None:
            why = "no problem has two different rationales that were examined"
        else:
            pairs = many(found.pairs, "pair")
            why = f"of {pairs} of rationales the largest gap is {found.largest:.2f}, not above {gap:g}"
        yield f"{empty.label} has no preference pairs and is not trained: {why}."
    trained = [training for training in trainings if training.pairs]
    if learn.seeds > 1 and trained:
        yield (
            f"Every arm is trained {learn.seeds} times, with other seeds; its figures are means over the teachers that "
            "came of it. The intervals say how sure a mean is over problems, and nothing of other seeds."
        )
    if learn.seeds == 1 and trained:
        yield (
            "Every arm is trained once: intervals and p-values say how sure a figure is over problems, and nothing of "
            "the chance in a training. With learn.seeds: 3 each arm is trained three times."
        )
    if any(len(training.pairs) < training.available for training in trained):
        had: dict[str, list[int]] = {}
        for training in trained:
            had.setdefault(ARM_LABELS[training.arm], []).append(training.available)
        counted = ", ".join(f"{arm} {' and '.join(f'{n:,}' for n in dict.fromkeys(of))}" for arm, of in had.items())
        yield f"Pairs by the rule: {counted}. All were cut to {len(trained[0].pairs):,}, so that arms can be compared."
    for a, b in combinations(trained, 2):
        if a.request == b.request:
            yield f"{a.label} and {b.label} chose the same pairs: one training stands for both."
    for training in trained:
        if training.failed:
            yield f"The training of {training.label} failed ({training.failed}): its teacher is not there to measure."
        used = training.figures.get("pairs", len(training.pairs))
        if used < len(training.pairs):
            left_out = len(training.pairs) - int(used)
            were = "was" if left_out == 1 else "were"
            lost = f"{left_out:,} of {many(len(training.pairs), 'pair')} {were} too long and left out"
            yield f"{training.label}: {lost}, so other arms may have had more."
        if (changed := training.figures.get("changed", 1.0)) < SEEN:
            yield (
                f"{training.label}: once rounded to what its engine computes in, {percent(changed, 2)} of its weights "
                "differ from those before, which hides most of the training: raise learn.training.learning_rate, or "
                "set teacher.dtype to float32."
            )
    if one.finished and one.number < learn.rounds and not any(t.weights for t in trainings if t.arm == learn.lead):
        again = _rounds(one.number + 1, learn.rounds)
        yield f"{ARM_LABELS[learn.lead]} made no new teacher, so {again} would be the same again."


def merge_notes(one: LearnRoundRecord, merged: Mapping[str, str]) -> Iterator[str]:
    """Which trained teachers answered with merged adapters; `merged`: see `RunFacts.merged`."""
    for training in one.trainings:
        if training.weights and (dtype := merged.get(training.weights)):
            yield (
                f"{training.label}: vLLM merged its adapter into {dtype} weights, which rounds small trainings away: "
                "set teacher.dtype to float32, or teacher.engine to transformers."
            )


def _rounds(first: int, last: int) -> str:
    return f"round {first}" if first == last else f"rounds {first} to {last}"
