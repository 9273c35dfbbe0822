"""How a simulated teacher learns: its ability gains by what its preference pairs are worth.

The gain in logits is `LEARNING` x the mean over the pairs of (hidden quality of the chosen answer - that of the
rejected one) x n / (n + `HALF`) for n pairs. So pairs in whose choice nothing but chance had a hand gain nothing, pairs
chosen by right answers gain something, and those chosen by what students learned from them gain more, since hidden
quality is what exams measure. Each pair takes `PAIR_TOKENS` tokens' time. The method and the rest of the recipe change
nothing.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agents.engines.base import EngineFailure, Settings
from agents.engines.simulated.engine import SimulatedEngine
from agents.engines.simulated.options import read_options
from agents.models import trained_weights
from agents.training import pairs
from agents.training.spec import Done, Refused, TrainingEvent, TrainingFailed, TrainingSpec, TrainingStep
from broker.errors import ModelError
from broker.protocol import digest

LEARNING = 0.5
"""Logits per unit of quality that the chosen answers are ahead."""
HALF = 32
"""Pairs at which half of what could be gained is gained."""
PAIR_TOKENS = 100


def train(
    told: TrainingSpec, settings: Settings, sleep: Callable[[float], None] = time.sleep
) -> Iterator[TrainingEvent]:
    """Train, and say so as a real training does (agents/training/process.py): steps first, then how it ended."""
    try:
        yield from _steps(told, settings, sleep)
    except (TrainingFailed, EngineFailure, ModelError, OSError) as error:
        yield Refused(failed=str(error), for_good=True)


def _steps(told: TrainingSpec, settings: Settings, sleep: Callable[[float], None]) -> Iterator[TrainingEvent]:
    engine, speed = SimulatedEngine(settings), read_options(settings.options).tokens_per_second
    chosen, _ = pairs.read(Path(told.pairs), told.pairs_digest)
    if not chosen:
        raise TrainingFailed("no pair to train on: the file of preference pairs is empty")
    before = trained_weights.simulated(Path(told.adapter)).gain if told.adapter else 0.0
    # Its digest, and not the run's folder: the same training has the same weights wherever it runs.
    start = trained_weights.digest_of(Path(told.adapter)) if told.adapter else ""
    gaps = [engine.quality(p.prompt, p.chosen) - engine.quality(p.prompt, p.rejected) for p in chosen]
    batch = told.recipe.batch
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
    weights = trained_weights.Simulated(gain=before + gain, base=told.base, key=digest(start, told.recipe, chosen))
    name = trained_weights.keep(weights, Path(told.out))
    yield Done(
        trained=name,
        folder=str(Path(told.out) / name),
        pairs=len(gaps),
        too_long=0,
        steps=steps,
        seconds=last.seconds,
        figures={"loss": last.loss, "reward_margin": last.reward_margin, "reward_accuracy": last.reward_accuracy},
    )
