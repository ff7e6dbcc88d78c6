"""Programs in what a model writes: where they are, and which of them are the same."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from itertools import dropwhile, takewhile

from itslab.answers import after_thinking
from itslab.syntax import given, parse, parse_expression, unbound

_FENCE = re.compile(  # possessive, for lines of nothing but tildes
    r"(?<![`~])(?P<mark>`{3,}+|~{3,}+)[ \t]*+\{?\.?(?P<language>[^\s`},]*+)\}?[ \t]*+"
    r"(?P<rest>[^`]*+)$"
)
_BEGINS = re.compile(r"(?:from|import|(?:async )?def|class)\s|@\w")
_PYTHON = re.compile(r"(?:i?py(?:thon|con)?[0-9.]*|text|txt|plain\w*|code)?", re.IGNORECASE)
_MATHEMATICS = re.compile(
    r"\w|pi|oo|sqrt|cbrt|exp|log|ln|sin|cos|tan|factorial|Rational|Fraction|Decimal"
)
_LONGEST_VALUE = 1_000  # characters
_DEFINED = re.compile(r"\bdef[ \t]+(\w+)|^(\w+)[ \t]*=[ \t]*lambda\b", re.MULTILINE)
_ASIDE = re.compile(r"test|check|main\b")  # functions that are not asked for
_CODE = re.compile(
    r"\s|$|#|@\w|(?:async\s+)?def\s+\w+\s*\(|class\s+\w+.*:|import\s+\w|from\s+\S+\s+import\b"
    r"|[\w.]+\s*=\s*\S|[)\]}]"
)


def extract_program(text: str, functions: Collection[str] = ()) -> str | None:
    """Return the last code block that defines one of the functions; without any, a program without
    a fence.

    A block may lack its closing fence, be indented, and say a language; one in another language
    than Python does not count. What was only thought, before ``</think>``, does not either.

    Args:
        text: what a model wrote.
        functions: the names that are asked for. Where no block defines one of them, the last block
            that defines something else than tests; then the last that defines anything.
    """
    blocks = _blocks(after_thinking(text))
    defined = [set(map("".join, _DEFINED.findall(block))) for block in blocks]
    asked = [block for block, names in zip(blocks, defined, strict=True) if names & {*functions}]
    other = [
        block
        for block, names in zip(blocks, defined, strict=True)
        if not all(map(_ASIDE.match, names))
    ]
    return next(iter([*asked[-1:], *other[-1:], *blocks[-1:]]), None)


def extract_script(text: str) -> str | None:
    """Return the program that a text holds to be run: its last block of Python that prints.

    Where none prints, the last block that names Python as its language. A block that names none is
    taken if it prints, for it may be an output; a text without a fence, if all of it is a program
    that prints. What was only thought, before ``</think>``, does not count. Blocks above it that
    say what it uses come first.
    """
    text = after_thinking(text).replace("\r\n", "\n")
    blocks = list(_fences(text)) or [("", text.strip())]
    places = range(len(blocks))
    printing = [i for i in places if "print(" in blocks[i][1] and _is_python(blocks[i][1])]
    named = [i for i in places if blocks[i][0].lower().startswith(("py", "ipy"))]
    last = next(iter([*printing[-1:], *named[-1:]]), None)
    return None if last is None else _with_what_it_uses([code for _, code in blocks[: last + 1]])


def _with_what_it_uses(blocks: Sequence[str]) -> str:
    """The last of these blocks, after those that give a value to a name that it needs."""
    *above, last = blocks
    if not above or not _is_python(last):
        return last
    kept = [last]
    try:
        needed = unbound(parse(last).body, {*dir(builtins)})
        for block in reversed(above):
            tree = parse(block) if _is_python(block) else ast.Module([], [])
            names = given(tree)
            if needed and ("*" in names or needed & names):
                kept.append(block)
                needed = (needed - names) | unbound(tree.body, {*dir(builtins)})
    except RecursionError:  # of a thousand branches, each in the other
        return last
    return "\n\n".join(reversed(kept))


def is_value(line: str) -> bool:
    """Return whether a line is what Python prints of one value: a number, a list, an expression."""
    if len(line) > _LONGEST_VALUE or "#" in line:
        return False
    try:
        value = parse_expression(line)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    bare = isinstance(value, ast.Tuple) and not line.startswith("(")  # 1,234 is one number
    words = not all(map(_MATHEMATICS.fullmatch, names))
    return not (bare or words or isinstance(value, ast.Compare))


def program_readings(text: str) -> list[str]:
    """Return every code block that defines a function; without one, the text from there."""
    start = text.find("def ")
    return _blocks(text) or [text[start:].strip()] * (start >= 0)


def program_key(program: str) -> str:
    """Return a program without what does not run: comments, docstrings, annotations, layout."""
    try:
        tree = _Bare().visit(parse(program))
        return ast.unparse(ast.fix_missing_locations(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program.strip()


class _Bare(ast.NodeTransformer):
    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        node.returns = None
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # type: ignore[assignment]  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        return ast.Assign([node.target], node.value) if node.value else node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node


def _blocks(text: str) -> list[str]:
    """The blocks of Python that define a function; without any, what reads as code by itself."""
    text = text.replace("\r\n", "\n")
    blocks = [block for _, block in _fences(text) if _DEFINED.search(block)]
    return blocks or [block for block in [_unfenced(text)] if block]


def _fences(text: str) -> Iterator[tuple[str, str]]:
    """Language and code between fences (CommonMark 0.31, section 4.5), if it may be Python.

    Beyond the standard, a fence may open behind words and before code, close behind code, and stay
    open.
    """
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        if not opened:
            opened = _FENCE.search(line)
            lines = [opened["rest"]] if opened and _BEGINS.match(opened["rest"]) else []
            continue
        code, mark, _ = line.partition(opened["mark"])
        if mark and (not code.strip() or line.rstrip().endswith(mark)):
            if _PYTHON.fullmatch(opened["language"]):
                yield opened["language"], _dedented([*lines, code], opened.start())
            opened = None
        else:
            lines.append(line)
    if opened and _PYTHON.fullmatch(opened["language"]):
        yield opened["language"], _dedented(lines, opened.start())


def _dedented(lines: Sequence[str], fence: int) -> str:
    """Code without the indentation that its fence has, or that all its lines share."""
    if fence and all(not line[:fence].strip() for line in lines):
        lines = [line[fence:] for line in lines]
    code = "\n".join(lines).strip("\n")
    return (textwrap.dedent(code) if code[:1].isspace() else code).strip()


def _unfenced(text: str) -> str:
    """The lines from the first that is code to the last before words, if Python reads them."""
    lines = list(dropwhile(lambda line: not _BEGINS.match(line.lstrip()), text.split("\n")))
    lines = textwrap.dedent("\n".join(lines)).split("\n")
    code = "\n".join(takewhile(_CODE.match, lines)).strip()
    return code if _is_python(code) and _DEFINED.search(code) else ""


def _is_python(code: str) -> bool:
    try:
        parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
