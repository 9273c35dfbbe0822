"""Both ends of the pipe that ties a child process to its parent.

The parent starts a module of the project and sends it one struct over standard input; the child reads the struct
and then watches that pipe: at its end the parent is gone, however it went, and the child takes its whole process
group with it. A child that asks for more structs is sent them on the same way. Used for the broker, for agents and for
trainings. It restarts nothing (agents/placement/launcher.py) and knows no message.
"""

import contextlib
import ctypes
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import msgspec

from broker.environment import child_environment

NO_RESTART = 3
"""Exit code of a child that failed for a reason another start would not mend."""

ROOT = Path(__file__).resolve().parent.parent
"""Where the packages lie: the project's folder, or site-packages."""

PR_SET_PDEATHSIG = 1
LENGTH_BYTES = 4

Spec = TypeVar("Spec", bound=msgspec.Struct)

_more: queue.SimpleQueue[bytes] = queue.SimpleQueue()
"""What came over the pipe after the spec."""


class _Birth(msgspec.Struct, frozen=True):
    """What goes over the pipe: who the parent is, where to run, and the spec as plain data."""

    parent: int
    cores: tuple[int, ...]
    spec: Any


def spawn(
    module: str,
    spec: msgspec.Struct,
    *,
    env: dict[str, str],
    log: Path,
    cores: tuple[int, ...] = (),
    name: str = "",
    listen: bool = False,
    secrets: Collection[str] = (),
) -> subprocess.Popen[bytes]:
    """Start `python -m module` in a process group of its own and send it `spec`.

    The child lives at most as long as this process and as `stdin` of the returned object stays open. Its working
    directory is the project's folder, so paths in `spec` must be absolute. A child that dies before it has read
    its spec raises nothing here: it shows as an exit code, like any other death.

    Args:
        module: for `-m`; its main calls `receive` before it imports anything heavy.
        spec: read by `receive` in the child. Above 65,536 bytes the call lasts until the child reads it.
        env: added to this process's environment before the child's Python starts.
        secrets: the secrets of this process's environment that the child needs; it gets no others.
        log: standard output and standard error are appended to it.
        listen: standard output is not; it is a pipe, `stdout` of the returned object.
        cores: the cores it may run on; empty: those of this process.
        name: added to its command line, for people who look at a list of processes.

    Raises:
        OSError: the log cannot be written, or no process can be made.
    """
    body = msgpack.packb(msgspec.to_builtins(_Birth(os.getpid(), cores, spec)))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *([name] if name else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if listen else out,
            stderr=out,
            bufsize=0,
            cwd=ROOT,
            # Unbuffered, so that what it printed last is in the log when it is killed. Other packages are called
            # `agents`, too: the project's folder comes first, also where PYTHONSAFEPATH leaves out the current one.
            env=child_environment({"PYTHONUNBUFFERED": "1", "PYTHONPATH": python_path(), **env}, secrets),
            start_new_session=True,
        )
    _write(process, body)
    return process


def python_path() -> str:
    """PYTHONPATH for children: the project's folder, then what the user put there."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def tell(process: subprocess.Popen[bytes], spec: msgspec.Struct | None) -> None:
    """Send a child what it asks for by `another`; None: there is nothing more. A dead child raises nothing here."""
    _write(process, b"" if spec is None else msgpack.packb(msgspec.to_builtins(spec)))


def _write(process: subprocess.Popen[bytes], body: bytes) -> None:
    assert process.stdin is not None  # noqa: S101  (PIPE was asked for)
    unsent = memoryview(len(body).to_bytes(LENGTH_BYTES, "big") + body)
    # A broken pipe: dead before it read a word. Whoever waits for the process sees that, and its log says why.
    with contextlib.suppress(BrokenPipeError):
        while unsent:
            unsent = unsent[process.stdin.write(unsent) :]


def receive(cls: type[Spec]) -> Spec:
    """The spec this process was started with. From here on it dies with its parent.

    Call it first thing in main: it also keeps the process to its cores, which threads made earlier would not follow.
    Standard input is empty afterwards.

    Raises:
        SystemExit: standard input brings no spec: it was started by hand, or the parent died meanwhile.
        msgspec.ValidationError: what came is no `cls`.
    """
    if os.isatty(0):
        raise SystemExit("this module is started by run.py, which tells it what to do")
    length = int.from_bytes(_read(0, LENGTH_BYTES), "big")
    birth = msgspec.convert(msgpack.unpackb(_read(0, length)), _Birth)
    # Libraries that ask the user something must find an empty standard input, and not wait on the pipe.
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _wake_at_death_of_parent()
    threading.Thread(target=_follow, args=(pipe, birth.parent), name="lifeline", daemon=True).start()
    _keep_to(birth.cores)
    return msgspec.convert(birth.spec, cls)


def another(cls: type[Spec]) -> Spec | None:
    """Wait for what the parent says by `tell`, after `receive`; None: it has nothing more to say.

    Raises:
        msgspec.ValidationError: what came is no `cls`.
    """
    body = _more.get()
    return msgspec.convert(msgpack.unpackb(body), cls) if body else None


def _read(fd: int, size: int) -> bytes:
    """Exactly `size` bytes, and not one more: what comes after the spec is for the watching thread."""
    data = b""
    while len(data) < size:
        part = os.read(fd, size - len(data))
        if not part:
            raise SystemExit("standard input ended before the spec: the parent is gone, or this is not its child")
        data += part
    return data


def _keep_to(cores: tuple[int, ...]) -> None:
    if not cores or sys.platform != "linux":
        return
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        # Slower, not wrong: the set of allowed cores may have shrunk since it was looked at.
        print(f"cannot keep to the cores {cores}: {error}", file=sys.stderr)


def _wake_at_death_of_parent() -> None:
    """A stopped process (SIGSTOP) cannot see its pipe end: let the kernel wake it then.

    SIGCONT and not SIGKILL: the kernel sends it when the thread that started us ends, which may be long before the
    parent does, and a kill would reach this process alone and leave its group behind.
    """
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0):
        print(f"prctl: {os.strerror(ctypes.get_errno())}; if stopped, this outlives its parent", file=sys.stderr)


def _follow(pipe: int, parent: int) -> None:
    """Take what comes until the parent is gone, then die with the whole group."""
    watched = [pipe]
    if sys.platform == "linux" and os.getppid() == parent:
        try:
            # A process that the parent forked (without exec) holds the pipe open beyond the parent's death.
            watched.append(os.pidfd_open(parent))
        except OSError as error:
            print(f"pidfd_open: {error}; watching the pipe alone", file=sys.stderr)
    while True:
        ready, _, _ = select.select(watched, [], [])
        if ready != [pipe]:
            break
        try:
            _more.put(_read(pipe, int.from_bytes(_read(pipe, LENGTH_BYTES), "big")))
        except SystemExit:  # the pipe's end
            break
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
