"""Main of the training process: run trainings from standard input until there are no more.

Standard output carries only events (agents/training/spec.py), one JSON object per line; libraries print to standard
error. Exit codes: 0 there are new weights; 3 the last training failed and would fail again; 1 it failed.
"""

import errno
import logging
import os

import msgspec

from agents.engines.base import first_line
from agents.training.estimate import memory_advice
from agents.training.spec import INSTALL, TrainingAborted, TrainingEvent, TrainingFailed, TrainingSpec
from broker import child_process, logs

log = logging.getLogger("training")

EXTRA = ("trl", "peft", "datasets")
"""Packages of the extra `train`."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, a quota is used up, or a file is too large."""


def main() -> int:
    """Run the trainings from standard input until there are no more or one fails."""
    spec: TrainingSpec | None = child_process.receive(TrainingSpec)
    logs.configure()
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # trl needs a launcher of its own to train on several devices.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]

    def tell(event: TrainingEvent) -> None:
        events.write(msgspec.json.encode(event) + b"\n")

    while spec:
        try:
            from agents.training.run import train

            tell(train(spec, tell))
        except Exception as error:
            refused = explain(error, spec)
            if not isinstance(error, TrainingFailed):
                log.exception("the training failed")
            log.error("%s", refused.failed)
            tell(refused)
            return child_process.NO_RESTART if refused.for_good else 1
        spec = child_process.receive_next(TrainingSpec)
    return 0


def explain(error: Exception, spec: TrainingSpec) -> TrainingAborted:
    """Return what an exception means, and what to do."""
    if isinstance(error, TrainingFailed):
        return TrainingAborted(failed=str(error), for_good=error.for_good)
    # Lazily loaded libraries hide the error of an import in its cause.
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    gist = first_line(error)
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in EXTRA:
        return TrainingAborted(failed=f"training needs {', '.join(EXTRA)}: {INSTALL}", for_good=True)
    # safetensors reports the number only in its text.
    if getattr(error, "errno", None) in FULL or any(f"(os error {number})" in str(error) for number in FULL):
        where = os.path.commonpath([spec.work, spec.out])
        return TrainingAborted(
            failed=f"no space left on the disk of {where}: {gist}\nmake room; it goes on where it was"
        )
    if _out_of_memory(error):
        return TrainingAborted(failed=f"out of memory while training: {gist}\n{memory_advice(spec.recipe)}")
    return TrainingAborted(failed=f"the training broke: {type(error).__name__}: {gist}")


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    try:
        from agents.engines.local.slots import out_of_memory
    except ImportError:  # without torch, nothing was computed
        return False
    return out_of_memory(error)


if __name__ == "__main__":
    # All is said and written, and taking apart what was imported would take a second or more.
    os._exit(main())
