"""The process that runs the tests of a program on what it returns, and that may be lost.

The tests are people's and may do anything; what they are given is the program's and may be
anything. A number to count up to, a text to repeat, a set of hostile hashes: whatever time and
memory it takes, this process takes it, and ends.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import sys

from itslab.sandbox.inside import decode, encode, frame
from itslab.sandbox.program import Program, ProgramError, by_the_clock

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to load than a verdict may
    from collections.abc import Callable
    from typing import Any

SHOWN = 200  # characters of a value in a message
MEMORY = 2**31  # bytes of address space
GRACE = 1.0  # seconds that a test may take beside its program
_TREE = 0x400  # ast.PyCF_ONLY_AST: the module ast is loaded only for what it prints


def judge(writer: int, reader: int, task: dict[str, Any], say: Callable[[str, str], None]) -> None:
    """Run the tests of one task, and say what went wrong in each as it is known.

    What is said is a text and why the program is lost, both empty where all is well. With the
    program this process ends too: the tests that are left take another.
    """
    seconds, tests = task["seconds"], task["tests"]
    scope: dict[str, Any] = {}
    if sys.platform != "darwin":  # which has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.setrecursionlimit(4_000)  # values may be nested as deep as a program can make them
    exec(task["setup"], scope)
    say("started", "")
    program = Program(writer, reader, seconds)
    try:
        program.load(task["code"], task["importable"], len(tests))
    except Exception as error:
        if not program.ready:
            return say(f"{error}", "host")
        for _ in tests:
            say(_explain(error), program.lost or "loading")
        return None
    function = task["function"]
    scope[function] = scope["candidate"] = program.function(function)
    for test in tests:
        faulthandler.dump_traceback_later(by_the_clock(seconds) + GRACE, exit=True)
        outcome = ""
        try:
            program.renew()
            outcome = _outcome(test, scope)
        except Exception as error:
            outcome = _explain(error)
        if program.lost and not outcome:
            outcome = f"{test}\nProgramError: the program was lost"
        faulthandler.cancel_dump_traceback_later()
        say(outcome, program.lost)
        if program.lost:
            break
    return None


def _outcome(test: str, scope: dict[str, Any]) -> str:
    try:
        import _ast as ast

        match compile(test, "test", "exec", _TREE).body:
            case [ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]))]:
                got, expected = (_value(side, scope) for side in (left, right))
                if got == expected:
                    return ""
                return f"{_source(left)} returned {_short(got)}, expected {_short(expected)}"
        exec(test, scope)
    except AssertionError as error:
        return f"{test}\nfailed {error}".strip()
    except Exception as error:
        return f"{test}\n{_explain(error)}"
    return ""


def _value(expression: Any, scope: dict[str, Any]) -> Any:
    import _ast

    return eval(compile(_ast.Expression(expression), "test", "eval"), scope)


def _source(expression: Any) -> str:
    import ast

    return ast.unparse(expression)


def _explain(error: Exception) -> str:
    """The program's own traceback if it has one."""
    inner = error if isinstance(error, ProgramError) else error.__cause__
    trace = inner.trace if isinstance(inner, ProgramError) else ""
    return trace or f"{type(error).__name__}: {error}"


def _short(value: Any) -> str:
    try:
        shown = repr(value)
    except (ValueError, RecursionError) as error:  # such as a number of 5,000 digits
        return f"a value of type {type(value).__name__} ({error})"
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def main() -> None:
    """Serve the one task on standard input; see ``examine``."""
    writer, reader = map(int, sys.argv[1:])
    source, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what tests print is nobody's
    task = decode(source.read(int(source.readline())).decode("ascii"))
    sys.path[:] = task.pop("path")

    def say(text: str, lost: str) -> None:
        replies.write(frame(encode((text, lost))))

    judge(writer, reader, task, say)
