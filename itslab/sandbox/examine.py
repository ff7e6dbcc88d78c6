"""Run tests of a program in one process, on what the program returns in another."""

from __future__ import annotations

import marshal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from itslab.core import Output
from itslab.options import Positive, checked
from itslab.sandbox.confine import (
    SandboxError,
    confined,
    importable,
    mechanism,
    out_of_time,
    processor_seconds,
)
from itslab.sandbox.inside import decode, encode, frame
from itslab.sandbox.program import START, Program, by_the_clock

RULES = 2  # counted up where verdicts may come out otherwise, so that older ones are not replayed
_FOLDER = Path(__file__).parent
# Compiled, which else every verdict would be.
_INSIDE = "import marshal; exec(marshal.loads({!r}))".format(
    marshal.dumps(compile((_FOLDER / "inside.py").read_text(), "inside.py", "exec"))
)
# Without the package's own imports, which take longer than a verdict.
_JUDGE = f"""
import sys, types
for name, folder in ("itslab", {str(_FOLDER.parent)!r}), ("itslab.sandbox", {str(_FOLDER)!r}):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
from itslab.sandbox.judge import main
main()
"""
_SLOW = "ProgramError: the program was too slow"
_HEAVY = "ProgramError: the test took too long or too much memory on what the program returned"


class Outcomes(list[str]):
    """What went wrong in each test, ``""`` for nothing.

    Attributes:
        seconds: by the clock, for all tests.
        certain: whether the same comes out on any machine. A program that was too slow by the clock
            without having used its processor time may have waited for others.
    """

    def __init__(
        self, outcomes: Sequence[str] = (), seconds: float = 0.0, certain: bool = True
    ) -> None:
        super().__init__(outcomes)
        self.seconds, self.certain = seconds, certain


class Examine(Protocol):
    """A function that runs tests of a program, as ``examine`` does."""

    def __call__(
        self,
        code: str,
        function: str,
        tests: Sequence[str],
        *,
        setup: str = "",
        seconds: float = 3.0,
    ) -> Sequence[str]:
        """Return what went wrong in each test, ``""`` for nothing."""
        ...


@checked
def examine(
    code: str, function: str, tests: Sequence[str], *, setup: str = "", seconds: Positive = 3.0
) -> Outcomes:
    """Run tests of one function of a program; return what went wrong in each, ``""`` for nothing.

    The program sees the arguments of the calls and nothing else of a test: no expected value, no
    assertion. All it can do about a verdict is to return the right values. It may import the
    standard library and ``LIBRARIES``.

    Args:
        code: the program, by a model.
        function: the name under which tests call it, also known to them as ``candidate``.
        tests: Python statements, by people. They run in a process of their own, on what comes back.
            One that fails raises.
        setup: Python that runs before them, likewise.
        seconds: of processor time, for loading the program and for each test; by the clock more may
            pass, see ``by_the_clock``. A program that is lost is started again for the next test.

    Raises:
        OptionError: an argument is not what it must be.
        SandboxError: there is no sandbox on this machine, it does not start, or ``setup`` fails:
            nothing that could be said of the program.
    """
    mechanism()
    began = time.monotonic()
    outcomes = Outcomes()
    while len(outcomes) < len(tests):
        task = {
            "code": code,
            "function": function,
            "tests": list(tests[len(outcomes) :]),
            "setup": setup,
            "seconds": seconds,
            "importable": importable(),
            "path": sys.path,
        }
        _judge(task, outcomes)
    outcomes.seconds = time.monotonic() - began
    return outcomes


def _judge(task: dict[str, Any], outcomes: Outcomes) -> None:
    """Run tests and add their outcomes, up to the first that ends the program or the judge."""
    with confined(["-c", _INSIDE]) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pipes = process.stdin.fileno(), process.stdout.fileno()
        judge = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _JUDGE, *map(str, pipes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pipes,
            start_new_session=True,
        )
        limit = 2 * START + (by_the_clock(task["seconds"]) + 1) * (len(task["tests"]) + 1)
        try:
            said, complaint = judge.communicate(frame(encode(task)), timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise SandboxError(f"the tests did not end within {limit:.0f} seconds") from error
        finally:
            judge.kill()
            judge.communicate()
        if not (replies := _replies(said)):
            last = complaint.decode(errors="replace").strip().splitlines()[-1:]
            raise SandboxError(f"the tests' setup failed: {' '.join(last) or judge.returncode}")
        for text, lost in replies[1:]:
            if lost == "host":
                raise SandboxError(f"the sandbox did not start: {text}")
            waited = lost == "slow" and processor_seconds(process) < task["seconds"]
            if lost == "ended" and out_of_time(process):
                text = _SLOW
            outcomes.append(_plain(text))
            outcomes.certain &= not waited
        tests = task["tests"]
        judged = len(replies) - 1
        if judged < len(tests) and not (judged and replies[-1][1]):  # the judge itself was lost
            outcomes.append(f"{tests[judged]}\n{_HEAVY}")
            outcomes.certain &= judge.returncode != 1  # 1: its time was up


def _replies(said: bytes) -> list[tuple[str, str]]:
    replies = []
    while said:
        size, _, rest = said.partition(b"\n")
        if len(rest) < int(size):
            break
        replies.append(decode(rest[: int(size)].decode("ascii")))
        said = rest[int(size) :]
    return replies


def _plain(text: str) -> str:
    """Text that can be written anywhere: half a surrogate pair cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


@checked
def execute(code: str, *, seconds: Positive = 3.0) -> Output:
    """Run a program in the sandbox and return what it printed: an ``Interpreter``.

    A program that prints nothing and ends in an expression says the value of that, as at a prompt.

    Args:
        code: Python, for its standard library and ``LIBRARIES``; there is no input to be read.
        seconds: of processor time; by the clock as in ``examine``.

    Returns:
        The last characters that it printed, and why it failed. Of one that was too slow, or whose
        process was lost, nothing is left.

    Raises:
        SandboxError: there is no sandbox on this machine, or it does not start.
    """
    mechanism()
    began, printed, certain = time.monotonic(), "", True
    with confined(["-c", _INSIDE]) as process:
        program = _program(process, seconds)
        try:
            printed, trace = program.perform(code, importable())
        except Exception as error:
            if not program.ready:
                raise SandboxError(f"the sandbox did not start: {error}") from error
            trace = _SLOW if out_of_time(process) else f"{type(error).__name__}: {error}"
            certain = program.lost != "slow" or processor_seconds(process) >= seconds
    return Output(_plain(printed), _plain(trace), time.monotonic() - began, certain)


@contextmanager
@checked
def run(code: str, *, seconds: Positive = 3.0) -> Iterator[Program]:
    """Run a program in the sandbox for as long as the block lasts, and call its functions.

    What it returns is read in this process, in bounded time and memory. To look at a program; tests
    are run by ``examine``, in a process of their own.

    Args:
        code: Python, for its standard library and ``LIBRARIES``.
        seconds: of processor time, for everything together; by the clock as in ``examine``.

    Raises:
        SandboxError: there is no sandbox on this machine, or it does not start.
        ProgramError, or an exception of Python's own: the program's top level failed.
    """
    with confined(["-c", _INSIDE]) as process:
        program = _program(process, seconds)
        try:
            program.load(code, importable(), 0)
        except Exception as error:
            if not program.ready:
                raise SandboxError(f"the sandbox did not start: {error}") from error
            raise
        yield program


def _program(process: subprocess.Popen[bytes], seconds: float) -> Program:
    assert process.stdin is not None
    assert process.stdout is not None
    pipes = process.stdin.fileno(), process.stdout.fileno()
    return Program(*pipes, seconds, lambda: out_of_time(process))
