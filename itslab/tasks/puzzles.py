"""Tasks whose answers prove themselves: an expression of given numbers that makes a target."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Annotated, Any

from itslab import answers
from itslab.core import Problem
from itslab.options import Bounds, Whole, checked
from itslab.syntax import evaluate, parse_expression
from itslab.tasks.generated import Few, dataset
from itslab.tasks.task import Task
from itslab.verifiers import ByProblem, Checker

_LONGEST = 200  # characters of an expression
_FRACTION = re.compile(r"\\d?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "{": "(", "}": ")"})


@checked
def countdown(n: Few, seed: Whole, numbers: Annotated[int, Bounds(3, 6)] = 4) -> Task:
    """Make a target out of all the given numbers by + - * / (Gandhi et al. 2024, arXiv:2404.03683).

    Args:
        n: how many problems; fewer problems of a seed are the first of more.
        seed: names the problems.
        numbers: how many numbers each has, from 3 to 6.
    """
    data = dataset("countdown", n, seed, min_numbers=numbers, max_numbers=numbers)
    return _task("countdown", data, n, f"countdown/{numbers}/s{seed}")


@checked
def puzzle24(n: Few, seed: Whole) -> Task:
    """The Game of 24: make 24 out of four numbers from 1 to 10, each used once, by + - * /.

    Args:
        n: how many problems; fewer problems of a seed are the first of more.
        seed: names the problems.
    """
    data = dataset("puzzle24", n, seed)
    return _task("puzzle24", data, n, f"puzzle24/s{seed}")


def _task(name: str, data: Any, n: int, ids: str) -> Task:
    """A task of the first data; ``ids`` names what they depend on, and begins their ids."""
    problems = tuple(_problem(f"{ids}/{i}", data[i]) for i in range(n))
    checkers = {p.id: Checker(reaches_target, p.meta, extract_expression) for p in problems}
    return Task(
        name,
        problems,
        extract_expression,
        grade,
        expression_key,
        expression_readings,
        ByProblem("checker", checkers, {p.id: p.prompt for p in problems}),
    )


def _problem(id: str, item: Mapping[str, Any]) -> Problem:
    numbers = [int(number) for number in item["metadata"]["numbers"]]
    target = int(item["metadata"].get("target", 24))
    prompt = (
        f"Use each of the numbers {', '.join(map(str, numbers))} exactly once, with + - * / and "
        f"brackets, to make {target}. The answer is the expression."
    )
    return Problem(id, prompt, str(target), {"numbers": numbers, "target": target})


def grade(problem: Problem, answer: str | None) -> bool:
    """Whether an expression makes the target: any right one counts."""
    return reaches_target(problem.meta, answer)


def reaches_target(facts: Mapping[str, Any], answer: str | None) -> bool:
    """Whether an expression makes ``facts["target"]`` of exactly ``facts["numbers"]``.

    Exact arithmetic; for ``Checker``, since it takes no gold answer.
    """
    if answer is None or len(answer) > _LONGEST:
        return False
    try:
        value, used = evaluate(_plain(answer))
    except (ValueError, ZeroDivisionError):
        return False
    whole = all(isinstance(number, int) for number in used)  # 8.0 is none of the given numbers
    return whole and value == facts["target"] and sorted(used) == sorted(facts["numbers"])


def extract_expression(text: str) -> str | None:
    """Return the answer that a text gives, without ``= target`` after it."""
    said = answers.extract(text)
    return None if said is None else _plain(said) or None


def expression_readings(text: str) -> list[str]:
    """Return every expression that one might read out of a text as its answer."""
    return [expression for said in answers.readings(text) if (expression := _plain(said))]


def expression_key(answer: str) -> str:
    """Return an expression in one spelling. Not its value: all right ones have the same."""
    try:
        return ast.unparse(parse_expression(_plain(answer)[:_LONGEST]))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "".join(answer.split())


def _plain(answer: str) -> str:
    """Python's spelling of an expression."""
    text, found = answer, 1
    while found:  # the innermost fractions first
        text, found = _FRACTION.subn(r"((\1)/(\2))", text)
    text = text.replace(r"\times", "*").replace(r"\cdot", "*").replace(r"\div", "/")
    text = text.replace(r"\left", "").replace(r"\right", "").replace("$", "").translate(_SIGNS)
    return text.split("=")[0].strip()
