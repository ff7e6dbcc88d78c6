"""Tasks whose rules judge what is half done: sudokus row by row, stories by their words."""

from __future__ import annotations

from itertools import permutations, product

import pytest

import itslab as its
from itslab import tasks
from itslab.core import OptionError, Verdict
from itslab.tasks.keywords import Holds, lacking
from itslab.tasks.sudoku import Fits, extract_rows, fill
from itslab.tasks.sums import Adds, lines
from itslab.testing import ScriptedSteps

PUZZLE = ((2, 0, 0, 3), (0, 0, 1, 0), (1, 0, 3, 0), (3, 0, 2, 1))
SOLUTION = "2 1 4 3\n4 3 1 2\n1 2 3 4\n3 4 2 1"


@pytest.mark.parametrize(
    ("text", "rows", "why"),
    [
        ("", 0, ""),
        ("2 1 4 3\n", 1, ""),
        ("Let me see:\n2 1 4 3\n\n4 3 1 2", 2, ""),
        (SOLUTION, 4, ""),
        (f"{SOLUTION}\n1 1 1 1", 4, ""),
        ("1 2 4 3", 0, "2 is given in column 1"),
        ("2 2 4 3", 0, "it has to hold 1, 2, 3 and 4 once"),
        ("2 1 4 3\n3 2 1 4", 1, "the box of column 2 holds 2 already"),
        ("2 1 4 3\n2 4 1 3", 1, "column 1 holds 2 already"),
        ("2 1 4 3\n4 3 1 2\n1 4 3 2", 2, "column 4 holds 2 already"),
        ("2 1 4 5", 0, "it has to hold 1, 2, 3 and 4 once"),
    ],
)
def test_a_sudoku_is_filled_in_row_by_row(text: str, rows: int, why: str) -> None:
    board = fill(PUZZLE, text)
    assert len(board.rows) == rows
    assert board.why.endswith(why)
    assert bool(board.why) == bool(why)
    verdict = Fits(PUZZLE).judge(text)
    assert verdict.score == (0 if why else rows / 4)
    assert verdict.note == board.why


def solutions(puzzle) -> list[str]:
    """All that fit, by trying every four rows: the rules said in another way."""
    found = []
    rows = [*permutations((1, 2, 3, 4))]
    for grid in product(*([r for r in rows if _agree(clues, r)] for clues in puzzle)):
        columns = all(len({*column}) == 4 for column in zip(*grid, strict=True))
        boxes = all(
            len({grid[i + a][j + b] for a in (0, 1) for b in (0, 1)}) == 4
            for i in (0, 2)
            for j in (0, 2)
        )
        if columns and boxes:
            found.append("\n".join(" ".join(map(str, row)) for row in grid))
    return found


def _agree(clues, row) -> bool:
    return all(clue in (0, number) for clue, number in zip(clues, row, strict=True))


def test_whatever_fits_is_right_and_nothing_else() -> None:
    task = tasks.load("sudoku", n=3, empty=12)
    for problem in task:
        right = solutions(problem.meta["puzzle"])
        assert problem.answer in right
        assert all(task.grade(problem, text) for text in right)
        assert not task.grade(problem, None)
        wrong = right[0].replace("1", "x").replace("2", "1").replace("x", "2")
        assert task.grade(problem, wrong) == (wrong in right)


def test_rows_are_read_out_of_a_turn() -> None:
    assert extract_rows(f"Here it is:\n\n{SOLUTION}\n\nDone.") == SOLUTION
    assert extract_rows("2 1 4 3\n4 3 1 2") is None


def test_a_story_is_read_word_by_word() -> None:
    words = ("owl", "rope", "lake")
    assert lacking(words, "The OWL flew over the lake; ropes hung.") == ["rope"]
    verdict = Holds(words).judge("An owl, a rope.")
    assert verdict.score == pytest.approx(2 / 3)
    assert verdict.note == "These words are missing: lake"
    listed = Holds(words).judge("An owl, a rope, a lake.")
    assert listed.score == pytest.approx(1 - 0.5 / 3)
    assert listed.note == "That is a list and no story: 6 words more at least"
    told = "An owl sat on a rope that someone had hung over a lake."
    assert Holds(words).judge(told) == Verdict(1.0)
    task = tasks.load("keywords", n=1, words=3)
    [problem] = task
    given = problem.meta["words"]
    assert not task.grade(problem, ", ".join(given))
    assert task.grade(problem, " ".join([*given, *["and"] * 9]))
    assert not task.grade(problem, None)


@pytest.mark.parametrize("name", ["sudoku", "keywords", "moves"])
def test_fewer_problems_are_the_first_of_more(name: str) -> None:
    few, many = tasks.load(name, n=3), tasks.load(name, n=6)
    assert [p.prompt for p in few] == [p.prompt for p in many][:3]
    assert len({p.id for p in many}) == 6
    assert tasks.load(name, n=3, seed=1).problems[0].prompt != few.problems[0].prompt
    with pytest.raises(OptionError, match="n=0"):
        tasks.load(name, n=0)


def test_a_search_prunes_by_the_rules_and_solves() -> None:
    task = tasks.load("sudoku", n=1)
    [problem] = task
    *rows, last = problem.answer.splitlines(keepends=True)
    llm = ScriptedSteps(["1 1 1 1\n", *rows, last], ends=(last,))
    line = its.Sampling(stop=("\n",), include_stop=True, max_tokens=16)
    search = its.TreeOfThoughts(
        task.verifier, order="depth", expand=5, threshold=0.1, instruction="", sampling=line
    )
    result = its.solve(problem.prompt, search, llm, extract=task.extract)
    assert task.grade(problem, result.answer)


# -- long sums -------------------------------------------------------------------------------------


def test_a_sum_shows_how_it_is_worked_out_and_is_graded_by_its_last_line() -> None:
    task = tasks.load("sums", n=3, seed=1, terms=5, digits=2)
    assert [p.id for p in tasks.load("sums", n=2, seed=1, terms=5).problems] == [
        p.id for p in task.problems[:2]
    ]
    for problem in task:
        terms = problem.meta["terms"]
        assert len(terms) == 5
        assert all(10 <= term < 100 for term in terms)
        written = lines(terms)
        assert written[0] == f"{terms[0]} + {terms[1]} = {terms[0] + terms[1]}"
        assert int(written[-1].split(" = ")[1]) == sum(terms) == int(problem.answer)
        assert problem.prompt.endswith(f"Add: {' + '.join(map(str, terms))}")
        text = "\n".join(written)
        assert task.grade(problem, task.extract(text))
        assert not task.grade(problem, task.extract("\n".join(written[:-1])))
        assert not any(line in problem.prompt for line in written), "examples show other sums"


@pytest.mark.parametrize(
    ("text", "score", "note"),
    [
        ("", 0, ""),
        ("1 + 2 = 3", 0.5, ""),
        ("Well:\n\n- 1 + 2 = 3.\n3 + 3 = 6", 1, ""),
        ("1 + 2 = 3\n3 + 3 = 6\n6 + 1 = 9", 1, ""),  # what comes after it nobody asked for
        ("1 + 2 = 4", 0, "1 + 2 = 4: the result is wrong"),
        ("1 + 2 = 3\n3 + 4 = 7", 0, "3 + 4 = 7: not so asked"),
        ("1 + 2 + 3 = 6", 0, ""),
    ],
)
def test_of_a_long_sum_each_line_is_checked(text: str, score: float, note: str) -> None:
    assert Adds((1, 2, 3)).judge(text) == Verdict(score, note=note)
