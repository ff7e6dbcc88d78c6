"""Methods beside each other: solved, paid and compared on the same problems."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from itslab.backends.llama import Llama
from itslab.core import Cost, OptionError, Problem, Sampling
from itslab.strategies import Cascade, SelfConsistency, Stage
from itslab.study.methods import MethodResult, at_tokens, gains
from itslab.study.runner import solve_all
from itslab.study.samples import Samples
from itslab.study.statistics import difference, holm, mean
from itslab.study.tables import accuracy, comparison, equal_tokens, paired
from itslab.tasks import Task

TASK = Task(
    "words",
    tuple(Problem(str(i), f"Write a long story about {i} ships.", "x") for i in range(3)),
    extract=str.strip,
    grade=lambda problem, answer: problem.id == "1",
)


def did(*right: float, tokens: float = 10.0) -> MethodResult:
    return MethodResult(np.array(right), np.full(len(right), tokens), np.full(len(right), 3e9))


def test_a_table_holds_what_is_solved_and_paid_and_the_paired_difference() -> None:
    methods = {
        ("vote", 4): did(1, 0, 0, 1),
        ("search", 4): did(1, 1, 1, 1, tokens=20),
        ("search", 8): did(1, 1, 1, 1, tokens=40),
    }
    table = comparison(methods, "vote")
    assert list(table.tokens) == [10, 20, 40]
    assert list(table.GFLOPs) == [3, 3, 3]
    assert table.solved["vote", 4].startswith("50% [")
    gains = table["points against vote"]
    assert gains["vote", 4] == gains["search", 8] == ""  # itself, and nothing of its size
    assert gains["search", 4].startswith("+50 [")
    one = comparison(methods, ("vote", 4))["points against vote 4"]
    assert list(one) == ["", gains["search", 4], gains["search", 4]]
    assert "points against vote" not in comparison(methods)
    names = {"vote": did(1, 0, 0, 1), "search": replace(did(1, 1, 1, 1), drawn=np.ones(4) * 2.5)}
    by_name = comparison(names, "vote", drawn="samples")
    assert by_name.index.name == "method"
    assert by_name.samples["search"] == "2.5"
    rows = accuracy(methods)
    assert list(rows.accuracy) == [0.5, 1, 1]
    assert all(rows.low <= rows.accuracy)
    assert all(rows.accuracy <= rows.high)


def test_a_run_is_billed_for_its_prompt_whoever_evaluated_it(llm: Llama) -> None:
    strategy = SelfConsistency(2, instruction="", sampling=Sampling(max_tokens=6))
    task = replace(TASK, problems=(Problem("1", "Write a long story about 77 ships.", "x"),))
    fresh, again = (
        solve_all(task, {"two": strategy}, llm, seed=seed, progress=False)["two"] for seed in (0, 1)
    )
    assert again[0].cost.prefilled == 0 < fresh[0].cost.prefilled
    assert again[0].cost.flops < fresh[0].cost.flops
    [first], [second] = (MethodResult.of_runs(task, results).flops for results in (fresh, again))
    assert first == second >= fresh[0].cost.flops


def test_samples_and_the_runs_that_drew_them_cost_the_same(llm: Llama) -> None:
    strategy = SelfConsistency(2, instruction="", sampling=Sampling(max_tokens=6))
    results = solve_all(TASK, {"two": strategy}, llm, progress=False)["two"]
    runs = MethodResult.of_runs(TASK, results)
    assert list(runs.success) == [0, 1, 0]
    assert list(runs.tokens) == [12, 12, 12]
    samples = Samples(TASK, results)
    both = MethodResult.of_samples(samples, samples.correct[:, 0], 2)
    assert list(both.tokens) == [12, 12, 12]
    assert both.clusters == runs.clusters == ["0", "1", "2"]
    [prompt] = {
        node.completion.cost.prefilled + node.completion.cost.reused for [node, _] in samples.nodes
    }
    # the prompt once, its logits once, and five further tokens of each sample
    once = llm.shape.flops(0, prompt, 1) + 2 * llm.shape.flops(prompt, prompt + 5, 5)
    assert list(both.flops) == [once] * 3
    assert list(runs.flops) == list(both.flops)
    one = MethodResult.of_samples(samples, samples.correct[:, 0], [1, 2, 2])
    assert list(one.tokens) == [6, 12, 12]
    assert one.flops[0] == llm.shape.price(Cost(prompt, 0, 6)).flops


def test_stages_that_ask_one_model_the_same_pay_its_prompt_once(llm: Llama) -> None:
    brief = Sampling(max_tokens=4)
    first = Stage(SelfConsistency(1, sampling=brief, instruction=""), accept=lambda p, nodes: [0.0])
    last = Stage(SelfConsistency(2, sampling=brief, instruction=""))
    results = solve_all(TASK, {"both": Cascade((first, last))}, llm, progress=False)["both"]
    samples = Samples(TASK, results)
    assert samples.tokens.shape == (3, 3)
    plain = MethodResult.of_samples(samples, np.zeros(3), 3)
    assert MethodResult.of_runs(TASK, results).flops == pytest.approx(plain.flops)


def test_drawing_until_one_passes_costs_what_all_orders_cost_on_average(llm: Llama) -> None:
    drawn = [
        SelfConsistency(4, sampling=Sampling(max_tokens=most), instruction="") for most in (3, 9)
    ]
    short, long = (solve_all(TASK, {"x": s}, llm, progress=False)["x"] for s in drawn)
    samples = Samples(TASK, short)
    lengthy = Samples(TASK, long)
    for row, other in zip(samples.nodes, lengthy.nodes, strict=True):
        row[2:] = other[2:]
    samples.tokens = np.hstack([samples.tokens[:, :2], lengthy.tokens[:, 2:]])
    scores = np.array([[0.0, 1, 0, 1], [0, 0, 0, 0], [np.nan] * 4])  # one of each length passes
    for k in (1, 2, 4):
        tokens, counts = [], []
        for row, score in zip(samples.tokens, scores, strict=True):
            ends = []
            for order in permutations(range(4)):
                passed = [i + 1 for i, j in enumerate(order[:k]) if score[j] >= 1]
                stop = 1 if np.isnan(score).all() else passed[0] if passed else k
                ends.append((sum(row[j] for j in order[:stop]), stop))
            spent, count = np.mean(ends, axis=0)
            tokens.append(spent)
            counts.append(count)
        found = MethodResult.first_passing(samples, scores, k)
        assert found.tokens == pytest.approx(tokens)
        assert found.drawn == pytest.approx(counts)


def test_problems_of_one_template_are_one_unit_of_every_interval() -> None:
    task = replace(
        TASK,
        problems=tuple(
            Problem(str(i), "?", "x", {"template": template}) for i, template in enumerate("aabb")
        ),
    )
    assert task.clusters == ["a", "a", "b", "b"]
    assert TASK.clusters == ["0", "1", "2"]
    both, none = did(1, 1, 0, 0), did(0, 0, 0, 0)
    both, none = (replace(result, clusters=task.clusters) for result in (both, none))
    assert both.solved == mean([1, 0])
    assert both.gain(none).p == 1  # one template, either way
    assert at_tokens([none, replace(both, tokens=both.tokens + 10)], 15).clusters == list("aabb")
    methods = {("some", 1): both, ("none", 1): none}
    assert comparison(methods, "none").solved["some", 1] == mean([1, 0]).percent
    assert accuracy(methods).high[0] == mean([1, 0]).high


def test_a_part_of_the_problems_keeps_all_that_is_known_of_them() -> None:
    whole = replace(did(1, 0, 1), clusters=list("aab"), drawn=np.array([1.0, 2, 3]))
    for where in (slice(1, None), [1, 2], np.array([False, True, True]), (1, 2)):
        part = whole.part(where)
        assert part.success.tolist() == [0, 1]
        assert (part.clusters, part.drawn.tolist()) == (["a", "b"], [2, 3])  # type: ignore[union-attr]
        assert part.tokens.tolist() == [10, 10]
    assert did(1, 0).part([1]).clusters is None
    assert whole.part([]).success.tolist() == []


def test_between_two_sizes_the_tokens_decide() -> None:
    small, large = did(0, 1, tokens=10), did(1, 1, tokens=30)
    between = at_tokens([small, large], 15)
    assert list(between.success) == [0.25, 1]
    assert list(between.tokens) == [15, 15]
    assert at_tokens([small, large], 5) is small
    assert at_tokens([small, large], 99) is large
    with pytest.raises(OptionError, match="ever more tokens"):
        at_tokens([large, small], 15)
    with pytest.raises(OptionError, match="ever more tokens"):
        at_tokens([], 15)
    with pytest.raises(OptionError, match="tokens=nan"):
        at_tokens([small, large], np.nan)


def test_sizes_that_cost_the_same_but_for_rounding_are_in_order() -> None:
    sizes = [did(1, 0, tokens=0.1 * 3), did(1, 1, tokens=0.3), did(0, 1, tokens=0.3)]
    assert at_tokens(sizes, 0.3).success.tolist() in ([1, 0], [1, 1], [0, 1])
    with pytest.raises(OptionError, match="ever more tokens"):
        at_tokens([did(1, tokens=2), did(1, tokens=1)], 1)


def test_a_reference_that_is_no_method_is_named() -> None:
    with pytest.raises(OptionError, match=r"reference='votes'.*'vote' or 'search'"):
        comparison({("vote", 4): did(1, 0), ("search", 4): did(1, 1)}, "votes")


def test_beside_as_many_tokens_of_a_rival_stands_what_that_solves() -> None:
    rival = [did(0, 0, 0, 0, tokens=10), did(1, 1, 1, 1, tokens=30)]
    table = equal_tokens({"search": did(1, 1, 1, 0, tokens=20)}, rival, "samples")
    assert list(table.columns) == ["solved", "tokens", "GFLOPs", "samples", "points"]
    assert table.samples["search"] == mean([0.5] * 4).percent
    assert table.points["search"] == difference([1, 1, 1, 0], [0.5] * 4).points


def test_gains_are_paired_at_the_largest_size_and_their_p_values_count_how_many_there_are() -> None:
    few, many = did(0, 0, 0, 0, 0, 0, 0, 0), did(1, 1, 1, 1, 1, 1, 1, 1)
    results = {("a", 1): many, ("a", 2): few, ("b", 2): many, ("c", 1): few}
    found = gains(results, "a")
    assert list(found) == ["b", "c"]
    assert found["b"] == many.gain(few)
    table = paired({**found, "worse": few.gain(many)})
    assert list(table.method) == ["b", "c", "worse"]  # the largest first
    adjusted = holm([found["b"].p, found["c"].p, few.gain(many).p])
    assert list(table["p (Holm)"]) == adjusted
    assert list(table.note)[:2] == [f"{found['b'].points} *", found["c"].points]  # 6/256, and 1
    row = table.iloc[0]
    assert (row.gain, row.low, row.high) == (1, found["b"].low, found["b"].high)
    with pytest.raises(OptionError, match=r"reference='d'.*'a' or 'b' or 'c'"):
        gains(results, "d")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: did(1, 0).part([2]),
        lambda: did(1, 0).part([True]),
        lambda: did(1, float("nan")),
        lambda: MethodResult(np.ones(2), np.ones(3), np.ones(2)),
        lambda: MethodResult(np.ones(2), np.ones(2), np.ones(2), clusters=["a"]),
        lambda: MethodResult(np.ones((2, 2)), np.ones((2, 2)), np.ones((2, 2))),
        lambda: at_tokens([did(1)], None),  # type: ignore[arg-type]
        lambda: at_tokens([did(1)], "x"),  # type: ignore[arg-type]
        lambda: at_tokens([did(1), did(1, 0, tokens=20)], 15),
    ],
)
def test_results_that_do_not_fit_are_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(OptionError):
        wrong()
