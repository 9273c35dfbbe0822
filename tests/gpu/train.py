"""Trainings through the training process: memory against the estimate, and going on after a kill."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.training import process
from agents.training.estimate import estimate
from agents.training.spec import TrainingAborted, TrainingDone, TrainingSpec, TrainingStep
from broker import child_process
from broker.work_messages import Recipe
from tests.agents.training.training_at_hand import line, spec, write
from tests.gpu import models
from tests.gpu.checks import Setting, check, info, phase, skip

LEAST, MOST = 0.4, 1.1
"""Bounds of the measured memory, as shares of the estimate."""


class Training(NamedTuple):
    """A training to measure."""

    name: str
    folder: Path
    parameters: int
    recipe: Recipe
    pairs: int
    tokens: int
    """Of each of the two answers."""


def run(setting: Setting) -> None:
    os.environ["LBT_DEVICE"] = setting.device
    shapes = models.size(setting, ("0.5B", "1.5B"), ("tiny",))
    pairs, tokens = models.size(setting, (8, 900), (4, 60))
    asked = []
    for shape in shapes:
        folder = setting.folder / shape
        parameters = models.save(folder, shape, setting.device)
        for lora in (True, False):
            name = f"{'adapter' if lora else 'all weights'} of {shape}"
            recipe = Recipe(batch=2, lora=lora, max_tokens=tokens + 400)
            asked.append(Training(name, folder, parameters, recipe, pairs, tokens))
    trained(setting, asked)
    if setting.cuda:
        goes_on(setting, asked[0])
    else:
        skip("a killed training goes on", "tests/agents/training kills it on the CPU")


def trained(setting: Setting, trainings: Sequence[Training]) -> None:
    """Run the trainings one after another in one process, as an agent does, and check what they take."""
    child = None
    for number, training in enumerate(trainings):
        told = _spec(setting, training, f"{number}-{training.parameters}")
        if child is None:
            child = process.start(told, setting.folder / "training.log")
        else:
            child_process.send(child, told)
        last = number + 1 == len(trainings)
        *_, end = process.events(child, keep=lambda last=last: not last)  # type: ignore[misc]
        if not isinstance(end, TrainingDone):
            check(training.name, False, note=end.failed if isinstance(end, TrainingAborted) else "no result")
            print((setting.folder / "training.log").read_text()[-4000:])
            child = None
            continue
        check(training.name, end.steps == -(-training.pairs // training.recipe.batch), end.steps, "steps", "all")
        info(f"{training.name}: seconds of all steps", end.seconds, "s")
        expected = estimate(
            training.parameters,
            training.recipe,
            training.pairs,
            2 * training.tokens,
            "bfloat16" if setting.cuda else "float32",
            "cuda" if setting.cuda else "cpu",
        )
        measured = end.figures["peak_memory_mb"] / 1000
        share = measured / expected.memory_gb
        note = f"{measured:.2f} GB, estimated {expected.memory_gb:.2f} GB"
        if setting.cuda:
            bound = f"{LEAST} to {MOST}"
            check(f"{training.name}: memory over the estimate", LEAST <= share <= MOST, share, "", bound, note)
        else:
            info(f"{training.name}: memory over the estimate", share, note=note)
        info(f"{training.name}: time over the estimate", end.seconds / expected.seconds)


def goes_on(setting: Setting, training: Training) -> None:
    """Kill a training after its second step, and check that another process goes on from there."""
    told = _spec(setting, training, "killed", seed=1, checkpoint_s=0.0)
    log = setting.folder / "training.log"
    child = process.start(told, log)
    for event in process.events(child):
        if isinstance(event, TrainingStep) and event.step >= 2:
            child.kill()
    events = list(process.events(process.start(told, log)))
    first, end = events[0], events[-1]
    from_step = first.step if isinstance(first, TrainingStep) else -1
    done = isinstance(end, TrainingDone) and end.steps == -(-training.pairs // training.recipe.batch)
    check(
        "a killed training goes on", done and from_step >= 1, from_step, "steps kept", "at least 1, and all in the end"
    )


def _spec(
    setting: Setting, training: Training, name: str, *, seed: int = 0, checkpoint_s: float = 60.0
) -> TrainingSpec:
    lines = [_line(number, training.tokens) for number in range(training.pairs)]
    recipe: dict[str, Any] = {each: getattr(training.recipe, each) for each in ("batch", "lora", "max_tokens")}
    return spec(
        setting.folder,
        training.folder,
        pairs=write(setting.folder / f"pairs-{name}.jsonl", lines),
        name=name,
        recipe=recipe | {"lora_rank": training.recipe.lora_rank, "seed": seed},
        dtype="bfloat16" if setting.cuda else "float32",
        checkpoint_s=checkpoint_s,
    )


def _line(number: int, tokens: int) -> dict[str, Any]:
    """A pair of answers of `tokens` letters, each of which is a token."""
    said = (f"{number} + 1 is not hard. " * tokens)[: tokens - 20]
    return line(number, chosen=f"{said}\nAnswer: {number + 1} !", rejected=f"{said}\nAnswer: {number + 1}")


if __name__ == "__main__":
    phase(run)
