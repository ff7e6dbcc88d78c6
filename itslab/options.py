"""What an option may be: its type and bounds are declared where it stands, and checked at once.

    @dataclass(frozen=True)
    class BestOfN(Options):
        verifier: Verifier
        n: Count = 8

    BestOfN(verifier, n=2.5)  # OptionError: n=2.5 is not valid: n must be a whole number ≥ 1

``Options`` checks a dataclass by its annotations when one is made, ``checked`` a function when it
is called. Numbers are Python's own: ``True`` is no number, 2.0 no whole one, and numpy's scalars
are refused, since the repr of an option is part of a strategy's name.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from os.path import dirname
from sysconfig import get_path
from traceback import extract_tb
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

_OTHERS = (dirname(__file__), *map(get_path, ("stdlib", "platstdlib", "purelib", "platlib")))
"""Where files lie that no reader of a traceback wrote."""


class ItslabError(Exception):
    """Any error the package raises on purpose. The text names the bad value and the fix."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows in place of a traceback: the reader's own last line, and the text.

        That may be one within a function of the reader's that we call. IPython asks for it;
        Python's own tracebacks are as ever.
        """
        frames = extract_tb(self.__traceback__)
        own = [one for one in frames if one.line and not one.filename.startswith(_OTHERS)]
        line = [f"line {own[-1].lineno}: {own[-1].line}"] if own else []
        return [*line, f"{type(self).__name__}: {self}"]


class OptionError(ItslabError, ValueError):
    """An option is out of range or unknown."""


def require(ok: bool, option: str, value: object, valid: str) -> None:
    """Raise ``OptionError`` naming the option, its value and the valid ones, unless ``ok``."""
    if not ok:
        raise OptionError(f"{option}={_shown(value)} is not valid: {option} must be {valid}")


# -- what is declared ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bounds:
    """The numbers that are valid, in the annotation of an option.

    Args:
        low, high: the least and the greatest.
        open: which of these ends is itself not valid, ``low``, ``high`` or ``both``.
        finite: whether infinity is refused. ``nan`` always is.
    """

    low: float = -math.inf
    high: float = math.inf
    open: Literal["low", "high", "both", None] = None
    finite: bool = True

    def hold(self, value: float) -> bool:
        """Whether a number is within them."""
        if isinstance(value, float) and (math.isnan(value) or (self.finite and math.isinf(value))):
            return False
        above = value > self.low or (value == self.low and not self._open("low"))
        return above and (value < self.high or (value == self.high and not self._open("high")))

    def _open(self, end: str) -> bool:
        return self.open in (end, "both")

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return ""
        if math.isinf(self.high):
            return f" {'>' if self._open('low') else '≥'} {self.low:g}"
        if math.isinf(self.low):
            return f" {'<' if self._open('high') else '≤'} {self.high:g}"
        ends = "(" if self._open("low") else "[", ")" if self._open("high") else "]"
        return f" in {ends[0]}{self.low:g}, {self.high:g}{ends[1]}"


class _Filled:
    """In an annotation of text: not empty."""


Count = Annotated[int, Bounds(1)]
Draws = Annotated[int, Bounds(1, 100_000)]
"""Samples of one prompt, all of which are asked for at once."""
Whole = Annotated[int, Bounds(0)]
Positive = Annotated[float, Bounds(0, open="low")]
NotNegative = Annotated[float, Bounds(0)]
UnitInterval = Annotated[float, Bounds(0, 1)]
Limit = Annotated[float, Bounds(finite=False)]
"""A number, infinity included."""
Text = Annotated[str, _Filled()]
"""Text that is not empty."""


# -- what is checked -------------------------------------------------------------------------------


class Options:
    """A dataclass whose options are checked by their annotations when it is made."""

    def __post_init__(self) -> None:
        check(self)


def check(options: Any) -> None:
    """Refuse a dataclass whose values are not what its annotations say.

    Raises:
        OptionError: naming the first option, its value and the valid ones.
    """
    kind: Any = type(options)
    hints = declared(kind)
    for field in fields(options):
        if field.init:
            value, hint = getattr(options, field.name), hints[field.name]
            if type(value) is list and get_origin(hint) is tuple:  # which a frozen one cannot hold
                object.__setattr__(options, field.name, value := tuple(value))
            _check(field.name, value, hint)


P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse arguments that are not what its annotations say; see ``check``."""
    signature = inspect.signature(function)
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        hints = declared(function)
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if name in hints and signature.parameters[name].kind not in several:
                _check(name, value, hints[name])
        return function(*args, **kwargs)

    return call


@functools.cache
def declared(annotated: Any) -> dict[str, Any]:
    """What a dataclass or the parameters of a function declare; only mypy knows some results."""
    if isinstance(annotated, type):
        return get_type_hints(annotated, include_extras=True)
    given = {name: hint for name, hint in annotated.__annotations__.items() if name != "return"}
    shown = types.SimpleNamespace(__annotations__=given)
    return get_type_hints(shown, inspect.unwrap(annotated).__globals__, include_extras=True)


_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (.*)$")  # of a docstring's list: names, and what they are


def documented(kind: type) -> dict[str, str]:
    """Return what the docstring of a class, and those of its bases, say of each option."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__doc__ or "") if base.__module__ != "builtins" else ""
        _, _, listed = text.partition("Args:\n")
        current: list[str] = []
        for line in listed.splitlines():
            if line and not line.startswith(" "):  # the next section
                break
            entry = _ENTRY.match(line[4:])
            if entry:
                current = entry[1].split(", ")
                found |= dict.fromkeys(current, entry[2])
            else:
                found |= {name: f"{found[name]} {line.strip()}".strip() for name in current}
    return found


def _check(option: str, value: object, hint: Any) -> None:
    if not fits(value, hint):
        number = type(value).__module__ == "numpy" and getattr(value, "shape", None) == ()
        plain = f" (here {option}.item())" if number else ""
        require(False, option, value, f"{described(hint)}{plain}")


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says, bounds included."""
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, bool, str):
        return type(value) is hint
    if hint is float:
        return type(value) in (int, float) and Bounds().hold(value)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        plain, *extras = arguments
        return _fits_annotated(value, plain, extras)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in arguments)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[1:] == (...,):
            return all(fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin is Sequence:
        row = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return row and all(fits(item, arguments[0]) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            fits(name, arguments[0]) and fits(item, arguments[1]) for name, item in value.items()
        )
    if origin is Callable:
        return callable(value)
    if getattr(hint, "_is_protocol", False):
        methods = [name for name, member in vars(hint).items() if inspect.isfunction(member)]
        promised = [name for name in methods if name == "__call__" or not name.startswith("_")]
        return not isinstance(value, type) and all(
            callable(getattr(value, name, None)) for name in promised
        )
    return isinstance(value, origin or hint)


def _fits_annotated(value: Any, plain: Any, extras: Sequence[Any]) -> bool:
    if any(isinstance(extra, _Filled) for extra in extras):
        return type(value) is str and value != ""
    bounds = [extra for extra in extras if isinstance(extra, Bounds)]
    if not bounds:
        return fits(value, plain)
    numbers = (int,) if plain is int else (int, float)
    return type(value) in numbers and all(bound.hold(value) for bound in bounds)


_PLAIN = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}


def described(hint: Any) -> str:
    """What an annotation allows, in words."""
    if hint is None or hint is type(None):
        return "None"
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        bounds = "".join(str(extra) for extra in arguments[1:] if isinstance(extra, Bounds))
        filled = any(isinstance(extra, _Filled) for extra in arguments[1:])
        return f"{described(arguments[0])}{bounds}{' that is not empty' if filled else ''}"
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return ", or ".join(map(described, arguments))
    if origin is tuple and arguments[1:] != (...,):
        return f"a tuple of {len(arguments)}: {', '.join(map(described, arguments))}"
    if origin in (tuple, Sequence):
        kind = "tuple" if origin is tuple else "list"
        return f"a {kind} of which each is {described(arguments[0])}"
    if origin is Mapping:
        return f"a dict of which each value is {described(arguments[1])}"
    if origin is Callable:
        return "a function"
    name = getattr(origin or hint, "__name__", str(hint))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _shown(value: object) -> str:
    """A value on one line of bounded length, whatever its repr does."""
    try:
        text = " ".join(repr(value).split())
    except Exception as error:
        return f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= 100 else f"{text[:100]}…"


# -- how it is written -----------------------------------------------------------------------------


_LONGEST = 40
"""Characters of a value that is no part, as it is written in ``settings``."""


def settings(part: Any) -> str:
    """Return a part with those of its options that are not the defaults, for people.

    ``MCTS(Confidence(), width=2)``: what has to be given stands without its name.

    Args:
        part: a strategy, a verifier, a model, a function, or a value of an option.
    """
    name = getattr(part, "name", None)
    if callable(getattr(part, "generate", None)) and isinstance(name, str):
        return name
    if type(part) in (tuple, list) and any(map(is_dataclass, part)):
        return f"[{', '.join(settings(item) for item in part)}]"
    if not is_dataclass(part) or isinstance(part, type) or "name" in type(part).__annotations__:
        shown = getattr(part, "__name__", None) or " ".join(repr(part).split())
        return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
    given = []
    for option in fields(part):
        value = getattr(part, option.name)
        if not option.repr or value == default_of(option):
            continue
        default = default_of(option)
        if type(value) is type(default) and is_dataclass(value):
            given.append(f"{option.name}({', '.join(_unlike(value, default))})")
        else:
            given.append(f"{'' if default is MISSING else f'{option.name}='}{settings(value)}")
    return f"{type(part).__name__}({', '.join(given)})"


def _unlike(part: Any, other: Any) -> list[str]:
    """The options of a part that are not those of another one of its kind."""
    pairs = ((f.name, getattr(part, f.name), getattr(other, f.name)) for f in fields(part))
    return [f"{name}={settings(mine)}" for name, mine, theirs in pairs if mine != theirs]


def default_of(option: Any) -> Any:
    """Return what a dataclass's field is if nothing is said; ``MISSING`` of one to be given."""
    if option.default_factory is not MISSING:
        return option.default_factory()
    return option.default
