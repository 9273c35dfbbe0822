from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from agents.engines.base import EngineFailure
from agents.engines.vllm.weights import WorkerExtension, source
from tests.agents.engines.local.test_engine import save
from tests.agents.models import trained_weights as make


class Worker(WorkerExtension):
    """Keeps what it is to load."""

    def __init__(self, model: torch.nn.Module | None = None) -> None:
        self._model = model or torch.nn.Module()

    def reload_weights(self, weights_iterator: object) -> None:
        self.tensors = dict(weights_iterator)  # type: ignore[call-overload]

    def get_model(self) -> torch.nn.Module:
        return self._model


def test_workers_read_the_base_complete_weights_or_both_an_adapter_and_the_base(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama")
    adapter, added = make.adapter(base, tmp_path / "weights", 1)
    complete = make.complete(base, tmp_path / "weights", added)
    held = {}
    for weights in ("", adapter, complete):
        worker = Worker()
        worker.load_weights_from(*source(base, str(tmp_path / "weights"), weights))
        held[weights] = worker.tensors
    original = load_file(base / "model.safetensors")
    assert original.keys() == held[""].keys() == held[adapter].keys() == held[complete].keys()
    for name, tensor in original.items():
        assert torch.equal(held[""][name], tensor)
        torch.testing.assert_close(held[adapter][name], tensor + added.get(name, 0))
        torch.testing.assert_close(held[complete][name], held[adapter][name])


def test_what_an_adapter_adds_is_not_rounded_to_the_dtype_of_the_bases_file(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama")
    file = base / "model.safetensors"
    save_file({name: tensor.bfloat16() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    adapter, added = make.adapter(base, tmp_path / "weights", 1, size=1e-4)
    worker = Worker()
    worker.load_weights_from(*source(base, str(tmp_path / "weights"), adapter))
    for name, tensor in load_file(file).items():
        torch.testing.assert_close(worker.tensors[name].float(), tensor.float() + added.get(name, 0))


def test_what_does_not_fit_is_refused_before_a_worker_hears_of_it(tmp_path: Path) -> None:
    base, other = save(tmp_path / "base", "llama"), save(tmp_path / "other", "qwen2")
    digest = make.complete(other, tmp_path / "weights", {})
    with pytest.raises(EngineFailure, match="do not fit") as failure:
        source(base, str(tmp_path / "weights"), digest)
    assert failure.value.kind == "unsupported"


class Packed(torch.nn.Module):
    """A layer as vLLM has it on a CPU: what it computes with is a copy of its weight, in another layout."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        self.cpu_linear = weight.clone()
        self.quant_method = self

    def process_weights_after_loading(self, layer: "Packed") -> None:
        layer.cpu_linear = layer.weight.detach().clone()


def test_an_output_layer_that_shares_the_embeddings_weight_computes_with_the_new_one(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama")
    embedding = torch.zeros(2, 2)
    head, dropped = Packed(embedding), Packed(torch.empty(0))
    embedding += 1
    Worker(torch.nn.ModuleList([head, dropped])).load_weights_from(*source(base, "", ""))
    assert torch.equal(head.cpu_linear, torch.ones(2, 2))
