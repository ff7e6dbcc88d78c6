"""Programs are parsed in many threads at once."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from itslab.syntax import evaluate, literal, parse, parse_expression

SOURCE = "def f(x):\n    return [{}]\n".format(", ".join(f"(x + {i}) * {i}" for i in range(300)))


class Collected:
    """Lets another thread go on while the collector works in the middle of a tree."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sum(range(1000))


@pytest.mark.slow
def test_threads_do_not_make_each_other_fail() -> None:
    def work(_: int) -> int:
        made = [Collected() for _ in range(50)]
        return len(parse(SOURCE).body) + len(made)

    before = gc.get_threshold()
    gc.set_threshold(50)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(work, range(400))) == {51}
    finally:
        gc.set_threshold(*before)


def test_expressions_and_literals() -> None:
    assert parse_expression("1 + 2").lineno == 1
    assert literal(" [1, 'a']") == [1, "a"]


def test_arithmetic_is_evaluated_exactly() -> None:
    assert evaluate("(8 / 3 - 2) * 36") == (24, [8, 3, 2, 36])
    assert evaluate("0.1 + 0.2") == (Fraction(3, 10), [0.1, 0.2])
    assert evaluate(" 1.00000000000000000001")[0] == 1 + Fraction(1, 10**20)


@pytest.mark.parametrize("source", ["", "-1", "x", "2 ** 3", "7 // 2", "True", "(" * 300, "'"])
def test_what_is_no_arithmetic_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="no arithmetic"):
        evaluate(source)
    with pytest.raises(ZeroDivisionError):
        evaluate("1 / (2 - 2)")
