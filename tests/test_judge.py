"""Judges read the probability of one token; rollouts look where a step leads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from itslab.backends.llama import Llama
from itslab.core import Completion, Cost, Node, OptionError, Request, Sampling, Tree, Verdict
from itslab.run import Run, judged
from itslab.verifiers.judges import IS_ANSWER_RIGHT, Ballot, Judge, PairwiseJudge
from itslab.verifiers.reward import Rollouts


class FakeOpinion:
    """Gives log-probabilities written down in advance."""

    name = digest = "opinion"
    batch_size = 8

    def __init__(self, *choices: tuple[float, ...]) -> None:
        self.choices = choices
        self.asked: list[Request] = []

    def generate(self, requests, on_text=None, on_sample=None, cancel=None):
        self.asked += requests
        cost = Cost(decoded=1, calls=1)
        rows = [[Completion("x", choices=pair, cost=cost)] for pair in self.choices]
        for i, [sample] in enumerate(rows[: len(requests)]):
            on_sample(i, 0, sample)
        return rows


def said(*texts: str) -> Sequence[Node]:
    tree = Tree()
    root = tree.add(None, "user", "2 + 3?")
    return [tree.add(root, "assistant", text) for text in texts]


def test_a_judge_by_hand():
    judge = Judge(FakeOpinion((math.log(0.6), math.log(0.2)), (-math.inf, -1.0)))
    sure, doubtful = judged(judge, "2 + 3?", said("5", "6"))
    assert sure.score == pytest.approx(0.75)
    assert doubtful.score == pytest.approx(0)
    assert sure.cost == Cost(decoded=1, calls=1)
    assert sure.note == "P(Yes) 0.600, P(No) 0.200"


def test_the_question_follows_the_conversation_it_is_about():
    opinion = FakeOpinion((-1.0, -1.0))
    judged(Judge(opinion), "2 + 3?", said("5"))
    [request] = opinion.asked
    assert [(m.role, m.content) for m in request.messages] == [
        ("user", "2 + 3?"),
        ("assistant", "5"),
        ("user", IS_ANSWER_RIGHT),
    ]
    assert (request.sampling.max_tokens, request.sampling.choices) == (1, ("Yes", "No"))


def test_a_backend_that_tells_nothing_gives_nan_and_says_so():
    [verdict] = judged(Judge(FakeOpinion(())), "2 + 3?", said("5"))
    assert math.isnan(verdict.score)
    assert "no log-probabilities" in verdict.note
    [silent] = judged(Judge(FakeOpinion((-math.inf, -math.inf))), "2 + 3?", said("5"))
    assert math.isnan(silent.score)


def test_who_is_asked_is_told_by_name():
    assert repr(Judge(FakeOpinion(()), "Right?")) == "Judge(opinion, 'Right?')"
    assert repr(PairwiseJudge(FakeOpinion(()), both_orders=False)).endswith(", False)")


def test_pairs_are_judged_in_both_orders():
    # a judge that says A nine times in ten, whatever stands there, has no opinion
    biased = FakeOpinion(*[(math.log(0.9), math.log(0.1))] * 2)
    assert [v.score for v in judged(PairwiseJudge(biased), "2 + 3?", said("5", "6"))] == [0.5, 0.5]
    fair = FakeOpinion((math.log(0.8), math.log(0.2)), (math.log(0.4), math.log(0.6)))
    first, second = judged(PairwiseJudge(fair), "2 + 3?", said("5", "6"))
    assert first.score == pytest.approx(0.7)
    assert first.score + second.score == pytest.approx(1)
    assert "Solution A:\n5" in fair.asked[0].messages[0].content
    assert "Solution A:\n6" in fair.asked[1].messages[0].content
    with pytest.raises(OptionError, match="nodes=1"):
        judged(PairwiseJudge(fair), "2 + 3?", said("5"))


def test_pairs_may_be_judged_in_one_order_at_half_the_price():
    judge = FakeOpinion((math.log(0.8), math.log(0.2)), (math.log(0.4), math.log(0.6)))
    once = PairwiseJudge(judge, both_orders=False)
    scores = [verdict.score for verdict in judged(once, "2 + 3?", said("5", "6", "7", "8"))]
    assert scores == pytest.approx([0.8, 0.2, 0.4, 0.6])
    assert len(judge.asked) == 2


def test_a_real_model_judges_at_the_cost_of_the_question(llm: Llama):
    nodes = said("2 + 3 = 5. " * 20)
    [first] = judged(Judge(llm), "What is 2 + 3?", nodes)
    [again] = judged(
        Judge(llm, question="Is this right? Answer Yes or No."), "What is 2 + 3?", nodes
    )
    assert 0 < first.score < 1
    assert first.cost.decoded == 1
    assert again.cost.prefilled < 0.3 * again.cost.reused


# -- several at once -------------------------------------------------------------------------------


def test_a_ballot_is_the_mean_of_two_votes_in_both_orders():
    shown = tuple(map(math.log, (0.5, 0.2, 0.1)))  # A, B, C are the first, second and third
    turned = tuple(map(math.log, (0.6, 0.2, 0.2)))  # and here the third, second and first
    opinion = FakeOpinion(shown, turned)
    verdicts = judged(Ballot(opinion), "2 + 3?", said("5", "6", "7"))
    assert [v.score for v in verdicts] == pytest.approx(
        [3 * (0.625 + 0.2) / 2, 3 * (0.25 + 0.2) / 2, 3 * (0.125 + 0.6) / 2]
    )
    assert sum((v.cost for v in verdicts), Cost()) == Cost(decoded=2, calls=2)
    first, second = (request.messages[0].content for request in opinion.asked)
    assert "Option A:\n5\n\nOption B:\n6\n\nOption C:\n7" in first
    assert "Option A:\n7\n\nOption B:\n6\n\nOption C:\n5" in second
    assert first.endswith("one letter, A, B or C.")


def test_there_is_no_vote_on_one_and_none_on_more_than_there_are_letters():
    [verdict] = judged(Ballot(FakeOpinion()), "2 + 3?", said("5"))
    assert (verdict.score, verdict.cost) == (1.0, Cost())
    with pytest.raises(OptionError, match="nodes=27"):
        judged(Ballot(FakeOpinion()), "2 + 3?", said(*"abcdefghijklmnopqrstuvwxyz0"))


@pytest.mark.parametrize("n", [2, 4, 26])
def test_ballots_of_any_size_are_comparable_and_a_lone_option_is_as_good_as_chance(n: int):
    even = FakeOpinion(*[(math.log(1 / n),) * n] * 2)
    [lone] = judged(Ballot(even), "2 + 3?", said("5"))
    assert [v.score for v in judged(Ballot(even), "2 + 3?", said(*"a" * n))] == pytest.approx(
        [lone.score] * n
    )
    shown = [0.5] + [0.5 / (n - 1)] * (n - 1)
    torn = FakeOpinion(tuple(map(math.log, shown)), tuple(map(math.log, shown[::-1])))
    best, *others = judged(Ballot(torn), "2 + 3?", said(*"a" * n))
    assert best.score == pytest.approx(n / 2)
    assert best.score >= lone.score >= others[0].score


def test_a_real_model_votes(llm: Llama):
    verdicts = judged(Ballot(llm), "Which is an animal?", said("a dog", "a stone", "a cup"))
    assert sum(verdict.score for verdict in verdicts) == pytest.approx(3)
    assert verdicts[0].cost.decoded == 2


# -- rollouts --------------------------------------------------------------------------------------


def test_a_step_is_worth_what_its_chains_score_on_average(llm: Llama):
    """By length, so that the mean is known; each chain continues the very text of the step."""
    ends: list[Node] = []

    def by_length(prompt, nodes):
        ends.extend(nodes)
        return [Verdict(float(len(node.turn_text))) for node in nodes]

    run = Run(llm, extract=str.strip)
    root = run.reply(None, "Count from one to ten.")
    steps = run.extend(root, Sampling(max_tokens=4), n=2)
    before = run.cost
    rollouts = Rollouts(llm, by_length, n=3, sampling=Sampling(max_tokens=8))
    scores = run.score(steps, rollouts)
    assert [end.parent for end in ends] == [steps[0]] * 3 + [steps[1]] * 3
    lengths = [len(end.turn_text) for end in ends]
    assert scores == pytest.approx([sum(lengths[:3]) / 3, sum(lengths[3:]) / 3])
    spent = run.cost.decoded - before.decoded
    assert spent == sum(end.completion.cost.decoded for end in ends)
    assert len(run.tree) == 3  # rollouts are no part of the tree


def test_a_finished_chain_is_scored_itself_and_what_cannot_be_scored_is_nan():
    done, other = said("5", "6")
    done.completion = other.completion = Completion("5", finish="end")
    unknown = Verdict(math.nan, note="nobody knows")
    rollouts = Rollouts(FakeOpinion(), lambda prompt, nodes: [Verdict(1.0), unknown])
    first, second = judged(rollouts, "2 + 3?", [done, other])
    assert (first.score, first.cost) == (1.0, Cost())
    assert math.isnan(second.score)
    assert second.note == "nobody knows"
