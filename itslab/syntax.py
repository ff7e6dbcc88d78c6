"""Python source as a tree, from any thread.

CPython 3.11 keeps one count of the depth of all trees under construction: threads that parse at
once make each other fail with a SystemError (cpython issue 106905).
"""

from __future__ import annotations

import ast
import threading
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
