"""Switch the weights of a running vLLM: its workers read the files and merge adapters.

In bfloat16 and float16 merging would round small trainings away, so there vLLM keeps adapters beside the base where it
can. In float32 merged adapters are exact and faster. `WorkerExtension` runs in the processes of the workers.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from agents.models import trained_weights
from agents.models.weights import weights_of
from agents.placement.memory import MB

EXTENSION = f"{__name__}.WorkerExtension"


class TensorSource(NamedTuple):
    """Files with the tensors of a model."""

    files: tuple[str, ...]
    adapter: str = ""
    """File of an adapter to merge; empty: there is none."""
    scale: float = 0.0


def adaptable(base: Path) -> list[str]:
    """Return the last names of the modules that adapters may change beside the base: those of the layers.

    With adapters of the output layer vLLM cannot compute log-probabilities of a prompt: its core dies.
    """
    shapes = trained_weights.tensor_shapes(base)
    weights = [name for name in shapes if len(shapes[name]) == 2 and re.search(r"\.\d+\..*\.weight$", name)]
    return sorted({name.split(".")[-2] for name in weights})


def source(base: Path, run_weights: str, weights: str) -> TensorSource:
    """Return the files of trained weights, or of the base model if `weights` is empty.

    Raises:
        EngineFailure: the weights do not fit this model.
    """
    folder = Path(run_weights) / weights if weights else base
    adapter = trained_weights.read_adapter(folder, base) if weights else None
    read = base if adapter else folder
    files = tuple(str(read / name) for name in weights_of(read))
    return TensorSource(files, str(adapter.file), adapter.scale) if adapter else TensorSource(files)


class WorkerExtension:
    """Extension of vLLM's workers."""

    def free_mb(self) -> float:
        """Return the free memory of the worker's GPU."""
        import torch

        return torch.cuda.mem_get_info()[0] / MB

    def load_weights_from(self, files: Sequence[str], adapter: str, scale: float) -> None:
        """Load these weights. Each worker keeps its own part of them."""
        from safetensors import safe_open

        # Open all files before replacing any tensor, so that a truncated file is noticed in time.
        opened = [safe_open(file, "pt") for file in files]
        added = safe_open(adapter, "pt") if adapter else None
        worker: Any = self
        worker.reload_weights(weights_iterator=_tensors(opened, added, scale))
        for module in worker.get_model().modules():
            # On a CPU layers compute with packed copies of their weights. An output layer that shares its weight with
            # the embedding is in no file, so the reload does not update its copy.
            if hasattr(module, "cpu_linear") and module.weight.numel():
                module.quant_method.process_weights_after_loading(module)


def _tensors(opened: Sequence[Any], adapter: Any, scale: float) -> Iterator[tuple[str, Any]]:
    """Yield name and tensor of each weight. A merged tensor is float32, so vLLM rounds it once."""
    added = set(adapter.keys()) if adapter else set()
    for file in opened:
        for name in file.keys():  # noqa: SIM118  (no mapping)
            tensor = file.get_tensor(name)
            module = f"base_model.model.{name.removesuffix('.weight')}"
            if f"{module}.lora_A.weight" in added:
                down, up = (adapter.get_tensor(f"{module}.lora_{part}.weight").float() for part in "AB")
                tensor = tensor.float() + scale * (up @ down)
            yield name, tensor
