"""What a program may use, and what became of one call of it."""

import json
import math
from typing import Any

import msgspec

from broker.errors import TaskError
from broker.printable import printable

DETAIL = 300
"""Most characters of a detail."""
DEEPEST = 100
"""Most nested lists and objects of a value. Comparing or printing a deeper one would fail."""


class SandboxError(TaskError):
    """No sandbox works on this machine, or one ends again and again: what to install or to do."""


class ProgramLimits(msgspec.Struct, frozen=True):
    """What a program may use in one call. The limits of memory and of files hold for each of its processes."""

    seconds: float = 2.0
    """Processor time. A program that waits is stopped (docs/sandbox.md); a busy machine makes no program late."""
    memory_mb: int = 256
    """Address space of a process, the interpreter included (about 20 MB)."""
    output_bytes: int = 65_536
    """Size of the returned value as JSON. What the program prints is thrown away."""
    processes: int = 16
    """Processes and threads at a time."""
    file_mb: int = 16
    """Size of a file. All files of a program together may have 64 MB."""


DEFAULT = ProgramLimits()


class CallOutcome(msgspec.Struct, frozen=True):
    """What became of one call."""

    value: Any = None
    """The returned value as plain JSON data: tuples are lists, keys are text. Undefined if there is an error."""
    error: str = ""
    """Empty: the function returned. Else `timeout`, `memory`, `exception`, `not json`, `no function`, `syntax`,
    `crashed` or `output`."""
    detail: str = ""
    """For people: at most 300 printable characters."""


DEEP = f"more than {DEEPEST} nested lists and objects"
CLAIMS = ("memory", "exception", "not json", "no function", "syntax")
"""Errors that the process of a program reports itself."""


def read(late: bool, code: int, answer: bytes, limits: ProgramLimits) -> CallOutcome:
    """The outcome of a call.

    Args:
        late: whether its time ran out.
        code: the exit code of its process; negative for a signal.
        answer: what it has written, whatever that is; of a longer one, at least one byte more than the limit.
        limits: of the call.
    """
    if late:
        return CallOutcome(error="timeout", detail=f"more than {limits.seconds:g} s of processor time, or it waits")
    if len(answer) > limits.output_bytes:
        return CallOutcome(error="output", detail=f"the value has more than {limits.output_bytes:,} bytes")
    if not answer:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return CallOutcome(error="crashed", detail=f"its process ended without an answer ({how})")
    try:
        said = json.loads(answer, parse_constant=_finite, parse_float=_finite)
        deep = _depth(said) > DEEPEST
    except RecursionError:
        return CallOutcome(error="not json", detail=DEEP)
    except ValueError:
        return CallOutcome(error="crashed", detail="its process wrote something that is no answer")
    match said:
        case {"value": value, **others} if not others:
            return CallOutcome(error="not json", detail=DEEP) if deep else CallOutcome(value)
        case {"error": str(error), **others} if error in CLAIMS:
            return CallOutcome(error=error, detail=printable(str(others.get("detail", ""))[:DETAIL]))
    return CallOutcome(error="crashed", detail="its process wrote something that is no answer")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no JSON number")
    return number


def _depth(data: object) -> int:
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return 1 + max(map(_depth, parts), default=0)
