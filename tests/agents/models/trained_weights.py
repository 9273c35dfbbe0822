"""Makes trained weights for tests, as a training leaves them in a run's folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from agents.models import trained_weights, weights

RANK = 4


def base_digest(model: Path) -> str:
    """Of a model's folder."""
    return weights.digest_of(model, lambda label, done, total: None)


def settle(folder: Path) -> str:
    """Give a folder of trained weights its name."""
    digest = trained_weights.digest_of(folder)
    folder.replace(folder.parent / digest)
    return digest


def adapter(
    model: Path, run_weights: Path, seed: int, *, size: float = 0.3, base: str = "", **config: Any
) -> tuple[str, dict[str, torch.Tensor]]:
    """A random adapter of every linear layer but the last; its digest, and what it adds to each weight."""
    folder = run_weights / "new"
    folder.mkdir(parents=True)
    draw = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    added: dict[str, torch.Tensor] = {}
    for name, weight in load_file(model / "model.safetensors").items():
        if weight.dim() != 2 or "embed" in name or "lm_head" in name:
            continue
        down = torch.randn(RANK, weight.shape[1], generator=draw)
        up = torch.randn(weight.shape[0], RANK, generator=draw) * size / weight.shape[1] ** 0.5
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}
        added[name] = 2.0 * up @ down
    save_file(tensors, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "bias": "none"} | config
    (folder / "adapter_config.json").write_text(json.dumps(told))
    (folder / "base.json").write_text(json.dumps({"base": base or base_digest(model)}))
    return settle(folder), added


def complete(model: Path, run_weights: Path, added: dict[str, torch.Tensor], **config: Any) -> str:
    """A whole model with something added to its weights; its digest."""
    folder = run_weights / "new"
    shutil.copytree(model, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor + added.get(name, 0) for name, tensor in tensors.items()}, file, {"format": "pt"})
    if config:
        told = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(told))
    return settle(folder)
