"""Linear layers in int8, for CPUs without bfloat16 instructions, where models compute in float32.

Weights are rounded to steps of their output channel, activations to steps of their token. So other requests change the
result of a token only where rounding in float32 moves a value to its next step. Before that both are multiplied, block
by block, by one orthogonal matrix, which leaves the product as it is: models have a few very large activations, and the
rotation spreads each over its block, so the steps of a token stay small. CPUs without VNNI add two products in 16 bits.
Weights of at most 63 steps cannot overflow there, so every CPU finds the same integers.
"""

import logging
from typing import Any

import torch

from agents.engines.base import EngineStartError

log = logging.getLogger(__name__)

WEIGHT_STEPS = 63
"""Most steps of a weight in either direction: 2 * 255 * 63 < 2 ** 15."""
ACTIVATION_STEPS = 127
ZERO = 128
"""The byte of an activation of zero."""
BLOCK = 64
"""Most activations that are rotated together."""
CHANNELS_AT_ONCE = 4096
"""Output channels that are converted at once, since a last layer in float32 can be as large as all others in int8."""


def rotation(features: int) -> torch.Tensor:
    """Return a Hadamard matrix, scaled to be orthogonal, whose size divides the number of features."""
    matrix = torch.ones(1, 1)
    while len(matrix) < BLOCK and features % (2 * len(matrix)) == 0:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    scaled: torch.Tensor = matrix / len(matrix) ** 0.5
    return scaled


def rotate(values: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Rotate the last dimension, block by block; the result has two dimensions."""
    return (values.float().reshape(-1, len(matrix)) @ matrix).view(-1, values.shape[-1])


def largest(rows: torch.Tensor) -> torch.Tensor:
    """Return the largest absolute value of each row, [rows, 1]; never zero."""
    found: torch.Tensor = torch.linalg.vector_norm(rows, torch.inf, -1, keepdim=True).clamp_min_(1e-30)
    return found


def to_steps(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a weight [out, in] in steps, in int8, and the size of each channel's step; changes `weight`."""
    steps = largest(weight) / WEIGHT_STEPS
    return weight.div_(steps).round_().to(torch.int8), steps[:, 0]


class Int8Linear(torch.nn.Module):
    """A linear layer with weights in int8."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self._rotation = rotation(linear.in_features)
        parts = [
            to_steps(rotate(part, self._rotation)) for part in torch.split(linear.weight.detach(), CHANNELS_AT_ONCE)
        ]
        self._multiply = Multiplier(torch.cat([part for part, _ in parts]), torch.cat([steps for _, steps in parts]))
        self._bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute the layer's output."""
        rows = rotate(x, self._rotation)
        step = largest(rows) / ACTIVATION_STEPS
        out = self._multiply(rows.div_(step).add_(ZERO + 0.5).to(torch.uint8))
        out = out.mul_(step) if self._bias is None else torch.addcmul(self._bias, out, step)
        return out.view(*x.shape[:-1], -1).to(x.dtype)


class Multiplier:
    """The product of activations in uint8 with a weight [out, in] in int8, by oneDNN.

    Args:
        weight: in steps, at most WEIGHT_STEPS.
        steps: size of a step of each output channel.
    """

    def __init__(self, weight: torch.Tensor, steps: torch.Tensor) -> None:
        self._weight = torch.ops.onednn.qlinear_prepack(weight, None)
        self._steps = steps.contiguous()
        self._zeros = torch.zeros(len(steps), dtype=torch.int32)

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """Return (rows - ZERO) @ weight.T * steps, summed in int32."""
        out: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            *(rows, 1.0, ZERO, self._weight, self._steps, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return out


def check_kernel() -> None:
    """Check the product on the largest numbers, where a kernel would overflow.

    Raises:
        EngineStartError: it is wrong or not there.
    """
    weight = torch.full((32, 64), WEIGHT_STEPS, dtype=torch.int8)
    weight[::2] *= -1
    rows = torch.full((17, 64), 255, dtype=torch.uint8)
    rows[::2] = 0
    try:
        found = Multiplier(weight, torch.ones(32))(rows)
    except (RuntimeError, AttributeError) as error:
        raise EngineStartError(f"{NO_KERNEL}: {error}"[:300], key=("engine_args", "quantization")) from error
    if not torch.equal(found, (rows.float() - ZERO) @ weight.float().T):
        raise EngineStartError(NO_KERNEL, key=("engine_args", "quantization"))


NO_KERNEL = "torch cannot multiply int8 on this CPU; take quantization out"


def quantize(model: Any, dtype: torch.dtype) -> None:
    """Replace every linear layer by one in int8, the last one too, and give all other parameters the dtype.

    Raises:
        EngineStartError: this CPU cannot, or the model has no plain linear layers.
    """
    check_kernel()
    layers = {name: module for name, module in model.named_modules() if type(module) is torch.nn.Linear}
    if not layers:
        raise EngineStartError("it has no linear layer that quantization: int8 could change; take that out")
    count = sum(layer.weight.numel() for layer in layers.values())
    for name in list(layers):
        model.set_submodule(name, Int8Linear(layers.pop(name)))
    for parameter in model.parameters():
        # A copy, since the mapped file stays in memory as long as one parameter lies in it.
        parameter.data = parameter.data.to(dtype, copy=True)
    rest = sum(parameter.numel() for parameter in model.parameters())
    log.info(
        "%.0f million weights of linear layers are in int8, %.0f million others in %s", count / 1e6, rest / 1e6, dtype
    )
