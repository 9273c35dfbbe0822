"""Save trained weights in a folder named by their digest.

The folder is renamed when it is complete. An adapter is `adapter_config.json`, `adapter_model.safetensors` and a
`base.json` with the digest of its base; all weights are the folder of a complete model, in float32. Nothing depends on
the machine: equal weights have equal digests.
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
    """Save the weights of the trained model and return their digest and folder.

    Args:
        model: a transformers model, or a peft model with an adapter called `default`.
        spec: the training.
        key: key of the training, so that parallel trainings write to different folders.

    Raises:
        OSError, SafetensorError: the weights cannot be written; nothing incomplete is left.
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
    config["base_model_name_or_path"] = ""  # a path of this machine; base.json names the weights
    config["target_modules"] = sorted(config["target_modules"])
    config_file.write_text(json.dumps(config, indent=1, sort_keys=True))
    (folder / weights.ADAPTER[-1]).write_text(json.dumps({"base": base}))


def _save_model(model: Any, folder: Path, base: Path) -> None:
    """Save in float32, since the next training continues from these weights; an engine rounds them.

    The configuration stays that of the base model, and with it the default dtype.
    """
    model.save_pretrained(folder)
    for name in weights.SETTINGS:
        # Without the settings of the trainers, such as the padding token.
        if (base / name).is_file() and not name.endswith(".index.json"):
            shutil.copyfile(base / name, folder / name)


def share_changed(folder: Path, base: Path, dtype: torch.dtype) -> float:
    """Return the share of weights that differ from the base model's after rounding both to `dtype`.

    Reads tensor by tensor, so neither model is in memory as a whole.
    """
    different = total = 0
    with ExitStack() as opened:
        new, old = _opened(folder, opened), _opened(base, opened)
        # A tied output layer may be written in only one of them.
        for name in new.keys() & old.keys():
            one, other = (file.get_tensor(name).to(dtype) for file in (new[name], old[name]))
            different += int((one != other).sum())
            total += one.numel()
    return different / total


def _opened(folder: Path, opened: ExitStack) -> dict[str, Any]:
    """Return the opened file of each tensor."""
    files = [opened.enter_context(safe_open(folder / name, "pt")) for name in weights.weights_of(folder)]
    return {name: file for file in files for name in file.keys()}  # noqa: SIM118  (no mapping)
