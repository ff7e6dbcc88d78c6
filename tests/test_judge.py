"""Judges read the probability of one token."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from itslab.backends.llama import Llama
from itslab.core import Completion, Cost, Node, OptionError, Request, Tree
from itslab.verifiers.judge import IS_ANSWER_RIGHT, Judge, PairwiseJudge


class FakeOpinion:
    """Gives log-probabilities written down in advance."""

    name = digest = "opinion"
    width = 8

    def __init__(self, *choices: tuple[float, ...]) -> None:
        self.choices = choices
        self.asked: list[Request] = []

    def generate(self, requests, on_text=None, on_sample=None, cancel=None):
        self.asked += requests
        cost = Cost(decoded=1, calls=1)
        return [[Completion("x", choices=pair, cost=cost)] for pair in self.choices]


def said(*texts: str) -> Sequence[Node]:
    tree = Tree()
    root = tree.add(None, "user", "2 + 3?")
    return [tree.add(root, "assistant", text) for text in texts]


def test_a_judge_by_hand():
    judge = Judge(FakeOpinion((math.log(0.6), math.log(0.2)), (-math.inf, -1.0)))
    sure, doubtful = judge("2 + 3?", said("5", "6"))
    assert sure.score == pytest.approx(0.75)
    assert doubtful.score == pytest.approx(0)
    assert sure.cost == Cost(decoded=1, calls=1)
    assert sure.note == "P(Yes) 0.600, P(No) 0.200"


def test_the_question_follows_the_conversation_it_is_about():
    opinion = FakeOpinion((-1.0, -1.0))
    Judge(opinion)("2 + 3?", said("5"))
    [request] = opinion.asked
    assert [(m.role, m.content) for m in request.messages] == [
        ("user", "2 + 3?"),
        ("assistant", "5"),
        ("user", IS_ANSWER_RIGHT),
    ]
    assert (request.sampling.max_tokens, request.sampling.choices) == (1, ("Yes", "No"))


def test_a_backend_that_tells_nothing_gives_nan_and_says_so():
    [verdict] = Judge(FakeOpinion(()))("2 + 3?", said("5"))
    assert math.isnan(verdict.score)
    assert "no log-probabilities" in verdict.note
    [silent] = Judge(FakeOpinion((-math.inf, -math.inf)))("2 + 3?", said("5"))
    assert math.isnan(silent.score)


def test_pairs_are_judged_in_both_orders():
    # a judge that says A nine times in ten, whatever stands there, has no opinion
    biased = FakeOpinion(*[(math.log(0.9), math.log(0.1))] * 2)
    assert [v.score for v in PairwiseJudge(biased)("2 + 3?", said("5", "6"))] == [0.5, 0.5]
    fair = FakeOpinion((math.log(0.8), math.log(0.2)), (math.log(0.4), math.log(0.6)))
    first, second = PairwiseJudge(fair)("2 + 3?", said("5", "6"))
    assert first.score == pytest.approx(0.7)
    assert first.score + second.score == pytest.approx(1)
    assert "Solution A:\n5" in fair.asked[0].messages[0].content
    assert "Solution A:\n6" in fair.asked[1].messages[0].content
    with pytest.raises(OptionError, match="nodes=1"):
        PairwiseJudge(fair)("2 + 3?", said("5"))


def test_a_real_model_judges_at_the_cost_of_the_question(llm: Llama):
    nodes = said("2 + 3 = 5. " * 20)
    [first] = Judge(llm)("What is 2 + 3?", nodes)
    [again] = Judge(llm, question="Is this right? Answer Yes or No.")("What is 2 + 3?", nodes)
    assert 0 < first.score < 1
    assert first.cost.decoded == 1
    assert again.cost.prefilled < 0.3 * again.cost.reused
