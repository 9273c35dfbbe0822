"""Linear layers laid out for the CPU compute the same as torch's own, up to the order of sums."""

from pathlib import Path

import pytest
import torch
import transformers

from agents.engines.local import loading, packing
from agents.engines.local.packing import Bfloat16Linear, Float16Linear
from agents.engines.weight_switching import LinearWithAdapters
from tests.agents.engines.local.test_engine import save

CPU = torch.device("cpu")
CPUINFO = Path("/proc/cpuinfo")
FLAGS = set(CPUINFO.read_text().split()) if CPUINFO.exists() else set()
"""Of this CPU."""
float16 = pytest.mark.skipif(not packing.packs_float16(), reason="torch has no such layers for this CPU")


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def layer(inputs: int = 96, outputs: int = 40, *, bias: bool = True) -> torch.nn.Linear:
    """Weights are rounded to bfloat16."""
    torch.manual_seed(inputs)
    made = torch.nn.Linear(inputs, outputs, bias=bias)
    made.weight.data = made.weight.data.bfloat16().float()
    return made


@pytest.mark.skipif("avx2" not in FLAGS, reason="needs a CPU with AVX2")
def test_cpus_with_avx2_hold_weights_in_float16() -> None:
    assert packing.packs_float16()


@pytest.mark.skipif(not FLAGS & {"avx512_bf16", "amx_bf16"}, reason="needs a CPU with bfloat16 instructions")
def test_cpus_with_bfloat16_lay_it_out() -> None:
    assert packing.packs_bfloat16()


def test_a_cpu_whose_product_is_wrong_holds_no_weights_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Float16Linear, "forward", lambda self, x: x + 1)
    assert not packing.packs_float16()


@float16
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("at_once", [7, 40, 100])
@torch.inference_mode()
def test_sums_are_those_of_the_layer(monkeypatch: pytest.MonkeyPatch, at_once: int, bias: bool) -> None:
    monkeypatch.setattr(packing, "PACKED_AT_ONCE", at_once)
    full = layer(bias=bias)
    packed = Float16Linear(full)
    for shape in ((1, 96), (3, 96), (2, 5, 96), (64, 96)):
        x = normal(*shape) * 30
        weight = full.weight.double()
        exact = torch.nn.functional.linear(x.double(), weight, full.bias.double() if bias else None)
        # A sum of n products, in any order, is off by at most n roundings of the sum of their sizes (n = 97 with bias).
        sizes = x.double().abs() @ weight.abs().T + 1
        lost = x.double().abs().sum(-1, keepdim=True) * packing.ROUNDING
        assert packed(x).shape == exact.shape
        assert ((packed(x) - exact).abs() <= 98 * 2.0**-24 * sizes + lost).all()


@pytest.mark.parametrize(
    ("weight", "fits"),
    [
        (normal(300, 1000).mul(0.02).bfloat16().float(), True),
        (normal(300, 1000).mul(1e-6).bfloat16().float(), True),
        (normal(30, 10).half().float(), True),
        (torch.tensor([[-65504.0, 65504.0]]), True),
        (torch.tensor([[-65536.0, 0.0]]), False),
        (torch.zeros(3, 5), True),
        (normal(30, 10) * 0.02, False),
        (torch.full((3, 5), 1e5), False),
        (torch.full((3, 5), float("inf")), False),
        (torch.full((3, 5), float("nan")), False),
    ],
)
def test_float16_fits_weights_of_16_bits_in_its_range(weight: torch.Tensor, fits: bool) -> None:
    assert packing.fits_float16(weight) == fits


def test_one_trained_weight_of_many_is_found() -> None:
    weight = layer(96, 40).weight.detach()
    assert packing.fits_float16(weight)
    weight[39, 95] += 1e-5
    assert not packing.fits_float16(weight)


def of_type(model: torch.nn.Module, kind: type) -> int:
    return sum(type(module) is kind for module in model.modules())


@float16
@pytest.mark.parametrize("tied", [True, False])
@torch.inference_mode()
def test_a_model_published_in_bfloat16_is_packed_and_predicts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tied: bool
) -> None:
    folder = save(tmp_path, "qwen2", tie_word_embeddings=tied)
    transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    caplog.set_level("INFO")
    _, packed = loading.load(folder, CPU, torch.float32)
    assert not of_type(packed, torch.nn.Linear) and of_type(packed, Float16Linear) == 15
    assert packed.dtype == torch.float32 and "weights of linear layers are held in float16" in caplog.text

    monkeypatch.setattr(packing, "packs_float16", lambda: False)
    _, full = loading.load(folder, CPU, torch.float32)
    assert of_type(full, torch.nn.Linear) == 15
    for one in (packed, full):
        one.set_attn_implementation("sdpa")
    tokens = torch.arange(20)[None]
    torch.testing.assert_close(packed(tokens).logits, full(tokens).logits, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_weights_trained_in_float32_stay_in_float32(tmp_path: Path) -> None:
    _, model = loading.load(save(tmp_path, "llama"), CPU, torch.float32)
    assert of_type(model, torch.nn.Linear) and not of_type(model, Float16Linear)


@torch.inference_mode()
def test_bfloat16_is_laid_out_where_the_cpu_can(tmp_path: Path) -> None:
    _, model = loading.load(save(tmp_path, "llama"), CPU, torch.bfloat16)
    assert bool(of_type(model, Bfloat16Linear)) == packing.packs_bfloat16()


@float16
@torch.inference_mode()
def test_adapters_are_added_to_packed_layers() -> None:
    adapted = LinearWithAdapters(packed := Float16Linear(layer()))
    down, up = normal(2, 96), normal(40, 2) * 1e-4
    adapted.add("w", down, up, CPU, torch.float32)
    adapted.use = "w"
    x = normal(5, 96)
    torch.testing.assert_close(adapted(x) - packed(x), x @ down.T @ up.T, rtol=1e-3, atol=1e-4)
