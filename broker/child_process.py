"""Start child processes that end with their parent, and send them their configuration.

The parent starts a module of the project and sends it a struct (its spec) over standard input. The child reads the
spec and then watches the pipe: when the pipe ends, the parent has ended, and the child kills its process group. The
parent can send more structs over the pipe. Used for the broker, agents and trainings. Restarts are in
agents/placement/launcher.py.
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
"""Exit code of a child that would fail again if it were restarted."""

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the packages: the project's folder, or site-packages."""

PR_SET_PDEATHSIG = 1
LENGTH_BYTES = 4

Spec = TypeVar("Spec", bound=msgspec.Struct)

_later_structs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
"""The structs that came over the pipe after the spec, as MessagePack; empty: there are no more."""


class _Start(msgspec.Struct, frozen=True):
    """The first message over the pipe: the parent's pid, the cores to use, and the spec as plain data."""

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
    pipe_stdout: bool = False,
    secrets: Collection[str] = (),
    descriptors: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `python -m module` in a new process group and send it `spec`.

    The child ends when this process ends or closes `stdin` of the returned object. Its working directory is the
    project's folder, so paths in `spec` must be absolute. A child that ends before it has read its spec raises nothing
    here; its exit code shows it.

    Args:
        module: for `-m`; its main calls `receive` before it imports anything heavy.
        spec: read by `receive` in the child. If it has more than 65,536 bytes, the call returns when it is read.
        env: variables added to this process's environment for the child.
        log: file to which standard output and standard error are appended.
        cores: the cores it may run on; empty: those of this process.
        name: added to its command line, to be seen in lists of processes.
        pipe_stdout: make standard output a pipe, `stdout` of the returned object, instead.
        secrets: names of secret variables that the child needs; it gets no others.
        descriptors: those that the child inherits besides its standard streams.

    Raises:
        OSError: the log cannot be written, or no process can be made.
    """
    body = msgpack.packb(msgspec.to_builtins(_Start(os.getpid(), cores, spec)))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *([name] if name else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if pipe_stdout else out,
            stderr=out,
            bufsize=0,
            cwd=ROOT,
            # Unbuffered, so that its last output is in the log when it is killed. Other installed packages are called
            # `agents`, too: the project's folder comes first, even if PYTHONSAFEPATH excludes the working directory.
            env=child_environment({"PYTHONUNBUFFERED": "1", "PYTHONPATH": python_path(), **env}, secrets),
            start_new_session=True,
            pass_fds=descriptors,
        )
    _write(process, body)
    return process


def python_path() -> str:
    """PYTHONPATH for children: the project's folder, then what the user put there."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def send(process: subprocess.Popen[bytes], spec: msgspec.Struct | None) -> None:
    """Send a struct for `receive_next` to a child; None: there are no more. A dead child raises nothing here."""
    _write(process, b"" if spec is None else msgpack.packb(msgspec.to_builtins(spec)))


def _write(process: subprocess.Popen[bytes], body: bytes) -> None:
    assert process.stdin is not None  # noqa: S101  (PIPE was asked for)
    unsent = memoryview(len(body).to_bytes(LENGTH_BYTES, "big") + body)
    # A broken pipe means that the child has ended; its exit code and log show why.
    with contextlib.suppress(BrokenPipeError):
        while unsent:
            unsent = unsent[process.stdin.write(unsent) :]


def receive(cls: type[Spec]) -> Spec:
    """Read the spec of this process. From now on it ends with its parent.

    Call it first in main: it also sets the cores of the process, which does not affect threads that run already.
    Standard input is empty afterwards.

    Raises:
        SystemExit: there is no spec: the process was started by hand, or the parent has ended.
        msgspec.ValidationError: the spec is no `cls`.
    """
    if os.isatty(0):
        raise SystemExit("this module is started by run.py, which tells it what to do")
    length = int.from_bytes(_read(0, LENGTH_BYTES), "big")
    start = msgspec.convert(msgpack.unpackb(_read(0, length)), _Start)
    # Libraries that ask the user a question must find an empty standard input, and not wait for the pipe.
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _wake_when_parent_ends()
    threading.Thread(target=_watch_parent, args=(pipe, start.parent), name="parent-watch", daemon=True).start()
    _set_cores(start.cores)
    return msgspec.convert(start.spec, cls)


def receive_next(cls: type[Spec]) -> Spec | None:
    """Wait for the next struct that the parent sends by `send`; None: there are no more.

    Raises:
        msgspec.ValidationError: the struct is no `cls`.
    """
    body = _later_structs.get()
    return msgspec.convert(msgpack.unpackb(body), cls) if body else None


def _read(fd: int, size: int) -> bytes:
    """Read exactly `size` bytes; the thread of `_watch_parent` reads those after the spec."""
    data = b""
    while len(data) < size:
        part = os.read(fd, size - len(data))
        if not part:
            raise SystemExit("standard input ended before the spec: the parent is gone, or this is not its child")
        data += part
    return data


def _set_cores(cores: tuple[int, ...]) -> None:
    if not cores or sys.platform != "linux":
        return
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        # The process works on other cores, too; the allowed cores may have changed since the parent looked.
        print(f"cannot keep to the cores {cores}: {error}", file=sys.stderr)


def _wake_when_parent_ends() -> None:
    """Let the kernel send SIGCONT when the parent ends: a stopped process (SIGSTOP) cannot notice the end of the pipe.

    SIGKILL would be wrong: the kernel sends the signal when the thread that started this process ends, perhaps long
    before the parent, and it would not reach the rest of the process group.
    """
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0):
        print(f"prctl: {os.strerror(ctypes.get_errno())}; if stopped, this outlives its parent", file=sys.stderr)


def _watch_parent(pipe: int, parent: int) -> None:
    """Receive structs until the parent ends, then kill the process group."""
    watched = [pipe]
    if sys.platform == "linux" and os.getppid() == parent:
        try:
            # A process that the parent forked (without exec) keeps the pipe open after the parent has ended.
            watched.append(os.pidfd_open(parent))
        except OSError as error:
            print(f"pidfd_open: {error}; watching the pipe alone", file=sys.stderr)
    while True:
        ready, _, _ = select.select(watched, [], [])
        if ready != [pipe]:
            break
        try:
            _later_structs.put(_read(pipe, int.from_bytes(_read(pipe, LENGTH_BYTES), "big")))
        except SystemExit:  # the pipe ended
            break
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
