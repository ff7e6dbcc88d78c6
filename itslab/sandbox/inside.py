"""What runs inside the sandbox, on the standard library alone: it serves a program's functions.

A message is the number of its bytes on a line, then so many bytes, which both sides make and read
by ``encode`` and ``decode`` of this file. Only plain data crosses the border, rebuilt from text on
the other side: whatever a program does to its own interpreter, no object, class or ``__eq__`` of
its making gets out. A forged reply is merely another return value, and takes no more time and
memory to read than its length allows.

The text of a value is a line for each of its parts, a container after what it holds, so that
neither side recurses. Little is imported, since every verdict pays for it.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes longer to load than a verdict may
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

MESSAGE_BYTES = 8 * 2**20  # the longest message that is sent or read
DEPTH = 2_000  # of containers in each other
COLLISIONS = 50  # keys of one hash: more of them take quadratic time
FRACTION_BITS = 100_000  # a fraction is reduced when it is made
TEXT = 20_000  # characters of an exception's text
PRINTED = 4_000  # characters kept of what a program prints: the last ones


class TooMuch(Exception):
    """A value is too large, or too deep, to cross the border."""


class _Close(str):
    """The line of a container, to be written after its parts."""


_VIEWS: dict[str, type[Any]] = {
    "k": type({}.keys()),
    "v": type({}.values()),
    "m": type({}.items()),
}
_CONTAINERS: dict[str, type[Any]] = {"[": list, "(": tuple, "{": set, "<": frozenset}


def encode(value: Any, keep: Callable[[Iterator[Any]], int] | None = None) -> str:
    """Return plain data as text; subclasses become what they extend.

    Args:
        value: None, numbers (``Decimal``, ``Fraction`` and numpy's scalars too), text, bytes, and
            lists, tuples, sets, dicts, their views, ranges and deques of it.
        keep: takes an iterator, which stays where it is, and numbers it; without, it is used up.

    Raises:
        TypeError: ``value`` holds something else.
        TooMuch: the text is longer than ``MESSAGE_BYTES``, or nested deeper than ``DEPTH``.
    """
    lines: list[str] = []
    waiting, size, depth = [value], 0, 0
    while waiting:
        item = waiting.pop()
        closes = type(item) is _Close
        line, parts = (str(item), ()) if closes else _apart(item, keep)
        if parts:
            waiting.append(_Close(line))
            waiting.extend(reversed(parts))
        else:
            lines.append(line)
        depth += bool(parts) - closes
        if depth > DEPTH:  # or it holds itself
            raise TooMuch(f"a value that is nested deeper than {DEPTH:,}")
        size += len(line) + 1
        if size > MESSAGE_BYTES:
            raise TooMuch(f"a value of more than {MESSAGE_BYTES:,} bytes")
    return "\n".join(lines)


def _apart(item: Any, keep: Callable[[Iterator[Any]], int] | None) -> tuple[str, Any]:
    """The line of a value, and the parts that come before it."""
    if item is None:
        return "n", ()
    if isinstance(item, bool):
        return "t" if item else "f", ()
    if isinstance(item, str):
        return "s" + str.__str__(item).encode("unicode_escape").decode("ascii"), ()
    if isinstance(item, int):
        return "i" + format(int.__int__(item), "x"), ()
    if isinstance(item, float):
        return "d" + float.__repr__(item), ()
    if isinstance(item, complex):
        return "c", (item.real, item.imag)
    if isinstance(item, bytes | bytearray):
        return ("b" if isinstance(item, bytes) else "a") + item.hex(), ()
    if isinstance(item, dict):
        return _row(":", [part for pair in dict.items(item) for part in pair])
    for sign, kind in _CONTAINERS.items():
        if isinstance(item, kind):
            return _row(sign, list(kind.__iter__(item)))
    if isinstance(item, range):
        return "r", (item.start, item.stop, item.step)
    for sign, kind in _VIEWS.items():
        if isinstance(item, kind):
            return _row(sign, [part for pair in item for part in pair] if sign == "m" else [*item])
    return _rarely(item, keep)


def _rarely(item: Any, keep: Callable[[Iterator[Any]], int] | None) -> tuple[str, Any]:
    """Kinds whose modules are loaded only where a program uses them."""
    if _is_a(item, "collections", "deque"):
        return _row("q", [item.maxlen, *item])
    if _is_a(item, "decimal", "Decimal"):
        return "D" + str(item), ()
    if getattr(type(item), "__module__", "") == "numpy" and getattr(item, "shape", None) == ():
        return _apart(item.item(), None)
    if _is_a(item, "numbers", "Integral"):
        return _apart(int(item), None)
    if _is_a(item, "numbers", "Rational"):
        return "/", (int(item.numerator), int(item.denominator))
    if _is_a(item, "numbers", "Real"):
        return _apart(float(item), None)
    if hasattr(type(item), "__next__"):
        return (f"@{keep(item)}", ()) if keep else _row("y", [*item])
    raise TypeError(f"a value of type {type(item).__name__} is no plain data")


def _row(sign: str, parts: list[Any]) -> tuple[str, Any]:
    return f"{sign}{len(parts)}", parts


def _is_a(item: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(item, kind)


def decode(text: str, iterator: Callable[[int], Iterator[Any]] | None = None) -> Any:
    """Return the data that ``encode`` was given, in time and memory linear in the text.

    Args:
        text: from the other side, which may be anything.
        iterator: stands for one that stayed on the other side.

    Raises:
        ValueError, TypeError, ArithmeticError, LookupError: ``encode`` did not make this.
    """
    values: list[Any] = []
    depths: list[int] = []
    for line in text.split("\n"):
        sign, rest = line[:1], line[1:]
        if sign in _LEAVES:
            values.append(_LEAVES[sign](rest))
            depths.append(0)
            continue
        if sign == "@" and iterator is not None:
            values.append(iterator(int(rest)))
            depths.append(0)
            continue
        count = _FIXED.get(sign) or int(rest)
        start = len(values) - count
        if start < 0 or count < 0:
            raise ValueError(f"{line[:20]!r} wants parts that are not there")
        depth = 1 + max(depths[start:], default=0)
        if depth > DEPTH:
            raise ValueError(f"a value that is nested deeper than {DEPTH:,}")
        parts = values[start:]
        del values[start:], depths[start:]
        values.append(_together(sign, parts))
        depths.append(depth)
    [value] = values
    return value


_LEAVES: dict[str, Callable[[str], Any]] = {
    "n": lambda rest: None,
    "t": lambda rest: True,
    "f": lambda rest: False,
    "s": lambda rest: rest.encode("ascii").decode("unicode_escape"),
    "i": lambda rest: int(rest, 16),
    "d": float,
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
    "D": lambda rest: _imported("decimal").Decimal(rest),
}
_FIXED = {"c": 2, "r": 3, "/": 2}


def _together(sign: str, parts: list[Any]) -> Any:
    if sign == "[":
        return parts
    if sign == "(":
        return tuple(parts)
    if sign in "{<":
        return _CONTAINERS[sign](_spread(parts))
    if sign in ":m":
        made = dict(zip(_spread(parts[::2]), parts[1::2], strict=True))
        return made if sign == ":" else made.items()
    if sign == "k":
        return dict.fromkeys(_spread(parts)).keys()
    if sign == "v":
        return dict(enumerate(parts)).values()
    if sign == "y":
        return iter(parts)
    if sign == "r":
        return range(*parts)
    if sign == "c":
        return complex(*parts)
    if sign == "q":
        return _imported("collections").deque(parts[1:], parts[0])
    if sign == "/" and all(number.bit_length() <= FRACTION_BITS for number in parts):
        return _imported("fractions").Fraction(*parts)
    raise ValueError(f"unknown kind {sign!r}")


def _spread(keys: list[Any]) -> list[Any]:
    """Keys of a set or dict, unless many have one hash."""
    if len(keys) > COLLISIONS:
        often: dict[int, int] = {}
        for key in keys:
            number = hash(key)
            often[number] = often.get(number, 0) + 1
        if max(often.values()) > COLLISIONS:
            raise ValueError(f"more than {COLLISIONS} keys of one hash")
    return keys


def _imported(name: str) -> Any:
    return __import__(name)


# -- inside ----------------------------------------------------------------------------------------


def serve() -> None:
    """Load the program of the first request, then call its functions until input ends."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    # A module as any other: dataclasses and pickle look a class up in its module.
    module = type(sys)("solution")
    sys.modules["solution"] = module
    names = module.__dict__
    kept: list[Iterator[Any]] = []

    def keep(iterator: Iterator[Any]) -> int:
        kept.append(iterator)
        return len(kept) - 1

    def prepare(importable: Iterable[str], **limits: Any) -> None:
        _limit(**limits)
        sys.path += importable
        send("n")  # ready: what goes wrong from here on is the program's own fault

    def load(code: str, **conditions: Any) -> dict[str, Any]:
        prepare(**conditions)
        exec(compile(code, "solution.py", "exec"), names)
        return {"value": sorted(name for name, value in names.items() if callable(value))}

    def perform(code: str, **conditions: Any) -> dict[str, Any]:
        prepare(**conditions)
        return {"value": _performed(code, module)}

    def call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        before = encode((args, kwargs))
        reply = {"value": names[name](*args, **kwargs)}
        try:
            changed = encode((args, kwargs)) != before
        except TypeError:  # holds what cannot cross
            changed = False
        return {**reply, "given": (args, kwargs)} if changed else reply

    def send(text: str) -> None:
        replies.write(frame(text))
        replies.flush()

    handlers: dict[str, Callable[..., dict[str, Any]]] = {
        "load": load,
        "perform": perform,
        "call": call,
        "next": lambda number: {"value": next(kept[number])},
        "renew": _renew,
    }
    while size := requests.readline():
        order = decode(requests.read(int(size)).decode("ascii"))
        try:
            reply = encode(handlers[order.pop("do")](**order), keep)
        except BaseException as error:
            reply = encode(_described(error))
        send(reply)


class _Printed(io.TextIOBase):
    """What a program prints: the last characters of it, however much that is."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._lines.append(text[-PRINTED:])
        self._size += len(self._lines[-1])
        if self._size > 10 * PRINTED:
            self._lines = [self.text()]
            self._size = len(self._lines[0])
        return len(text)

    def text(self) -> str:
        return "".join(self._lines)[-PRINTED:]


def _performed(code: str, module: Any) -> tuple[str, str]:
    """Run a program as a script; return what it printed, and the traceback if it failed."""
    module.__name__, sys.modules["__main__"] = "__main__", module
    sys.stdout = printed = _Printed()
    import builtins

    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]  # which site would bring
    try:
        _script(code, module.__dict__, printed)
    except SystemExit as error:
        return printed.text(), "" if error.code in (None, 0) else _trace(error)
    except BaseException as error:
        return printed.text(), _trace(error) or type(error).__name__
    return printed.text(), ""


def _script(code: str, names: dict[str, Any], printed: _Printed) -> None:
    """Run a program; print the value of its last line, as a prompt does, if it prints nothing."""
    import ast

    tree = ast.parse(code, "solution.py")
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "solution.py", "exec"), names)
        return
    exec(compile(ast.Module(tree.body[:-1], []), "solution.py", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "solution.py", "eval"), names)
    if value is not None and not printed.text().strip():
        print(value)


def frame(text: str) -> bytes:
    """A message as it is sent."""
    return b"%d\n" % len(text) + text.encode("ascii")


def _described(error: BaseException) -> dict[str, str]:
    try:
        text = str(error)[:TEXT]
    except BaseException as other:
        text = f"(its text raises {type(other).__name__})"
    return {"error": type(error).__name__, "text": text, "trace": _trace(error)}


def _trace(error: BaseException) -> str:
    """The traceback without this file's own frames."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != "solution.py":
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames, limit=20))[-TEXT:]
    except BaseException:
        return ""


def _limit(memory: int, seconds: float, processor: int, file: int) -> None:
    import resource

    limits = {"AS": memory, "CPU": processor, "FSIZE": file, "CORE": 0, "NOFILE": 64}
    for name, most in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):  # macOS has no limit on address space
            continue
    _renew(seconds)


def _renew(seconds: float) -> dict[str, Any]:
    """Grant so much processor time from now on, within the limit for all."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    wanted = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (min(wanted, most) if most >= 0 else wanted, most))
    return {"value": None}


if __name__ == "__main__":
    serve()
