"""The Game of 24 as moves: its rules by hand, its solver by trying everything else."""

from __future__ import annotations

from itertools import permutations, product

import pytest

import itslab as its
from itslab import tasks
from itslab.core import OptionError
from itslab.tasks.moves import Legal, extract_moves, grade, play, solve
from itslab.testing import ScriptedSteps

GAME = """\
9 - 3 = 6 (left: 4 5 6)
5 - 4 = 1 (left: 1 6)
"""


def test_a_game_is_played_move_by_move() -> None:
    assert play([3, 4, 5, 9], 24, "").left == (3, 4, 5, 9)
    state = play([3, 4, 5, 9], 24, GAME)
    assert state.left == (1, 6)
    assert state.moves == ("9 - 3 = 6", "5 - 4 = 1")
    assert play([3, 4, 5, 9], 24, f"Let me see.\n{GAME}6 × 1 = 6").left == (6,)
    over = play([3, 4, 5, 9], 24, f"{GAME}6 * 1 = 6\n6 * 4 = 24")
    assert over.left == (6,), "with one number left it is over"


@pytest.mark.parametrize(
    ("move", "why"),
    [
        ("9 - 2 = 7", "2 is not left"),
        ("9 + 9 = 18", "9 is not left"),
        ("9 - 3 = 5", "the result is 6"),
        ("3 - 9 = 6", "the result is negative"),
        ("9 / 4 = 2", "the result is not whole"),
        ("9 - 3 = 6 (left: 4 5 7)", "4 5 6 are left"),
        ("9 / 0 = 0", "0 is not left"),
    ],
)
def test_what_breaks_the_rules_is_said(move: str, why: str) -> None:
    state = play([3, 4, 5, 9], 24, move)
    assert state.left is None
    assert state.why == f"{move}: {why}"
    verdict = Legal((3, 4, 5, 9), 24).judge(move)
    assert verdict.score == 0


def test_the_rules_score_by_what_they_know_and_no_more() -> None:
    rules = Legal((3, 4, 5, 9), 24)
    assert rules.judge(GAME).score == 2 / 3  # it cannot be won any more, which no rule says
    assert solve([1, 6], 24) is None
    assert rules.judge(f"{GAME}6 * 1 = 6").score == 0
    won = "9 - 5 = 4\n4 + 4 = 8\n8 * 3 = 24"
    assert rules.judge(won).score == 1
    assert extract_moves(won) == won
    assert extract_moves("I give up.") is None


def test_what_is_no_whole_number_is_no_move() -> None:
    assert play([4, 1], 5, "4 + 1 = 5.75").moves == ()
    assert play([4, 1], 5, "4 + 1 = 5.").left == (5,)
    assert play([4, 1], 5, f"4 + 1 = 5 (left: {'5' * 5000})").left is None


def brute_force(numbers, target: int) -> bool:
    """All orders and signs, folded in any way: of three numbers there are two."""

    def go(a, sign, b):
        if sign == "/":
            return a // b if b and a % b == 0 else None
        value = {"+": a + b, "-": a - b, "*": a * b}[sign]
        return value if value >= 0 else None

    for a, b, c in permutations(numbers):
        for s, t in product("+-*/", repeat=2):
            first = go(a, s, b)
            if first is not None and target in (go(first, t, c), go(c, t, first)):
                return True
    return False


def test_the_solver_finds_a_way_wherever_there_is_one() -> None:
    for numbers in product(range(1, 7), repeat=3):
        path = solve(numbers, 24)
        assert (path is not None) == brute_force(numbers, 24)
        if path is not None:
            assert play(numbers, 24, "\n".join(path)).left == (24,)


def test_the_task_has_games_that_can_be_won_and_shows_others() -> None:
    task = tasks.load("moves", n=30, seed=1)
    for problem in task:
        path = solve(problem.meta["numbers"], 24)
        assert path is not None
        assert grade(problem, extract_moves("\n".join(path)))
        assert not grade(problem, None)
        assert problem.prompt.endswith(f"{' '.join(map(str, problem.meta['numbers']))} (make 24)")
        assert problem.prompt.count("Numbers:") == 4
    assert tasks.load("moves", n=5, seed=1).problems == task.problems[:5]
    hands = {tuple(p.meta["numbers"]) for p in task}
    assert len(hands) == 30
    with pytest.raises(OptionError, match="at most"):
        tasks.load("moves", n=2000, numbers=3)


def test_a_search_prunes_what_breaks_the_rules() -> None:
    """Of two first moves one is not legal; depth first never goes on from it."""
    steps = {
        "": ["1 + 1 = 3\n", "3 * 8 = 24\n"],
        "3 * 8 = 24\n": ["24 * 1 = 24"],
    }
    model = ScriptedSteps(steps, ends=("24 * 1 = 24",))
    search = its.TreeOfThoughts(
        Legal((1, 3, 8), 24), order="depth", expand=2, threshold=0.1, instruction=""
    )
    result = its.solve("?", search, model, extract=extract_moves)
    assert result.answer == "3 * 8 = 24\n24 * 1 = 24"
    pruned = [node.text for node in result.tree if node.status == "pruned"]
    assert "1 + 1 = 3\n" in pruned
    assert not any(node.parent and node.parent.text == "1 + 1 = 3\n" for node in result.tree)
