"""The Game of 24 and its kin as moves: one line each, of which a rule can tell whether it is legal.

Written as one expression, such a puzzle can be checked at its end only. As moves it has steps, each
of which takes two of the numbers that are left and puts the result in their place: the form in
which Yao et al. 2023 search it (arXiv:2305.10601). That a move is legal follows from the rules of
the game, not from its solution, so a search may prune by it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, combinations_with_replacement, islice
from typing import Annotated, NamedTuple

from itslab.core import Problem, Verdict, require
from itslab.options import Bounds, Whole, checked
from itslab.tasks.generated import Few
from itslab.tasks.rules import Rule, by_rules
from itslab.tasks.task import Task

_MOVE = re.compile(
    r"^\W{0,4}(\d{1,6})\s*([-+*/×÷−])\s*(\d{1,6})\s*=\s*(\d{1,9})(?![\d.,]*\d)\b(.*)$"
)
_LEFT = re.compile(r"left:?\s*([\d ,]{0,80})", re.IGNORECASE)
_SIGNS = {"×": "*", "÷": "/", "−": "-"}
_PROMPT = """\
Make {target} out of the numbers, each used once. Every move takes two of the numbers that are \
left and puts the result in their place: write one move in a line, with the numbers that are left \
then. Numbers stay whole and are never negative. Write the moves and nothing else.

{examples}Numbers: {numbers} (make {target})
"""
_SHOWN = 3
"""Games that the prompt shows, with other numbers."""


class State(NamedTuple):
    """Where a game stands.

    Args:
        left: the numbers that are left; None once a move was not legal.
        moves: the legal ones, in one spelling.
        why: what was wrong with the first that was not.
    """

    left: tuple[int, ...] | None
    moves: tuple[str, ...]
    why: str = ""


def play(numbers: Sequence[int], target: int, text: str) -> State:
    """Play the moves that a text writes down, one in a line, until one is not legal or the last
    number is left; lines that hold no move are passed over.
    """
    left, moves = sorted(numbers), list[str]()
    for line in text.splitlines():
        found = _MOVE.match(line.strip())
        if not found or len(left) == 1:
            continue
        a, sign, b, result, rest = found.groups()
        why = _refused(left, int(a), _SIGNS.get(sign, sign), int(b), int(result))
        if why:
            return State(None, tuple(moves), f"{line.strip()}: {why}")
        left = sorted([*_without(left, int(a), int(b)), int(result)])
        said = _LEFT.search(rest)
        if said and sorted(map(int, re.findall(r"\d+", said[1]))) != left:
            return State(None, tuple(moves), f"{line.strip()}: {' '.join(map(str, left))} are left")
        moves.append(f"{int(a)} {_SIGNS.get(sign, sign)} {int(b)} = {int(result)}")
    return State(tuple(left), tuple(moves))


def _refused(left: Sequence[int], a: int, sign: str, b: int, result: int) -> str:
    """Why a move is not legal; "" if it is."""
    there = list(left)
    for number in (a, b):
        if number not in there:
            return f"{number} is not left"
        there.remove(number)
    if sign == "/" and (b == 0 or a % b):
        return "the result is not whole"
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[sign]
    if value < 0:
        return "the result is negative"
    return "" if value == result else f"the result is {value}"


def _without(left: Sequence[int], *taken: int) -> list[int]:
    there = list(left)
    for number in taken:
        there.remove(number)
    return there


def solve(left: Sequence[int], target: int) -> list[str] | None:
    """Return moves that lead to the target; None if none do: the exact solver.

    To a strategy it is an oracle: it makes puzzles, and bounds what a verifier could do.
    """
    if len(left) == 1:
        return [] if left[0] == target else None
    for i, j in combinations(range(len(left)), 2):
        rest = [number for k, number in enumerate(left) if k not in (i, j)]
        a, b = max(left[i], left[j]), min(left[i], left[j])
        results = {"+": a + b, "-": a - b, "*": a * b}
        for sign, result in [*results.items(), *([("/", a // b)] if b and a % b == 0 else [])]:
            further = solve([*rest, result], target)
            if further is not None:
                there = " ".join(map(str, sorted([*rest, result])))
                return [f"{a} {sign} {b} = {result} (left: {there})", *further]
    return None


@dataclass(frozen=True)
class Legal(Rule):
    """Scores a chain of moves by the rules: 0 if one is not legal or the last number is not the
    target, else the share of moves that are made. It never looks ahead.

    Args:
        numbers, target: of the game.
    """

    numbers: tuple[int, ...]
    target: int

    def judge(self, text: str) -> Verdict:
        """See ``Rule.judge``."""
        state = play(self.numbers, self.target, text)
        if state.left is None:
            return Verdict(0.0, note=state.why)
        if len(state.left) == 1 and state.left[0] != self.target:
            return Verdict(0.0, note=f"{state.left[0]} is left")
        return Verdict(len(state.moves) / (len(self.numbers) - 1))


def extract_moves(text: str) -> str | None:
    """Return the moves that a text writes down, one in a line, in one spelling."""
    moves = []
    for line in text.splitlines():
        if found := _MOVE.match(line.strip()):
            a, sign, b, result, _ = found.groups()
            moves.append(f"{int(a)} {_SIGNS.get(sign, sign)} {int(b)} = {int(result)}")
    return "\n".join(moves) or None


def grade(problem: Problem, answer: str | None) -> bool:
    """Whether moves are legal and lead to the target: any such ones are right."""
    numbers, target = problem.meta["numbers"], problem.meta["target"]
    state = play(numbers, target, answer or "")
    return state.left == (target,)


@checked
def moves(
    n: Few, seed: Whole, numbers: Annotated[int, Bounds(3, 5)] = 4, target: Whole = 24
) -> Task:
    """The Game of 24 as moves: one line each, of whole numbers that are never negative.

    Only puzzles that can be solved so are taken. The prompt shows three games of other numbers.

    Args:
        n: how many problems; fewer problems of a seed are the first of more.
        seed: names the problems.
        numbers: how many numbers each has, from 3 to 5.
        target: what is to be made of them.
    """
    rng = random.Random(f"moves {numbers} {target} {seed}")
    hands = [*combinations_with_replacement(range(1, 14), numbers)]
    rng.shuffle(hands)
    games = ((hand, path) for hand in hands if (path := solve(hand, target)))
    found = [*islice(games, n + _SHOWN)]
    enough = f"at most {max(len(found) - _SHOWN, 0)}: so many can be solved"
    require(len(found) == n + _SHOWN, "n", n, enough)
    shown = "".join(
        f"Numbers: {' '.join(map(str, hand))} (make {target})\n{chr(10).join(path)}\n\n"
        for hand, path in found[:_SHOWN]
    )
    problems = tuple(_problem(hand, target, seed, shown) for hand, _ in found[_SHOWN:])

    def rule(problem: Problem) -> Legal:
        return Legal(tuple(problem.meta["numbers"]), target)

    return by_rules(f"moves/{numbers}/{target}", problems, rule, extract_moves, grade)


def _problem(hand: Sequence[int], target: int, seed: int, shown: str) -> Problem:
    numbers = " ".join(map(str, hand))
    prompt = _PROMPT.format(target=target, examples=shown, numbers=numbers)
    name = f"moves/{target}/s{seed}/{'-'.join(map(str, hand))}"
    return Problem(name, prompt.strip(), str(target), {"numbers": list(hand), "target": target})
