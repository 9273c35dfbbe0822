"""Runs math-verify in a child process with limits on processor time and memory.

The process starts when it is first needed, and imports sympy. A fork of it serves one request after another over
standard input and output (length, then MessagePack). A request that takes too long kills the fork; the process reports
it and makes another fork. Both end when the input closes. Run as a module, this file is that process. Callers compare
in both directions.

pebble's ProcessPool does not replace it: pebble limits wall-clock time, by which a right answer would be wrong on a
busy machine, unpickles what a worker sends, and imports sympy again after every time-out.
"""

import contextlib
import math
import os
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

import msgpack

from broker.child_process import ROOT
from broker.environment import child_environment
from broker.errors import TaskError

START_S = 600.0
"""Seconds in which the process must have imported sympy; it takes a few seconds of processor time."""
STARVED = 60
"""Limit of a comparison's wall-clock time, in multiples of its processor time: a busy machine makes it wait."""
MEMORY = 2 << 30
"""Limit of the address space, in bytes."""
LONGEST = 2_000
"""Most characters of an expression; longer ones are not compared."""
DEEPEST = 15
"""Most nested brackets of a formula; math-verify's parser takes far too long for more."""
DIGITS = 100_000
"""Most digits of a number that is written as a power, since math-verify computes it."""
POWERS = re.compile(r"\d+\s*(?:\^\s*[{(]*\s*-?\s*\d+\s*)+")
"""A number with its exponents: 9^{9^9}."""
BUDGET_S = 60.0
"""Processor time for requests that exceed their limit; once it is spent, each request gets a fifth of the limit.
Formulas of common sizes take up to a quarter of a second, so their grades do not depend on earlier requests."""
WARM_UP = (r"\frac{x^2 + 1}{\sqrt{8}} - 2\pi", r"\frac{1 + x^2}{2\sqrt{2}} - \pi - \pi")
"""Compared before the first fork, since the first comparison imports and caches as much as dozens of others."""
HEADER = struct.Struct(">I")


class VerifierError(TaskError):
    """math-verify is missing or does not work."""


class Verifier:
    """Compares LaTeX expressions in a child process, which the first comparison starts.

    Args:
        limit_s: processor time of one request.
        budget_s: see `BUDGET_S`.
    """

    def __init__(self, *, limit_s: float = 5.0, budget_s: float = BUDGET_S) -> None:
        self._limit_s = limit_s
        self._budget_s = budget_s
        self._child: _VerifierProcess | None = None
        self.given_up = 0
        """Requests that took too long, looked as if they would, or killed the process twice."""

    @property
    def pid(self) -> int | None:
        """The process id, if the process runs."""
        return None if self._child is None else self._child.process.pid

    def workable(self, text: str) -> bool:
        """Whether math-verify can evaluate one expression within the limit.

        Raises:
            VerifierError: the process cannot be started.
        """
        if _excessive(text):
            self.given_up += 1
            return False
        return self._ask(text) is not None

    def equivalent(self, gold: str, answer: str) -> bool:
        """Whether math-verify accepts `answer` where `gold` is right; False if it does not decide in time.

        Raises:
            VerifierError: the process cannot be started.
        """
        return max(len(gold), len(answer)) <= LONGEST and bool(self._ask(gold, answer))

    def _ask(self, *texts: str) -> bool | None:
        """The reply of the process; None: it took too long or died."""
        limit_s = self._limit_s if self._budget_s > 0 else self._limit_s / 5
        # Twice: another program may have killed the process, for example when memory is short.
        for _ in range(2):
            child = self._child or self._start()
            deadline = time.monotonic() + STARVED * limit_s
            try:
                _write(child.input, {"texts": [_sound(text) for text in texts], "limit_s": limit_s})
                reply = _read_until(child.output, deadline)
            except BrokenPipeError:
                reply = None
            if reply is not None:
                break
            self.close()
            if time.monotonic() >= deadline:
                break
        if reply is None or reply["same"] is None:
            self.given_up += 1
            self._budget_s -= limit_s
            return None
        return bool(reply["same"])

    def close(self) -> None:
        """Kill the process. Safe to call twice; the next comparison starts another."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _start(self) -> "_VerifierProcess":
        child = self._child = _VerifierProcess()
        deadline = time.monotonic() + START_S
        reply = _read_until(child.output, deadline)
        if reply is None or "error" in reply:
            late = time.monotonic() >= deadline
            self.close()
            why = f"it was not ready after {START_S:g} s" if late else "its process ended"
            why = reply["error"] if reply else why
            raise VerifierError(f"math-verify cannot be used: {why}; `python run.py doctor` looks into it")
        return child


class _VerifierProcess:
    """The process and its two pipes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "scenarios.tasks.grading.verifier"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            # The user's current folder may contain a math_verify.py, and `-m` or a PYTHONPATH such as `:/lib` puts the
            # current folder before installed packages.
            cwd=ROOT,
            env=child_environment({}),
            start_new_session=True,  # Ctrl-C stops the class, and the end of its input this process
        )
        if self.process.stdin is None or self.process.stdout is None:
            raise VerifierError("a process was started without pipes")
        self.input, self.output = self.process.stdin, self.process.stdout

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # both may have ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.input.close()
        self.output.close()


def _excessive(text: str) -> bool:
    """Whether the text itself shows that math-verify would take too long."""
    depth = deepest = 0
    for character in text:
        depth += (character in "{([") - (character in "})]")
        deepest = max(deepest, depth)
    if deepest > DEEPEST or len(text) > LONGEST:
        return True
    for found in POWERS.finditer(text):
        base, *exponents = (int(digits[:10]) for digits in re.findall(r"\d+", found[0]))
        power = 1
        for exponent in reversed(exponents):
            if power * math.log10(max(exponent, 1)) > 10:
                return base > 1
            power = exponent**power
        if power * math.log10(max(base, 1)) > DIGITS:
            return True
    return False


def _sound(text: str) -> str:
    """`text` with a question mark for every surrogate, which cannot be encoded."""
    return text.encode(errors="replace").decode()


def _write(pipe: IO[bytes], message: dict[str, Any]) -> None:
    body: bytes = msgpack.packb(message)
    pipe.write(HEADER.pack(len(body)) + body)
    pipe.flush()


def _read_until(pipe: IO[bytes], deadline: float) -> dict[str, Any] | None:
    """One message; None if it is late or the other side has closed the pipe."""
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
    """Run as the child process: one comparison at a time until the input closes."""
    import logging

    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # Output of a library must not mix with the messages.
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the class, which ends this process.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if hard == resource.RLIM_INFINITY else min(MEMORY, hard), hard))
    logging.disable(logging.CRITICAL)
    try:
        from scenarios.tasks.grading import exact_math

        exact_math.install()
        for texts in (WARM_UP[:1], WARM_UP):
            _same(texts)
    except Exception as error:
        _write(output, {"error": f"{type(error).__name__}: {error}"})
        return
    _write(output, {"ready": True})
    while (fork := os.fork()) and os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == -signal.SIGPROF:
        _write(output, {"same": None})
    if not fork:
        _answer(output)


def _answer(output: IO[bytes]) -> None:
    """Run as the fork that answers requests, while its parent lives."""
    parent = os.getppid()
    while (head := sys.stdin.buffer.read(HEADER.size)) and len(head) == HEADER.size:
        request = msgpack.unpackb(sys.stdin.buffer.read(HEADER.unpack(head)[0]))
        if os.getppid() != parent:
            return
        # The timer kills this process. It measures processor time: by wall-clock time, as in math-verify's own limits,
        # a right answer would be wrong on a busy machine.
        signal.setitimer(signal.ITIMER_PROF, request["limit_s"])
        try:
            same = _same(request["texts"])
        except Exception:
            same = False  # sympy cannot evaluate it
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        _write(output, {"same": same})


def _same(texts: Sequence[str]) -> bool:
    """Whether the second text is equivalent to the first, which is right; one text alone is only evaluated."""
    from math_verify import parse, verify

    from scenarios.tasks.grading import exact_math

    sides = [parse(f"${text}$", parsing_timeout=None) for text in texts]
    if len(sides) == 1:
        return exact_math.work_through(sides[0])
    return all(sides) and bool(verify(*sides, timeout_seconds=None))


if __name__ == "__main__":
    _serve()
