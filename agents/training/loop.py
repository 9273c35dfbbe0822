"""The steps of one training.

A training is a list of pairs in an order that the seed decides; a step is the next `batch` of them. To resume, it skips
the pairs of finished steps and restores parameters and optimizer.
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
"""Default learning rate of all weights (paper, M2)."""
ADAPTER_RATE = 2e-4
"""Default learning rate of an adapter. A tenfold rate has more effect on a small model, and ruins a larger one."""
PROBE = 32
"""Number of prompt tokens on which new weights are tried."""


def learning_rate(recipe: Recipe) -> float:
    """Return the learning rate of the first step; docs/performance.md has measurements."""
    return recipe.learning_rate or (ADAPTER_RATE if recipe.lora else FULL_RATE)


class TrainingLoop:
    """The steps of one training."""

    def __init__(self, recipe: Recipe, rows: Sequence[TokenPair], checkpoints: Checkpoints, work: Path) -> None:
        """`rows`: all rows in their order; `work`: folder of this training."""
        self._recipe, self._checkpoints, self._work = recipe, checkpoints, work
        self._asked = rows[0].prompt[:PROBE]
        self._resumed = checkpoints.newest() or Checkpoint(work, 0, 0.0)
        self._left = rows[self._resumed.step * trainers.pairs_of_a_step(recipe) :]
        steps = trainers.steps_of(recipe, len(rows))
        self.last = TrainingStep(step=self._resumed.step, steps=steps, seconds=self._resumed.seconds)
        """The last step of this process or an earlier one."""

    def run(
        self,
        model: Any,
        tokenizer: Any,
        device: torch.device,
        bf16: bool,
        tell: Callable[[TrainingEvent], None],
        loading_s: float = 0.0,
    ) -> Any:
        """Take all remaining steps and return the trained model.

        Args:
            model: the base model, or a peft model to train further; it is changed.
            tokenizer: its tokenizer.
            device: device of the training.
            bf16: compute in bfloat16.
            tell: called with each step, and once before the first.
            loading_s: time to load the model.

        Raises:
            TrainingFailed: the loss, or an output of the trained model, is not a number.
        """
        recipe, resumed, steps = self._recipe, self._resumed, self.last.steps
        trainer = trainers.make(model, tokenizer, self._left, recipe, self._work, device, bf16)
        parameters = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
        rate = learning_rate(recipe)
        optimizer = torch.optim.AdamW(
            parameters.values(),
            lr=rate,
            weight_decay=0.0,
            # The default on CUDA copies all parameters during a step.
            fused=device.type == "cuda",
        )
        if resumed.step:
            log.info("going on after step %d of %d", resumed.step, steps)
            self._checkpoints.restore(resumed, parameters, optimizer)
        trainer.optimizer = optimizer
        trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - (resumed.step + n) / steps)
        begun = time.monotonic()

        def stepped(figures: dict[str, float]) -> None:
            step = resumed.step + trainer.state.global_step
            self.last = TrainingStep(
                step=step,
                steps=steps,
                loss=figures["loss"],
                reward_margin=figures.get("rewards/margins", 0.0),
                reward_accuracy=figures.get("rewards/accuracies", 0.0),
                seconds=resumed.seconds + time.monotonic() - begun,
                peak_memory_mb=peak_memory_mb(device),
            )
            tell(self.last)
            if not math.isfinite(figures["loss"] + figures["grad_norm"]):
                raise TrainingFailed(
                    f"step {step}: the loss is {figures['loss']} and its gradient {figures['grad_norm']}: stopped, "
                    f"nothing is kept of it\nlower recipe.learning_rate (it is {rate:g})",
                    for_good=True,
                )
            # After the last step the weights are saved anyway.
            if step < steps and self._checkpoints.due():
                self._checkpoints.save(step, self.last.seconds, parameters, optimizer)

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Listener(stepped))
        tell(msgspec.structs.replace(self.last, loading_s=loading_s))
        trainer.train()
        if not self._computes_numbers(trainer.model, device, bf16):
            raise TrainingFailed(
                f"step {steps}: what the new weights compute is no number: nothing is kept of them\n"
                f"lower recipe.learning_rate (it is {rate:g})",
                for_good=True,
            )
        return trainer.model

    def _computes_numbers(self, model: Any, device: torch.device, bf16: bool) -> bool:
        """Whether the trained model computes numbers; the loss of the last step is from before its update."""
        asked = torch.tensor([self._asked], device=device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model.eval()(input_ids=asked, use_cache=False).logits
        return bool(logits.isfinite().all())


class _Listener(TrainerCallback):  # type: ignore[misc]
    """Reports the figures of each finished step."""

    def __init__(self, stepped: Callable[[dict[str, float]], None]) -> None:
        self._stepped = stepped

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """Report a step; the trainer's final figures over all steps have no loss."""
        if logs and "loss" in logs:
            self._stepped(logs)


def forget_peak_memory(device: torch.device) -> None:
    """Reset `peak_memory_mb` where possible, and free the memory that a GPU's allocator keeps."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif (peaks := Path("/proc/self/clear_refs")).exists():
        with contextlib.suppress(OSError):  # some sandboxes forbid it; then the peak includes earlier trainings
            peaks.write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory of the GPU, or else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would include the parent's memory from before the fork
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
