"""Recompute the arithmetic in a chain: which of its equations hold?

Only what is surely arithmetic is read: numbers, + − × ÷, brackets, fractions, percentages, with
units between them. An equation with a variable, a power or anything else in it is passed over: a
mistake pointed out that is none does more harm than one that is missed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from itslab.core import Node, Prompt, Verdict
from itslab.options import checked
from itslab.syntax import evaluate

_LONGEST = 200  # characters of an equation: no chain of thought needs more
_REWRITES = [  # what LaTeX and English write in other ways
    (r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))"),
    (r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r" \1 "),
    (r"\\boxed\s*\{([^{}]*)\}", r"\1"),
    (r"\\(?:left|right|quad|,|;|!|:)|\*\*|&", " "),
    (r"\\times|\\cdot|×|·|⋅", "*"),
    (r"\\div|÷", "/"),
    (r"\\approx|≈|\\simeq", "="),
    (r"[−–]", "-"),
    (r"\\[()\[\]]|\\\\", "\n"),
    (r"\\%", "%"),
    (r"\\?\$|€|£", ""),
    (r"(?m)^[ \t]*[-*+•][ \t]+", ""),  # a list
    (r"(?<=\d),(?=\d{3}(?!\d))", ""),  # 1,000
    (r"(?<=[\d)])\s*[xX]\s*(?=[\d(])", "*"),
    (r"(?<=[\d%])\s+of\s+(?=\d)", "*"),
    (r"\)\s*\((?=[\d(])", ")*("),
]
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?|\.\d+)(?P<percent>\s*%)?|(?P<operator>[-+*/])|(?P<open>\()"
    r"|(?P<close>\))|(?P<word>[A-Za-z]+)|(?P<end>[,.;?\"'{}])|(?P<unknown>\S)"
)
_CLOCK = re.compile(r"\d:\d")
_COUNTS = re.compile(
    r"dozen|hundred|thousand|million|half|halves|third|quarter|fourth|fifth|double|twice|cent"
    r"|\d[eE][-+]?\d",  # 1e3
    re.IGNORECASE,
)
_MARKED_UP = re.compile(r"[+-]\s*\d[\d.]*\s*%")  # 100 + 20 %: of the 100, to many


class Equation(NamedTuple):
    """An equation that a chain states.

    Args:
        left, right: as it wrote them, but for units and notation.
        value: of the left side, exactly.
        holds: whether the right side equals it, as far as it was rounded.
    """

    left: str
    right: str
    value: Fraction
    holds: bool


@dataclass(frozen=True)
class Arithmetic:
    """Score a node by the share of its equations that hold; nan where there is none.

    Its note points at the first that does not, for a strategy that refines.
    """

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Recompute what each node's turn says so far. Verdicts cost no tokens."""
        return [_verdict(list(equations(node.turn_text))) for node in nodes]


def _verdict(found: Sequence[Equation]) -> Verdict:
    if not found:
        return Verdict(math.nan, note="there is no arithmetic to check")
    false = [equation for equation in found if not equation.holds]
    note = f"{false[0].left} is {_shown(false[0].value)}, not {false[0].right}" if false else ""
    return Verdict(1 - len(false) / len(found), note=note)


@checked
def equations(text: str) -> Iterator[Equation]:
    """Yield the equations of a text that state a computation and its result, in their order.

    Of ``7 = 3 + 4`` nothing is yielded: small models write it of numbers that they only restate.
    """
    for pattern, plain in _REWRITES:
        text = re.sub(pattern, plain, text)
    for line in text.split("\n"):
        sides = line.split("=")
        for before, after in pairwise(sides):
            left, right = _suffix(before[-_LONGEST:]), _prefix(after[:_LONGEST])
            if len(left) > 2 and right:
                equation = _equation(left, right)
                if equation is not None:
                    yield equation


# -- one side of an equation -----------------------------------------------------------------------

Tokens = list[re.Match[str]]


def _tokens(side: str) -> Tokens:
    """The tokens of a side; none if it holds clock times or number words."""
    if _CLOCK.search(side) or _COUNTS.search(side):
        return []
    return list(_TOKEN.finditer(side))


def _prefix(side: str) -> Tokens:
    """The expression that a side begins with, without units; empty if there is none for sure."""
    tokens = _tokens(side)
    length, expression = _expression(tokens)
    rest = tokens[length:]
    if rest and rest[0].lastgroup == "unknown":
        return []
    return expression


def _suffix(side: str) -> Tokens:
    """The expression that a side ends with, without units; empty if there is none for sure."""
    tokens = _tokens(side)
    for start in range(len(tokens)):
        length, expression = _expression(tokens[start:])
        if expression and start + length == len(tokens):
            before = tokens[start - 1].lastgroup if start else "end"
            term = before == "word" and expression[0].group() == "-"  # of something unknown
            return expression if before in ("end", "word", "close") and not term else []
    return []


def _expression(tokens: Tokens) -> tuple[int, Tokens]:
    """How many tokens the longest expression at the start takes, and what it is without units."""
    kept: Tokens = []
    best: tuple[int, Tokens] = (0, [])
    taken, depth, operand = 0, 0, True  # whether an operand is expected
    for token in tokens:
        kind = token.lastgroup if token.lastgroup != "percent" else "number"
        taken += 1
        if kind == "word" and not operand and len(token.group()) > 1:
            if best[0] == taken - 1:
                best = (taken, best[1])  # a unit
            continue
        if kind == "operator" and (not operand or (token.group() == "-" and not kept)):
            operand = True
        elif kind == "number" and operand:
            operand = False
        elif kind == "open" and operand:
            depth += 1
        elif kind == "close" and not operand and depth:
            depth -= 1
        else:
            variable = kind == "word" and (operand or len(token.group()) == 1)
            return (0, []) if variable and kept else best
        kept.append(token)
        if not operand and not depth:
            best = (taken, list(kept))
    return (0, []) if operand and kept else best


# -- both ------------------------------------------------------------------------------------------


def _equation(left: Tokens, right: Tokens) -> Equation | None:
    ours, theirs = _value(left), _value(right)
    if ours is None or theirs is None:
        return None
    if _MARKED_UP.search(_written(left)) and not all(
        token["percent"] for token in left if token["number"]
    ):
        return None
    percent = any(token["percent"] for token in (*left, *right))
    scales = (1, 100, Fraction(1, 100)) if percent else (1,)  # 0.2 is 20 % and, to many, 20
    holds = any(_rounds_to(ours * scale, theirs, right) for scale in scales)
    return Equation(_written(left), _written(right), ours, holds)


def _value(tokens: Tokens) -> Fraction | None:
    plain = [f"({t['number']}/100)" if t["percent"] else t.group().strip() for t in tokens]
    if plain[0] == "-":  # a sign
        plain.insert(0, "0")
    try:
        return evaluate("".join(plain))[0]
    except (ValueError, ZeroDivisionError):  # such as of 007
        return None


def _rounds_to(value: Fraction, other: Fraction, written: Tokens) -> bool:
    """Whether a value is what was written, up to its last decimal place."""
    if len(written) > 1:
        return abs(value - other) < Fraction(1, 100)
    if written[0]["percent"]:  # the last place is one of the percentage
        value, other = 100 * value, 100 * other
    places = len(written[0]["number"].partition(".")[2])
    exact = value.denominator == 1 and not places
    return value == other if exact else abs(value - other) < Fraction(1, 10**places)


def _written(tokens: Tokens) -> str:
    text = " ".join(token.group().strip() for token in tokens)
    return text.replace("( ", "(").replace(" )", ")").replace(" %", "%")


def _shown(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{float(value):.6g}"
