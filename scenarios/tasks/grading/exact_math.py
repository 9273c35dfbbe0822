"""Exact comparison of numbers for math-verify, whose own comparison rounds to six places.

Imports sympy, so only the child process of verifier.py imports this file.
"""

from typing import Any

import sympy
from math_verify import grader

DIGITS = 50
"""Digits to which constants are computed."""
CLOSE = sympy.Rational(1, 10**30)
"""Largest difference of two equal constants, relative to the larger one."""

PROBE = sympy.Rational(1, 7)
"""Expressions are compared with it to find out whether they can be compared."""
CONTAINERS = (sympy.Set, sympy.Tuple, sympy.core.relational.Relational)
"""Types whose parts are compared one by one."""


def install() -> None:
    """Make math-verify compare numbers, elements of sets and entries of matrices with `equal_numbers`."""
    grader.sympy_numeric_eq = equal_numbers
    grader.sympy_symbolic_eq = equal_expressions


def equal_numbers(a: Any, b: Any, *_: int) -> bool:
    """Whether two constants, or all entries of two matrices, are equal. Not for expressions with variables."""
    if isinstance(a, sympy.MatrixBase | sympy.MatrixExpr) or isinstance(b, sympy.MatrixBase | sympy.MatrixExpr):
        a, b = grader.safe_sympy_doit(a), grader.safe_sympy_doit(b)
        if not (isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase)) or a.shape != b.shape:
            return False
        return all(equal_numbers(x, y) or equal_expressions(x, y) for x, y in zip(a.flat(), b.flat(), strict=True))
    try:
        a, b = _exact(a), _exact(b)
        if a.free_symbols or b.free_symbols:
            return False
        if not (a.is_finite and b.is_finite):
            return bool(a == b)
        largest = max(abs(a.evalf(DIGITS)), abs(b.evalf(DIGITS)))
        return bool(abs((a - b).evalf(DIGITS)) <= CLOSE * largest)
    except Exception:
        return False  # sympy cannot compute it


def equal_expressions(a: Any, b: Any) -> bool:
    """Whether the difference of two expressions simplifies to zero."""
    try:
        difference = sympy.simplify(_exact(a) - _exact(b))
        return bool(difference.is_zero_matrix if isinstance(difference, sympy.MatrixBase) else difference.is_zero)
    except Exception:
        return False


def work_through(expressions: list[Any]) -> bool:
    """Evaluate each expression as a comparison does, to find out whether it takes too long."""
    for one in expressions:
        parts = one.flat() if isinstance(one, sympy.MatrixBase) else [] if isinstance(one, str) else [one]
        if isinstance(one, CONTAINERS):
            parts = one.args
        for part in parts:
            _ = equal_numbers(part, PROBE) or equal_expressions(part, PROBE)
    return True


def _exact(expression: Any) -> Any:
    """`expression` with the decimals in it as fractions."""
    expression = grader.safe_sympy_doit(expression)
    return expression.xreplace({one: sympy.Rational(str(one)) for one in expression.atoms(sympy.Float)})
