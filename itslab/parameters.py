"""Values of a notebook's parameters: text in, what the annotation says out, and back to Python."""

from __future__ import annotations

import ast
from typing import Any

from itslab.core import require

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


def read(name: str, text: str, annotation: str, default: str) -> Any:
    """Return the value that a text stands for.

    Plain types, ``list[int]``, ``tuple[str, ...]``, ``dict[str, int]``, ``Literal["a", "b"]``,
    unions of these and ``Optional`` are understood; of a union a text is taken last, so that
    ``None`` is None for ``str | None``. Lists and tuples may be written without their
    brackets: ``1,2``. What is of another type is handed on as text.

    Args:
        name: of the parameter.
        text: as it was typed.
        annotation: the parameter's type, as Python writes it; "None" where it has none, and its
            value is read as one of its default's type.
        default: the value it has in the notebook, as Python writes it.

    Raises:
        OptionError: the text is no value of this type.
    """
    if annotation == "None":
        annotation = type(_literal(default)).__name__.replace("NoneType", "object")
    try:
        kinds = _kinds(ast.parse(annotation, mode="eval").body)
    except SyntaxError:
        return text
    if any(_known(kind) == "" for kind in kinds):
        return text
    for kind in sorted(kinds, key=lambda kind: _known(kind) == "str"):
        value = _fitting(_literal(text), kind, text)
        if value is not _MISSING:
            return value
    require(False, name, text, " or ".join(map(_described, kinds)))
    raise AssertionError


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


def _described(kind: ast.expr) -> str:
    if _known(kind) == "Literal" and isinstance(kind, ast.Subscript):
        return " or ".join(map(ast.unparse, _arguments(kind)))
    return f"{ast.unparse(kind)}" if isinstance(kind, ast.Subscript) else _WORDS[_known(kind)]


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text).strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def _fitting(value: Any, kind: ast.expr, text: str | None = None) -> Any:
    """The value as one of a type; ``_MISSING`` if it is none. ``text``: what it was read from."""
    name = _known(kind)
    if name == "str" and text is not None:
        return text
    if name == "Literal" and isinstance(kind, ast.Subscript):
        choices = [ast.literal_eval(each) for each in _arguments(kind)]
        same = (c for c in choices if c == text or (type(c) is type(value) and c == value))
        return next(same, _MISSING)
    if name == "float" and text is not None and text.strip() in ("inf", "-inf", "nan"):
        return float(text)
    if name == "float" and type(value) is int:
        return float(value)
    if name in ("list", "tuple"):
        return _row(value, kind, name, text)
    fits = value is None if name == "None" else type(value).__name__ == name
    if not fits:
        return _MISSING
    if name == "dict" and isinstance(kind, ast.Subscript):
        of_key, of_value = _arguments(kind)
        pairs = {_any(k, of_key): _any(v, of_value) for k, v in value.items()}
        return _MISSING if _MISSING in (*pairs, *pairs.values()) else pairs
    return value


def _row(value: Any, kind: ast.expr, name: str, text: str | None) -> Any:
    """A list or a tuple, each member of its own type; as typed, without brackets as well."""
    bare = text is not None and not text.lstrip().startswith(("[", "("))
    if bare and not isinstance(value, tuple):
        parts = (text or "").split(",")
        value = tuple(map(_literal, (part.strip() for part in parts))) if len(parts) > 1 else value
    if not (type(value).__name__ == name or (bare and isinstance(value, tuple))):
        return _MISSING
    members = list(value)
    if isinstance(kind, ast.Subscript):
        kinds = _arguments(kind)
        endless = isinstance(kinds[-1], ast.Constant) and kinds[-1].value is ...
        kinds = kinds[:1] * len(members) if name == "list" or endless else kinds
        if len(kinds) != len(members):
            return _MISSING
        members = [_any(each, of) for each, of in zip(members, kinds, strict=True)]
    if any(each is _MISSING for each in members):
        return _MISSING
    return members if name == "list" else tuple(members)


def _any(value: Any, annotation: ast.expr) -> Any:
    """The value as one of any type of a union; what is of an unknown type is taken as it is."""
    kinds = _kinds(annotation)
    if any(_known(kind) == "" for kind in kinds):
        return value
    fitting = (_fitting(value, kind) for kind in kinds)
    return next((each for each in fitting if each is not _MISSING), _MISSING)
