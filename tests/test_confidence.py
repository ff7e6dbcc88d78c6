"""Confidence verifiers on turns with known log-probabilities."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itslab.core import Completion, Cost, Node, OptionError, Signals, Tree
from itslab.verifiers.confidence import GROUP, Confidence


def sampled(tree: Tree, parent: Node, *logprobs: float, **signals: tuple[float, ...]) -> Node:
    node = tree.add(parent, "assistant", "text")
    node.completion = Completion("text", logprobs=logprobs, signals=Signals(**signals))
    return node


@pytest.fixture
def tree():
    tree = Tree()
    tree.add(None, "user", "question")
    return tree


def score(node: Node, measure: str = "mean_logprob") -> float:
    (verdict,) = Confidence(measure)("question", [node])
    assert verdict.cost == Cost()
    return verdict.score


def test_each_measure_by_hand(tree):
    signals = {"entropies": (0.5, 1, 3), "certainties": (9, 6, 3), "confidences": (12, 9, 6)}
    node = sampled(tree, tree.nodes[0], -1.0, -2.0, -6.0, **signals)
    assert score(node) == -3
    assert score(node, "min_logprob") == -6
    assert score(node, "entropy") == -1.5
    assert score(node, "certainty") == 6
    assert score(node, "deepconf") == 9
    assert score(node, "lowest_group") == 9  # fewer tokens than a group


def test_the_whole_turn_counts_and_nothing_else(tree):
    first = sampled(tree, tree.nodes[0], -100.0)
    question = tree.add(first, "user", "are you sure?")
    step = sampled(tree, question, -1.0)
    wait = tree.add(step, "assistant", "Wait,")  # put into its mouth: not sampled
    last = sampled(tree, wait, -2.0, -3.0)
    assert score(last) == -2.0


def test_the_lowest_group_finds_the_worst_stretch(tree):
    calm, doubt = [20.0] * 100, [5.0] * GROUP
    node = sampled(tree, tree.nodes[0], confidences=(*calm, *doubt, *calm))
    assert score(node, "lowest_group") == pytest.approx(5)
    assert score(node, "deepconf") > 15


@settings(deadline=None)
@given(st.lists(st.floats(0, 20), min_size=1, max_size=120))
def test_the_lowest_group_equals_the_definition(confidences):
    tree = Tree()
    node = sampled(tree, tree.add(None, "user"), confidences=tuple(confidences))
    size = min(GROUP, len(confidences))
    means = [sum(confidences[i : i + size]) / size for i in range(len(confidences) - size + 1)]
    assert score(node, "lowest_group") == pytest.approx(min(means), abs=1e-9)
    assert score(node, "lowest_group") <= score(node, "deepconf") + 1e-9


def test_a_node_that_cannot_be_scored_says_why(tree):
    root = tree.nodes[0]
    bare = sampled(tree, root)
    nothing = tree.add(root, "assistant", "put into its mouth")
    (no_logprobs, unsampled) = Confidence()("question", [bare, nothing])
    assert math.isnan(no_logprobs.score)
    assert no_logprobs.note == "the samples carry no log-probabilities"
    assert math.isnan(unsampled.score)
    assert unsampled.note == "nothing was sampled in this turn"
    (no_entropies,) = Confidence("entropy")("question", [sampled(tree, root, -1.0)])
    assert math.isnan(no_entropies.score)
    assert "signals=True" in no_entropies.note


def test_one_step_without_logprobs_spoils_the_turn(tree):
    step = sampled(tree, tree.nodes[0], -1.0)
    assert math.isnan(score(sampled(tree, step)))


def test_an_unknown_measure_is_refused_with_the_known_ones():
    with pytest.raises(OptionError, match=r"measure='logprob' is not valid.*'mean_logprob'"):
        Confidence("logprob")


def test_the_measure_is_in_the_name():
    assert repr(Confidence("entropy")) == "Confidence(measure='entropy')"
