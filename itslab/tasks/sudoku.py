"""Small sudokus, row by row: of every row a rule can tell whether it still fits.

Whether a row contradicts the clues and the rows above it follows from the rules of the puzzle, not
from its solution, so a search may prune by it. That it leads into a dead end no rule here says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from itslab.core import Problem, Verdict
from itslab.options import Bounds, Whole, checked
from itslab.tasks.generated import Few, dataset
from itslab.tasks.rules import Rule, by_rules
from itslab.tasks.task import Task

Grid = tuple[tuple[int, ...], ...]  # 4 rows of 4 numbers; 0 is an empty cell

_PROMPT = """\
Fill in every _ so that each row, each column and each 2 x 2 box holds 1, 2, 3 and 4 once. Write \
the four rows of the solution and nothing else.

{examples}Puzzle:
{puzzle}
Solution:"""
_SHOWN = 3
"""Solved puzzles that the prompt shows."""


class Board(NamedTuple):
    """How far a puzzle is filled in.

    Args:
        rows: those that fit, from the top.
        why: what was wrong with the first that did not; "" if all do.
    """

    rows: Grid
    why: str = ""


def fill(puzzle: Grid, text: str) -> Board:
    """Fill a puzzle with the rows that a text writes down, until one does not fit or all are there;
    lines that hold no row are passed over.
    """
    rows: Grid = ()
    for row in _rows(text):
        if len(rows) == 4:
            break
        if why := _refused(puzzle, rows, row):
            return Board(rows, f"row {len(rows) + 1}, {_line(row)}: {why}")
        rows = (*rows, row)
    return Board(rows)


def _rows(text: str) -> Iterator[tuple[int, ...]]:
    for line in text.splitlines():
        cells = line.split()
        if len(cells) == 4 and all(cell in "123456789" and len(cell) == 1 for cell in cells):
            yield tuple(map(int, cells))


def _refused(puzzle: Grid, above: Grid, row: tuple[int, ...]) -> str:
    """Why a row does not fit; "" if it does."""
    if sorted(row) != [1, 2, 3, 4]:
        return "it has to hold 1, 2, 3 and 4 once"
    for column, (clue, number) in enumerate(zip(puzzle[len(above)], row, strict=True)):
        if clue not in (0, number):
            return f"{clue} is given in column {column + 1}"
        if number in (earlier[column] for earlier in above):
            return f"column {column + 1} holds {number} already"
        if len(above) % 2 and number in above[-1][column // 2 * 2 : column // 2 * 2 + 2]:
            return f"the box of column {column + 1} holds {number} already"
    return ""


@dataclass(frozen=True)
class Fits(Rule):
    """Scores a chain of rows by the rules: 0 if one does not fit, else the share of rows there.

    It never looks ahead: rows that fit may leave none for the next.

    Args:
        puzzle: 4 rows of 4 numbers; 0 is an empty cell.
    """

    puzzle: Grid

    def judge(self, text: str) -> Verdict:
        """See ``Rule.judge``."""
        board = fill(self.puzzle, text)
        return Verdict(0.0 if board.why else len(board.rows) / 4, note=board.why)


def extract_rows(text: str) -> str | None:
    """Return the first four rows that a text writes down, one in a line; None if it has fewer."""
    rows = [*_rows(text)][:4]
    return "\n".join(map(_line, rows)) if len(rows) == 4 else None


def grade(problem: Problem, answer: str | None) -> bool:
    """Whether rows solve the puzzle: any that do are right."""
    board = fill(_grid(problem.meta["puzzle"]), answer or "")
    return len(board.rows) == 4


@checked
def sudoku(n: Few, seed: Whole, empty: Annotated[int, Bounds(4, 12)] = 8) -> Task:
    """Sudokus of 4 × 4 cells, written row by row; the prompt shows three others with solutions.

    Args:
        n: how many problems; fewer problems of a seed are the first of more.
        seed: names the problems.
        empty: how many cells are to be filled in, from 4 to 12.
    """
    data = dataset("mini_sudoku", n + _SHOWN, seed, min_empty=empty, max_empty=empty)
    found = [data[i] for i in range(n + _SHOWN)]
    examples = "".join(
        f"Puzzle:\n{_shown(item['metadata']['puzzle'])}\nSolution:\n{item['answer']}\n\n"
        for item in found[:_SHOWN]
    )
    problems = tuple(
        Problem(
            f"sudoku/{empty}/s{seed}/{i}",
            _PROMPT.format(examples=examples, puzzle=_shown(item["metadata"]["puzzle"])),
            item["answer"],
            {"puzzle": item["metadata"]["puzzle"]},
        )
        for i, item in enumerate(found[_SHOWN:])
    )
    name = f"sudoku/{empty}"
    return by_rules(name, problems, lambda p: Fits(_grid(p.meta["puzzle"])), extract_rows, grade)


def _grid(rows: Sequence[Sequence[int]]) -> Grid:
    return tuple(tuple(row) for row in rows)


def _shown(rows: Sequence[Sequence[int]]) -> str:
    return "\n".join(map(_line, rows))


def _line(row: Sequence[int]) -> str:
    return " ".join(str(number) if number else "_" for number in row)
