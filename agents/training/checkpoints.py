"""Checkpoints, from which a training resumes: the trained parameters, AdamW's two moments of each, and the step.

A checkpoint is one safetensors file, written under another name and renamed when it is complete, so an incomplete one
is never used. The order of the pairs follows from the seed, so it is not saved; nothing else is random.
"""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

log = logging.getLogger("training")

PATIENCE = 50
"""Times as long as the last checkpoint took must pass before the next: they cost at most a fiftieth of the time."""
MOMENTS = ("exp_avg", "exp_avg_sq")

Parameters = Mapping[str, torch.nn.Parameter]


class Checkpoint(NamedTuple):
    """A checkpoint on the disk."""

    file: Path
    step: int
    """Number of finished steps."""
    seconds: float
    """Duration of these steps."""


class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    def __init__(self, folder: Path, key: str, every_s: float) -> None:
        """`key`: digest of all that decides the training; those of another training are ignored."""
        self._folder, self._key, self._every_s = folder, key, every_s
        self._written, self._took = time.monotonic(), 0.0

    def newest(self) -> Checkpoint | None:
        """The last checkpoint of this training that can be read."""
        for file in sorted(self._folder.glob("step-*.safetensors"), reverse=True):
            try:
                with safe_open(file, "pt") as opened:
                    metadata = opened.metadata() or {}
            except SafetensorError as error:
                log.warning("%s cannot be read and is passed over: %s", file, error)
                continue
            if metadata.get("key") == self._key:
                return Checkpoint(file, int(metadata["step"]), float(metadata["seconds"]))
            log.info("%s is of another training", file)
        return None

    def restore(self, checkpoint: Checkpoint, parameters: Parameters, optimizer: torch.optim.Optimizer) -> None:
        """Give parameters and optimizer the values of a checkpoint."""
        with safe_open(checkpoint.file, "pt") as tensors, torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors.get_tensor(f"value/{name}"))
                moments = {m: tensors.get_tensor(f"{m}/{name}").to(parameter.device) for m in MOMENTS}
                # A fused optimizer counts the steps on the device of the parameter.
                where = parameter.device if optimizer.defaults.get("fused") else "cpu"
                optimizer.state[parameter] = {"step": torch.tensor(float(checkpoint.step), device=where), **moments}

    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._written >= max(self._every_s, PATIENCE * self._took)

    def save(self, step: int, seconds: float, parameters: Parameters, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint, and delete the older ones.

        Raises:
            OSError, SafetensorError: it cannot be written; the older ones are unchanged.
        """
        begun = time.monotonic()
        tensors = {f"value/{name}": parameter.detach() for name, parameter in parameters.items()}
        for moment in MOMENTS:
            tensors |= {f"{moment}/{name}": optimizer.state[p][moment] for name, p in parameters.items()}
        file = self._folder / f"step-{step:08}.safetensors"
        partial = file.with_suffix(".partial")
        try:
            save_file(tensors, partial, {"key": self._key, "step": str(step), "seconds": repr(seconds)})
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        self.clear(keep=file)
        self._written = time.monotonic()
        self._took = self._written - begun

    def clear(self, keep: Path | None = None) -> None:
        """Delete all checkpoints but `keep`, complete or not."""
        for file in (*self._folder.glob("step-*.safetensors"), *self._folder.glob("step-*.partial")):
            if file != keep:
                file.unlink()
