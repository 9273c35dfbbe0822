"""Exact comparison of numbers, in place of math-verify's, which rounds to six places.

Imports sympy: for the process that compares LaTeX alone.
"""

from typing import Any

import sympy
from math_verify import grader

DIGITS = 50
"""Digits that constants are computed to."""
CLOSE = sympy.Rational(1, 10**30)
"""Of the larger of two constants: how far apart they may be computed and still be equal."""

PROBE = sympy.Rational(1, 7)
"""What an expression is compared with to see whether it can be compared at all."""
CONTAINERS = (sympy.Set, sympy.Tuple, sympy.core.relational.Relational)
"""Their parts are compared one by one."""


def install() -> None:
    """Have math-verify compare numbers, elements of sets and entries of matrices by `equal_numbers`."""
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
        return False  # What sympy cannot compute is not equal to anything.


def equal_expressions(a: Any, b: Any) -> bool:
    """Whether the difference of two expressions simplifies to zero."""
    try:
        difference = sympy.simplify(_exact(a) - _exact(b))
        return bool(difference.is_zero_matrix if isinstance(difference, sympy.MatrixBase) else difference.is_zero)
    except Exception:
        return False


def work_through(expressions: list[Any]) -> bool:
    """Do with each expression, alone, what a comparison does with it: to find out whether that takes too long."""
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
