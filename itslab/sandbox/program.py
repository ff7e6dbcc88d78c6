"""A program of the model's, at work inside the sandbox; its functions can be called from here."""

from __future__ import annotations

import builtins
import json
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from itslab.core import ItslabError
from itslab.sandbox.confine import confined
from itslab.sandbox.inside import decode, encode

INSIDE = (Path(__file__).parent / "inside.py").read_text()
REPLY_BYTES = 2**20  # the longest reply that is read


class ProgramError(ItslabError):
    """A program raised an exception, was too slow, or left; ``trace`` is its own traceback."""

    def __init__(self, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.trace = trace


class Program:
    """Functions of a program that runs elsewhere; see ``run``.

    Attributes:
        names: what can be called.
    """

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        assert process.stdout is not None
        self._process, self._deadline = process, time.monotonic() + seconds
        self._unread = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdout, selectors.EVENT_READ)
        self.names: list[str] = []

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function that calls the program's of this name.

        It takes and returns plain data: None, numbers, text, bytes, and lists, tuples, sets and
        dicts of it. An exception of Python's own is raised here again by its name; ``ProgramError``
        stands for any other, and for what is no plain data, too slow, or too much.
        """

        def call(*args: Any, **kwargs: Any) -> Any:
            return decode(self._ask(name=name, args=encode(args), kwargs=encode(kwargs)))

        call.__name__ = name
        return call

    def load(self, code: str, memory: int, seconds: float) -> None:
        """Run the program's top level."""
        limits = {"memory": memory, "seconds": int(seconds) + 1, "file": 2**20}
        self.names = [str(name) for name in self._ask(code=code, **limits)]

    def _ask(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
            reply = json.loads(self._line())
            if "error" not in reply:
                return reply["value"]
            name, text, trace = str(reply["error"]), str(reply["text"]), str(reply["trace"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise ProgramError(f"the program ended or answered nonsense ({error})") from error
        failure = ProgramError(f"{name}: {text}", trace)
        kind = getattr(builtins, name, None)
        raised: Exception = failure
        if isinstance(kind, type) and issubclass(kind, Exception):
            with suppress(TypeError):  # some take more than a text
                raised = kind(text)
                raised.__cause__ = failure
        raise raised

    def _line(self) -> bytes:
        """Read a reply, in bounded time and of bounded length."""
        assert self._process.stdout is not None
        while b"\n" not in self._unread:
            left = self._deadline - time.monotonic()
            if left <= 0 or not self._selector.select(left):
                raise ProgramError("the program was too slow")
            chunk = self._process.stdout.read1(2**16)  # type: ignore[attr-defined]
            if not chunk:
                raise ProgramError("the program ended before its work was done")
            self._unread += chunk
            if len(self._unread) > REPLY_BYTES:
                raise ProgramError(f"the program returned more than {REPLY_BYTES:,} bytes")
        line, _, self._unread = self._unread.partition(b"\n")
        return line


@contextmanager
def run(code: str, *, seconds: float = 3.0, memory: int = 2**29) -> Iterator[Program]:
    """Run a program in the sandbox for as long as the block lasts.

    Args:
        code: Python, for its standard library alone.
        seconds: wall-clock and processor time, for everything together.
        memory: bytes of address space.

    Raises:
        ItslabError: there is no sandbox on this machine.
        ProgramError, or an exception of Python's own: the program's top level failed.
    """
    with confined(["-c", INSIDE]) as process:
        program = Program(process, seconds)
        program.load(code, memory, seconds)
        yield program
