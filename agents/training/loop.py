"""The steps of one training: from the model and its rows to the trained model, told step by step.

A training is a list of pairs in an order that the seed decides; a step is the next `batch` of them. So going on
after a death is to leave out those of the steps done, with parameters and optimizer as they were.
"""

import contextlib
import logging
import math
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from transformers import PrinterCallback, TrainerCallback

from agents.training import trainers
from agents.training.checkpoints import Checkpoint, Checkpoints
from agents.training.pairs import TokenPair
from agents.training.spec import TrainingEvent, TrainingFailed, TrainingStep
from broker.work_messages import Recipe

log = logging.getLogger("training")

FULL_RATE = 5e-7
"""The learning rate of all weights where the recipe names none (paper, M2)."""
ADAPTER_RATE = 2e-4
"""That of an adapter. A rate ten times as high shows more in a few steps of a small model, and ruins a larger one."""
PROBE = 32
"""Tokens of a prompt that new weights are tried on."""


def rate_of(recipe: Recipe) -> float:
    """The learning rate of the first step. What was measured of it stands in docs/training.md."""
    return recipe.learning_rate or (ADAPTER_RATE if recipe.lora else FULL_RATE)


class TrainingLoop:
    """One training's steps."""

    def __init__(self, recipe: Recipe, rows: Sequence[TokenPair], checkpoints: Checkpoints, work: Path) -> None:
        """`rows`: all, in their order; `work`: a folder of the training's own."""
        self._recipe, self._checkpoints, self._work = recipe, checkpoints, work
        self._asked = rows[0].prompt[:PROBE]
        self._held = checkpoints.newest() or Checkpoint(work, 0, 0.0)
        self._left = rows[self._held.step * trainers.pairs_of_a_step(recipe) :]
        steps = trainers.steps_of(recipe, len(rows))
        self.last = TrainingStep(step=self._held.step, steps=steps, seconds=self._held.seconds)
        """The last step taken, by this process or an earlier one."""

    def run(
        self,
        model: Any,
        tokenizer: Any,
        device: torch.device,
        fast: bool,
        tell: Callable[[TrainingEvent], None],
        loading_s: float = 0.0,
    ) -> Any:
        """Take all steps that are left; the trained model.

        Args:
            model: the base model, or a peft model to be trained further. It is changed.
            tokenizer: its own.
            device: where to train.
            fast: compute in bfloat16.
            tell: called with each step, and once before the first.
            loading_s: what it took to have the model here.

        Raises:
            TrainingFailed: the loss is not a number any more, or what came of the last step says nothing.
        """
        recipe, held, steps = self._recipe, self._held, self.last.steps
        trainer = trainers.make(model, tokenizer, self._left, recipe, self._work, device, fast)
        parameters = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
        rate = rate_of(recipe)
        optimizer = torch.optim.AdamW(parameters.values(), lr=rate, weight_decay=0.0)
        if held.step:
            log.info("going on after step %d of %d", held.step, steps)
            self._checkpoints.fill(held, parameters, optimizer)
        trainer.optimizer = optimizer
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - (held.step + n) / steps)
        begun = time.monotonic()

        def stepped(figures: dict[str, float]) -> None:
            step = held.step + trainer.state.global_step
            self.last = TrainingStep(
                step=step,
                steps=steps,
                loss=figures["loss"],
                reward_margin=figures.get("rewards/margins", 0.0),
                reward_accuracy=figures.get("rewards/accuracies", 0.0),
                seconds=held.seconds + time.monotonic() - begun,
                peak_memory_mb=peak_memory_mb(device),
            )
            tell(self.last)
            if not math.isfinite(figures["loss"] + figures["grad_norm"]):
                raise TrainingFailed(
                    f"step {step}: the loss is {figures['loss']} and its gradient {figures['grad_norm']}: stopped, "
                    f"nothing is kept of it\nlower recipe.learning_rate (it is {rate:g})",
                    for_good=True,
                )
            # The last step is followed by the weights themselves.
            if step < steps and self._checkpoints.due():
                self._checkpoints.save(step, self.last.seconds, parameters, optimizer)

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Listener(stepped))
        tell(msgspec.structs.replace(self.last, loading_s=loading_s))
        trainer.train()
        if not self._speaks(trainer.model, device, fast):
            raise TrainingFailed(
                f"step {steps}: what the new weights compute is no number: nothing is kept of them\n"
                f"lower recipe.learning_rate (it is {rate:g})",
                for_good=True,
            )
        return trainer.model

    def _speaks(self, model: Any, device: torch.device, fast: bool) -> bool:
        """Whether the trained model computes numbers: the loss of a step is of what was there before it."""
        asked = torch.tensor([self._asked], device=device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=fast):
            said = model.eval()(input_ids=asked, use_cache=False).logits
        return bool(said.isfinite().all())


class _Listener(TrainerCallback):  # type: ignore[misc]
    """Passes on the figures of each step, once the step is taken."""

    def __init__(self, stepped: Callable[[dict[str, float]], None]) -> None:
        self._stepped = stepped

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Called by the trainer; its closing figures, of all steps together, have no loss of a step."""
        if logs and "loss" in logs:
            self._stepped(logs)


def forget_peak_memory(device: torch.device) -> None:
    """Count `peak_memory_mb` from here on, where that can be done, and give back what a GPU's allocator keeps."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif (peaks := Path("/proc/self/clear_refs")).exists():
        with contextlib.suppress(OSError):  # some sandboxes forbid it; then it is that of all trainings so far
            peaks.write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """The most that was in use: of a GPU; else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the parent had before this program began
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
