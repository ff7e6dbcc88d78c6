"""Python source as a tree, from any thread, and the exact value of arithmetic.

CPython 3.11 keeps one count of the depth of all trees under construction: threads that parse at
once make each other fail with a SystemError (cpython issue 106905).
"""

from __future__ import annotations

import ast
import operator
import threading
from collections.abc import Callable, Sequence
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


def unbound(statements: Sequence[ast.stmt], bound: set[str]) -> set[str]:
    """Return the names that statements read before they give them a value.

    Args:
        statements: in their order; what functions read counts at their end.
        bound: names that have a value before, to which those that get one are added.
    """
    needed: set[str] = set()
    inside: list[ast.AST] = []  # of functions, which are called later
    for statement in statements:
        if isinstance(statement, _DEFINITIONS):
            bound.add(statement.name)
            inside.append(statement)
            continue
        bodies = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        bodies += [handler.body for handler in getattr(statement, "handlers", [])]
        within = {id(node) for body in bodies for child in body for node in ast.walk(child)}
        nodes = [node for node in ast.walk(statement) if id(node) not in within]
        local = set[str]()  # of comprehensions and lambdas
        for node in nodes:
            if isinstance(node, ast.comprehension):
                local |= given(node.target)
            elif isinstance(node, ast.arg):
                local.add(node.arg)
        read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        if isinstance(statement, ast.AugAssign):
            read |= given(statement.target)
        needed |= read - bound - local
        for node in nodes:
            bound |= given(node) if isinstance(node, ast.Name | ast.alias) else set()
        bound |= {handler.name for handler in getattr(statement, "handlers", []) if handler.name}
        for body in bodies:
            needed |= unbound(body, bound)
    for function in inside:
        read = {n.id for n in ast.walk(function) if isinstance(n, ast.Name)}
        needed |= read - given(function) - bound
    return needed


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def given(tree: ast.AST) -> set[str]:
    """Return the names that code gives a value."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, _DEFINITIONS):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names
