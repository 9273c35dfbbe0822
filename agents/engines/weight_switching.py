"""A loaded model that can switch between its base weights, adapters, and complete trained weights.

Adapters stay beside the base model after their first use. They are not merged: in bfloat16 merging would round small
changes away, and switching between adapters costs nothing. Complete weights replace the base.
agents/engines/weight_scheduler.py decides when to switch.
"""

import gc
import logging
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from agents.engines.base import EngineDead, EngineFailure, first_line
from agents.engines.local.loading import load_model
from agents.models import trained_weights

log = logging.getLogger(__name__)


class SwitchableModel:
    """A model on the device.

    Args:
        model: the base model, from `load_model`.
        base: its folder.
        run_weights: the run's folder of weights; empty: there is none.
        int8: whether its linear layers are in int8. Complete weights become so, too; adapters stay in the dtype.
    """

    def __init__(self, model: Any, base: Path, run_weights: str, *, int8: bool = False) -> None:
        self._model, self._int8 = model, int8
        self._device, self._dtype = model.device, model.dtype
        self._base = base
        self._run_weights = Path(run_weights)
        self._complete = ""
        """Digest of the complete weights that are loaded; empty: the base."""
        self._adapted: dict[str, LinearWithAdapters] = {}
        """Modules of the base model with adapters, by name."""
        self._beside: set[str] = set()

    def use(self, weights: str) -> Any:
        """Switch to these weights (empty: the base) and return the model. Nothing else may hold the model meanwhile.

        Raises:
            EngineFailure: there are no such weights, or they do not fit the model.
            EngineDead: the base cannot be loaded again.
        """
        begun = time.monotonic()
        folder = self._run_weights / weights
        adapter = trained_weights.read_adapter(folder, self._base) if weights else None
        complete = weights if weights and not adapter else ""
        if complete != self._complete or self._model is None:
            self._load(complete, folder if complete else self._base)
        if adapter and weights not in self._beside:
            self._add(weights, adapter)
        for module in self._adapted.values():
            module.use = weights
        log.info("computes with the weights %s; it took %.2f s", weights[:12] or "base", time.monotonic() - begun)
        return self._model

    def _load(self, complete: str, folder: Path) -> None:
        # Free the old model's memory before the new one is loaded.
        self._model = None
        self._adapted.clear()
        self._beside.clear()
        gc.collect()
        try:
            self._model = load_model(folder, self._device, self._dtype, int8=self._int8)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            if complete:
                raise EngineFailure("engine", f"the weights {complete[:12]} cannot be loaded: {reason}") from error
            raise EngineDead(f"the base weights cannot be loaded again: {reason}") from error
        self._complete = complete

    def _add(self, weights: str, adapter: trained_weights.Adapter) -> None:
        tensors = load_file(adapter.file)
        for name in adapter.modules:
            down, up = (tensors[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
            if name not in self._adapted:
                self._adapted[name] = LinearWithAdapters(self._model.get_submodule(name))
                self._model.set_submodule(name, self._adapted[name])
            self._adapted[name].add(weights, down, up * adapter.scale, self._device, self._dtype)
        self._beside.add(weights)


class LinearWithAdapters(torch.nn.Module):
    """A linear layer with LoRA adapters, of which at most one is in use."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self._layer = layer
        self._deltas: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.use = ""

    def add(self, weights: str, down: torch.Tensor, up: torch.Tensor, device: torch.device, dtype: torch.dtype) -> None:
        """Add an adapter: `down` [rank, in], `up` [out, rank]."""
        self._deltas[weights] = (down.T.to(device, dtype), up.T.to(device, dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer's output."""
        out: torch.Tensor = self._layer(x)
        if delta := self._deltas.get(self.use):
            down, up = delta
            out = out + (x @ down) @ up
        return out
