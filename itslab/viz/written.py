"""Values as the lines of Python that make them: what a panel's settings are in a program."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import itslab
from itslab.options import default_of
from itslab.viz.form import settable

_WIDE = 88


def written(value: Any, names: Mapping[int, str], indent: int = 0) -> str:
    """Return an expression that makes a value.

    Options that are what they are by default are left out; a long call takes a line for each.

    Args:
        value: a strategy, a verifier, or any other of the package's parts.
        names: of objects that the reader has, such as ``{id(llm): "llm"}``.
        indent: spaces before the line on which the expression stands.
    """
    if id(value) in names:
        return names[id(value)]
    if isinstance(value, tuple):
        items = [written(item, names, indent + 4) for item in value]
        return _call("", items, indent, comma=len(items) == 1)
    if hasattr(value, "generate"):
        return f"its.load({value.name!r})"
    if inspect.isfunction(value):
        return value.__name__
    if not is_dataclass(value) or isinstance(value, type):
        return f'float("{value}")' if repr(value) in ("inf", "-inf", "nan") else repr(value)
    changed = [f for f in settable(type(value)) if getattr(value, f.name) != default_of(f)]
    items = [f"{f.name}={written(getattr(value, f.name), names, indent + 4)}" for f in changed]
    return _call(_name(type(value)), items, indent)


def _call(name: str, items: list[str], indent: int, comma: bool = False) -> str:
    short = f"{name}({', '.join(items)}{',' if comma else ''})"
    if "\n" not in short and indent + len(short) <= _WIDE:
        return short
    inner = " " * (indent + 4)
    return f"{name}(\n" + "".join(f"{inner}{item},\n" for item in items) + " " * indent + ")"


def _name(kind: type) -> str:
    """What a class is called after ``import itslab as its``."""
    public = getattr(itslab, kind.__name__, None) is kind
    return f"its.{kind.__name__}" if public else f"{kind.__module__}.{kind.__name__}"


def modules(text: str) -> list[str]:
    """Return the lines that import what an expression names besides ``its``."""
    found = dict.fromkeys(re.findall(r"\b(itslab(?:\.[a-z_]+)+)\.[A-Za-z]\w*", text))
    return [f"import {name}" for name in found]
