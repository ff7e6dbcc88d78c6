"""Equations are found in chains of thought and recomputed; what is no arithmetic is left alone."""

from __future__ import annotations

import math
import time

import pytest

from itslab.core import Node
from itslab.verifiers.arithmetic import Arithmetic, equations


@pytest.mark.parametrize(
    ("text", "left", "right"),
    [
        ("3 * 4 = 12", "3 * 4", "12"),
        (r"\[ 25 \times 4 = 100 \]", "25 * 4", "100"),
        (r"So \( \frac{1}{2} \times 10 = 5 \) apples.", "((1) / (2)) * 10", "5"),
        (r"Janet has 3 + 4 = \boxed{7}", "3 + 4", "7"),
        (r"\(16 \text{ eggs} - 3 = 13 \text{ eggs}\)", "16 - 3", "13"),
        ("20% of $50 = $10", "20% * 50", "10"),
        ("10/50 * 100 = 20%", "10 / 50 * 100", "20%"),
        ("1,200 + 300 = 1,500", "1200 + 300", "1500"),
        ("2 + 3 * (4 - 1) = 11", "2 + 3 * (4 - 1)", "11"),
        ("60 miles per hour * 2 hours = 120 miles", "60 * 2", "120"),
        ("- 5 * 3 = 15", "5 * 3", "15"),
        ("1. 5 × 3 = 15", "5 * 3", "15"),
        ("4 x 5 = 20.", "4 * 5", "20"),
        ("-5 + 3 = -2", "- 5 + 3", "- 2"),
        ("10 / 3 ≈ 3.33", "10 / 3", "3.33"),
        ("7 / 2 = 3", "7 / 2", "3"),  # whole things
        ("Total = 5 + 3 = 8", "5 + 3", "8"),
        ("3 + 4 = 5 + 2", "3 + 4", "5 + 2"),
        ("(2)(3) = 6", "(2) * (3)", "6"),
        ("20% + 5% = 25%", "20% + 5%", "25%"),
        ("3 + 4 apples = 7 apples", "3 + 4", "7"),
        ("1 / 3 = 33%", "1 / 3", "33%"),
        ("2 / 3 = 66.7%", "2 / 3", "66.7%"),
        ("50 * 2 = 100%", "50 * 2", "100%"),
    ],
)
def test_what_holds(text, left, right):
    [found] = equations(text)
    assert (found.left, found.right, found.holds) == (left, right, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3 * 4 = 13", 12),
        (r"\(12 - 5 = 8\)", 7),
        ("He pays 16 + 33 = 59 dollars", 49),
        ("2 * 3 = 6 + 4", 6),
        ("0.14 * 400,000 = 52,000", 56000),
        ("10 / 4 = 2.4", 2.5),
        ("10 / 50 * 100 = 35%", 20),
        ("1 / 4 = 26%", 0.25),
        ("20% + 5% = 40%", 0.25),
        ("1 / 8 = 12.6%", 0.125),
    ],
)
def test_what_does_not_hold(text, value):
    [found] = equations(text)
    assert (found.value, found.holds) == (value, False)


@pytest.mark.parametrize(
    "text",
    [
        "x + 3 = 5",
        "2x + 3 = 7",
        "Let y = 3",
        "1 hour = 60 minutes",
        "3 dozen * 2 = 72",
        "5^2 * 3 = 75",
        "10:30 + 45 = 11:15",
        "5 * 3 = x",
        "2 * 5 = 10 + y",
        "6 * 2 = 3 y",
        "the rest - 3 = 9",
        "5 / 0 = 0",
        "12 + 13 =",
        "= 4 + 5",
        "7 = 3 + 5",
        "1e3 + 1 = 1001",
        "2 thirds * 3 = 2",
        "100 + 20% = 120",
        "",
    ],
)
def test_what_is_no_arithmetic_is_passed_over(text):
    assert list(equations(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "=" * 10**5,
        "1+" * 10**5 + "1=1",
        "(" * 10**5 + "1=2",
        "\n" * 10**5,
        "1 " * 10**5 + "x 1 = 2",
    ],
)
def test_hostile_text_is_read_in_bounded_time(text):
    began = time.perf_counter()
    list(equations(text))
    assert time.perf_counter() - began < 5


def test_the_verdict_points_at_the_first_mistake():
    def said(text):
        return Node(0, None, "assistant", text)

    texts = ["3 * 4 = 12, so 12 + 1 = 14 and 14 + 1 = 16", "3 * 4 = 12", "I do not know."]
    wrong, right, silent = Arithmetic()("?", list(map(said, texts)))
    assert (wrong.score, wrong.note) == (pytest.approx(1 / 3), "12 + 1 is 13, not 14")
    assert (right.score, right.note) == (1, "")
    assert math.isnan(silent.score)
    [large] = Arithmetic()("?", [said("1,234,567 + 1 = 1,234,569")])
    assert large.note == "1234567 + 1 is 1234568, not 1234569"
