"""Stands in for `agents.training`: does what the file of pairs says, word by word, and goes on after a death."""

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from agents.training.spec import Done, Refused, Said, Step, TrainingSpec
from broker import lifeline


def main() -> None:
    spec = lifeline.receive(TrainingSpec)
    work = Path(spec.work)
    work.mkdir(parents=True, exist_ok=True)
    heard = work / "heard"
    words = Path(spec.pairs).read_text().split()
    begin = len(heard.read_text()) if heard.exists() else 0
    for number, word in enumerate(words[begin:], begin + 1):
        heard.write_text("." * number)
        said: Said
        match word:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die-always":
                heard.write_text("." * (number - 1))
                os.kill(os.getpid(), signal.SIGKILL)
            case "refuse":
                said = Refused(failed="the loss is not a number\nlower recipe.learning_rate")
            case "done":
                said = Done(trained="d" * 64, folder=spec.out, pairs=3, too_long=1, steps=number, seconds=1.5)
            case _:
                said = Step(step=number, steps=len(words), loss=1 / number)
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.flush()
        if word == "refuse":
            sys.exit(1)
        if word == "wait":
            threading.Event().wait()


if __name__ == "__main__":
    main()
