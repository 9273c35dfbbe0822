"""math-verify in a process of its own, with a limit on processor time and memory.

The process is started when it is first needed, serves one comparison after another over its standard input and
output (length, then MessagePack), and is killed when one takes too long; the next comparison starts another. It
ends when its input closes, or at a comparison that exceeds its processor time. Run as a module, this file is that
process. Comparing in both directions is the caller's business.
"""

import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import msgpack

from broker.errors import TaskError

START_S = 600.0
"""How long the process may take to import sympy, which needs some seconds of the processor."""
STARVED = 60
"""How many times its processor time a comparison may last: on a busy machine the process waits most of the time."""
MEMORY = 2 << 30
"""Bytes of address space."""
LONGEST = 2_000
"""Characters of an expression; longer ones are not compared."""
HEADER = struct.Struct(">I")


class VerifierError(TaskError):
    """The process cannot work at all: math-verify is missing or broken."""


class Verifier:
    """Compares LaTeX expressions; owns the process that does it."""

    def __init__(self, *, limit_s: float = 5.0, start_s: float = START_S) -> None:
        """limit_s: processor time of one comparison. start_s: time until the process must be ready."""
        self._limit_s = limit_s
        self._start_s = start_s
        self._child: _Child | None = None
        self.given_up = 0
        """Comparisons that took too long or killed the process."""

    @property
    def pid(self) -> int | None:
        """Of the process, if there is one."""
        return None if self._child is None else self._child.process.pid

    def equivalent(self, gold: str, answer: str) -> bool:
        """Whether math-verify accepts `answer` where `gold` is right; what cannot be decided in time is not.

        Raises:
            VerifierError: the process cannot be started.
        """
        if max(len(gold), len(answer)) > LONGEST:
            return False
        child = self._child or self._start()
        try:
            _write(child.input, {"gold": _sound(gold), "answer": _sound(answer), "limit_s": self._limit_s})
            reply = _read_until(child.output, time.monotonic() + STARVED * self._limit_s)
        except BrokenPipeError:
            reply = None
        if reply is None:
            self.given_up += 1
            self.close()
            return False
        return bool(reply["equivalent"])

    def close(self) -> None:
        """End the process. Safe to call twice; the next comparison starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _start(self) -> "_Child":
        child = self._child = _Child()
        deadline = time.monotonic() + self._start_s
        reply = _read_until(child.output, deadline)
        if reply is None or "error" in reply:
            late = time.monotonic() >= deadline
            self.close()
            why = f"it was not ready after {self._start_s:g} s" if late else "its process ended"
            why = reply["error"] if reply else why
            raise VerifierError(f"math-verify cannot be used: {why}; `python run.py doctor` looks into it")
        return child


class _Child:
    """The process and its two pipes."""

    def __init__(self) -> None:
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        self.process = subprocess.Popen(
            # -P: no module of the current folder takes the place of an installed one.
            [sys.executable, "-P", "-m", "scenarios.tasks.verifier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the class; the end of its input ends this process
        )
        if self.process.stdin is None or self.process.stdout is None:
            raise VerifierError("a process was started without pipes")
        self.input, self.output = self.process.stdin, self.process.stdout

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.input.close()
        self.output.close()


def _sound(text: str) -> str:
    """`text` with a question mark for every half of a character, which has no bytes."""
    return text.encode(errors="replace").decode()


def _write(pipe: IO[bytes], message: dict[str, Any]) -> None:
    body: bytes = msgpack.packb(message)
    pipe.write(HEADER.pack(len(body)) + body)
    pipe.flush()


def _read_until(pipe: IO[bytes], deadline: float) -> dict[str, Any] | None:
    """One message, or None where it does not come in time or the other side is gone."""
    data = b""
    while len(data) < HEADER.size or len(data) < HEADER.size + HEADER.unpack_from(data)[0]:
        ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
        more = os.read(pipe.fileno(), 65_536) if ready else b""
        if not more:
            return None
        data += more
    reply: dict[str, Any] = msgpack.unpackb(data[HEADER.size :])
    return reply


def _serve() -> None:
    """Be the process: one comparison at a time until the input closes."""
    import logging

    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # Whatever a library prints must not get between the messages.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the class, which ends this process itself.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))
    try:
        from math_verify import parse, verify

        from scenarios.tasks import exact_math

        exact_math.install()
    except Exception as error:
        _write(output, {"error": f"{type(error).__name__}: {error}"})
        return
    logging.disable(logging.CRITICAL)
    _write(output, {"ready": True})
    while (head := sys.stdin.buffer.read(HEADER.size)) and len(head) == HEADER.size:
        request = msgpack.unpackb(sys.stdin.buffer.read(HEADER.unpack(head)[0]))
        # Ends this process: the parent sees that, and starts another. Processor time and not the clock's, by which a
        # right answer would be wrong on a busy machine; so math-verify's own limits are switched off.
        signal.setitimer(signal.ITIMER_PROF, request["limit_s"])
        try:
            sides = [parse(f"${request[side]}$", parsing_timeout=None) for side in ("gold", "answer")]
            same = all(sides) and bool(verify(*sides, timeout_seconds=None))
        except Exception:
            same = False  # What sympy cannot work with is not equivalent to anything.
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        _write(output, {"equivalent": same})


if __name__ == "__main__":
    _serve()
