"""Who a strategy is: what an archive knows its runs by.

What the package brings is known by its repr. A function or a class that a user wrote is known by
its repr and a digest of its source, so that a changed one is another one and the same one is found
again in another session.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from itslab.core import OptionError

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def identity(strategy: object) -> str:
    """Return the name that only equal strategies share, in any session.

    Raises:
        OptionError: a part has no source to be told by, such as one made by ``exec``, or hides what
            it holds: the text says which.
    """
    written = sorted(set(_written(strategy, set())))
    named = re.sub(r"<function (\S+) at 0x[0-9a-fA-F]+>", r"\1", repr(strategy))
    if _ADDRESS.search(named):
        raise OptionError(
            f"strategy={named} is not valid: a run is kept under its strategy's repr, which must "
            "not hold an address: write it as a dataclass, or give it a __repr__ with its options"
        )
    return "\n".join([named, *written])


def _written(part: object, seen: set[int]) -> list[str]:
    """Digests of the source of all that a user wrote in a strategy and in its options."""
    plain = part is None or isinstance(part, str | int | float | bytes)
    model = hasattr(part, "generate") or hasattr(part, "score")  # known by name, as in a repr
    if plain or model or id(part) in seen:
        return []
    seen.add(id(part))
    inner: list[Any] = []
    own: list[str] = []
    if isinstance(part, partial):
        inner = [part.func, *part.args, *part.keywords.values()]
    elif isinstance(part, MethodType):
        inner = [part.__func__, part.__self__]
    elif isinstance(part, FunctionType):
        if not _packaged(part):
            own = [_digest(part), *_captured(part)]
            inner = [cell.cell_contents for cell in part.__closure__ or ()]
    elif isinstance(part, Mapping):
        inner = list(part.values())
    elif isinstance(part, list | tuple):
        inner = list(part)
    else:
        own = [
            digest for kind in type(part).__mro__ if not _packaged(kind) for digest in _class(kind)
        ]
        if is_dataclass(part) and not isinstance(part, type):
            inner = [getattr(part, field.name) for field in fields(part) if field.repr]
    return own + [digest for one in inner for digest in _written(one, seen)]


def _captured(function: FunctionType) -> list[str]:
    """The plain values that a function holds: its defaults, and what it closes over."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *cells]
    return [_ADDRESS.sub("", repr(value)) for value in held]


def _packaged(code: Any) -> bool:
    """Whether the source comes with a package, which has a version to be known by."""
    module = str(getattr(code, "__module__", ""))
    root = module.split(".")[0]
    return root in ("itslab", "builtins", "functools", "typing", "abc", "dataclasses", "enum")


def _class(kind: type) -> list[str]:
    """Digests of a class's own methods and constants: of one in a notebook no source is told."""
    members = vars(kind).items()
    bare = {name: getattr(m, "__func__", getattr(m, "fget", m)) for name, m in members}
    methods = [m for m in bare.values() if isinstance(m, FunctionType)]
    written = [m for m in methods if m.__code__.co_filename != "<string>"]  # not a dataclass's
    constants = [
        f"{kind.__qualname__}.{name}={value!r}"
        for name, value in bare.items()
        if not name.startswith("__") and isinstance(value, str | int | float | tuple)
    ]
    return [_digest(method) for method in written if not _packaged(method)] + constants


def _digest(code: FunctionType) -> str:
    told = code.__code__
    plain = [c for c in told.co_consts if c is None or isinstance(c, str | int | float | tuple)]
    # Two functions on one line have one source; what they name and hold tells them apart.
    held = repr((told.co_names, [c for c in plain if "<code" not in repr(c)]))
    try:
        source = textwrap.dedent(inspect.getsource(code)) + held
    except (OSError, TypeError) as error:
        name = getattr(code, "__qualname__", code)
        raise OptionError(
            f"strategy={name} is not valid: its runs cannot be kept, since its source cannot be "
            f"read ({error}): define it in a file or a notebook"
        ) from error
    digest = hashlib.blake2b(source.encode(), digest_size=8).hexdigest()
    return f"{code.__qualname__} {digest}"
