"""Grades programs: runs them in the sandbox, and forms every verdict out here from the values that came back.

The one exception is a problem with a check program (HumanEval): its `check` runs beside the program, inside the
sandbox, so a program that sets out to deceive it can.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import Any, Literal

import msgspec

from broker.errors import TaskError
from broker.protocol import digest
from scenarios.tasks.grading.failing import NOT_RUN, FailedCase, failing_case, happened
from scenarios.tasks.problems import Behaviour, Problem
from scenarios.tasks.programs import Case, ProgramTask, program_task
from scenarios.tasks.sandbox.outcome import CallOutcome, ProgramLimits
from scenarios.tasks.sandbox.pool import Sandbox, available

Kind = Literal["auto", "none"]

MEMORY_MB = 256
OUTPUT_BYTES = 1 << 20
CACHE = 16_384
CLOSE = 1e-6
"""Floats that differ by less, relatively or absolutely, are equal."""
CHECKED = "lbt_checked_"


class ProgramGrader:
    """Runs programs, each once per problem; opens its sandbox with the first one.

    Args:
        kind: auto: the best sandbox that works here; none: no sandbox.
        every_case: run all visible cases of a program that fails one, for `failing`, until one runs out of time.
    """

    def __init__(self, kind: Kind = "auto", *, every_case: bool = False) -> None:
        self._kind = kind
        self._every_case = every_case
        self._open = ExitStack()
        self._sandbox: Sandbox | None = None
        self._fails = lru_cache(CACHE)(self._run_visible)
        self._behaves = lru_cache(CACHE)(self._run_all)

    def close(self) -> None:
        """End the processes of the sandbox, if they run."""
        self._open.close()
        self._sandbox = None

    def correct(self, program: str, problem: Problem) -> bool:
        """V-score: whether all visible cases pass.

        Raises:
            SandboxError: the sandbox does not work any more.
        """
        return not self._fails(program, problem.program)

    def failing(self, program: str, problem: Problem) -> str:
        """The visible cases that a program fails, one a line; empty without `every_case`.

        Raises:
            SandboxError: the sandbox does not work any more.
        """
        if not self._every_case:
            return ""
        return "\n".join(failing_case(problem, failed) for failed in self._fails(program, problem.program))

    def behaviour(self, program: str, problem: Problem) -> Behaviour:
        """What the program does on the inputs on which programs are compared, and on the hidden cases.

        Raises:
            SandboxError: the sandbox does not work any more.
        """
        return self._behaves(program, problem.program)

    def _run_visible(self, program: str, spec: str) -> tuple[FailedCase, ...]:
        """The visible cases that fail; without `every_case` the first of them alone."""
        task = program_task(spec)
        if task.check:
            checked = f"def {CHECKED}():\n    check({task.called})\n    return True"
            code = "\n\n".join((_whole(program, task), task.check, checked))
            (outcome,) = self._run(code, CHECKED, [[]], task)
            return () if not outcome.error and outcome.value is True else (FailedCase(None, happened(outcome)),)
        code, failed = _whole(program, task), list[FailedCase]()
        for number, case in enumerate(task.visible):
            (outcome,) = self._run(code, task.called, [case.args], task)
            if passes(outcome, case):
                continue
            failed.append(FailedCase(number, happened(outcome)))
            # A wrong program is not run further: most of those that never end are stopped once.
            if outcome.error == "timeout" or not self._every_case:
                failed += [FailedCase(later, NOT_RUN) for later in range(number + 1, len(task.visible))]
                break
        return tuple(failed)

    def _run_all(self, program: str, spec: str) -> Behaviour:
        task = program_task(spec)
        compared, hidden = task.compared, [case.args for case in task.hidden]
        calls = {msgspec.json.encode(args): args for args in (*compared, *hidden)}  # each once
        made = self._run(_whole(program, task), task.called, list(calls.values()), task) if calls else []
        outcomes = dict(zip(calls, made, strict=True))
        on_inputs = [outcomes[msgspec.json.encode(args)] for args in compared]
        # Without inputs, only programs with the same text are known to do the same.
        found = [one.error or _canonical(one.value) for one in on_inputs] if compared else [program]
        behaviour = digest(msgspec.json.encode(found).decode(), not self._fails(program, spec))
        if not hidden:
            return Behaviour(behaviour, None)
        passed = sum(passes(outcomes[msgspec.json.encode(case.args)], case) for case in task.hidden)
        return Behaviour(behaviour, passed / len(hidden))

    def _run(self, code: str, function: str, calls: Sequence[list[Any]], task: ProgramTask) -> Sequence[CallOutcome]:
        if self._sandbox is None:
            self._sandbox = self._open.enter_context(Sandbox(workers=1, kind=self._kind))
        limits = ProgramLimits(seconds=task.seconds, memory_mb=MEMORY_MB, output_bytes=OUTPUT_BYTES)
        return self._sandbox.run(code, function, calls, limits)


def _whole(program: str, task: ProgramTask) -> str:
    """The program with what runs before it, and the method of a class as a function."""
    owner, _, name = task.function.rpartition(".")
    parts = [program]
    if task.before:
        body = ast.parse(program).body
        # Python takes these imports only at the beginning.
        first = [one for one in body if isinstance(one, ast.ImportFrom) and one.module == "__future__"]
        rest = ast.Module([one for one in body if one not in first], [])
        parts = [*map(ast.unparse, first), task.before, ast.unparse(rest)]
    if owner:
        method = f"def {name}(*args, **named):\n        return {owner}().{name}(*args, **named)"
        parts.append(f"if {owner!r} in globals():\n    {method}")
    return "\n\n".join(parts)


def passes(outcome: CallOutcome, case: Case) -> bool:
    """Whether a call returned the value of the case."""
    return not outcome.error and equal(outcome.value, case.value)


def equal(one: Any, other: Any) -> bool:
    """Whether two values of plain JSON data are the same; floats may differ by rounding."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        if isinstance(one, float) or isinstance(other, float):
            return _close(one, other)
        return one == other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def _close(one: float, other: float) -> bool:
    try:
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
    except OverflowError:  # a whole number beyond all floats
        return False


def _canonical(value: Any) -> Any:
    """`value` in a form whose text is equal for equal values."""
    if isinstance(value, list):
        return [_canonical(one) for one in value]
    if isinstance(value, Mapping):
        return [[key, _canonical(value[key])] for key in sorted(value)]
    if isinstance(value, float):
        return f"#{value:.9g}" if not value.is_integer() else f"#{int(value)}"
    if isinstance(value, int):
        return f"#{int(value)}"
    return f"'{value}" if isinstance(value, str) else value


def check_sandbox(kind: Kind) -> None:
    """Refuse code problems where no sandbox works.

    Raises:
        TaskError: with what to install.
    """
    if kind == "none":
        return
    _, why = available()
    if why:
        raise TaskError(why, key=("task", "sandbox"))
