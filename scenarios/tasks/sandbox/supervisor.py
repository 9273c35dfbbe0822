"""The program that runs inside a sandbox: it makes a new process for every call and says how that process ended.

Its source is given to `python -c`, so it uses the standard library alone. A call comes over the socket at standard
input: one `CALL` with two files. The first holds the task (JSON: `code`, `function`, `arguments`), the second takes the
answer (JSON: `value`, or `error` and `detail`). The supervisor reads neither: every process that it forks can read its
memory, which must hold no program. When the process has ended or is out of time, every process in the sandbox is
killed, and an `END` goes back.

Inside bubblewrap the supervisor is process 1 of its own process namespace: the kernel delivers no signal from inside
that it does not handle, its end is the end of all others, and it inherits every process that a program leaves.
"""

# What is not used here is what programs use most: each process has it without loading it.
import bisect  # noqa: F401
import collections  # noqa: F401
import contextlib
import dataclasses  # noqa: F401
import functools  # noqa: F401
import heapq  # noqa: F401
import itertools  # noqa: F401
import json
import math
import os
import random
import re  # noqa: F401
import resource
import select
import signal
import socket
import string  # noqa: F401
import struct
import sys
import time
import types
import typing

CALL = struct.Struct("!ddQQI")
"""Seconds of processor time, seconds of waiting, bytes of memory, bytes of a file, processes."""
END = struct.Struct("!?i?d")
"""Whether time ran out; the exit code, negative for a signal; whether the folder is as it was; seconds of waiting."""
READY = b"ready"
IDLE_S = 3.0
"""Processor time that the supervisor gets while a program uses none, before it stops the program."""
SHARE = 4
"""Most processor time that the supervisor may get beyond that, in multiples of what the program uses meanwhile."""
TICK_S = 0.02
"""How often the processor time is looked at."""
OPEN_FILES = 64
LINUX = sys.platform == "linux"


def main(mode: str, uid: int) -> None:
    """Serve calls until the socket closes.

    Args:
        mode: `alone`: every other process that can be seen belongs to the program; `group`: only its process group.
        uid: the user to become, if not 0. As root, the kernel would not limit the number of processes.
    """
    control = socket.socket(fileno=os.dup(0))
    if uid:
        become(uid)
    if mode == "alone" and os.getpid() != 1:
        raise SystemExit("the supervisor has no process namespace of its own")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    changed = os.stat(".").st_ctime_ns
    control.sendall(READY)
    while True:
        data, files, _, _ = socket.recv_fds(control, CALL.size, 2)
        if not data:
            return
        task, answer = files
        seconds, patience, memory, file_bytes, processes = CALL.unpack(data)
        child = os.fork()
        if not child:
            try:
                limit(seconds, memory, file_bytes, processes if mode == "alone" else 0)
                serve(task, answer)
            finally:
                os._exit(1)
        os.close(task)
        os.close(answer)
        late, code, waited = watch(child, seconds, patience, control, mode)
        control.sendall(END.pack(late, code, unchanged(changed), waited))


def become(uid: int) -> None:
    """Become an ordinary user, and lose every capability with that."""
    os.setgroups([])
    try:
        os.setresgid(uid, uid, uid)
    except OSError:  # the container has no such user; it has nobody
        uid = 65534
        os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def unchanged(changed: int) -> bool:
    """Whether the folder was not written to. Nothing can set back the time of its last change."""
    try:
        return os.stat(".").st_ctime_ns == changed
    except OSError:
        return False


def watch(child: int, seconds: float, patience: float, control: socket.socket, mode: str) -> tuple[bool, int, float]:
    """Wait for the child, and kill what is left.

    A busy machine makes a program wait, too. So when the program has waited longer than `patience`, this process begins
    to compute as well: the machine gives two processes that only compute about the same. A program that uses far less
    than this process gets waits by its own choice, and is stopped.

    Returns:
        Whether it ran out of time; its exit code; for how many seconds it did not compute.
    """
    wake, tick = [], TICK_S / 10
    with contextlib.suppress(OSError, AttributeError):  # Linux before 5.3, other systems
        wake, tick = [os.pidfd_open(child)], TICK_S
    waited, used, last, late = 0.0, 0.0, time.monotonic(), False
    idle = IDLE_S if LINUX else IDLE_S + seconds  # elsewhere the child's clock is read at its end alone
    begun: tuple[float, float] | None = None  # what this process and the program had used when this one began
    ended = os.wait4(child, os.WNOHANG)
    while not ended[0]:
        # Without a pause this process computes.
        ready, _, _ = select.select([control.fileno(), *wake], [], [], 0.0 if begun else tick)
        if control.fileno() in ready:  # nothing is sent during a call: the other side is gone
            kill(child, mode)
            os._exit(0)
        used = time.clock_gettime((~child << 3) | 2) if LINUX else 0.0  # the clock of the child's processor time
        # A step is cut, so that the time in which this machine or this process was stopped does not count.
        now = time.monotonic()
        waited, last = waited + min(now - last, 1.0), now
        late = used > seconds
        if begun:
            late = late or time.process_time() - begun[0] > idle + SHARE * (used - begun[1])
        elif waited - used > patience:
            begun = time.process_time(), used
        if late:
            os.kill(child, signal.SIGKILL)  # it may not have made its group yet
        ended = os.wait4(child, 0 if late else os.WNOHANG)
    kill(child, mode)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    for descriptor in wake:
        os.close(descriptor)
    _, status, usage = ended
    late = late or usage.ru_utime + usage.ru_stime > seconds
    return late, os.waitstatus_to_exitcode(status), max(waited - used, 0.0)


def kill(child: int, mode: str) -> None:
    """Kill all that the program has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left
        if mode == "alone" and os.getpid() == 1:
            os.kill(-1, signal.SIGKILL)
        else:
            os.killpg(child, signal.SIGKILL)


def limit(seconds: float, memory: int, file_bytes: int, processes: int) -> None:
    """Set the kernel's limits of this process and of all that it starts; `processes` 0: no limit."""
    os.setsid()
    wanted = {
        resource.RLIMIT_CORE: 1,  # no core file, and with 1, unlike 0, no program of the system that collects them
        resource.RLIMIT_CPU: math.ceil(seconds) + 1,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_NOFILE: OPEN_FILES,
    }
    if LINUX:
        wanted[resource.RLIMIT_AS] = memory
    if processes:
        wanted[resource.RLIMIT_NPROC] = processes + 1  # the supervisor counts
    for which, value in wanted.items():
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def serve(task: int, answer: int) -> None:
    """Run as the child: read the task, run it, write the answer. All other descriptors lead nowhere."""
    with open(task, "rb") as file:
        given = json.load(file)
    os.dup2(answer, 3)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.closerange(4, 4096)
    random.seed(0)  # the same program gives the same outcomes
    try:
        body = json.dumps(perform(**given), allow_nan=False)
    except MemoryError:
        body = '{"error": "memory"}'
    except (TypeError, ValueError, RecursionError) as error:
        body = json.dumps({"error": "not json", "detail": describe(error)})
    unsent = body.encode()
    while unsent:
        unsent = unsent[os.write(3, unsent) :]
    os._exit(0)


def perform(code: str, function: str, arguments: list[typing.Any]) -> dict[str, typing.Any]:
    """Run the program, then one call of its function."""
    module = types.ModuleType("solution")  # not __main__: what a program does when it is started is not wanted
    sys.modules["solution"] = module
    try:
        program = compile(code, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError) as error:
        return {"error": "syntax", "detail": describe(error)}
    try:
        exec(program, module.__dict__)  # noqa: S102  (what the sandbox is for)
        found: typing.Any = module
        for name in function.split("."):
            # A method: its class is made without arguments.
            found = getattr(found() if isinstance(found, type) else found, name, None)
        if not callable(found):
            return {"error": "no function", "detail": f"the program has no function {function}"}
        return {"value": found(*arguments)}
    except MemoryError:
        return {"error": "memory"}
    except BaseException as error:
        return {"error": "exception", "detail": describe(error)}


def describe(error: BaseException) -> str:
    """The error in a line; a program's own error may fail to say what it is."""
    try:
        return f"{type(error).__name__}: {error}"[:1000]
    except BaseException:
        return type(error).__name__


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
