"""Options: what is declared is what is accepted, and everything else is refused in one line."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import itslab as its
from itslab.core import Backend, OptionError, Sampling, Verifier
from itslab.options import (
    Bounds,
    Count,
    Limit,
    NotNegative,
    Options,
    Positive,
    Text,
    UnitInterval,
    Whole,
    check,
    checked,
    described,
    fits,
    require,
    settings,
)


def judge(prompt: object, nodes: Sequence[object]) -> list[float]:
    return [0.0 for _ in nodes]


class Model:
    def generate(self, requests: object) -> list[object]:
        return []


NAN, INF = math.nan, math.inf
HALF_OPEN = Annotated[float, Bounds(0, 1, open="high")]
TABLE: list[tuple[Any, list[Any], list[Any], str]] = [
    # annotation, what fits, what does not, in words
    (int, [0, -3], [True, 2.0, "2", None, np.int64(2), [2]], "a whole number"),
    (Count, [1, 7, 10**400], [0, -1, 1.5, True, None, NAN, "1", np.int64(4)], "a whole number ≥ 1"),
    (Whole, [0, 1], [-1, 0.0, False], "a whole number ≥ 0"),
    (float, [0, -1.5], [NAN, INF, True, "1", None, np.float64(1), [1.0]], "a number"),
    (Limit, [INF, -INF, 3], [NAN, "inf"], "a number"),
    (Positive, [0.1, 3], [0, -1, NAN, INF], "a number > 0"),
    (NotNegative, [0, 0.0, 2], [-0.1, NAN, INF, None], "a number ≥ 0"),
    (UnitInterval, [0, 1, 0.5], [-0.1, 1.1, NAN, True], "a number in [0, 1]"),
    (HALF_OPEN, [0, 0.99], [1, 1.0, -1], "a number in [0, 1)"),
    (bool, [True, False], [1, 0, None, "yes", np.bool_(True)], "True or False"),
    (str, ["", "a"], [None, b"a", 3, np.str_("a")], "text"),
    (Text, ["a"], ["", None, ["a"]], "text that is not empty"),
    (int | None, [3, None], [True, "None", 2.5], "a whole number, or None"),
    (Literal["a", "b"], ["a"], ["c", None, ["a"], 1], "'a' or 'b'"),
    (Literal[1, "b"], [1], [True, 1.0], "1 or 'b'"),
    (tuple[str, ...], [(), ("a",)], ["a", ["a"], (1,), None], "a tuple of which each is text"),
    (tuple[str, str], [("a", "b")], [("a",), "ab", ("a", 1)], "a tuple of 2: text, text"),
    (Sequence[Count], [[1], (2,)], [[0], "1", 1, None], "a list of which each is a whole"),
    (Mapping[str, int], [{"a": 1}], [{"a": "1"}, {1: 1}, [], None], "a dict of which each value"),
    (Callable[[str], str], [str.upper, str], ["f", None], "a function"),
    (Verifier, [judge], [Model(), Model, "judge", None, 3], "a Verifier"),
    (Backend, [Model()], [Model, judge, "llm", None], "a Backend"),
    (Sampling, [Sampling()], [Sampling, None, {}], "a Sampling"),
    (Any, [None, 3], [], "Any"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("hint", "valid", "invalid", "words"), TABLE, ids=[row[-1] for row in TABLE]
)
def test_what_fits(hint: Any, valid: list[Any], invalid: list[Any], words: str) -> None:
    assert [value for value in valid if not fits(value, hint)] == []
    assert [value for value in invalid if fits(value, hint)] == []
    assert words in described(hint)


@dataclass(frozen=True)
class Example(Options):
    verifier: Verifier
    n: Count = 8
    floor: float = 0.0


def test_a_dataclass_refuses_the_first_bad_option_in_one_line() -> None:
    assert Example(judge, n=3).n == 3
    with pytest.raises(OptionError, match=r"^n=2\.5 is not valid: n must be a whole number ≥ 1$"):
        Example(judge, n=2.5)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"^verifier=None is not valid: verifier must be a Ver"):
        Example(None, n=0)  # type: ignore[arg-type]


def test_a_numpy_scalar_is_refused_with_the_way_to_a_plain_number() -> None:
    with pytest.raises(
        OptionError, match=r"^n=np\.int64\(4\) is not valid: .* \(here n\.item\(\)\)"
    ):
        Example(judge, n=np.int64(4))  # type: ignore[arg-type]


def test_slotted_dataclasses_are_checked_too() -> None:
    @dataclass(frozen=True, slots=True)
    class Slotted:
        n: int = 1

        def __post_init__(self) -> None:
            check(self)

    with pytest.raises(OptionError, match="n="):
        Slotted(True)


def test_a_function_is_checked_when_it_is_called() -> None:
    @checked
    def draw(n: Count, *rest: str, seed: int = 0, **more: int) -> tuple[Any, ...]:
        """Draw."""
        return n, rest, seed, more

    assert draw(2, "a", seed=1, k=3) == (2, ("a",), 1, {"k": 3})
    assert (draw.__name__, draw.__doc__) == ("draw", "Draw.")
    with pytest.raises(OptionError, match="seed=None"):
        draw(1, seed=None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing"):
        draw()  # type: ignore[call-arg]


def test_an_error_is_one_short_line_whatever_the_value() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    for value in (np.zeros((50, 50)), "x" * 10_000, "a\nb", Rude()):
        with pytest.raises(OptionError) as refused:
            require(False, "n", value, "a whole number")
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 200


def test_a_part_is_written_with_what_is_not_the_default() -> None:
    sure = its.Confidence()
    assert settings(its.SelfConsistency(8)) == "SelfConsistency()"
    hot = its.BestOfN(judge, n=4, sampling=Sampling(temperature=1.2))
    assert settings(hot) == "BestOfN(judge, n=4, sampling(temperature=1.2))"
    stages = (its.Stage(its.SelfConsistency(2), accept=sure, threshold=-0.5),)
    nested = "Stage(SelfConsistency(n=2), accept=Confidence(), threshold=-0.5)"
    assert settings(its.Cascade(stages)) == f"Cascade([{nested}])"
    long = settings(its.SelfConsistency(2, instruction="x" * 99))
    assert long == f"SelfConsistency(n=2, instruction='{'x' * 38}…)"
