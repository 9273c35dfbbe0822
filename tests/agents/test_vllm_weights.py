from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from agents.engines.base import EngineFailure
from agents.engines.vllm_weights import Reloading, source
from tests.agents import trained_weights as make
from tests.agents.test_transformers_engine import save


class Worker(Reloading):
    """Keeps what it is to load."""

    def reload_weights(self, weights_iterator: object) -> None:
        self.tensors = dict(weights_iterator)  # type: ignore[call-overload]


def test_workers_read_the_base_complete_weights_or_both_an_adapter_and_the_base(tmp_path: Path) -> None:
    base = save(tmp_path / "base", "llama")
    adapter, added = make.adapter(base, tmp_path / "weights", 1)
    complete = make.complete(base, tmp_path / "weights", added)
    held = {}
    for weights in ("", adapter, complete):
        worker = Worker()
        worker.take_up_weights(*source(base, str(tmp_path / "weights"), weights))
        held[weights] = worker.tensors
    original = load_file(base / "model.safetensors")
    assert original.keys() == held[""].keys() == held[adapter].keys() == held[complete].keys()
    for name, tensor in original.items():
        assert torch.equal(held[""][name], tensor)
        torch.testing.assert_close(held[adapter][name], tensor + added.get(name, 0))
        torch.testing.assert_close(held[complete][name], held[adapter][name])


def test_what_does_not_fit_is_refused_before_a_worker_hears_of_it(tmp_path: Path) -> None:
    base, other = save(tmp_path / "base", "llama"), save(tmp_path / "other", "qwen2")
    digest = make.complete(other, tmp_path / "weights", {})
    with pytest.raises(EngineFailure, match="do not fit") as failure:
        source(base, str(tmp_path / "weights"), digest)
    assert failure.value.kind == "unsupported"
