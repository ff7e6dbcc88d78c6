"""Python source as a tree, from any thread, and the exact value of arithmetic.

CPython 3.11 keeps one count of the depth of all trees under construction: threads that parse at
once make each other fail with a SystemError (cpython issue 106905).
"""

from __future__ import annotations

import ast
import operator
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

_lock = threading.Lock()


def parse(source: str) -> ast.Module:
    """Return the tree of a program; errors as of ``ast.parse``."""
    with _lock:
        return ast.parse(source)


def parse_expression(source: str) -> ast.expr:
    """Return the tree of an expression; errors as of ``ast.parse``."""
    with _lock:
        return ast.parse(source, mode="eval").body


def literal(source: str) -> Any:
    """Return the value of a literal; errors as of ``ast.literal_eval``."""
    return ast.literal_eval(parse_expression(source.lstrip(" \t")))


# -- arithmetic ------------------------------------------------------------------------------------

_OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def evaluate(source: str) -> tuple[Fraction, list[int | float]]:
    """Return the exact value of an expression, and the numbers in it from left to right.

    An expression is made of numbers, + - * / and brackets; no sign stands before a number. Decimals
    count as they are written: 0.1 is 1/10.

    Raises:
        ValueError: it is no such expression.
        ZeroDivisionError: it divides by zero.
    """
    source, numbers = source.strip(), list[int | float]()

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                numbers.append(number)
                return Fraction(_written(source, node) if type(number) is float else number)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(left), value(right))
        raise ValueError(f"no arithmetic: {ast.unparse(node)}")

    try:
        return value(parse_expression(source)), numbers
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"no arithmetic: {source}") from error


def _written(source: str, number: ast.Constant) -> str:
    return ast.get_source_segment(source, number) or repr(number.value)
