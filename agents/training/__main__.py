"""Main of the training process: hear what to do, do it, say how it went; and again, where there is more to do.

Standard output carries nothing but what is said (agents/training/spec.py), one JSON object a line; what libraries
print goes to standard error. Exit codes: 0 there are new weights; 3 there are none of the last training and never will
be; 1 there are none now.
"""

import errno
import logging
import os

import msgspec

from agents.engines.base import first_line
from agents.training.estimate import lower
from agents.training.spec import INSTALL, Refused, TrainingEvent, TrainingFailed, TrainingSpec
from broker import child_process, logs

log = logging.getLogger("training")

EXTRA = ("trl", "peft", "datasets")
"""What the extra `train` brings."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk that is full, a quota that is used up, a file larger than it may be."""


def main() -> int:
    """Train as the parent tells on standard input, until it has nothing more or a training fails."""
    spec: TrainingSpec | None = child_process.receive(TrainingSpec)
    logs.configure()
    words = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # One device: trl would not train on several without a launcher of its own.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]

    def tell(said: TrainingEvent) -> None:
        words.write(msgspec.json.encode(said) + b"\n")

    while spec:
        try:
            from agents.training.run import train

            tell(train(spec, tell))
        except Exception as error:
            refused = meaning(error, spec)
            if not isinstance(error, TrainingFailed):
                log.exception("the training failed")
            log.error("%s", refused.failed)
            tell(refused)
            return child_process.NO_RESTART if refused.for_good else 1
        spec = child_process.receive_next(TrainingSpec)
    return 0


def meaning(error: Exception, spec: TrainingSpec) -> Refused:
    """What an exception means to people, and what to do."""
    if isinstance(error, TrainingFailed):
        return Refused(failed=str(error), for_good=error.for_good)
    # Libraries that are loaded late say of an error only that there was one.
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    gist = first_line(error)
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] in EXTRA:
        return Refused(failed=f"training needs {', '.join(EXTRA)}: {INSTALL}", for_good=True)
    # safetensors tells the number in its text alone.
    if getattr(error, "errno", None) in FULL or any(f"(os error {number})" in str(error) for number in FULL):
        where = os.path.commonpath([spec.work, spec.out])
        return Refused(failed=f"no space left on the disk of {where}: {gist}\nmake room; it goes on where it was")
    if _out_of_memory(error):
        return Refused(failed=f"out of memory while training: {gist}\n{lower(spec.recipe)}")
    return Refused(failed=f"the training broke: {type(error).__name__}: {gist}")


def _out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    try:
        from agents.engines.local.loading import out_of_memory
    except ImportError:  # then nothing was computed
        return False
    return out_of_memory(error)


if __name__ == "__main__":
    # All is said and written, and taking apart what was imported would take a second or more.
    os._exit(main())
