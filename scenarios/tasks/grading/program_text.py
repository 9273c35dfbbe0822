"""Finds the program in a model's text. The text is parsed, never run; scenarios/tasks/grading/code.py runs programs."""

import ast
import re
import textwrap
import warnings
from collections.abc import Mapping
from functools import lru_cache

from scenarios.tasks.programs import block

LONGEST = 20_000
"""Characters of a program that are read."""
BLOCK = re.compile(
    r"^[ \t]*+(?P<fence>`{3,}+|~{3,}+)[^\n`]*+\n(?P<code>.*?)(?P<closed>^[ \t]*(?P=fence)|\Z)",
    re.MULTILINE | re.DOTALL,
)

OUTSIDE = {"input", "print", "stdin", "assert"}
"""Names that tell code which prints, reads input or tests."""


@lru_cache(16_384)
def find_program(text: str, function: str, *, ended: bool = True) -> str | None:
    """The program in `text` that defines `function`, in the layout of `ast.unparse`; None if there is none.

    The last fenced block that defines the function counts; without one, the text itself. Statements beside the
    definitions that print, read input or test are left out, since they are no part of the function; so are bare calls
    of functions of the text that do (`main()`).

    Args:
        text: the whole answer of a model.
        function: the name, or `Class.method`.
        ended: False: the text was cut off at its end. A block without an end, and a text without blocks, do not count
            then: what is missing would change what they do.
    """
    text = text[-LONGEST:]
    blocks = [found for found in BLOCK.finditer(text) if found["closed"] or ended]
    for found in reversed(blocks):
        if (program := _program(textwrap.dedent(found["code"]), function)) is not None:
            return program
    return _program(text, function) if ended and not blocks else None


def with_program(text: str, function: str, program: str) -> str:
    """The strategy of a text, that is what stands before its first program, with `program` below it."""
    own = (one.start() for one in BLOCK.finditer(text) if _program(textwrap.dedent(one["code"]), function) is not None)
    return block(text[: next(own, 0)], program).strip()


def _program(code: str, function: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as an invalid escape sequence
            tree = ast.parse(code)
            if not _defines(tree, function):
                return None
            own = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
            tree.body = [statement for statement in tree.body if not _is_beside(statement, own)]
            program = ast.unparse(tree)
            compile(program, "program", "exec", dont_inherit=True)  # also finds a `return` outside of functions
            program.encode()  # text of JSON may hold half a surrogate pair
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    return program


def _defines(tree: ast.Module, function: str) -> bool:
    owner, _, name = function.rpartition(".")
    body: list[ast.stmt] = tree.body
    functions = {one.name for one in body if isinstance(one, ast.FunctionDef)}
    if not owner:
        return name in functions
    methods = {
        one.name
        for of in body
        if isinstance(of, ast.ClassDef) and of.name == owner
        for one in of.body
        if isinstance(one, ast.FunctionDef)
    }
    return name in methods or name in functions


def _is_beside(statement: ast.stmt, own: Mapping[str, ast.FunctionDef]) -> bool:
    """Whether a statement of the module prints, reads input or tests, itself or as a bare call of an `own` function."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
            return False
        case ast.If() if "__name__" in _names(statement):
            return True
        case ast.Expr(ast.Call(ast.Name(name))) if name in own:
            return not OUTSIDE.isdisjoint(_reached(name, own))
    return not OUTSIDE.isdisjoint(_names(statement))


def _reached(name: str, own: Mapping[str, ast.FunctionDef]) -> set[str]:
    """The names in a function, and in the `own` functions that it reaches."""
    reached, todo = {name}, [name]
    while todo:
        if (function := own.get(todo.pop())) is not None:
            todo += (more := _names(function) - reached)
            reached |= more
    return reached


def _names(tree: ast.AST) -> set[str]:
    """The names in a tree, `stdin` of `sys.stdin`, and `assert` for an assertion."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "stdin"}
    return names | {"assert" for node in ast.walk(tree) if isinstance(node, ast.Assert)}
