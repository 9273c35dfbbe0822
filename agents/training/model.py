"""Load the teacher for training: chat, tokenizer and weights.

Fetches nothing, runs no code of a folder, and reads only safetensors.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from agents.engines.base import EngineStartError, first_line
from agents.engines.chat import Chat
from agents.engines.local.loading import LOCAL, chat_of, context_of, pick_device, pick_dtype, read_weights
from agents.models import weights
from agents.training.spec import NO_PADDING, TrainingFailed, TrainingSpec
from broker.errors import ModelError


class Language(NamedTuple):
    """Chat and context of a model."""

    chat: Chat
    context: int
    """Limit on tokens of prompt and answer."""


def language_of(folder: Path) -> Language:
    """Load chat and context from a folder; raise TrainingFailed if it has no model that can be trained."""
    try:
        chat = chat_of(folder)
        if chat.tokenizer.pad_token is None and chat.tokenizer.eos_token is None:
            raise EngineStartError(f"{folder}: {NO_PADDING}")
        config = transformers.AutoConfig.from_pretrained(folder, **LOCAL)
        return Language(chat, context_of(config, 0))
    except EngineStartError as error:
        raise TrainingFailed(str(error), for_good=True) from error
    except (OSError, ValueError) as error:
        raise TrainingFailed(f"{folder} cannot be trained: {first_line(error)}", for_good=True) from error


def device_of(spec: TrainingSpec) -> tuple[torch.device, torch.dtype]:
    """Return the device of the training, and the dtype of the teacher's engine there.

    Raises:
        TrainingFailed: torch cannot use the GPU of the seat.
    """
    try:
        device = pick_device()
    except EngineStartError as error:
        raise TrainingFailed(str(error), for_good=True) from error
    return device, pick_dtype(device) if spec.dtype == "auto" else getattr(torch, spec.dtype)


def load(spec: TrainingSpec, bf16: bool) -> Any:
    """Load the model with the adapter to train further, if any; merge it if all weights are trained.

    Raises:
        TrainingFailed: model or adapter cannot be trained.
    """
    folder = Path(spec.folder)
    try:
        weights.weights_of(folder)
        model = read_weights(folder, torch.bfloat16 if bf16 and spec.recipe.lora else torch.float32)
    except EngineStartError as error:
        raise TrainingFailed(str(error), for_good=True) from error
    except (ModelError, ValueError, LookupError) as error:
        raise TrainingFailed(f"{folder} cannot be trained: {first_line(error)}", for_good=True) from error
    if not spec.adapter:
        return model
    from peft import PeftModel

    try:
        model = PeftModel.from_pretrained(model, spec.adapter, is_trainable=spec.recipe.lora, local_files_only=True)
    except (ValueError, RuntimeError) as error:
        raise TrainingFailed(f"{spec.adapter} cannot be trained further: {first_line(error)}", for_good=True) from error
    return model if spec.recipe.lora else model.merge_and_unload().requires_grad_(True)
