"""Samples as tables: what is read, graded and lost, against a case worked by hand."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from itslab import answers
from itslab.core import Completion, Cost, Node, OptionError, Problem, Result, Signals, Tree, Verdict
from itslab.study import choosing, tables
from itslab.study.methods import MethodResult, selected
from itslab.study.samples import Samples
from itslab.study.selection import first_preferred, knockout, select
from itslab.study.statistics import auroc, mean
from itslab.study.tables import accuracy, losses
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
    assert samples.unanswered.tolist()[1] == [False, True, False]
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
    assert knockout(Samples(task, [met])).tolist() == [[0.5, 0.5, 0]]
    alone = result(task.problems[0], texts[:1])
    assert knockout(Samples(task, [alone])).tolist() == [[1]]
    three = result(task.problems[0], texts[:3])
    with pytest.raises(OptionError, match=r"samples=3 is not valid.*power of 2"):
        knockout(Samples(task, [three]))


def test_pairs_are_counted_in_which_the_first_one_is_preferred() -> None:
    """Three pairs: the first is preferred, then the second, then neither."""
    met = result(TASK.problems[0], ["1", "2", "1", "2", "1", "2"])
    for node, score in zip(met.tree.nodes[1:], (0.7, 0.3, 0.4, 0.6, 0.5, 0.5), strict=True):
        met.tree.log("verdict", node, score=score)
    assert first_preferred([met]) == (1, 3)
    assert first_preferred([]) == (0, 0)


def test_all_selectors_of_a_bank_are_named_and_coverage_is_none(samples: Samples) -> None:
    single = Samples(TASK, [result(p, ["\\boxed{1}"]) for p in TASK])  # right once
    scores = {"hand": samples.scores(by_hand)}
    found = choosing.selectors(samples, scores, (1, 2, 3), {"one chain": single})
    names = ["one chain", "majority", "best by hand", "vote by hand"]
    assert list(dict.fromkeys(name for name, _ in found)) == names
    assert found["one chain", 1].success.tolist() == [1, 0, 0]
    assert ("one chain", 2) not in found
    best = select(samples, scores, (1, 2, 3))["best by hand"]
    assert np.allclose(choosing.rates(found, "best by hand"), best)
    assert choosing.rates(found, "one chain").tolist() == [[1], [0], [0]]


def test_a_knockout_stands_beside_the_other_selectors() -> None:
    task = replace(TASK, problems=TASK.problems[:1])
    met = result(task.problems[0], [r"\boxed{1}", r"\boxed{2}"])
    met.tree.log("pruned", met.tree.nodes[1])
    met.tree.log("iteration", met.tree.nodes[2])
    drawn = Samples(task, [met])
    found = choosing.selectors(drawn, {}, (1, 2), knockouts={"knock-out": drawn})
    assert choosing.rates(found, "knock-out").tolist() == [[0.5, 0]]


def test_losses_add_up_and_say_what_was_lost_where(samples: Samples) -> None:
    chances = select(samples, {"hand": samples.scores(by_hand)}, (3,))
    [row] = losses(samples, chances["best by hand"], (3,)).to_dict("records")
    expected = {"solved": 0, "selection": 1 / 3, "extraction": 1 / 3, "coverage": 1 / 3}
    assert row == pytest.approx({"samples": 3, **expected})
    [row] = losses(samples, chances["majority"], (3,)).to_dict("records")
    assert (row["solved"], row["selection"]) == pytest.approx((1 / 3, 0))


@pytest.mark.slow
def test_all_selectors_over_a_hundred_problems_take_under_five_seconds(samples: Samples) -> None:
    rng, counts = np.random.default_rng(0), (1, 2, 4, 8, 16)
    samples.task = replace(TASK, problems=tuple(Problem(str(i), "?", "0") for i in range(100)))
    samples.nodes, samples.tokens = [(samples.nodes[0] * 6)[:16]] * 100, np.full((100, 16), 200)
    samples.seconds = np.full((100, 16), 0.5)
    samples.keys = [[str(key) for key in row] for row in rng.integers(0, 8, (100, 16))]
    samples.correct = np.array([[key == "0" for key in row] for row in samples.keys])
    scores = {f"verifier {i}": rng.random((100, 16)) - i % 2 for i in range(10)}
    began = time.thread_time()
    table = accuracy(selected(samples, select(samples, scores, counts), counts))
    assert time.thread_time() - began < 5
    assert len(table) == (2 + 2 * 10) * len(counts)


def test_a_table_of_accuracy_has_a_row_per_method_and_count(samples: Samples) -> None:
    success = {"one": np.array([[1.0], [0], [0]]), **select(samples, {}, (1, 3))}
    table = accuracy(selected(samples, success, (1, 3)))
    assert table[["method", "samples", "tokens"]].to_numpy().tolist() == [
        ["one", 1, 20],
        ["majority", 1, 20],
        ["majority", 3, 60],
        ["coverage", 1, 20],
        ["coverage", 3, 60],
    ]
    assert table["accuracy"].tolist() == pytest.approx([1 / 3, 2 / 9, 1 / 3, 2 / 9, 1 / 3])
    assert (table["low"] < table["accuracy"]).all()
    assert (table["accuracy"] < table["high"]).all()


# -- scores ----------------------------------------------------------------------------------------


def scored(samples: Samples, logprobs: list[list[float]]) -> Samples:
    """The same samples, each of one token of this log-probability."""
    for row, values in zip(samples.nodes, logprobs, strict=True):
        for node, value in zip(row, values, strict=True):
            node.completion = Completion(node.text, tokens=(0,), logprobs=(value,))
    return samples


def test_scores_that_cost_nothing_have_a_value_for_each_answer(samples: Samples) -> None:
    samples.nodes[0][0].verdict = Verdict(0.75)
    scores = scored(samples, [[-1.0, -2.0, -3.0]] * 3).free_scores()
    assert list(scores)[:2] == ["mean_logprob", "min_logprob"]
    assert list(scores)[-3:] == ["judge", "probe", "length"]
    assert scores["mean_logprob"].tolist()[0] == [-1, -2, -3]
    assert scores["judge"][0, 0] == 0.75
    assert np.isnan(scores["probe"]).all()  # three problems train none
    assert scores["length"].tolist()[0] == [-10, -20, -30]
    assert all(math.isnan(score[1, 1]) for score in scores.values())  # it has no answer


def test_by_tests_the_likelier_of_equals_is_better(samples: Samples) -> None:
    passed = [[1.0, 1.0, 0.5], [0.0, 0.0, 0.0], [math.nan] * 3]

    def verifier(prompt, nodes: list[Node]) -> list[Verdict]:
        return [Verdict(score) for score in passed[int(prompt[0].content[4]) - 1]]

    samples.task = replace(TASK, verifier=verifier)
    scored(samples, [[math.log(0.5), math.log(0.25), 0.0]] * 3)
    scores = samples.by_tests()
    assert scores[0].tolist() == pytest.approx([1.0005, 1.00025, 0.501])
    assert math.isnan(scores[1, 1])  # it has no answer
    assert np.isnan(scores[2]).all()
    assert samples.by_tests(untested=0)[2].tolist() == pytest.approx([0.0005, 0.00025, 0.001])
    first = MethodResult.first_passing(samples, scores, 2)
    assert first.drawn is not None
    assert first.drawn.tolist() == pytest.approx([4 / 3, 2, 1])  # 1 of 3 does not pass; untested: 1
    best = MethodResult.best_of(samples, samples.by_tests(untested=0), 3)
    assert best.success.tolist() == [1, 0, 0]
    found = choosing.tries(samples, (2, 3))
    names = ["one sample", "first of up to 2", "first of up to 3", "best of 2", "best of 3"]
    assert list(found) == names
    assert found["one sample"].success.tolist() == pytest.approx([2 / 3, 0, 0])
    assert found["first of up to 2"].drawn.tolist() == first.drawn.tolist()  # type: ignore[union-attr]
    assert found["best of 3"].success.tolist() == [1, 0, 0]
    assert found["best of 3"].tokens.tolist() == pytest.approx([60, 60, 60])
    samples.task = TASK
    with pytest.raises(OptionError, match="one with a verifier"):
        samples.by_tests()


def test_what_there_is_in_a_bank_is_told_by_hand(samples: Samples) -> None:
    twins = tuple(replace(p, meta={"template": "t"}) for p in TASK.problems[:2])
    samples.task = replace(TASK, problems=(*twins, TASK.problems[2]))
    facts = tables.overview(samples)
    assert facts["problems"] == "3 from 2 templates"
    assert (facts["samples of each"], facts["tokens per sample"]) == (3, 20)
    assert facts["right samples"] == mean([2 / 3, 0, 0], clusters=list("aab")).percent
    assert facts["problems with a right sample"] == mean([1, 0, 0], clusters=list("aab")).percent
    assert facts["samples without an answer"] == "11.1%"
    samples.task = TASK
    assert tables.overview(samples)["problems"] == "3"


def test_verifiers_are_compared_on_problems_with_both_kinds(samples: Samples) -> None:
    scores = {"hand": samples.scores(by_hand)}
    results = selected(samples, select(samples, scores, (1, 3)), (1, 3))
    table = tables.verifiers(samples, scores, results)
    # the first problem alone: 0.1 and 0.2 are right, 0.9 is wrong
    assert table.loc["hand", "problems"] == 1
    assert table.loc["hand", "AUROC"] == str(mean(auroc([SCORES[0]], [[1, 1, 0]])))
    assert table.loc["hand", "best of 3"] == results["best by hand", 3].solved.percent
    samples.correct[:] = True
    assert tables.verifiers(samples, scores, results).loc["hand", "AUROC"] == "unknown"


# -- searches --------------------------------------------------------------------------------------


def search(problem: Problem, *chains: list[tuple[str, float]]) -> Result:
    """A search of chains that share no step: the text and the score of each step."""
    tree = Tree()
    root = tree.add(None, "user", problem.prompt)
    for chain in chains:
        node = root
        for text, score in chain:
            node = tree.add(node, "assistant", text)
            node.completion = Completion(text, cost=Cost(decoded=1), finish="end")
            node.verdict = Verdict(score)
    return Result(None, None, tree, Cost(decoded=7), None, 0)


def test_steps_tell_the_end_of_their_chain_by_hand() -> None:
    right, wrong = r"\boxed{1}", r"\boxed{2}"
    one = search(
        TASK.problems[0],
        [("a", 0.1), ("b", 0.5), (right, 0.9)],
        [("a", 0.2), ("b", 0.5), (wrong, 0.1)],
    )
    same = search(TASK.problems[1], [("a", 0.1), (r"\boxed{2}", 0.9)])
    task = replace(TASK, problems=TASK.problems[:2])
    table = tables.step_auroc(task, [one, same])
    assert list(table.problems) == [1, 1, 1]  # the other has no wrong chain
    assert list(table.AUROC) == [str(mean([area])) for area in (0, 0.5, 1)]


def test_finished_chains_are_counted_and_any_of_them_may_be_right() -> None:
    chains = [[(r"\boxed{1}", 0.0)], [(r"\boxed{1.0}", 0.0)], [(r"\boxed{3}", 0.0)]]
    results = [search(TASK.problems[0], *chains), search(TASK.problems[1], chains[0])]
    task = replace(TASK, problems=TASK.problems[:2])
    assert MethodResult.of_chains(task, results).success.tolist() == [1, 0]
    assert MethodResult.of_chains(task, results).tokens.tolist() == [7, 7]
    table = tables.diversity(task, {("beam", 3): results})
    assert table.loc["beam", 3].tolist() == [mean([1, 0]).percent, "2.0", "1.5"]


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
