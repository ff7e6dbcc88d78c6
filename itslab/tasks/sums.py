"""Long sums, one line for each addition: each line can be checked, and one slip spoils all.

A model that gets one line right nearly always still gets a chain of many lines wrong mostly. The
rule says of what is half done whether its lines hold and take the numbers in their order: it is the
check of a reader with a calculator, who sees a slip where it is made.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from itslab.core import Problem, Verdict
from itslab.options import Bounds, Whole, checked
from itslab.tasks.generated import Few
from itslab.tasks.rules import Rule, by_rules
from itslab.tasks.task import Task, grade

_PROMPT = """\
Add numbers one after the other, one addition in a line. Write the lines and nothing else.

{examples}Add: {sum}
"""
_LINE = re.compile(r"^\W{0,4}(\d{1,9})\s*\+\s*(\d{1,9})\s*=\s*(\d{1,9})\W{0,4}$")
_SHOWN = 2
"""Sums that the prompt shows."""


def lines(terms: Sequence[int]) -> list[str]:
    """Return the lines that work a sum out, as the prompt shows them."""
    total, written = terms[0], list[str]()
    for term in terms[1:]:
        written.append(f"{total} + {term} = {total + term}")
        total += term
    return written


def _told(terms: Sequence[int]) -> str:
    return " + ".join(map(str, terms))


def wrong(terms: Sequence[int], text: str) -> tuple[int, str]:
    """Return how many lines of a text add the numbers up, and what is wrong with the next one.

    Lines that hold no addition are passed over.
    """
    right = lines(terms)
    written = [found.groups() for line in text.splitlines() if (found := _LINE.match(line.strip()))]
    for done, (line, expected) in enumerate(zip(written, right, strict=False)):
        a, b, result = map(int, line)
        if f"{a} + {b} = {result}" != expected:
            told = "the result is wrong" if expected.startswith(f"{a} + {b} =") else "not so asked"
            return done, f"{a} + {b} = {result}: {told}"
    return min(len(written), len(right)), ""


@dataclass(frozen=True)
class Adds(Rule):
    """Scores lines by the share of all that there have to be; 0 if one of them is wrong.

    Args:
        terms: the numbers that are to be added.
    """

    terms: tuple[int, ...]

    def judge(self, text: str) -> Verdict:
        """See ``Rule.judge``."""
        done, note = wrong(self.terms, text)
        return Verdict(0.0 if note else done / (len(self.terms) - 1), note=note)


def extract_total(text: str) -> str | None:
    """Return the result of the last addition that a text writes down; None if there is none."""
    found = [line for each in text.splitlines() if (line := _LINE.match(each.strip()))]
    return str(int(found[-1][3])) if found else None


@checked
def sums(
    n: Few,
    seed: Whole,
    terms: Annotated[int, Bounds(2, 60)] = 12,
    digits: Annotated[int, Bounds(1, 6)] = 2,
) -> Task:
    """Sums of many numbers, added one after the other.

    Args:
        n: how many problems; fewer problems of a seed are the first of more.
        seed: names the problems.
        terms: how many numbers each has, from 2 to 60.
        digits: of each number, from 1 to 6.
    """
    rng = random.Random(f"sums {terms} {digits} {seed}")

    def drawn(count: int) -> list[int]:
        return [rng.randrange(10 ** (digits - 1), 10**digits) for _ in range(count)]

    few = [drawn(4) for _ in range(_SHOWN)]
    examples = "".join(f"Add: {_told(one)}\n" + "\n".join(lines(one)) + "\n\n" for one in few)
    problems = tuple(
        Problem(
            f"sums/{terms}/{digits}/s{seed}/{i}",
            _PROMPT.format(examples=examples, sum=_told(asked)).strip(),
            str(sum(asked)),
            {"terms": asked},
        )
        for i, asked in enumerate(drawn(terms) for _ in range(n))
    )

    def rule(problem: Problem) -> Adds:
        return Adds(tuple(problem.meta["terms"]))

    return by_rules(f"sums/{terms}/{digits}", problems, rule, extract_total, grade)
