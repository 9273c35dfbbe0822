"""New weights, from the trained model to a folder that is named by their digest.

Written under another name and renamed when they are whole. An adapter is `adapter_config.json`,
`adapter_model.safetensors` and a `base.json` that says whose adapter it is; all weights are a complete model's
folder, as exact as they were trained. Nothing depends on where they were made: equal weights have equal digests.
"""

import json
import logging
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from agents.models import weights
from agents.training.spec import TrainingSpec

log = logging.getLogger("training")


def save(model: Any, spec: TrainingSpec, key: str) -> tuple[str, Path]:
    """Digest and folder of the trained model's weights.

    Args:
        model: a transformers model, or a peft model with an adapter called `default`.
        spec: of the training.
        key: of the training; two that run at once do not write to the same place.

    Raises:
        OSError, SafetensorError: they could not be written; nothing that looks like weights is left.
    """
    out = Path(spec.out)
    partial = out / f".{key[:16]}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        if spec.recipe.lora:
            _save_adapter(model, partial, spec.base)
        else:
            _save_model(model, partial, Path(spec.folder))
        digest = weights.digest_of(partial)
        folder = out / digest
        if folder.exists():
            log.info("these weights are there already")
        else:
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return digest, folder


def _save_adapter(model: Any, folder: Path, base: str) -> None:
    model.save_pretrained(folder, selected_adapters=["default"])
    (folder / "README.md").unlink(missing_ok=True)
    config_file = folder / weights.ADAPTER[0]
    config = json.loads(config_file.read_text())
    config["base_model_name_or_path"] = ""  # a path of this machine; base.json says which weights
    config["target_modules"] = sorted(config["target_modules"])
    config_file.write_text(json.dumps(config, indent=1, sort_keys=True))
    (folder / weights.ADAPTER[-1]).write_text(json.dumps({"base": base}))


def _save_model(model: Any, folder: Path, base: Path) -> None:
    """In float32, whatever the base model is stored in: an engine rounds them, and the next training goes on from them.

    The configuration stays the base model's, and with it the dtype for readers who have no wish of their own.
    """
    model.save_pretrained(folder)
    for name in weights.SETTINGS:
        # What the trainers set in the configuration (such as the padding token) is no part of the teacher.
        if (base / name).is_file() and not name.endswith(".index.json"):
            shutil.copyfile(base / name, folder / name)


def changed(folder: Path, base: Path, dtype: torch.dtype) -> float:
    """The share of a trained model's weights that are not the base model's once both are rounded to `dtype`.

    Read tensor by tensor: neither model is in memory as a whole.
    """
    different = total = 0
    with ExitStack() as opened:
        new, old = _opened(folder, opened), _opened(base, opened)
        # An output layer that is the input's may be written in one of them alone.
        for name in new.keys() & old.keys():
            one, other = (file.get_tensor(name).to(dtype) for file in (new[name], old[name]))
            different += int((one != other).sum())
            total += one.numel()
    return different / total


def _opened(folder: Path, opened: ExitStack) -> dict[str, Any]:
    """By tensor, the file that it is in."""
    files = [opened.enter_context(safe_open(folder / name, "pt")) for name in weights.weights_of(folder)]
    return {name: file for file in files for name in file.keys()}  # noqa: SIM118  (no mapping)
