"""Values as the lines of Python that make them: what a panel's settings are in a program."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import itslab
from itslab.options import default_of
from itslab.study.plan import OwnVerifier
from itslab.viz.form import settable

_WIDE = 88


def written(value: Any, names: Mapping[int, str], indent: int = 0) -> str:
    """Return an expression that makes a value.

    Options that are what they are by default are left out; a long call takes a line for each. What
    only the reader has, such as an object without a constructor, is called ``yours[...]``.

    Args:
        value: a strategy, a verifier, or any other of the package's parts.
        names: of objects that the reader has, such as ``{id(llm): "llm"}``.
        indent: spaces before the line on which the expression stands.
    """
    if id(value) in names:
        return names[id(value)]
    if isinstance(value, OwnVerifier):
        return "task.verifier"
    if isinstance(value, tuple):
        items = [written(item, names, indent + 4) for item in value]
        return _call("", items, indent, comma=len(items) == 1)
    if hasattr(value, "generate") and isinstance(getattr(value, "name", None), str):
        return f"its.load({value.name!r})"
    if is_dataclass(value) and not isinstance(value, type):
        changed = [f for f in settable(type(value)) if getattr(value, f.name) != default_of(f)]
        items = [f"{f.name}={written(getattr(value, f.name), names, indent + 4)}" for f in changed]
        return _call(_name(type(value)), items, indent)
    return _plain(value)


def _plain(value: Any) -> str:
    """What is not made of options: a number, a text, a function, or what only the reader has."""
    if isinstance(value, float) and repr(value) in ("inf", "-inf", "nan"):
        return f'float("{value}")'
    name = str(getattr(value, "__name__", type(value).__name__))
    if inspect.isfunction(value):
        return name if name.isidentifier() else f"yours[{name!r}]"
    try:
        ast.literal_eval(repr(value))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return f"yours[{name!r}]"
    return repr(value)


def modules(value: Any) -> set[str]:
    """Return the package's modules that ``written`` names besides ``its``."""
    if isinstance(value, tuple):
        return set().union(*map(modules, value))
    if not is_dataclass(value) or isinstance(value, type | OwnVerifier):
        return set()
    kind = type(value)
    public = getattr(itslab, kind.__name__, None) is kind
    own = {kind.__module__} if not public and kind.__module__.startswith("itslab.") else set()
    options = [(getattr(value, f.name), default_of(f)) for f in settable(kind)]
    changed = [one for one, default in options if one != default]
    return own.union(*map(modules, changed))


def _call(name: str, items: list[str], indent: int, comma: bool = False) -> str:
    short = f"{name}({', '.join(items)}{',' if comma else ''})"
    if "\n" not in short and indent + len(short) <= _WIDE:
        return short
    inner = " " * (indent + 4)
    return f"{name}(\n" + "".join(f"{inner}{item},\n" for item in items) + " " * indent + ")"


def _name(kind: type) -> str:
    """What a class is called after ``import itslab as its``; one of a notebook by its name."""
    if getattr(itslab, kind.__name__, None) is kind:
        return f"its.{kind.__name__}"
    ours = kind.__module__.startswith("itslab.")
    return f"{kind.__module__}.{kind.__name__}" if ours else kind.__name__
