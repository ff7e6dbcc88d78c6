"""Samples as tables: what is read, graded and lost, against a case worked by hand."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from itslab import answers
from itslab.core import Completion, Cost, Node, OptionError, Problem, Result, Signals, Tree, Verdict
from itslab.study.samples import Samples
from itslab.study.tables import accuracy, knockout, losses, select
from itslab.tasks import Task

TEXTS = [
    [r"\boxed{1}", r"\boxed{1}", r"\boxed{2}"],  # right twice
    [r"It is \boxed{2}, or \boxed{5}", "no idea", r"\boxed{7}"],  # right, but misread
    [r"\boxed{5}", r"\boxed{6}", r"\boxed{6}"],  # never right
]
SCORES = [[0.1, 0.2, 0.9], [0.5, 0.9, 0.1], [0.5, 0.5, 0.5]]
TASK = Task("by hand", tuple(Problem(str(i), f"Say {i}.", str(i)) for i in (1, 2, 3)))


def result(problem: Problem, texts: list[str], state: tuple[float, ...] = ()) -> Result:
    tree = Tree()
    root = tree.add(None, "user", problem.prompt)
    for i, text in enumerate(texts):
        node = tree.add(root, "assistant", text)
        cost = Cost(decoded=10 * (i + 1))
        node.completion = Completion(text, cost=cost, signals=Signals(state=state * (i + 1)))
    return Result(None, None, tree, Cost(), None, 0)


@pytest.fixture
def samples() -> Samples:
    return Samples(TASK, [result(p, texts) for p, texts in zip(TASK, TEXTS, strict=True)])


def by_hand(prompt, nodes: list[Node]) -> list[Verdict]:
    row = int(prompt[0].content[4]) - 1
    return [Verdict(score) for score in SCORES[row]]


def test_samples_are_read_graded_and_priced(samples: Samples) -> None:
    assert samples.answers == [["1", "1", "2"], ["5", None, "7"], ["5", "6", "6"]]
    assert samples.correct.tolist() == [[True, True, False], [False] * 3, [False] * 3]
    assert samples.readable.tolist() == [[True, True, False], [True, False, False], [False] * 3]
    assert samples.silent.tolist()[1] == [False, True, False]
    assert samples.tokens.tolist() == [[10, 20, 30]] * 3


def test_a_verifier_scores_all_but_the_silent(samples: Samples) -> None:
    expected = np.array(SCORES)
    expected[1, 1] = math.nan
    assert np.array_equal(samples.scores(by_hand), expected, equal_nan=True)


def test_selectors_by_hand(samples: Samples) -> None:
    chances = select(samples, {"hand": samples.scores(by_hand)}, (1, 3))
    assert list(chances) == ["majority", "best by hand", "vote by hand", "coverage"]
    assert np.allclose(chances["majority"], [[2 / 3, 1], [0, 0], [0, 0]])
    assert np.allclose(chances["best by hand"], [[2 / 3, 0], [0, 0], [0, 0]])
    assert np.allclose(chances["vote by hand"], [[2 / 3, 0], [0, 0], [0, 0]])  # 0.3 against 0.9
    assert np.allclose(chances["coverage"], [[2 / 3, 1], [0, 0], [0, 0]])


def test_negative_scores_vote_by_rank(samples: Samples) -> None:
    scores = samples.scores(by_hand) - 1
    votes = select(samples, {"hand": scores}, (3,))["vote by hand"]
    # ranks 1 and 2 against 3: a tie, and two of three samples may come first
    assert votes[0].tolist() == pytest.approx([2 / 3])


def test_a_knockout_holds_smaller_ones() -> None:
    """Right, right, wrong, wrong: the second beats the first, the fourth the third and all."""
    task = replace(TASK, problems=TASK.problems[:1])
    texts = [r"\boxed{1}", r"\boxed{1}", r"\boxed{2}", r"\boxed{3}"]
    met = result(task.problems[0], texts)
    first, second, third, fourth = met.tree.nodes[1:]
    for losers, best in (((first, third), second), ((second,), fourth)):
        for node in losers:
            met.tree.log("pruned", node)
        met.tree.log("iteration", best)
    assert knockout(Samples(task, [met]), [met]).tolist() == [[0.5, 0.5, 0]]
    alone = result(task.problems[0], texts[:1])
    assert knockout(Samples(task, [alone]), [alone]).tolist() == [[1]]
    three = result(task.problems[0], texts[:3])
    with pytest.raises(OptionError, match=r"samples=3 is not valid.*power of 2"):
        knockout(Samples(task, [three]), [three])


def test_losses_add_up_and_say_what_was_lost_where(samples: Samples) -> None:
    chances = select(samples, {"hand": samples.scores(by_hand)}, (3,))
    [row] = losses(samples, chances["best by hand"], (3,)).to_dict("records")
    expected = {"solved": 0, "selection": 1 / 3, "extraction": 1 / 3, "coverage": 1 / 3}
    assert row == pytest.approx({"samples": 3, **expected})
    [row] = losses(samples, chances["majority"], (3,)).to_dict("records")
    assert (row["solved"], row["selection"]) == pytest.approx((1 / 3, 0))


def test_all_selectors_over_a_hundred_problems_take_under_five_seconds(samples: Samples) -> None:
    rng, counts = np.random.default_rng(0), (1, 2, 4, 8, 16)
    samples.keys = [[str(key) for key in row] for row in rng.integers(0, 8, (100, 16))]
    samples.correct = np.array([[key == "0" for key in row] for row in samples.keys])
    scores = {f"verifier {i}": rng.random((100, 16)) - i % 2 for i in range(10)}
    began = time.thread_time()
    table = accuracy(select(samples, scores, counts), counts, 200.0)
    assert time.thread_time() - began < 5
    assert len(table) == (2 + 2 * 10) * len(counts)


def test_a_table_of_accuracy_has_a_row_per_method_and_count(samples: Samples) -> None:
    chances = {"greedy": np.array([1.0, 0, 0]), **select(samples, {}, (1, 3))}
    table = accuracy(chances, (1, 3), {"greedy": 7, "majority": 20, "coverage": 20})
    assert table[["method", "samples", "tokens"]].to_numpy().tolist() == [
        ["greedy", 1, 7],
        ["majority", 1, 20],
        ["majority", 3, 60],
        ["coverage", 1, 20],
        ["coverage", 3, 60],
    ]
    assert table["accuracy"].tolist() == pytest.approx([1 / 3, 2 / 9, 1 / 3, 2 / 9, 1 / 3])
    assert (table["low"] < table["accuracy"]).all()
    assert (table["accuracy"] < table["high"]).all()


def test_states_are_nan_where_there_is_none() -> None:
    one = Task("one", TASK.problems[:1])
    states = Samples(one, [result(TASK.problems[0], ["1", "2"], state=(3.0,))])
    with pytest.raises(ValueError, match="inhomogeneous"):
        _ = states.states  # states of different widths are of different models
    lacking = result(TASK.problems[0], ["1"], state=(3.0, 4.0))
    other = lacking.tree.add(lacking.tree.nodes[0], "assistant", "2")
    other.completion = Completion("2")
    expected = [[[3.0, 4.0], [math.nan, math.nan]]]
    assert np.array_equal(Samples(one, [lacking]).states, expected, equal_nan=True)


def test_every_answer_is_graded_once(samples: Samples) -> None:
    asked: list[str | None] = []

    def grade(problem: Problem, answer: str | None) -> bool:
        asked.append(answer)
        return answers.equal(answer, problem.answer)

    results = [result(p, texts) for p, texts in zip(TASK, TEXTS, strict=True)]
    Samples(replace(TASK, grade=grade, readings=lambda text: []), results)
    assert sorted(filter(None, asked)) == ["1", "2", "5", "5", "6", "7"]


def test_runs_of_unequal_size_are_refused() -> None:
    rows = [TEXTS[0], TEXTS[1][:2], TEXTS[2]]
    with pytest.raises(OptionError, match=r"samples=\[2, 3\] is not valid.*equally many"):
        Samples(TASK, [result(p, texts) for p, texts in zip(TASK, rows, strict=True)])
    with pytest.raises(OptionError, match="one for each of 3"):
        Samples(TASK, [])
