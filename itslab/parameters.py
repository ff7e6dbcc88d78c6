"""Values of a notebook's parameters: text in, what the annotation says out, and back to Python."""

from __future__ import annotations

import ast
from typing import Any

from itslab.core import OptionError, require

_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "str": "a text",
    "list": "a list, such as [1, 2]",
    "tuple": "a tuple, such as (1, 2)",
    "dict": "a dictionary",
    "None": "None",
}
_MISSING = object()
_UNREAD = ("set", "frozenset", "bytes", "bytearray", "complex", "range", "Sequence", "Callable")
_VALID = (
    "let it be int, float, bool, str, a list, tuple or dict of these, Literal, or one of several"
)


def read(name: str, text: str, annotation: str, default: str) -> Any:
    """Return the value that a text stands for.

    Plain types, ``list[int]``, ``tuple[str, ...]``, ``dict[str, int]``, ``Literal["a", "b"]``,
    unions of these and ``Optional`` are understood; of a union a text is taken last, so that
    ``None`` is None for ``str | None``. Lists and tuples may be written without their
    brackets: ``1,2``, or ``1`` where the parameter can be nothing else. For a class, such as
    ``Path``, the text is handed on.

    Args:
        name: of the parameter.
        text: as it was typed.
        annotation: the parameter's type, as Python writes it; "None" where it has none, and its
            value is read as one of its default's type.
        default: the value it has in the notebook, as Python writes it.

    Raises:
        OptionError: the text is no value of this type, or the type is not understood.
    """
    if annotation == "None":
        annotation = type(_literal(default)).__name__.replace("NoneType", "object")
    try:
        kinds = _kinds(ast.parse(annotation, mode="eval").body)
        understood = all(map(_understood, kinds)) and len(kinds) > 0
    except SyntaxError:
        kinds, understood = [], False
    if not understood:
        raise OptionError(f"{name} is declared as {annotation}, which is not understood: {_VALID}")
    value = _of_text(text, kinds)
    if value is _MISSING:
        require(False, name, text, " or ".join(map(_described, kinds)))
    return value


def _of_text(text: str, kinds: list[ast.expr], within: bool = False) -> Any:
    """A text as one of any type of a union; ``_MISSING`` if it is none.

    Args:
        text: as it was typed.
        kinds: members of the union; what takes any text is tried last.
        within: whether it is a part of a list, where a text may stand in quotes.
    """
    value = _literal(text)
    alone = sum(_known(kind) != "None" for kind in kinds) == 1
    for kind in sorted(kinds, key=lambda kind: _known(kind) in ("str", "")):
        if _called(kind) == "object" and within:
            return value
        if _known(kind) in ("str", ""):
            return value if within and isinstance(value, str) else text
        fitting = _fitting(value, kind, text)
        if fitting is _MISSING and _known(kind) in ("list", "tuple"):
            fitting = _bare(text, kind, alone)
        if fitting is not _MISSING:
            return fitting
    return _MISSING


def _bare(text: str, kind: ast.expr, alone: bool) -> Any:
    """A list or a tuple without its brackets; ``alone``: whether one value is one as well."""
    parts = [part.strip() for part in text.removesuffix(",").split(",")]
    several = len(parts) > 1 or text.endswith(",")
    bracketed = text.lstrip().startswith(("[", "(", "{"))
    if bracketed or not all(parts) or not (several or alone):
        return _MISSING
    name, kinds = _known(kind), _members(kind, len(parts))
    if kinds is None:
        return _MISSING
    members = [_of_text(part, each, within=True) for part, each in zip(parts, kinds, strict=True)]
    if any(member is _MISSING for member in members):
        value = _literal(text)  # such as 1, (2, 3)
        return _fitting(list(value) if name == "list" else value, kind) if several else _MISSING
    return members if name == "list" else tuple(members)


def written(value: Any) -> str:
    """Return a value as Python writes it, infinite numbers included."""
    if isinstance(value, float) and repr(value) in ("inf", "-inf", "nan"):
        return f"float({repr(value)!r})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{written(k)}: {written(v)}' for k, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, tuple):
        return f"({''.join(f'{written(each)}, ' for each in value).strip()})"
    return repr(value)


def _kinds(node: ast.expr) -> list[ast.expr]:
    """The members of a union."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _kinds(ast.parse(node.value, mode="eval").body)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _kinds(node.left) + _kinds(node.right)
    if isinstance(node, ast.Subscript) and _called(node.value) == "Annotated":
        return _kinds(_arguments(node)[0]) if _arguments(node) else [node]
    if isinstance(node, ast.Subscript) and _called(node.value) in ("Optional", "Union"):
        optional = [ast.Constant(None)] if _called(node.value) == "Optional" else []
        return [kind for each in _arguments(node) for kind in _kinds(each)] + optional
    return [node]


def _called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _arguments(node: ast.Subscript) -> list[ast.expr]:
    return node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]


def _known(kind: ast.expr) -> str:
    """The plain name of a type; "" if it is none that is understood."""
    if isinstance(kind, ast.Constant) and kind.value is None:
        return "None"
    name = _called(kind.value if isinstance(kind, ast.Subscript) else kind)
    name = (
        name if name == "Literal" else name.lower() if name in ("List", "Tuple", "Dict") else name
    )
    return name if name in ("Literal", *_WORDS) else ""


def _understood(kind: ast.expr) -> bool:
    """Whether a type, and all within it, is one that values can be read for."""
    name = _known(kind)
    if not isinstance(kind, ast.Subscript):
        named = _called(kind)
        unread = ("Literal", "Optional", "Union", "Annotated", *_UNREAD)
        return name == "None" or (bool(named) and named not in unread)
    arguments = _arguments(kind)
    if name == "Literal":
        return len(arguments) > 0 and all(_choice(each) is not _MISSING for each in arguments)
    if name == "tuple" and len(arguments) == 2 and _endless(arguments[1]):
        arguments = arguments[:1]
    elif name != "tuple" and len(arguments) != {"list": 1, "dict": 2}.get(name):
        return False
    return all(_understood(kind) for each in arguments for kind in _kinds(each) or [each])


def _choice(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:  # such as a member of an Enum
        return _MISSING


def _endless(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _described(kind: ast.expr) -> str:
    if _known(kind) == "Literal" and isinstance(kind, ast.Subscript):
        return " or ".join(map(ast.unparse, _arguments(kind)))
    return f"{ast.unparse(kind)}" if isinstance(kind, ast.Subscript) else _WORDS[_known(kind)]


def _literal(text: str) -> Any:
    try:
        text = {"true": "True", "false": "False"}.get(text, text)
        read = _Infinite().visit(ast.parse(text.strip(), mode="eval"))
        bare = isinstance(read.body, ast.Constant | ast.UnaryOp)  # which may mean a text
        return ast.literal_eval(text.strip() if bare else read)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


class _Infinite(ast.NodeTransformer):
    """Puts numbers in the place of the names of those that Python cannot write."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        known = node.id in ("inf", "nan")
        return ast.Constant(float(node.id)) if known else node


def _fitting(value: Any, kind: ast.expr, text: str | None = None) -> Any:
    """The value as one of a type; ``_MISSING`` if it is none. ``text``: what it was read from."""
    name = _known(kind)
    if name == "":
        return value
    if name == "Literal" and isinstance(kind, ast.Subscript):
        choices = map(_choice, _arguments(kind))
        same = (c for c in choices if c == text or (type(c) is type(value) and c == value))
        return next(same, _MISSING)
    if name == "float" and text is not None and text.strip() in ("inf", "-inf", "nan"):
        return float(text)
    if name == "float" and type(value) is int:
        return float(value)
    if (value is not None) if name == "None" else (type(value).__name__ != name):
        return _MISSING
    if name in ("list", "tuple"):
        return _row(value, kind)
    if name == "dict" and isinstance(kind, ast.Subscript):
        of_key, of_value = _arguments(kind)
        pairs = {_any(k, of_key): _any(v, of_value) for k, v in value.items()}
        return _MISSING if _MISSING in (*pairs, *pairs.values()) else pairs
    return value


def _row(value: Any, kind: ast.expr) -> Any:
    """A list or a tuple, each member of its own type."""
    kinds = _members(kind, len(value))
    if kinds is None:
        return _MISSING
    members = [_fitting_any(each, of) for each, of in zip(value, kinds, strict=True)]
    return _MISSING if _MISSING in members else type(value)(members)


def _members(kind: ast.expr, count: int) -> list[list[ast.expr]] | None:
    """The types of each of so many members of a list or a tuple; None if it has not so many."""
    if not isinstance(kind, ast.Subscript):
        return [[ast.Name("object")]] * count
    kinds = _arguments(kind)
    if _known(kind) == "list" or _endless(kinds[-1] if kinds else kind):
        kinds = kinds[:1] * count
    return [_kinds(each) for each in kinds] if len(kinds) == count else None


def _any(value: Any, annotation: ast.expr) -> Any:
    return _fitting_any(value, _kinds(annotation))


def _fitting_any(value: Any, kinds: list[ast.expr]) -> Any:
    """The value as one of any type of a union; what is of an unknown type is taken as it is."""
    fitting = (_fitting(value, kind) for kind in sorted(kinds, key=lambda kind: not _known(kind)))
    return next((each for each in fitting if each is not _MISSING), _MISSING)
