"""Puzzles: any expression that makes the target of the given numbers is right."""

from __future__ import annotations

import math

import pytest

from itslab import tasks
from itslab.core import OptionError, TaskError, Tree
from itslab.run import judged
from itslab.tasks.puzzles import (
    expression_key,
    expression_readings,
    extract_expression,
    reaches_target,
)
from itslab.verifiers.checks import Checker

FACTS = {"numbers": [3, 3, 8, 8], "target": 24}
ONES = {"numbers": [1, 3, 5, 9], "target": 24}


@pytest.mark.parametrize("answer", ["8/(3 - 8/3)", "8 / (3-(8/3))", r"\frac{8}{3-\frac{8}{3}}"])
def test_an_expression_counts_by_its_exact_value(answer):
    assert reaches_target(FACTS, extract_expression(f"So \\boxed{{{answer}}}."))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("1*3*5 + 8", "another value"),
        ("15 + 9", "other numbers"),
        ("1*3*5 + 9 + 9 - 9", "a number used twice"),
        ("5*3 + 9", "a number left out"),
        ("24", "the target itself"),
        ("1*3*5 + 9 if 1 else 0", "no arithmetic"),
        ("(1*3*5 + 9", "open bracket"),
        ("1*3*5 + 9/0*0", "division by zero"),
        ("__import__('os')", "code"),
        ("9**9**9", "another operator"),
        ("(" * 90 + "1" + ")" * 90, "too deep"),
        ("1+" * 5000 + "1", "too long"),
        ("", "nothing"),
        (None, "nothing"),
    ],
)
def test_anything_else_is_wrong(answer, why):
    assert not reaches_target(ONES, answer)


def test_the_right_side_and_latex_are_not_part_of_the_expression():
    assert extract_expression(r"\boxed{1 \times 3 \times 5 + 9 = 24}") == "1 * 3 * 5 + 9"
    assert reaches_target(ONES, extract_expression(r"\boxed{(1 \cdot 3) \cdot 5 + 9 = 24}"))
    assert extract_expression("no idea") is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["countdown", "puzzle24"])
def test_the_generators_own_solutions_are_right_and_hidden(name):
    import reasoning_gym

    task = tasks.load(name, n=5, seed=2)
    options = {"min_numbers": 4, "max_numbers": 4} if name == "countdown" else {}
    theirs = reasoning_gym.create_dataset(name, size=5, seed=2_000_000, **options)
    for problem, item in zip(task, theirs, strict=True):
        assert problem.meta["numbers"] == item["metadata"]["numbers"]
        assert task.grade(problem, item["answer"])
        assert item["answer"] not in problem.prompt
    assert [p.id for p in tasks.load(name, n=2, seed=2)] == [p.id for p in task][:2]


def test_a_checker_needs_no_gold_answer():
    tree = Tree()
    root = tree.add(None, "user", "?")
    nodes = [tree.add(root, "assistant", text) for text in (r"\boxed{1*3*5+9}", r"\boxed{24}", "?")]
    checker = Checker(reaches_target, ONES, extract_expression)
    assert [verdict.score for verdict in checker("?", nodes)] == [1, 0, 0]
    assert repr(checker) == "Checker(reaches_target)"


def test_a_task_checks_each_problem_by_its_own_numbers():
    from reasoning_gym import create_dataset

    task = tasks.load("puzzle24", n=3, seed=2)
    solutions = [item["answer"] for item in create_dataset("puzzle24", size=3, seed=2_000_000)]
    tree = Tree()
    nodes = [tree.add(None, "assistant", rf"\boxed{{{solution}}}") for solution in solutions]
    for i, problem in enumerate(task):
        posed = f"{problem.prompt}\n\nThink step by step."
        assert [v.score for v in judged(task.verifier, posed, nodes)] == [i == j for j in range(3)]
    [stray] = judged(task.verifier, "What is 1 + 1?", nodes[:1])
    assert math.isnan(stray.score)
    assert "none of the task's problems" in stray.note
    assert repr(task.verifier) == "checker"


def test_expressions_are_equal_by_spelling_not_by_value():
    assert expression_key("(3 * 4) + 2") == expression_key("3*4+2") == "3 * 4 + 2"
    assert expression_key("2 + 3*4") != expression_key("3*4 + 2")  # although both are 14
    assert expression_key("3 x (4") == "3x(4"
    assert expression_readings(r"\boxed{1+2} or \boxed{3*4 = 12}") == ["3*4", "1+2", "12"]


def test_any_data_set_of_reasoning_gym_by_its_name():
    task = tasks.load("reasoning_gym/spell_backward", n=3, seed=0)
    for problem in task:
        assert task.grade(problem, problem.answer)
        assert not task.grade(problem, "x")
        assert not task.grade(problem, None)
    with pytest.raises(TaskError, match="did you mean"):
        tasks.load("reasoning_gym/spel_backward", n=1)
    with pytest.raises(OptionError, match="n=None"):
        tasks.load("reasoning_gym/spell_backward")
    with pytest.raises(OptionError, match="numbers"):
        tasks.load("puzzle24", n=1, numbers=3)
