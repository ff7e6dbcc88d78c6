"""Methods beside each other: solved, paid and compared on the same problems."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from itslab.backends.llama import Llama
from itslab.core import Cost, OptionError, Problem, Sampling
from itslab.strategies import SelfConsistency
from itslab.study.comparison import Tried, at_tokens, beside, curves
from itslab.study.runner import solve_all
from itslab.study.samples import Samples
from itslab.study.statistics import mean
from itslab.tasks import Task

TASK = Task(
    "words",
    tuple(Problem(str(i), f"Write a long story about {i} ships.", "x") for i in range(3)),
    extract=str.strip,
    grade=lambda problem, answer: problem.id == "1",
)


def tried(*right: float, tokens: float = 10.0) -> Tried:
    return Tried(np.array(right), np.full(len(right), tokens), np.full(len(right), 3e9))


def test_a_table_holds_what_is_solved_and_paid_and_the_paired_difference() -> None:
    methods = {
        ("vote", 4): tried(1, 0, 0, 1),
        ("search", 4): tried(1, 1, 1, 1, tokens=20),
        ("search", 8): tried(1, 1, 1, 1, tokens=40),
    }
    table = beside(methods, "vote")
    assert list(table.tokens) == [10, 20, 40]
    assert list(table.GFLOPs) == [3, 3, 3]
    assert table.solved["vote", 4].startswith("50% [")
    gains = table["points against vote"]
    assert gains["vote", 4] == gains["search", 8] == ""  # itself, and nothing of its size
    assert gains["search", 4].startswith("+50 [")
    rows = curves(methods)
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
    [first], [second] = (Tried.runs(task, results).flops for results in (fresh, again))
    assert first == second >= fresh[0].cost.flops


def test_samples_and_the_runs_that_drew_them_cost_the_same(llm: Llama) -> None:
    strategy = SelfConsistency(2, instruction="", sampling=Sampling(max_tokens=6))
    results = solve_all(TASK, {"two": strategy}, llm, progress=False)["two"]
    runs = Tried.runs(TASK, results)
    assert list(runs.chance) == [0, 1, 0]
    assert list(runs.tokens) == [12, 12, 12]
    samples = Samples(TASK, results)
    both = Tried.samples(samples, samples.correct[:, 0], 2)
    assert list(both.tokens) == [12, 12, 12]
    assert both.clusters == runs.clusters == ["0", "1", "2"]
    [prompt] = {
        node.completion.cost.prefilled + node.completion.cost.reused for [node, _] in samples.nodes
    }
    # the prompt once, its logits once, and five further tokens of each sample
    once = llm.shape.flops(0, prompt, 1) + 2 * llm.shape.flops(prompt, prompt + 5, 5)
    assert list(both.flops) == [once] * 3
    assert list(runs.flops) == list(both.flops)
    one = Tried.samples(samples, samples.correct[:, 0], [1, 2, 2])
    assert list(one.tokens) == [6, 12, 12]
    assert one.flops[0] == llm.shape.price(Cost(prompt, 0, 6)).flops


def test_problems_of_one_template_are_one_unit_of_every_interval() -> None:
    task = replace(
        TASK,
        problems=tuple(
            Problem(str(i), "?", "x", {"template": template}) for i, template in enumerate("aabb")
        ),
    )
    assert task.clusters == ["a", "a", "b", "b"]
    assert TASK.clusters == ["0", "1", "2"]
    both, none = tried(1, 1, 0, 0), tried(0, 0, 0, 0)
    both, none = (replace(what, clusters=task.clusters) for what in (both, none))
    assert both.solved == mean([1, 0])
    assert both.gain(none).p == 1  # one template, either way
    assert at_tokens([none, replace(both, tokens=both.tokens + 10)], 15).clusters == list("aabb")
    methods = {("some", 1): both, ("none", 1): none}
    assert beside(methods, "none").solved["some", 1] == mean([1, 0]).percent
    assert curves(methods).high[0] == mean([1, 0]).high


def test_between_two_sizes_the_tokens_decide() -> None:
    small, large = tried(0, 1, tokens=10), tried(1, 1, tokens=30)
    between = at_tokens([small, large], 15)
    assert list(between.chance) == [0.25, 1]
    assert list(between.tokens) == [15, 15]
    assert at_tokens([small, large], 5) is small
    assert at_tokens([small, large], 99) is large
    with pytest.raises(OptionError, match="ever more tokens"):
        at_tokens([large, small], 15)
    with pytest.raises(OptionError, match="ever more tokens"):
        at_tokens([], 15)
    with pytest.raises(OptionError, match="tokens=nan"):
        at_tokens([small, large], np.nan)


def test_a_reference_that_is_no_method_is_named() -> None:
    with pytest.raises(OptionError, match=r"reference='votes'.*'vote' or 'search'"):
        beside({("vote", 4): tried(1, 0), ("search", 4): tried(1, 1)}, "votes")
