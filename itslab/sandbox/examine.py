"""Tests of a program: they run here, on what the program inside the sandbox returns."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, Protocol

from itslab.sandbox.confine import mechanism
from itslab.sandbox.program import ProgramError, run
from itslab.syntax import parse

SHOWN = 200  # characters of a value in a message


class Examine(Protocol):
    """Whoever runs tests of programs: see ``examine``."""

    def __call__(
        self,
        code: str,
        function: str,
        tests: Sequence[str],
        *,
        setup: str = "",
        seconds: float = 3.0,
    ) -> list[str]:
        """Return what went wrong in each test, ``""`` for nothing."""
        ...


def examine(
    code: str, function: str, tests: Sequence[str], *, setup: str = "", seconds: float = 3.0
) -> list[str]:
    """Run tests of one function of a program; return what went wrong in each, ``""`` for nothing.

    The program sees the arguments of the calls and nothing else of a test: no expected value, no
    assertion. All it can do about a verdict is to return the right values.

    Args:
        code: the program, by a model.
        function: the name under which tests call it, also known to them as ``candidate``.
        tests: Python statements, by people: they run in this process. One that fails raises.
        setup: Python that runs before them, likewise.
        seconds: for all tests together.

    Raises:
        ItslabError: there is no sandbox on this machine.
    """
    mechanism()
    scope: dict[str, Any] = {}
    exec(setup, scope)
    outcomes: list[str] = []
    try:
        with run(code, seconds=seconds) as program:
            scope[function] = scope["candidate"] = program.function(function)
            outcomes += [_outcome(test, scope) for test in tests]
    except Exception as error:
        outcomes += [_explain(error)] * len(tests)
    return outcomes


def _outcome(test: str, scope: dict[str, Any]) -> str:
    try:
        match parse(test).body:
            case [ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]))]:
                got, expected = (_value(side, scope) for side in (left, right))
                if got == expected:
                    return ""
                return f"{ast.unparse(left)} returned {_short(got)}, expected {_short(expected)}"
        exec(test, scope)
    except AssertionError as error:
        return f"{test}\nfailed {error}".strip()
    except Exception as error:
        return f"{test}\n{_explain(error)}"
    return ""


def _value(expression: ast.expr, scope: dict[str, Any]) -> Any:
    return eval(compile(ast.Expression(expression), "test", "eval"), scope)


def _explain(error: Exception) -> str:
    """The program's own traceback if it has one."""
    inner = error if isinstance(error, ProgramError) else error.__cause__
    trace = inner.trace if isinstance(inner, ProgramError) else ""
    return trace or f"{type(error).__name__}: {error}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
