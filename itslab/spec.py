"""Who a strategy, a verifier, a task or a model is: its name, its options, and what it says.

What the package brings is known by its name and options. What a user wrote is known by these and by
all that it says: the source of its functions and classes, of those that these use, and the values
that they hold. So a changed one is another one, and the same one is found again in another session.
Recorded runs, memos, studies and tables are kept under this identity.
"""

from __future__ import annotations

import dis
import hashlib
import importlib.util
import inspect
import pickle
import re
import sys
import sysconfig
import textwrap
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from types import BuiltinMethodType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from itslab.core import OptionError

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Spec:
    """The identity of a part.

    Args:
        name: of its class, or of the function that it is.
        options: of its constructor, as they are written -> their values.
        shown: its repr.
        source: what a user wrote of it; empty where all is the package's.
    """

    name: str
    options: Mapping[str, str]
    shown: str = field(repr=False)
    source: str = field(default="", repr=False)

    @property
    def text(self) -> str:
        """All that it is known by: equal parts share it in any session, and no others do."""
        return f"{self.shown}\n{self.source}" if self.source else self.shown

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that stand for ``text``."""
        return hashlib.blake2b(self.text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def spec(part: object) -> Spec:
    """Return the identity of a strategy, a verifier, a task, a model, or a function of a user.

    A class of a user may say by ``__spec__`` what it is known by besides its repr: a method that
    returns these values.

    Raises:
        OptionError: a part has no source to be known by, such as one made by ``exec``, or hides
            what it holds: the text says which.
    """
    if _is_model(part):
        name = str(getattr(part, "name", type(part).__name__))
        return Spec(name, {}, _model(part))
    walk = _Walk()
    walk.visit(part, named=True)
    named = re.sub(r"<function (\S+) at 0x[0-9a-fA-F]+>", r"\1", _stable(part))
    if _ADDRESS.search(named):
        raise OptionError(
            f"{named} cannot be identified: what it is kept under is its repr, which must "
            "not hold an address: write it as a dataclass, or give it a __repr__ with its options"
        )
    return Spec(_name(part), _options(part), named, "\n".join(walk.lines))


def _name(part: Any) -> str:
    if isinstance(part, partial):
        return _name(part.func)
    return str(getattr(part, "__qualname__", type(part).__qualname__))


def _options(part: Any) -> dict[str, str]:
    if isinstance(part, partial):
        return {name: _stable(value) for name, value in part.keywords.items()}
    if is_dataclass(part) and not isinstance(part, type):
        return {f.name: _stable(getattr(part, f.name)) for f in fields(part) if f.repr}
    return {}


def _stable(part: Any) -> str:
    """The repr of a part with its sets in order, which else is another one in each process."""
    shown = repr(part)
    for held in _sets(part):
        shown = shown.replace(repr(held), f"{{{', '.join(sorted(map(_stable, held)))}}}")
    return shown


def _sets(part: Any) -> Iterator[Set[Any]]:
    """The sets among what a part holds."""
    if isinstance(part, Set):
        yield part
    elif isinstance(part, partial):
        yield from _sets([*part.args, *part.keywords.values()])
    elif isinstance(part, Mapping):
        yield from _sets([*part.values()])
    elif isinstance(part, list | tuple):
        for item in part:
            yield from _sets(item)
    elif is_dataclass(part) and not isinstance(part, type):
        yield from _sets([getattr(part, f.name) for f in fields(part) if f.repr])


class _Walk:
    """Visits a part, its options and all that they use, and describes what a user wrote of it.

    Attributes:
        lines: the description, in the order of the visit.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._seen: dict[int, tuple[int, object]] = {}  # id -> its line; the object lives on

    def visit(self, part: object, named: bool = False) -> None:
        """Describe a part, unless ``named``: the repr of the whole says already what it is."""
        if part is None or isinstance(part, str | int | float | complex | bytes):
            if not named:
                self.lines.append(repr(part))
        elif _is_model(part):
            self.lines.append(_model(part))
        elif isinstance(part, tuple | Set):  # made anew where it stands: it is nobody's twin
            self._visit_new(part, named)
        elif id(part) in self._seen:
            line, _ = self._seen[id(part)]
            if line < len(self.lines):  # what the package brings has none
                self.lines.append(f"as in line {line}")
        else:
            self._seen[id(part)] = len(self.lines), part
            self._visit_new(part, named)

    def _visit_new(self, part: Any, named: bool) -> None:
        if isinstance(part, partial):
            parts = [part.func, part.args, part.keywords]
            named = named and _packaged(part.func)
            self._visit_all("" if named else "partial", parts, named)
        elif isinstance(part, MethodType):
            self._visit_all("method", [part.__func__, part.__self__])
        elif isinstance(part, BuiltinMethodType) and not isinstance(part.__self__, ModuleType):
            self._visit_all(f"method {part.__qualname__}", [part.__self__])
        elif isinstance(part, FunctionType):
            self._visit_function(part, named)
        elif isinstance(part, type):
            self._visit_class(part, named)
        elif isinstance(part, ModuleType):
            self.lines.append(part.__name__)
        elif isinstance(part, Mapping):
            self._visit_all("" if named else "mapping", [*part.keys(), *part.values()], named)
        elif isinstance(part, Set):
            self.lines += [] if named else [f"set of {len(part)}"]
            self.lines += sorted(
                "\n".join(lines) for item in part if (lines := _described(item, named))
            )
            self.lines += [] if named else ["end of set"]
        elif isinstance(part, Sequence):
            kind = "" if type(part) in (list, tuple) else f" in {type(part).__qualname__}"
            self._visit_all("" if named else f"{len(part)} items{kind}", part, named)
        elif hasattr(part, "tobytes") and hasattr(part, "dtype"):
            if not named:  # an array's repr leaves out digits, and most of a long one
                self._visit_all(f"{part.dtype} {part.shape}", _elements(part))
        else:
            self._visit_object(part, named)

    def _visit_all(self, title: str, parts: Sequence[object], named: bool = False) -> None:
        self.lines += [title] if title else []
        for part in parts:
            self.visit(part, named)

    def _visit_function(self, function: FunctionType, named: bool) -> None:
        if _packaged(function):
            self.lines += [] if named else [f"{function.__module__}.{function.__qualname__}"]
            return
        self.lines.append(_digest(function))
        defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
        for held in [*defaults, *_enclosed(function)]:
            self.visit(held)
        if not _installed(function):
            for used in _globals(function):
                self.visit(used)

    def _visit_class(self, kind: type, named: bool) -> None:
        """Describe a class's own methods and constants: one in a notebook has no source."""
        self.lines += [] if named else [f"{kind.__module__}.{kind.__qualname__}"]
        for base in [*kind.__mro__, *type.mro(type(kind))]:
            for name, member in vars(base).items() if not _packaged(base) else ():
                bare = _bare(member)
                if isinstance(bare, FunctionType):
                    # What a dataclass writes has no file; its __repr__ is wrapped.
                    if inspect.unwrap(bare).__code__.co_filename != "<string>":
                        self.visit(bare)
                elif not name.startswith(("__", "_abc_")) and not inspect.isdatadescriptor(bare):
                    self._visit_all(f"{base.__qualname__}.{name}=", [bare])

    def _visit_object(self, part: Any, named: bool) -> None:
        kind = type(part)
        shown = repr(part)
        self.lines += [] if named else [_ADDRESS.sub("", shown)]
        self._visit_class(kind, named=True)
        if hasattr(part, "__spec__"):
            self._visit_all("", part.__spec__())
        elif is_dataclass(part):
            ours = _packaged(kind)
            for option in fields(part):
                held = getattr(part, option.name)
                # What ours hide are a problem's own facts, known by it, but for a user's function.
                ours_shown = option.repr or isinstance(held, FunctionType | partial | MethodType)
                if ours_shown if ours else option.compare:
                    self.visit(held, named=ours)
        elif _root(kind) != "itslab":
            self._visit_state(part, kind)
        if hasattr(part, "__wrapped__"):  # by functools.cache, which has no source
            self.visit(part.__wrapped__)

    def _visit_state(self, part: Any, kind: type) -> None:
        """Describe what an object holds, whatever its repr tells of that."""
        if not (_packaged(kind) or _installed(kind)):
            names = [name for base in kind.__mro__ for name in _slots(base)]
            slots = {name: getattr(part, name) for name in names if hasattr(part, name)}
            self._visit_all("", [vars(part) if hasattr(part, "__dict__") else {}, slots])
            return
        with suppress(Exception):  # what cannot be pickled, such as a lock, is known by its repr
            self.lines.append(hashlib.blake2b(pickle.dumps(part, 4), digest_size=8).hexdigest())


def _slots(kind: type) -> Sequence[str]:
    slots = vars(kind).get("__slots__", ())
    names = [slots] if isinstance(slots, str) else list(slots)
    return [name for name in names if not name.startswith("__")]


def _described(part: object, named: bool) -> list[str]:
    walk = _Walk()
    walk.visit(part, named)
    return walk.lines


def _is_model(part: Any) -> bool:
    """Whether it draws or scores, by weights that have a digest."""
    made = hasattr(part, "generate") or hasattr(part, "score")
    return made and isinstance(getattr(part, "digest", None), str) and not isinstance(part, type)


def _model(part: Any) -> str:
    """A model is known by its name, as in a repr, and its digest."""
    name = getattr(part, "name", None) or _ADDRESS.sub("", repr(part))
    return f"{name} {getattr(part, 'digest', '')}"


def _elements(array: Any) -> list[object]:
    if array.dtype.hasobject:
        return list(array.ravel())
    return [hashlib.blake2b(array.tobytes(), digest_size=8).hexdigest()]


def _bare(member: Any) -> Any:
    """The function in a method of any kind."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, cached_property):
        return member.func
    return getattr(member, "__func__", member)


def _enclosed(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # nothing was assigned yet
            yield "unassigned"


def _globals(function: FunctionType) -> Iterator[object]:
    """The global values that a function uses, and of a user's own modules what it takes there."""
    known = function.__globals__
    for code in _codes(function.__code__):
        for instruction in dis.get_instructions(code):
            if instruction.opname == "IMPORT_NAME":
                yield from _taken(_imported(instruction.argval), code.co_names)
            if instruction.opname not in ("LOAD_GLOBAL", "LOAD_NAME"):
                continue
            value = known.get(instruction.argval)
            yield instruction.argval if instruction.argval in known else None
            yield value
            yield from _taken(value, code.co_names)


def _taken(module: object, names: Sequence[str]) -> Iterator[object]:
    """What is named of a user's own module, and of those within it."""
    if isinstance(module, ModuleType) and not (_packaged(module) or _installed(module)):
        for name in names:
            if name in vars(module):
                yield vars(module)[name]
                yield from _taken(vars(module)[name], [n for n in names if n != name])


def _imported(name: str) -> ModuleType | None:
    """A module that a function imports when it is called, if it is a user's own."""
    if name.split(".")[0] in ("itslab", *sys.stdlib_module_names):
        return None
    with suppress(Exception):  # it will be told when the function is called
        file = getattr(importlib.util.find_spec(name), "origin", None)
        if file is not None and not _within_packages(file):
            return importlib.import_module(name)
    return None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions within."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _module(code: Any) -> str:
    name = code.__name__ if isinstance(code, ModuleType) else getattr(code, "__module__", "")
    return str(name)


def _packaged(code: Any) -> bool:
    """Whether it comes with this package or with Python, which have versions to be known by."""
    root = _root(code)
    return root == "itslab" or root in sys.stdlib_module_names


def _root(code: Any) -> str:
    return _module(code).split(".")[0]


def _installed(code: Any) -> bool:
    """Whether it comes with another package, of which one does not ask what it uses in turn."""
    return _in_packages(_module(code))


@cache
def _in_packages(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and _within_packages(file)


def _within_packages(file: str) -> bool:
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return any(Path(file).is_relative_to(folder) for folder in folders)


def _digest(function: FunctionType) -> str:
    code = function.__code__
    plain = [c for c in code.co_consts if c is None or isinstance(c, str | int | float | tuple)]
    held = repr((code.co_names, [c for c in plain if "<code" not in repr(c)]))
    if function.__name__ == "<lambda>":  # two of them on one line have one source
        held += "".join(one.co_code.hex() + repr(one.co_varnames) for one in _codes(code))
    try:
        source = textwrap.dedent(inspect.getsource(code)) + held
    except (OSError, TypeError) as error:
        raise OptionError(
            f"{function.__qualname__} cannot be identified, since its source cannot be read "
            f"({error}): define it in a file or a notebook"
        ) from error
    digest = hashlib.blake2b(source.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return f"{function.__qualname__} {digest}"
