"""One training from its spec to new weights: read, load, take the steps, save.

Knows what is where. How steps are taken is agents/training/course.py, and what an exception means to people
agents/training/__main__.py.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers

from agents import prompts, weights
from agents.engines.base import EngineStartError
from agents.engines.chat import Chat
from agents.engines.loading import LOCAL, chat_of, context_of, first_line, open_folder, pick_device, pick_dtype
from agents.training import pairs, results
from agents.training.checkpoints import Checkpoints
from agents.training.course import Course
from agents.training.spec import Done, Said, TrainingFailed, TrainingSpec

log = logging.getLogger("training")


def train(spec: TrainingSpec, tell: Callable[[Said], None]) -> Done:
    """Train, and tell of each step.

    Raises:
        TrainingFailed: there will be no new weights, and why.
        Exception: whatever else torch and trl raise.
    """
    work, key = Path(spec.work), spec.key(prompts.VERSION)
    work.mkdir(parents=True, exist_ok=True)
    if done := _finished(work, key):
        log.info("trained before")
        return done
    torch.set_num_threads(max(1, spec.threads))
    torch.manual_seed(spec.recipe.seed)
    chosen = pairs.read(Path(spec.pairs), spec.pairs_digest)
    chat, tokenizer, context = _language(Path(spec.folder))
    rows, too_long = pairs.encode(chosen, chat, spec.persona, min(spec.recipe.max_tokens, context))
    device = pick_device()
    fast = _fast(spec.dtype, device)
    model = _load(spec, torch.bfloat16 if fast and spec.recipe.lora else torch.float32)
    checkpoints = Checkpoints(work, key, spec.checkpoint_s)
    course = Course(spec.recipe, list(pairs.order(rows, spec.recipe)), checkpoints, work)
    trained = course.run(model, tokenizer, device, fast, tell)
    digest, folder = results.save(trained, spec, key)
    last = course.last
    done = Done(
        trained=digest,
        folder=str(folder),
        pairs=len(rows),
        too_long=too_long,
        steps=last.steps,
        seconds=last.seconds,
        figures={
            "loss": last.loss,
            "reward_margin": last.reward_margin,
            "reward_accuracy": last.reward_accuracy,
            "peak_memory_mb": last.peak_memory_mb,
            "seconds_per_pair": last.seconds / (len(rows) * spec.recipe.epochs),
        },
    )
    # An agent that dies before it has passed this on need not train again.
    partial = work / "done.partial"
    partial.write_bytes(msgspec.json.encode(_Finished(key, done)))
    partial.replace(work / "done.json")
    checkpoints.clear()
    return done


class _Finished(msgspec.Struct, frozen=True):
    key: str
    done: Done


def _finished(work: Path, key: str) -> Done | None:
    """What an earlier process came to, if its weights are still there."""
    try:
        finished = msgspec.json.decode((work / "done.json").read_bytes(), type=_Finished)
    except (OSError, msgspec.DecodeError):
        return None
    return finished.done if finished.key == key and Path(finished.done.folder).is_dir() else None


def _language(folder: Path) -> tuple[Chat, Any, int]:
    """Chat and tokenizer of a model, and its context in tokens."""
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **LOCAL)
        return chat_of(folder), open_folder(folder), context_of(config, 0)
    except (EngineStartError, OSError, ValueError) as error:
        raise TrainingFailed(f"{folder} cannot be trained: {first_line(error)}", for_good=True) from error


def _load(spec: TrainingSpec, dtype: torch.dtype) -> Any:
    """The model to train, with the adapter to go on from, if there is one: merged where all weights are trained."""
    folder = Path(spec.folder)
    try:
        weights.weights_of(folder)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, attn_implementation="sdpa", **LOCAL
        )
    except (weights.ModelError, ValueError, LookupError) as error:
        raise TrainingFailed(f"{folder} cannot be trained: {first_line(error)}", for_good=True) from error
    if not spec.adapter:
        return model
    try:
        if (base := weights.adapter_base(Path(spec.adapter))) != spec.base:
            of = f"an adapter of {base[:12]}, and not of {spec.base[:12]}" if base else "no adapter"
            raise weights.ModelError(f"it is {of}")
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, spec.adapter, is_trainable=spec.recipe.lora)
    except (weights.ModelError, ValueError, RuntimeError) as error:
        raise TrainingFailed(f"{spec.adapter} cannot be trained further: {first_line(error)}", for_good=True) from error
    return model if spec.recipe.lora else model.merge_and_unload().requires_grad_(True)


def _fast(dtype: str, device: torch.device) -> bool:
    """Whether to compute in bfloat16. float16 would need its loss scaled, so it is float32 here."""
    return pick_dtype(device) == torch.bfloat16 if dtype == "auto" else dtype == "bfloat16"
