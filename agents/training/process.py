"""Start the training process and read its events. Imports nothing heavy.

The imports of a training take seconds, so one process runs several waiting trainings in a row.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from agents import exit_status
from agents.training.spec import TrainingAborted, TrainingDone, TrainingEvent, TrainingSpec
from broker import child_process

ENVIRONMENT = {
    # By default trl reports each training to a server; and nothing may be fetched.
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
MEMORY_ADVICE = (
    "if memory is short: lower recipe.max_tokens, train an adapter (recipe.lora), or take a smaller teacher; "
    "a lower batch saves nothing"
)
"""What to do if memory is short."""


def start(spec: TrainingSpec, log: Path) -> subprocess.Popen[bytes]:
    """Start a training. It dies with this process, and `kill` ends it.

    Args:
        spec: the training; its paths must be absolute.
        log: file to which the output of libraries is appended.
    """
    return child_process.spawn("agents.training", spec, env=ENVIRONMENT, log=log, pipe_stdout=True)


def events(process: subprocess.Popen[bytes], keep: Callable[[], bool] = lambda: False) -> Iterator[TrainingEvent]:
    """Yield the events of a training. The last is always `TrainingDone` or `TrainingAborted`.

    Blocks between events, so iterate in a thread. Afterwards the process has ended, unless the training is done and
    `keep` returns true: then it waits for another spec (`child_process.send`).
    """
    assert process.stdout is not None  # noqa: S101  (made by `start`)
    last: TrainingEvent | None = None
    kept = False
    kills_before = exit_status.oom_kills()
    try:
        for line in process.stdout:
            last = msgspec.json.decode(line, type=TrainingEvent)
            yield last
            if isinstance(last, TrainingDone):
                if kept := keep():
                    return
                child_process.send(process, None)
        code = process.wait()
    finally:
        if not kept:
            end(process)
    if not isinstance(last, TrainingDone | TrainingAborted):
        yield TrainingAborted(failed=_ended(code, kills_before))


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and wait until it has exited."""
    assert process.stdout is not None and process.stdin is not None  # noqa: S101  (made by `start`)
    process.stdin.close()  # which ends the process
    process.stdout.close()
    process.wait()


def _ended(code: int, kills_before: int | None) -> str:
    how = f"the training ended without a word: {exit_status.describe_exit(code, kills_before)}"
    return f"{how}\n{MEMORY_ADVICE}" if code == -signal.SIGKILL else f"{how}; its log may say why"
