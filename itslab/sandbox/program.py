"""A program of the model's, at work inside the sandbox; its functions can be called from here."""

from __future__ import annotations

import builtins
import math
import os
import select
import time

from itslab.sandbox.inside import (
    MESSAGE_BYTES,
    PRINTED,
    TEXT,
    TooMuch,
    decode,
    encode,
    frame,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to load than a verdict may
    from collections.abc import Callable, Iterator
    from typing import Any

MEMORY = 2**29  # bytes of address space
FILE = 2**20  # bytes of a file
START = 20.0  # seconds that the sandbox may take to start on a busy machine
_DESCRIBED = ("error", "text", "trace")  # of an exception


def by_the_clock(seconds: float) -> float:
    """Seconds by the clock allowed for so many of processor time: others use the machine, too."""
    return 2 * seconds + 1.5


class ProgramError(Exception):
    """A program raised an exception, was too slow, or left; ``trace`` is its own traceback."""

    def __init__(self, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.trace = trace


class Program:
    """Functions of a program that runs elsewhere, at the other end of two pipes.

    Args:
        writer, reader: descriptors, of requests and of replies.
        seconds: processor time for loading, and again after each ``renew``. By the clock as many
            may pass as ``by_the_clock`` says: then every read and write ends.
        late: asked where the program has ended, whether that was for want of processor time.

    Attributes:
        names: what can be called.
        lost: why no further call can be answered: ``slow``, ``ended``, ``nonsense``; else ``""``.
        ready: whether the sandbox had started, so that what went wrong is the program's own.
    """

    def __init__(
        self, writer: int, reader: int, seconds: float, late: Callable[[], bool] = lambda: False
    ) -> None:
        self._writer, self._reader, self._seconds, self._late = writer, reader, seconds, late
        self._deadline = time.monotonic() + START
        self._unread = b""
        self.names: list[str] = []
        self.lost = ""
        self.ready = False
        os.set_blocking(writer, False)

    def load(self, code: str, importable: list[str], renewals: int) -> None:
        """Run the program's top level.

        Args:
            code: Python.
            importable: folders of libraries.
            renewals: how often the time may be renewed.
        """
        self._begin("load", code, importable, renewals)
        self.names = [str(name) for name in self._reply()["value"]]

    def perform(self, code: str, importable: list[str]) -> tuple[str, str]:
        """Run the program as a script; return what it printed, and the traceback if it failed."""
        self._begin("perform", code, importable, 0)
        printed, trace = map(str, self._reply()["value"])
        return printed[-PRINTED:], trace[-TEXT:]

    def _begin(self, what: str, code: str, importable: list[str], renewals: int) -> None:
        limits = {"memory": MEMORY, "seconds": self._seconds, "file": FILE}
        everything = math.ceil(self._seconds + 1) * (renewals + 1) + 1
        self._send(do=what, code=code, importable=importable, processor=everything, **limits)
        self.ready = self._receive() is None
        self._renewed()  # until here it was the sandbox that took its time

    def renew(self) -> None:
        """Grant the time for a further test."""
        self._renewed()
        self._ask(do="renew", seconds=self._seconds)

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function that calls the program's of this name.

        It takes and returns plain data (see ``encode``); a list, dict, set, deque or bytearray
        among its arguments that the program changes is changed. An iterator stays inside and is
        asked for each item. An exception of Python's own is raised here again by its name;
        ``ProgramError`` stands for any other, and for what is no plain data, too slow, or too much.
        """

        def call(*args: Any, **kwargs: Any) -> Any:
            reply = self._ask(do="call", name=name, args=args, kwargs=kwargs)
            if "given" in reply:
                _change((args, kwargs), reply["given"])
            return reply["value"]

        call.__name__ = name
        return call

    def _iterator(self, number: int) -> Iterator[Any]:
        return _Items(lambda: self._ask(do="next", number=number)["value"])

    def _renewed(self) -> None:
        self._deadline = time.monotonic() + by_the_clock(self._seconds)

    def _ask(self, **order: Any) -> dict[str, Any]:
        self._send(**order)
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        reply = self._receive()
        if isinstance(reply, dict) and "value" in reply:
            return reply
        described = [reply.get(key) for key in _DESCRIBED] if isinstance(reply, dict) else [None]
        if not all(isinstance(text, str) for text in described):
            raise self._gone("nonsense", "the program answered nonsense")
        raise _raised(*map(str, described))

    def _gone(self, lost: str, text: str) -> ProgramError:
        self.lost = self.lost or lost
        return ProgramError(text)

    def _ended(self) -> ProgramError:
        late = self._late()
        text = "was too slow" if late else "ended before its work was done"
        return self._gone("ended", f"the program {text}")

    # -- the pipes ---------------------------------------------------------------------------------

    def _send(self, **order: Any) -> None:
        if self.lost:
            raise ProgramError("the program is gone")
        try:
            left = frame(encode(order))
        except TooMuch as error:
            raise ProgramError(f"a test gives the program {error}") from None
        while left:
            self._wait(self._writer, writing=True)
            try:
                left = left[os.write(self._writer, left) :]
            except BlockingIOError:  # a pipe with less room than a poll promises
                time.sleep(0.001)
            except OSError:
                raise self._ended() from None

    def _receive(self) -> Any:
        while b"\n" not in self._unread[:20]:
            if len(self._unread) >= 20:
                raise self._gone("nonsense", "the program answered nonsense")
            self._read_some()
        number, _, rest = self._unread.partition(b"\n")
        size = int(number) if number.isdigit() else MESSAGE_BYTES + 1
        if size > MESSAGE_BYTES:
            raise self._gone("nonsense", f"the program returned more than {MESSAGE_BYTES:,} bytes")
        pieces, there = [rest], len(rest)
        while there < size:
            self._unread = b""
            self._read_some()
            pieces.append(self._unread)
            there += len(self._unread)
        whole = b"".join(pieces)
        self._unread = whole[size:]
        try:
            return decode(whole[:size].decode("ascii"), self._iterator)
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:
            said = f"the program answered nonsense ({error})"
            raise self._gone("nonsense", said) from None

    def _read_some(self) -> None:
        self._wait(self._reader)
        chunk = os.read(self._reader, 2**18)
        if not chunk:
            raise self._ended()
        self._unread += chunk

    def _wait(self, descriptor: int, writing: bool = False) -> None:
        left = self._deadline - time.monotonic()
        if left > 0:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
            if poll.poll(left * 1000):
                return
        raise self._gone("slow", "the program was too slow")


class _Items:
    """An iterator that stayed inside."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._ask()

    def __repr__(self) -> str:
        return "an iterator"


def _raised(name: str, text: str, trace: str) -> Exception:
    failure = ProgramError(f"{name}: {text}", trace)
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        return failure
    try:
        raised = kind(text)
    except TypeError:  # some take more than a text
        return failure
    raised.__cause__ = failure
    return raised


def _change(old: Any, new: Any) -> Any:
    """Let a value of a test become what the program turned it into, in place where possible."""
    if type(old) is not type(new):
        return new
    if isinstance(old, tuple):
        return tuple(map(_change, old, new)) if len(old) == len(new) else new
    if isinstance(old, list):
        old[:] = list(map(_change, old, new)) if len(old) == len(new) else new
    elif isinstance(old, dict):
        items = {key: _change(old.get(key), item) for key, item in new.items()}
        old.clear()
        old.update(items)
    elif isinstance(old, set):
        old.clear()
        old.update(new)
    elif isinstance(old, bytearray) or type(old).__name__ == "deque":
        old.clear()
        old.extend(new)
    else:
        return new
    return old
