"""Programs that a model writes are run, and what they print is its answer."""

import time
from collections.abc import Sequence
from functools import partial

import pytest

from itslab import sandbox, share
from itslab.code import extract_script
from itslab.core import (
    Budget,
    Node,
    OptionError,
    Output,
    Problem,
    PromptTooLong,
    Result,
    Sampling,
)
from itslab.handle import solve, start
from itslab.sandbox import execute
from itslab.spec import spec
from itslab.strategies import ProgramAided
from itslab.strategies.programs import _rounded
from itslab.study.samples import Samples
from itslab.tasks import Task
from itslab.testing import ScriptedModel

pytestmark = pytest.mark.usefixtures("sandbox")


def program(code: str) -> str:
    return f"```python\n{code}\n```"


def answer(replies: Sequence[str], budget: Budget = Budget(), **options: object) -> Result:
    strategy = ProgramAided(sandbox.execute, **options)  # type: ignore[arg-type]
    return solve("What is 6 × 7?", strategy, ScriptedModel(replies=replies), budget=budget)


def said(node: Node | None) -> str:
    assert node is not None
    return node.turn_text


# -- what a program prints -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print(6 * 7)", "42\n"),
        ("x = 6\nx * 7", "42\n"),  # as at a prompt
        ("for i in range(2): print(i)", "0\n1\n"),
        ("def main():\n    print('ran')\nif __name__ == '__main__':\n    main()", "ran\n"),
        ("import sys\nsys.stdout.write('no newline')", "no newline"),
        ("print(1)\n2", "1\n"),
        ("def main():\n    print(6 * 7)\n    return 0\nmain()", "42\n"),
        ("print(42)\nexit()", "42\n"),
        ("print(42)\nquit(0)\nprint(43)", "42\n"),
        ("import sys\nprint(1)\nsys.exit()", "1\n"),
        ("import math\nprint(math.comb(5, 2), end='')", "10"),
        ("print('é — 漢 \\ud800')", "é — 漢 ?\n"),
        ("", ""),
        ("None", ""),
    ],
)
def test_what_a_program_prints_comes_back(code: str, text: str) -> None:
    output = sandbox.execute(code)
    assert (output.text, output.error) == (text, "")
    assert output.seconds > 0


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("print(1)\n1 / 0", "ZeroDivisionError"),
        ("print(", "SyntaxError"),
        ("input()", "EOFError"),
        ("import sys\nsys.exit('no way')", "SystemExit"),
        ("raise BaseException", "BaseException"),
        ("import os\nos._exit(0)", "ended before its work was done"),
        ("import os\nos.kill(os.getpid(), 9)", "ended before its work was done"),
        ("x = bytearray(2**31)", "MemoryError"),
        ("while True: pass", "too slow"),
        ("while True: print('ever again')", "too slow"),
        ("import sys\nsys.stdout = None\nprint(1)\n1 / 0", "ZeroDivisionError"),
        ("open('/etc/passwd').read()", "Error"),
        ("import socket\nsocket.create_connection(('1.1.1.1', 80), 1)", "Error"),
    ],
)
def test_a_program_that_fails_says_why(code: str, error: str) -> None:
    assert error in sandbox.execute(code, seconds=0.5).error


def test_of_a_megabyte_the_end_is_kept() -> None:
    output = sandbox.execute("print('x' * 2**20)\nprint('last')")
    assert output.text.endswith("xxx\nlast\n")
    assert len(output.text) == 4000
    many = sandbox.execute("for i in range(20_000): print(i)")
    assert many.text.endswith("19998\n19999\n")


def test_a_forged_reply_is_only_another_output() -> None:
    forge = """
import os
from fractions import Fraction
text = "(2\\n" if False else "n"
for fd in range(3, 20):
    try:
        os.write(fd, b"4\\ni2a\\n")
    except OSError:
        pass
"""
    output = sandbox.execute(forge)
    assert isinstance(output, Output)
    assert output.text == ""


# -- the strategy ----------------------------------------------------------------------------------


def test_a_program_is_run_and_its_output_is_the_answer() -> None:
    result = answer([program("print('So it is', 6 * 7)")])
    assert result.answer == "42"
    assert "```output\nSo it is 42\n```" in said(result.node)
    assert result.costs["sandbox"].seconds > 0
    assert result.cost.seconds == pytest.approx(sum(c.seconds for c in result.costs.values()))
    assert result.cost.calls == 1


def test_programs_vote_by_what_they_print() -> None:
    replies = [program(f"print({code})") for code in ("41", "40 + 2", "84 / 2", "43")]
    assert answer(replies, n=4).answer == "42"


def test_floats_lose_their_noise() -> None:
    assert answer([program("print(0.1 + 0.2)")]).answer == "0.3"
    assert answer([program("print(2 ** 70)")]).answer == str(2**70)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print(12345678901.5 * 2)", "24691357803"),
        ("print(98765432109.0)", "98765432109"),
        ("print(1e16)", "1e+16"),
        ("print(12345678901234.57)", "12345678901234.57"),
        ("print(123456789012345.67)", "123456789012345.67"),
        ("print('12345678901234567.0')", "12345678901234567"),
        ("print(100 / 3)", "33.3333333333333"),
        ("print('42 # the answer')", "42"),
        ("print(12345678.90123)", "12345678.90123"),
        ("print((3, 4))", "(3, 4)"),
        ("print([1, 2])", "[1, 2]"),
        ("from fractions import Fraction\nprint(Fraction(3, 4))", "3/4"),
        ("print('sqrt(2)/2')", "sqrt(2)/2"),
        ("print(3 + 4j)", "(3+4j)"),
        ("print(f'{1234567:,}')", "1,234,567"),
        ("print('x =', 42)", "42"),
        ("print('\\x1b[1m42\\x1b[0m')", "42"),
        ("print(42)\nprint('-' * 20)", "42"),
        ("print(42)\nprint('Done.')", "42"),
        ("print('Yes')", "Yes"),
        ("print(10**600)", str(10**600)),
    ],
)
def test_what_is_printed_is_read_whole(code: str, said: str) -> None:
    assert answer([program(code)]).answer == said


@pytest.mark.parametrize("code", ["None", "float('nan')", "float('inf')", "'9' * 3000"])
def test_what_is_no_answer_is_not_taken_for_one(code: str) -> None:
    result = answer([program(f"print({code})")], fallback="none")
    assert (result.answer, result.node) == (None, None)


def test_numbers_in_a_program_that_failed_are_no_answer() -> None:
    fails = program("x = 41\nprint(y)")
    result = answer([fails], Budget(samples=1), repairs=1)
    assert (result.answer, result.stopped_by) == (None, "samples")
    assert answer([fails], Budget(samples=1)).answer is None
    assert answer([fails, "So \\boxed{42}."], Budget(samples=2)).answer == "42"
    assert answer([fails], Budget(samples=1), fallback="text").answer == "41"


def test_a_long_error_is_shown_by_its_end_and_one_too_long_leaves_the_others() -> None:
    works, fails = program("print(42)"), program("raise ValueError('x' * 30_000)")
    model = ScriptedModel(replies=[works, works, fails, fails])
    result = solve("?", ProgramAided(sandbox.execute, n=3, repairs=1, fallback="none"), model)
    assert result.answer == "42"
    assert len(model.asked[1].messages[-1].content) < 1200

    class Short(ScriptedModel):
        def generate(self, requests, *args, **options):  # type: ignore[no-untyped-def]
            if len(requests[0].messages) > 1:
                raise PromptTooLong("too long")
            return super().generate(requests, *args, **options)

    short = Short(replies=[works, works, fails])
    mended = ProgramAided(sandbox.execute, n=3, repairs=1, fallback="none")
    assert solve("?", mended, short).answer == "42"


def test_programs_end_with_the_run() -> None:
    programs = [program(f"while {i + 1}: pass") for i in range(40)]
    slow = partial(sandbox.execute, seconds=0.2)
    handle = start("?", ProgramAided(slow, n=40, fallback="none"), ScriptedModel(replies=programs))
    time.sleep(0.5)
    handle.stop()
    result = handle.result(10)
    assert (result.answer, result.stopped_by) == (None, "stop")
    poor = solve(
        "?",
        ProgramAided(slow, n=40, fallback="none"),
        ScriptedModel(replies=programs),
        budget=Budget(seconds=1),
    )
    assert poor.stopped_by == "seconds"
    assert poor.costs["sandbox"].seconds < 10


def test_an_interpreter_must_return_an_output() -> None:
    strategy = ProgramAided(str)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"sandbox\.execute"):
        solve("?", strategy, ScriptedModel(replies=[program("print(1)")]))


def test_other_interpreters_make_other_strategies() -> None:
    slow = partial(sandbox.execute, seconds=9)
    remembered = share.Recording("replay").interpreter("adaptive")
    digests = [spec(ProgramAided(each)).digest for each in (sandbox.execute, slow, remembered)]
    assert digests[0] != digests[1]
    assert digests[0] == digests[2]


def test_a_program_that_fails_is_shown_with_its_error_and_corrected() -> None:
    model = ScriptedModel(replies=[program("print(6 * y)"), program("print(6 * 7)")])
    result = solve("?", ProgramAided(sandbox.execute, repairs=1), model)
    assert result.answer == "42"
    shown = model.asked[1].messages[-1].content
    assert "NameError: name 'y' is not defined" in shown
    assert len(model.asked) == 2


def test_what_prints_nothing_is_told_so() -> None:
    model = ScriptedModel(replies=[program("y = 42"), program("print(6 * 7)")])
    assert solve("?", ProgramAided(sandbox.execute, repairs=1), model).answer == "42"
    assert "prints nothing" in model.asked[1].messages[-1].content


def test_where_no_program_works_a_chain_is_drawn_or_the_text_read_or_nothing_said() -> None:
    fails = program("print(y)  # 41")
    assert answer([fails, "So \\boxed{42}."], repairs=0).answer == "42"
    assert answer(["I think it is \\boxed{41}."], fallback="text").answer == "41"
    none = answer(["I think it is \\boxed{41}."], fallback="none")
    assert (none.answer, none.node) == (None, None)


def test_only_those_that_fail_are_drawn_anew() -> None:
    works, fails = program("print(42)"), program("print(y)")
    model = ScriptedModel(replies=[works, fails, works, "It is \\boxed{7}."])
    result = solve("?", ProgramAided(sandbox.execute, n=3), model)
    assert result.answer == "42"
    assert [request.n for request in model.asked] == [3, 1]


def test_an_invented_output_gives_way_to_the_real_one() -> None:
    chain = (
        f"Let me compute.\n{program('print(6 * 7)')}\nOutput:\n```\n41\n```\nIt is \\boxed{{41}}."
    )
    assert answer([chain], instruction="").answer == "42"


def test_a_budget_that_ends_before_a_correction_leaves_the_best_so_far() -> None:
    replies = [program("print(42)"), program("print(y)")]
    result = answer(replies, Budget(samples=2), n=2, repairs=1)
    assert (result.answer, result.stopped_by) == ("42", "samples")


def test_tokens_that_are_all_spent_do_not_keep_a_program_from_running() -> None:
    result = answer([program("print(42)")], Budget(tokens=3), fallback="text")
    assert result.answer == "42"


@pytest.mark.parametrize("options", [{"mend": "?"}, {"fallback": "x"}, {"n": 0}, {"repairs": -1}])
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ProgramAided(sandbox.execute, **options)  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        ProgramAided("python")  # type: ignore[arg-type]


# -- which program ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (program("print(1)"), "print(1)"),
        (f"{program('x = 1')}\nthen\n{program('print(2)')}", "print(2)"),
        (f"{program('print(2)')}\nwhich gives\n```\n2\n```", "print(2)"),
        (f"{program('x = 1')}\nwhich gives\n```\n1\n```", "x = 1"),
        ("```\nprint(3)\n```", "print(3)"),
        ("```\n3\n```", None),
        ("```bash\nprint(3)\n```", None),
        ("print(6 * 7)", "print(6 * 7)"),
        ("It is 42.", None),
        ("", None),
        ("<think>```python\nprint(1)\n```</think>It is 2.", None),
        ("```python\nprint(4)", "print(4)"),
        (
            f"{program('x = 6')}\n{program('y = 1')}\n{program('print(x * 7)')}",
            "x = 6\n\nprint(x * 7)",
        ),
        ("~" * 20_000, None),
        ("~~~ " * 5_000 + "`", None),
    ],
)
def test_the_last_block_that_prints_is_the_program(text: str, code: str | None) -> None:
    assert extract_script(text) == code


@pytest.mark.parametrize(
    ("above", "last"),
    [
        ("x = 3", "x = x + 1; print(x)"),
        ("x = 3", "x += 1; print(x)"),
        ("def f(x): return x", "x = f(1); print(x)"),
        ("from math import *", "print(pi)"),
        ("import math as m", "print(m.pi)"),
        ("base = 2", "def f(y):\n    return y + base\nprint(f(1))"),
    ],
)
def test_a_block_above_that_is_used_is_run_before(above: str, last: str) -> None:
    assert extract_script(f"{program(above)}\nthen\n{program(last)}") == f"{above}\n\n{last}"


@pytest.mark.parametrize(
    ("above", "last"),
    [
        ("x = 1 / 0", "x = 1; print(x)"),
        ("i = 1 / 0", "print([i for i in range(3)])"),
        ("y = 1 / 0", "for y in range(2):\n    z = y\n    print(z)"),
        ("y = 1 / 0", "def f(y):\n    return y + late\nlate = 1\nprint(f(1))"),
        ("e = 1 / 0", "try:\n    print(1)\nexcept ValueError as e:\n    print(e)"),
    ],
)
def test_a_block_above_that_is_not_used_is_left_out(above: str, last: str) -> None:
    assert extract_script(f"{program(above)}\nthen\n{program(last)}") == last


def test_a_program_of_a_thousand_branches_is_found() -> None:
    last = "if y:\n    pass\n" + "elif y:\n    pass\n" * 990 + "print(1)"
    assert extract_script(f"{program('y = 1')}\n{program(last)}") is not None


def test_greedy_by_default_is_one_program() -> None:
    strategy = ProgramAided(sandbox.execute, sampling=Sampling(temperature=0))
    assert strategy.n == 1
    assert "execute" not in repr(strategy)


def test_samples_of_programs_stand_as_they_were_drawn() -> None:
    """Those that work end in what they print, which stands behind those that fail."""
    replies = [program(f"print({'nothing' if i == 1 else i})") for i in range(4)]
    result = answer(replies, n=4, fallback="none")
    samples = Samples(Task("one", (Problem("1", "What is 6 × 7?", "2"),)), [result])
    assert samples.keys == [["0", None, "2", "3"]]
    assert samples.correct.tolist() == [[False, False, True, False]]


@pytest.mark.parametrize("code", ["print(list(range(1, 600)))", "print(*range(1000))"])
def test_a_line_that_is_too_long_is_no_answer_and_not_its_last_number(code: str, sandbox) -> None:  # type: ignore[no-untyped-def]
    aided = ProgramAided(execute, fallback="none")
    result = solve("?", aided, ScriptedModel(replies=[f"```python\n{code}\n```"]))
    assert result.answer is None


def test_digits_before_the_point_are_kept() -> None:
    assert _rounded("123456789012345678.9000000000") == "123456789012345678.9000000000"
    assert _rounded("0.30000000000000004") == "0.3"
