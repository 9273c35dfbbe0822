"""Linear layers in int8: the kernel's integers are exact on every CPU, and the rest follows from the steps."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from agents.engines.base import EngineSettings, EngineStartError, Turn
from agents.engines.local import int8, loading
from agents.engines.local.engine import TransformersEngine
from agents.engines.weight_switching import LinearWithAdapters
from broker.work_messages import Sampling
from tests.agents.engines.local.test_engine import prompt, save, with_engine
from tests.agents.engines.rounding import SMOLLM2_LOGITS_STD

CPU = torch.device("cpu")
INT8 = {"quantization": "int8"}
STORY = """A farmer has 12 hens. Each hen lays 5 eggs a week. He sells the eggs in boxes of 6, at 3 dollars a box.
How many dollars does he earn in 4 weeks? In one week the hens lay 12 * 5 = 60 eggs. In 4 weeks they lay 60 * 4 = 240
eggs. That makes 240 / 6 = 40 boxes, so he earns 40 * 3 = 120 dollars. The answer is 120."""


def layer(inputs: int = 192, outputs: int = 40, *, bias: bool = True) -> torch.nn.Linear:
    torch.manual_seed(inputs)
    made = torch.nn.Linear(inputs, outputs, bias=bias)
    made.weight.data[:, 3] *= 8
    return made


def activations(inputs: int, rows: int = 5) -> torch.Tensor:
    """With one very large activation, as models have, and a token of zeros."""
    values = torch.randn(rows, inputs, generator=torch.Generator().manual_seed(1))
    values[:, 7] = 60
    values[2] = 0
    return values


@pytest.mark.parametrize("inputs", [6, 64, 96, 192, 577])
@torch.inference_mode()
def test_a_layer_is_off_by_no_more_than_half_a_step_of_each_weight_and_activation(inputs: int) -> None:
    full = layer(inputs)
    x = activations(max(inputs, 8))[:, :inputs]
    got, wanted = int8.Int8Linear(full)(x[None])[0].double(), full.double()(x.double())
    matrix = int8.rotation(inputs)
    weight, rows = int8.rotate(full.weight, matrix).double(), int8.rotate(x, matrix).double()
    weight_step = weight.abs().amax(1) / int8.WEIGHT_STEPS
    row_step = rows.abs().amax(1, keepdim=True) / int8.ACTIVATION_STEPS
    rounded = (weight / weight_step[:, None]).round().abs() * weight_step[:, None]
    bound = rows.abs().sum(1, keepdim=True) * weight_step / 2 + row_step / 2 * rounded.sum(1)
    assert ((got - wanted).abs() <= 1.001 * bound + 1e-5).all()
    assert (got - wanted).abs().max() > 1e-5  # it is not the full layer


@torch.inference_mode()
def test_the_kernel_finds_the_same_integers_as_exact_arithmetic() -> None:
    int8.check_kernel()
    draw = torch.Generator().manual_seed(0)
    weight = torch.randint(-63, 64, (130, 576), generator=draw).to(torch.int8)
    for rows in (1, 2, 16, 64):
        x = torch.randint(0, 256, (rows, 576), generator=draw).to(torch.uint8)
        found = int8.Multiplier(weight, torch.ones(130))(x)
        assert torch.equal(found.long(), (x.long() - int8.ZERO) @ weight.long().T)


def test_a_cpu_whose_kernel_overflows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Saturating(int8.Multiplier):
        def __call__(self, rows: torch.Tensor) -> torch.Tensor:
            return super().__call__(rows).clamp(max=100_000.0)

    monkeypatch.setattr(int8, "Multiplier", Saturating)
    with pytest.raises(EngineStartError, match="quantization: torch cannot multiply int8 on this CPU"):
        int8.check_kernel()


@torch.inference_mode()
def test_what_a_token_gives_does_not_depend_on_the_others() -> None:
    quantized, x = int8.Int8Linear(layer()), activations(192)
    together = quantized(x)
    alone = torch.cat([quantized(row[None]) for row in x])
    # The rotation alone is in float32: another order of summation may move a value to the next step of the token.
    step = int8.largest(int8.rotate(x, int8.rotation(192))) / int8.ACTIVATION_STEPS
    assert (
        (together - alone).abs() <= 1e-5 + step * int8.largest(int8.rotate(layer().weight, int8.rotation(192))).T
    ).all()
    assert torch.equal(together[2], layer().bias)


@torch.inference_mode()
def test_adapters_are_added_in_full() -> None:
    full = layer(bias=False)
    adapted = LinearWithAdapters(quantized := int8.Int8Linear(full))
    down, up = torch.randn(2, 192), torch.randn(40, 2) * 1e-4
    adapted.add("w", down, up, CPU, torch.float32)
    x = activations(192)
    adapted.use = "w"
    torch.testing.assert_close(adapted(x) - quantized(x), x @ down.T @ up.T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
@torch.inference_mode()
def test_every_linear_layer_is_in_int8_and_the_rest_in_the_dtype(
    tmp_path: Path, tied: bool, stored: torch.dtype
) -> None:
    folder = save(tmp_path, "qwen2", tie_word_embeddings=tied)
    transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=stored).save_pretrained(folder)
    _, model = loading.load(folder, CPU, torch.float32, int8=True)
    assert not [module for module in model.modules() if type(module) is torch.nn.Linear]
    assert isinstance(model.lm_head, int8.Int8Linear) and len(list(model.modules())) > 14
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.dtype == torch.float32


def test_an_engine_says_that_its_weights_are_in_int8(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = save(tmp_path, "llama")
    caplog.set_level("INFO")
    asked = prompt("hello", sampling=Sampling(temperature=0, max_tokens=4))
    text = with_engine(folder, lambda engine: engine.generate(asked), options=INT8, dtype="float32")
    assert text.usage.completion_tokens
    assert "in float32, linear layers in int8" in caplog.text and "weights of linear layers are in int8" in caplog.text


def test_weights_that_are_quantized_already_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tmp_path, "llama")
    read = loading.read_weights

    def quantized(*args: Any) -> Any:
        model = read(*args)
        model.config.quantization_config = {"quant_method": "gptq"}
        return model

    monkeypatch.setattr(loading, "read_weights", quantized)
    with pytest.raises(EngineStartError, match=r"quantized already \(gptq\): take quantization: int8 out"):
        loading.load(folder, CPU, torch.float32, int8=True)


def test_another_device_is_refused() -> None:
    with pytest.raises(EngineStartError, match="int8 is for CPUs, and this agent runs on cuda:0"):
        loading.load_model(Path("x"), torch.device("cuda:0"), torch.bfloat16, int8=True)


def test_another_way_is_refused() -> None:
    settings = EngineSettings(model="m", folder=None, capacity=1, threads=1, options={"quantization": "int4"})
    with pytest.raises(EngineStartError, match=r"engine_args\.quantization: "):
        TransformersEngine(settings)


@pytest.mark.models
@torch.inference_mode()
def test_smollm2_in_int8_predicts_nearly_what_it_predicts_in_float32(smollm2: Path) -> None:
    """The largest of a token's or channel's rotated values is about 4 times their root mean square.

    Rounding to steps errs by a step / sqrt(12), so each layer errs by `one_layer` of its output. What a layer of the
    model adds has passed two in sequence, and the last layer follows: the logits err by about sqrt(3) times as much of
    their spread, and later layers pass errors on about twice as large. The divergence is half the squared error.
    Without the rotation it is twice over the limit.
    """
    one_layer = math.hypot(4 / int8.WEIGHT_STEPS, 4 / int8.ACTIVATION_STEPS) / math.sqrt(12)
    off = 2 * math.sqrt(3) * one_layer * SMOLLM2_LOGITS_STD
    chat, full = loading.load(smollm2, CPU, torch.float32)
    tokens = torch.tensor([chat.encode([Turn("user", (__doc__ or "") + STORY)], "")])
    _, quantized = loading.load(smollm2, CPU, torch.float32, int8=True)
    for model in (full, quantized):
        model.set_attn_implementation("sdpa")
    wanted, got = (model(input_ids=tokens, use_cache=False).logits[0].log_softmax(-1) for model in (full, quantized))
    divergence = (wanted.exp() * (wanted - got)).sum(-1)
    assert 1e-4 < divergence.mean() < off**2 / 2
    best, second = wanted.topk(2).values.T
    sure = best - second > 4 * math.sqrt(2) * off
    assert sure.sum() >= 20
    assert torch.equal(got.argmax(-1)[sure], wanted.argmax(-1)[sure])
