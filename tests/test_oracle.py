"""The oracle knows the gold answer, says so, and shows it to nobody."""

from __future__ import annotations

from itslab import tasks
from itslab.core import Cost, Problem, Tree
from itslab.verifiers import Oracle

PROBLEM = Problem("p", "What is 6 × 7?", "42")


def test_right_turns_score_one_and_others_nothing():
    tree = Tree()
    root = tree.add(None, "user", PROBLEM.prompt)
    said = ["It is \\boxed{42.0}", "It is 43", "I do not know", ""]
    nodes = [tree.add(root, "assistant", text) for text in said]
    verdicts = Oracle(PROBLEM, tasks.grade)(PROBLEM.prompt, nodes)
    assert [verdict.score for verdict in verdicts] == [1.0, 0.0, 0.0, 0.0]
    assert all(verdict.cost == Cost() for verdict in verdicts)


def test_the_whole_turn_is_read():
    tree = Tree()
    step = tree.add(tree.add(None, "user"), "assistant", "6 × 7 is \\boxed{4")
    (verdict,) = Oracle(PROBLEM, tasks.grade)("", [tree.add(step, "assistant", "2}")])
    assert verdict.score == 1.0


def test_its_name_says_oracle_and_not_the_answer():
    assert repr(Oracle(PROBLEM, tasks.grade)) == "Oracle()"
