"""Run one training from its spec to new weights: read, load, train, save."""

import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from agents import prompts
from agents.models import weights
from agents.training import pairs
from agents.training.spec import TrainingDone, TrainingEvent, TrainingFailed, TrainingSpec
from broker.errors import ModelError
from broker.files import write_atomically
from broker.protocol import digest

log = logging.getLogger("training")

FORMAT = 2
"""Raise it with every change of a step: checkpoints of another format are ignored."""


def train(spec: TrainingSpec, tell: Callable[[TrainingEvent], None]) -> TrainingDone:
    """Train, and report each step to `tell`.

    Raises:
        TrainingFailed: there will be no new weights.
        Exception: whatever else torch and trl raise.
    """
    work = Path(spec.work)
    work.mkdir(parents=True, exist_ok=True)
    Path(spec.out).mkdir(parents=True, exist_ok=True)
    chosen, pairs_digest = pairs.read(Path(spec.pairs), spec.pairs_digest)
    start = _adapter_digest(spec)
    key = digest(FORMAT, spec.base, start, pairs_digest, spec.recipe, spec.persona, prompts.VERSION)
    if done := _finished(work, key):
        log.info("trained before")
        return done
    begun = time.monotonic()
    # These imports take seconds.
    import torch

    from agents.engines.local.gpu_memory import take_share
    from agents.training import export, model
    from agents.training.checkpoints import Checkpoints
    from agents.training.loop import TrainingLoop, forget_peak_memory, peak_memory_mb

    # Trainers and callbacks of an earlier training form reference cycles.
    gc.collect()
    torch.set_num_threads(max(1, spec.threads))
    torch.manual_seed(spec.recipe.seed)
    language = model.language_of(Path(spec.folder))
    loading_s = time.monotonic() - begun
    room = min(spec.recipe.max_tokens, language.context)
    if spec.recipe.method == "sft":
        chosen = pairs.without_rejected(chosen)
    rows, too_long = pairs.encode(chosen, language.chat, spec.persona, room)
    device, dtype = model.device_of(spec)
    bf16 = dtype == torch.bfloat16  # float16 would need loss scaling, so float32 is used
    forget_peak_memory(device)
    checkpoints = Checkpoints(work, key, spec.checkpoint_s)
    loop = TrainingLoop(spec.recipe, list(pairs.order(rows, spec.recipe)), checkpoints, work)
    take_share(device, spec.memory_share)
    begun = time.monotonic()
    untrained = model.load(spec, bf16)
    loading_s += time.monotonic() - begun
    trained = loop.run(untrained, language.chat.tokenizer, device, bf16, tell, loading_s)
    new, folder = export.save(trained, spec, key)
    last = loop.last
    figures = {
        "loss": last.loss,
        "reward_margin": last.reward_margin,
        "reward_accuracy": last.reward_accuracy,
        "peak_memory_mb": peak_memory_mb(device),
        "seconds_per_pair": last.seconds / (len(rows) * spec.recipe.epochs),
    }
    if not (spec.recipe.lora or spec.adapter):
        figures["changed"] = export.share_changed(folder, Path(spec.folder), dtype)
    done = TrainingDone(
        trained=new,
        folder=str(folder),
        pairs=len(rows),
        too_long=too_long,
        steps=last.steps,
        seconds=last.seconds,
        figures=figures,
    )
    # An agent that dies before it reports the result need not train again.
    write_atomically(work / "done.json", msgspec.json.encode(_Finished(key, done)))
    checkpoints.clear()
    return done


class _Finished(msgspec.Struct, frozen=True):
    key: str
    done: TrainingDone


def _finished(work: Path, key: str) -> TrainingDone | None:
    """Return the result of an earlier process if its weights still exist."""
    try:
        finished = msgspec.json.decode((work / "done.json").read_bytes(), type=_Finished)
    except (OSError, msgspec.DecodeError):
        return None
    return finished.done if finished.key == key and Path(finished.done.folder).is_dir() else None


def _adapter_digest(spec: TrainingSpec) -> str:
    """Return the digest of the adapter to train further; empty if there is none."""
    if not spec.adapter:
        return ""
    folder = Path(spec.adapter)
    try:
        if (base := weights.adapter_base(folder)) != spec.base:
            whose = f"an adapter of {base[:12]}, and not of {spec.base[:12]}" if base else "no adapter"
            raise ModelError(f"it is {whose}")
        return weights.digest_of(folder)
    except ModelError as error:
        raise TrainingFailed(f"{folder} cannot be trained further: {error}", for_good=True) from error
