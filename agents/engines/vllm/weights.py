"""Other weights in a running vLLM, read from their files by its workers; adapters are merged on the way.

vLLM could keep adapters beside the base, too, but on a CPU every answer with one then takes several times as long, and
those of the base become slower as well (docs/engines.md). `Reloading` runs in the workers' processes; which weights are
next, and when, is agents/engines/vllm/engine.py.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.models import trained_weights
from agents.models.weights import weights_of

EXTENSION = f"{__name__}.Reloading"


class TensorSource(NamedTuple):
    """Where the tensors are."""

    files: tuple[str, ...]
    adapter: str = ""
    """File of an adapter to merge; empty: none."""
    scale: float = 0.0


def source(base: Path, run_weights: str, weights: str) -> TensorSource:
    """Of trained weights, or of the base model where none are named.

    Raises:
        EngineFailure: they are not for this model.
    """
    folder = Path(run_weights) / weights if weights else base
    adapter = trained_weights.adapter(folder, base) if weights else None
    read = base if adapter else folder
    files = tuple(str(read / name) for name in weights_of(read))
    return TensorSource(files, str(adapter.file), adapter.scale) if adapter else TensorSource(files)


class Reloading:
    """What a worker of vLLM can do besides."""

    def take_up_weights(self, files: Sequence[str], adapter: str, scale: float) -> None:
        """Compute with these weights from now on. Each worker keeps its own part of them."""
        from safetensors import safe_open

        # All are opened before any tensor is replaced: a file that is cut off is noticed here.
        opened = [safe_open(file, "pt") for file in files]
        added = safe_open(adapter, "pt") if adapter else None
        worker: Any = self
        worker.reload_weights(weights_iterator=_tensors(opened, added, scale))
        for module in worker.get_model().modules():
            # On a CPU layers compute with packed copies of their weights, and keep a weight that others need, too. An
            # output layer that shares its weight with the embedding is in no file: the reload leaves its copy behind.
            if hasattr(module, "cpu_linear") and module.weight.numel():
                module.quant_method.process_weights_after_loading(module)


def _tensors(opened: Sequence[Any], adapter: Any, scale: float) -> Iterator[tuple[str, Any]]:
    """Name and tensor of each weight. What is merged is float32: it is rounded once, to the dtype that computes."""
    added = set(adapter.keys()) if adapter else set()
    for file in opened:
        for name in file.keys():  # noqa: SIM118  (no mapping)
            tensor = file.get_tensor(name)
            module = f"base_model.model.{name.removesuffix('.weight')}"
            if f"{module}.lora_A.weight" in added:
                down, up = (adapter.get_tensor(f"{module}.lora_{part}.weight").float() for part in "AB")
                tensor = tensor.float() + scale * (up @ down)
            yield name, tensor
