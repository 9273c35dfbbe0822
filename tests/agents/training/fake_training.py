"""Stands in for `agents.training`: does what the file of pairs says, word by word, and goes on after a death.

Which process trained what is written down beside the pairs, a process id a line.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from agents.training.spec import TrainingAborted, TrainingDone, TrainingEvent, TrainingSpec, TrainingStep
from broker import child_process


def main() -> None:
    spec: TrainingSpec | None = child_process.receive(TrainingSpec)
    while spec:
        with Path(spec.pairs).with_name("processes").open("a") as processes:
            processes.write(f"{os.getpid()}\n")
        if not train(spec):
            break
        spec = child_process.receive_next(TrainingSpec)


def train(spec: TrainingSpec) -> bool:
    """Whether it came to new weights."""
    work = Path(spec.work)
    work.mkdir(parents=True, exist_ok=True)
    heard = work / "heard"
    words = Path(spec.pairs).read_text().split()
    begin = len(heard.read_text()) if heard.exists() else 0
    for number, word in enumerate(words[begin:], begin + 1):
        heard.write_text("." * number)
        match word:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die-always":
                heard.write_text("." * (number - 1))
                os.kill(os.getpid(), signal.SIGKILL)
            case "refuse":
                tell(TrainingAborted(failed="the loss is not a number\nlower recipe.learning_rate"))
                return False
            case "done":
                tell(TrainingDone(trained="d" * 64, folder=spec.out, pairs=3, too_long=1, steps=number, seconds=1.5))
                return True
            case _:
                tell(TrainingStep(step=number, steps=len(words), loss=1 / number))
        if word == "wait":
            threading.Event().wait()
    return False


def tell(said: TrainingEvent) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
