"""The agent's side of a training: start the process, hear what it says. Light: safe to import anywhere.

What a training imports takes seconds, so one process takes several, one after the other, where more of them wait.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from agents import exit_status
from agents.training.spec import Done, Refused, TrainingEvent, TrainingSpec
from broker import child_process

ENVIRONMENT = {
    # trl reports each training to a server unless it is told not to, and nothing here may be fetched.
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
LOWER = (
    "if memory is short: lower recipe.max_tokens, train an adapter (recipe.lora), or take a smaller teacher; "
    "a lower batch saves nothing"
)
"""What to do where memory is short."""


def start(spec: TrainingSpec, log: Path, cores: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a training. It lives at most as long as this process, and is ended by `kill`.

    Args:
        spec: paths in it must be absolute.
        log: what libraries say is appended to it.
        cores: the cores it may run on; empty: those of this process.
    """
    return child_process.spawn("agents.training", spec, env=ENVIRONMENT, log=log, cores=cores, listen=True)


def go_on(process: subprocess.Popen[bytes], spec: TrainingSpec) -> None:
    """The next training, of a process that was kept after one."""
    child_process.send(process, spec)


def hear(process: subprocess.Popen[bytes], keep: Callable[[], bool] = lambda: False) -> Iterator[TrainingEvent]:
    """All that a training says, as it says it. The last is `Done` or `Refused`, however it ended.

    Blocks between one word and the next: an agent iterates in a thread. The process is gone at the end; but for one
    that is done when there is another training to `keep` it for, which waits for `go_on`.
    """
    assert process.stdout is not None  # noqa: S101  (made by `start`)
    last: TrainingEvent | None = None
    kept = False
    kills_before = exit_status.oom_kills()
    try:
        for line in process.stdout:
            last = msgspec.json.decode(line, type=TrainingEvent)
            yield last
            if isinstance(last, Done):
                if kept := keep():
                    return
                child_process.send(process, None)
        code = process.wait()
    finally:
        if not kept:
            end(process)
    if not isinstance(last, Done | Refused):
        yield Refused(failed=_ended(code, kills_before))


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that nobody listens to any more, wherever it is, and wait until it is gone."""
    assert process.stdout is not None and process.stdin is not None  # noqa: S101  (made by `start`)
    process.stdin.close()  # which it watches
    process.stdout.close()
    process.wait()


def _ended(code: int, kills_before: int | None) -> str:
    how = f"the training ended without a word: {exit_status.in_words(code, kills_before)}"
    return f"{how}\n{LOWER}" if code == -signal.SIGKILL else f"{how}; its log may say why"
