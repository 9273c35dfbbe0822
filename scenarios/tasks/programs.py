"""Code problems: what a program must do, as plain data, and how it is stated in prompts.

`Problem.program` holds a `ProgramTask` as JSON. Hidden cases and reference solutions are graded in the classroom and
never sent to an agent; the visible cases are part of the problem's text.
"""

import ast
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta

NAME = r"[^\W\d]\w*"


class Case(msgspec.Struct, frozen=True):
    """A call of the function and the value that it must return, both plain JSON data."""

    args: list[Any]
    value: Any


class ProgramTask(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a program must do."""

    function: Annotated[str, Meta(pattern=rf"^{NAME}(\.{NAME})?\Z")]
    """The function's name; `Solution.name` for a method of a class without arguments."""
    visible: tuple[Case, ...] = ()
    """All of them must pass for a program to be right (V-score 1)."""
    hidden: tuple[Case, ...] = ()
    """The share that passes is the S-score, which is only reported."""
    inputs: tuple[list[Any], ...] = ()
    """Argument lists on which programs are compared (SUM), besides those of the visible cases."""
    seconds: Annotated[float, Meta(gt=0, le=60)] = 2.0
    """Time limit of one call, in seconds."""
    before: str = ""
    """Code that runs before the program: imports and helpers that the problem gives."""
    check: str = ""
    """Code that defines `check(candidate)`, which raises where the program is wrong. It replaces the visible cases
    where these are no plain data (HumanEval)."""

    @property
    def called(self) -> str:
        """The name under which the function is called."""
        return self.function.rpartition(".")[2]

    @property
    def compared(self) -> list[list[Any]]:
        """The argument lists on which two programs are compared."""
        others = self.inputs or tuple(case.args for case in self.hidden)
        return [*(case.args for case in self.visible), *others]


@lru_cache(4096)
def program_task(program: str) -> ProgramTask:
    """The task that `Problem.program` holds."""
    return msgspec.json.decode(program, type=ProgramTask)


def statement(text: str, signature: str, function: str, visible: tuple[Case, ...]) -> str:
    """The text of a problem as prompts have it: what is wanted, the signature and the visible cases."""
    calls = [f"{function}({', '.join(map(repr, case.args))}) == {case.value!r}" for case in visible]
    return "\n".join([text.strip(), "", f"Write the function `{signature}`.", *calls])


def block(strategy: str, code: str) -> str:
    """A worked solution as a student would write it: the strategy, then the program."""
    return f"{strategy.strip()}\n```python\n{code.strip()}\n```"


def count_failing(failing: str) -> int:
    """How many visible cases a program fails, from `Grader.failing`."""
    return len(failing.split("\n")) if failing else 0


def function_of(signature: str) -> str | None:
    """The name of the function in `def name(...) -> ...`; None if that is no Python."""
    try:
        found = ast.parse(f"{signature.strip().rstrip(':')}:\n    pass").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return found[0].name if len(found) == 1 and isinstance(found[0], ast.FunctionDef) else None
