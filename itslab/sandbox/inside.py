"""What runs inside the sandbox, on the standard library alone: it serves a program's functions.

A request is a line of JSON on standard input, its reply a line on standard output, both sides using
``encode`` and ``decode`` of this file. Only plain data crosses the border, rebuilt from text on the
other side: whatever a program does to its own interpreter, no object, class or ``__eq__`` of its
making gets out. A forged reply is merely another return value.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

_CONTAINERS: dict[str, type[Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}


def encode(value: Any) -> Any:
    """Return plain data as JSON can carry it; subclasses become what they extend.

    Raises:
        TypeError: ``value`` holds something else.
    """
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes):
        return {"bytes": list(value)}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in dict.items(value)]}
    for name, kind in _CONTAINERS.items():
        if isinstance(value, kind):
            return {name: [encode(item) for item in kind.__iter__(value)]}
    raise TypeError(f"a value of type {type(value).__name__} is no plain data")


def decode(value: Any) -> Any:
    """Return the data that ``encode`` was given.

    Raises:
        ValueError, TypeError: ``encode`` did not make this.
    """
    if not isinstance(value, dict):
        if isinstance(value, list):
            raise TypeError("a bare list")
        return value
    [(name, items)] = value.items()
    if name == "complex":
        return complex(*items)
    if name == "bytes":
        return bytes(items)
    if name == "dict":
        return {decode(key): decode(item) for key, item in items}
    if name not in _CONTAINERS:
        raise ValueError(f"unknown kind {name!r}")
    return _CONTAINERS[name](decode(item) for item in items)


def serve() -> None:
    """Load the program of the first request, then call its functions until input ends."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    first = json.loads(requests.readline())
    _limit(first["memory"], first["seconds"], first["file"])
    names: dict[str, Any] = {"__name__": "solution", "__builtins__": __builtins__}

    def load(code: str) -> list[str]:
        exec(compile(code, "solution.py", "exec"), names)
        return sorted(name for name, value in names.items() if callable(value))

    def call(name: str, args: Any, kwargs: Any) -> Any:
        return names[name](*decode(args), **decode(kwargs))

    for order in _orders(first, requests):
        try:
            reply = {"value": encode(load(**order) if "code" in order else call(**order))}
        except BaseException as error:
            reply = {"error": type(error).__name__, "text": str(error), "trace": _trace(error)}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _orders(first: dict[str, Any], requests: Iterable[str]) -> Iterator[dict[str, Any]]:
    yield {"code": first["code"]}
    for line in requests:
        yield json.loads(line)


def _trace(error: BaseException) -> str:
    """The traceback without this file's own frames."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != "solution.py":
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames, limit=20))


def _limit(memory: int, seconds: int, file: int) -> None:
    import resource

    limits = {"AS": memory, "CPU": seconds, "FSIZE": file, "CORE": 0, "NOFILE": 64}
    for name, most in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(OSError, ValueError):  # macOS has no limit on address space
            resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    serve()
