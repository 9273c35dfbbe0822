"""Training of a simulated teacher: preference pairs raise its ability.

The gain in logits is `LEARNING` x mean over the pairs of (hidden quality of the chosen answer - that of the rejected
answer) x n / (n + `HALF`) for n pairs. So pairs chosen at random gain nothing, pairs chosen by right answers gain
something, and pairs chosen by exam results gain more, since exams measure hidden quality. Each pair takes the time of
`PAIR_TOKENS` tokens. The rest of the recipe has no effect.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agents.engines.base import EngineFailure, EngineSettings
from agents.engines.simulated.engine import SimulatedEngine
from agents.engines.simulated.options import read_options
from agents.models import trained_weights
from agents.training import pairs
from agents.training.spec import (
    TrainingAborted,
    TrainingDone,
    TrainingEvent,
    TrainingFailed,
    TrainingSpec,
    TrainingStep,
)
from broker.errors import ModelError
from broker.protocol import digest

LEARNING = 0.5
"""Logits per unit of quality by which chosen answers exceed rejected ones."""
HALF = 32
"""Number of pairs that gains half of the possible gain."""
PAIR_TOKENS = 100


def train(
    spec: TrainingSpec, settings: EngineSettings, sleep: Callable[[float], None] = time.sleep
) -> Iterator[TrainingEvent]:
    """Yield the same events as a real training: steps, then the result."""
    try:
        yield from _steps(spec, settings, sleep)
    except (TrainingFailed, EngineFailure, ModelError, OSError) as error:
        yield TrainingAborted(failed=str(error), for_good=True)


def _steps(spec: TrainingSpec, settings: EngineSettings, sleep: Callable[[float], None]) -> Iterator[TrainingEvent]:
    engine, speed = SimulatedEngine(settings), read_options(settings.options).tokens_per_second
    chosen, _ = pairs.read(Path(spec.pairs), spec.pairs_digest)
    before = trained_weights.read_simulated(Path(spec.adapter)).gain if spec.adapter else 0.0
    # The digest, not the folder, so that the same training gives the same weights in every run.
    start = trained_weights.digest_of(Path(spec.adapter)) if spec.adapter else ""
    gaps = [engine.quality(p.prompt, p.chosen) - engine.quality(p.prompt, p.rejected) for p in chosen]
    batch = spec.recipe.batch
    steps = -(-len(gaps) // batch)
    begun, last = time.monotonic(), TrainingStep(step=0, steps=steps)
    for step in range(steps):
        part = gaps[step * batch : (step + 1) * batch]
        sleep(len(part) * PAIR_TOKENS / speed)
        last = TrainingStep(
            step=step + 1,
            steps=steps,
            loss=0.7 / (step + 1),
            reward_margin=sum(part) / len(part),
            reward_accuracy=sum(gap > 0 for gap in part) / len(part),
            seconds=time.monotonic() - begun,
        )
        yield last
    gain = LEARNING * sum(gaps) / len(gaps) * len(gaps) / (len(gaps) + HALF)
    weights = trained_weights.SimulatedWeights(
        gain=before + gain, base=spec.base, key=digest(start, spec.recipe, chosen)
    )
    name = trained_weights.save_simulated(weights, Path(spec.out))
    yield TrainingDone(
        trained=name,
        folder=str(Path(spec.out) / name),
        pairs=len(gaps),
        too_long=0,
        steps=steps,
        seconds=last.seconds,
        figures={"loss": last.loss, "reward_margin": last.reward_margin, "reward_accuracy": last.reward_accuracy},
    )
