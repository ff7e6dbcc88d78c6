"""Programs are parsed in many threads at once."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

from itslab.syntax import literal, parse, parse_expression

SOURCE = "def f(x):\n    return [{}]\n".format(", ".join(f"(x + {i}) * {i}" for i in range(300)))


class Collected:
    """Lets another thread go on while the collector works in the middle of a tree."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sum(range(1000))


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
