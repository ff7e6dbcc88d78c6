"""When sampling stops: the rules by hand, and the strategies that obey them."""

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from itslab.answers import vote
from itslab.core import Budget, Node, OptionError, Prompt, Sampling
from itslab.handle import solve, start
from itslab.run import Run
from itslab.strategies import AdaptiveConsistency, FirstVerified, SelfConsistency
from itslab.strategies.stopping import (
    BetaStop,
    Codes,
    DecidedStop,
    DirichletStop,
    MarginalValue,
    StoppingRule,
    WindowStop,
    encode,
)
from itslab.testing import ScriptedModel

RULES = [BetaStop(), DirichletStop(), WindowStop(), DecidedStop(), MarginalValue()]


def evidence(rule: StoppingRule, answers: str, left: int = 8) -> float:
    [found] = rule.evidence(encode([[None if a == "-" else a for a in answers]]), left)
    return float(found)


# -- the rules -------------------------------------------------------------------------------------


def test_answers_are_numbered_as_they_are_first_seen_in_each_order() -> None:
    assert encode([["b", None, "a", "b"], ["a", "b", None, "b"]]).tolist() == [
        [0, -1, 1, 0],
        [0, 1, -1, 1],
    ]


@pytest.mark.parametrize(
    ("answers", "probability"),
    [
        ("", 1 / 2),  # the uniform prior
        ("-", 1 / 2),
        ("a", 3 / 4),  # Beta(2, 1) above one half: 1 − 1/4
        ("aaa", 15 / 16),
        ("aaaa", 31 / 32),
        ("aab", 11 / 16),  # Beta(3, 2): 11/16
        ("ab", 1 / 2),
        ("aabc", 11 / 16),  # the third does not count
    ],
)
def test_the_leader_beats_the_second(answers: str, probability: float) -> None:
    assert evidence(BetaStop(), answers) == pytest.approx(probability)


@pytest.mark.parametrize(
    ("answers", "probability"),
    [("a", 3 / 4), ("aab", 11 / 16), ("ab", 1 / 2), ("abc", 1 / 3), ("-", 1 / 2)],
)
def test_the_leader_is_the_most_frequent_of_a_dirichlet(answers: str, probability: float) -> None:
    assert evidence(DirichletStop(), answers) == pytest.approx(probability, abs=2e-3)


def test_the_dirichlet_criterion_is_what_sampling_says() -> None:
    counts = np.array([5, 3, 2, 1])
    drawn = np.random.default_rng(0).dirichlet(counts + 1, size=200_000)
    share = (drawn.argmax(axis=1) == 0).mean()
    assert evidence(DirichletStop(), "aaaaabbbccd") == pytest.approx(share, abs=0.004)


@pytest.mark.parametrize(
    ("answers", "stops"),
    [("aaaa", True), ("aaa", False), ("baaaa", True), ("aaba", False), ("aa-a", False)],
)
def test_a_window_agrees_as_a_whole(answers: str, stops: bool) -> None:
    rule = WindowStop(4)
    assert (evidence(rule, answers) >= rule.threshold) == stops


@pytest.mark.parametrize(
    ("answers", "left", "decided"),
    [
        ("aaab", 2, True),  # b can come to 3, and a was seen first
        ("baaa", 2, False),  # b wins a tie
        ("baaa", 1, True),
        ("aa", 2, True),  # a new answer can only tie
        ("aa", 3, False),
        ("--", 1, False),
        ("--", 0, False),
        ("ab", 0, True),
    ],
)
def test_a_vote_is_decided_when_nothing_can_change_it(
    answers: str, left: int, decided: bool
) -> None:
    assert evidence(DecidedStop(), answers, left) == decided


@pytest.mark.parametrize("answers", map("".join, itertools.product("ab-", repeat=3)))
def test_decided_is_what_enumeration_of_the_rest_says(answers: str) -> None:
    given = [None if a == "-" else a for a in answers]
    for left in range(3):
        winners = set()
        for rest in itertools.product("abcd-", repeat=left):
            whole = given + [None if a == "-" else a for a in rest]
            winner = vote(whole, None, str)
            winners.add(None if winner is None else whole[winner])
        decided = len(winners) == 1 and winners != {None}
        assert evidence(DecidedStop(), answers, left) == decided


def test_further_samples_are_worth_what_they_may_change() -> None:
    # Nothing seen: P = 1/2; whatever comes first leads by one, and then P = 3/4.
    assert evidence(MarginalValue(), "", left=1) == pytest.approx(-1 / 4)
    # One seen, P = 3/4. Again with probability 2/3: 7/8, else a draw: 1/2. That is 3/4 again.
    assert evidence(MarginalValue(), "a", left=1) == pytest.approx(0)
    # Two more: a a (1/2) 15/16, a b (1/3) 11/16, b b (1/6) 11/16 for b.
    gain = 1 / 2 * 15 / 16 + 1 / 3 * 11 / 16 + 1 / 6 * 11 / 16 - 3 / 4
    assert evidence(MarginalValue(), "a", left=2) == pytest.approx(-gain / 2)
    assert evidence(MarginalValue(), "a", left=0) == 0
    assert evidence(MarginalValue(ahead=1), "a") == pytest.approx(0)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_many_orders_at_once_are_the_same_as_one_after_the_other(rule: StoppingRule) -> None:
    rng = random.Random(0)
    orders = [[rng.choice(["x", "y", "z", None]) for _ in range(8)] for _ in range(50)]
    together = rule.evidence(encode(orders), 8)
    alone = [float(rule.evidence(encode([order]), 8)[0]) for order in orders]
    assert together.tolist() == pytest.approx(alone)


# -- the strategies --------------------------------------------------------------------------------


def boxed(answers: str) -> list[str]:
    return ["I do not know." if a == "-" else f"\\boxed{{{a}}}" for a in answers]


@pytest.mark.parametrize(
    ("answers", "rule", "drawn", "winner"),
    [
        ("11111111", BetaStop(), 4, "1"),
        ("12121211", BetaStop(), 8, "1"),
        ("1112" + "1111", DecidedStop(), 8, "1"),
        ("11121111" + "2222", DecidedStop(), 8, "1"),
        ("2111" + "3333", WindowStop(), 8, "3"),
        ("----" + "----" + "----", BetaStop(), 12, None),  # nothing agrees with nothing
    ],
)
def test_waves_are_drawn_until_the_rule_says_stop(
    answers: str, rule: StoppingRule, drawn: int, winner: str | None
) -> None:
    model = ScriptedModel(replies=boxed(answers))
    result = solve("?", AdaptiveConsistency(rule, n=12 if len(answers) > 8 else 8), model)
    assert (result.cost.calls, result.answer) == (drawn, winner)


def test_its_samples_are_those_of_self_consistency() -> None:
    def say(request: object, index: int) -> str:
        return f"\\boxed{{{index}}}"

    adaptive, fixed = ScriptedModel(replies=say), ScriptedModel(replies=say)
    few = solve("?", AdaptiveConsistency(n=6, wave=4), adaptive)
    all_at_once = solve("?", SelfConsistency(n=6), fixed)
    texts = [[n.text for n in r.tree if n.completion] for r in (few, all_at_once)]
    assert texts[0] == texts[1]
    assert few.answer == all_at_once.answer == "0"


def test_a_budget_and_a_stop_leave_the_leader() -> None:
    strategy = AdaptiveConsistency(n=16, wave=2)
    result = solve(
        "?", strategy, ScriptedModel(replies=boxed("1221" * 4)), budget=Budget(samples=5)
    )
    assert (result.stopped_by, result.cost.calls, result.answer) == ("samples", 5, "1")
    handle = start("?", strategy, ScriptedModel(replies=boxed("2212" * 4)), paused=True)
    next(handle)
    handle.stop()
    assert handle.result().answer == "2"
    assert handle.result().stopped_by == "stop"


def by_length(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
    return [len(node.text) for node in nodes]


def test_the_first_that_is_good_enough_ends_it() -> None:
    model = ScriptedModel(replies=[*boxed("1"), "\\boxed{22}", *boxed("345")])
    result = solve("?", FirstVerified(by_length, stop_score=10), model)
    assert (result.answer, result.cost.calls) == ("22", 2)


def test_where_none_is_good_enough_the_best_is_returned() -> None:
    replies = ["\\boxed{1}", "\\boxed{22}", "no answer, however long", "\\boxed{3}"]
    result = solve(
        "?", FirstVerified(by_length, stop_score=99, n=4, wave=2), ScriptedModel(replies=replies)
    )
    assert (result.answer, result.cost.calls) == ("22", 4)


def test_each_sample_is_scored_once() -> None:
    asked: list[int] = []

    def count(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
        asked.append(len(nodes))
        return [0.0] * len(nodes)

    solve("?", FirstVerified(count, n=5, wave=2), ScriptedModel(replies=boxed("12345")))
    assert asked == [2, 2, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: BetaStop(0.4),
        lambda: BetaStop(1.0),
        lambda: WindowStop(1),
        lambda: MarginalValue(price=0),
        lambda: AdaptiveConsistency(wave=0),
        lambda: AdaptiveConsistency(rule=0.95),  # type: ignore[arg-type]
        lambda: AdaptiveConsistency(sampling=Sampling),  # type: ignore[arg-type]
        lambda: FirstVerified(by_length, stop_score=float("nan")),
    ],
)
def test_options_are_checked(make: object) -> None:
    with pytest.raises(OptionError):
        make()  # type: ignore[operator]


def test_many_samples_take_little_time_and_memory() -> None:
    few, many = (
        DirichletStop().evidence(np.array([[0] * n + [1] * n + [2] * n]), 0) for n in (120, 130)
    )
    assert few[0] == pytest.approx(many[0], abs=1e-6) == pytest.approx(1 / 3, abs=1e-6)
    assert DirichletStop().evidence(np.zeros((1, 20_000), int), 0)[0] == pytest.approx(1)


class Nonsense:
    """A rule that says something else than a number for each order."""

    def __init__(self, said: object, threshold: object = 1.0) -> None:
        self.said, self.threshold = said, threshold

    def evidence(self, codes: Codes, left: int) -> object:
        return self.said


@pytest.mark.parametrize("said", [[], None, ["x"], [1.0, 2.0], 1.0])
def test_a_rule_that_gives_no_number_is_refused(said: object) -> None:
    strategy = AdaptiveConsistency(Nonsense(said))  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="one that gives 1 numbers"):
        solve("?", strategy, ScriptedModel(replies=["\\boxed{1}"] * 16))
    with pytest.raises(OptionError, match="a number as its threshold"):
        AdaptiveConsistency(Nonsense([1.0], None))  # type: ignore[arg-type]


def test_a_sample_without_an_answer_is_not_the_first_verified_one() -> None:
    model = ScriptedModel(replies=["I do not know.", "\\boxed{4}", "\\boxed{5}"])
    result = solve("?", FirstVerified(lambda prompt, nodes: [1.0] * len(nodes), n=3), model)
    assert (result.answer, result.cost.calls) == ("4", 2)


def test_a_verifier_that_fails_once_is_asked_again_and_a_blind_one_is_not() -> None:
    class Sometimes:
        def __init__(self, blind: str) -> None:
            self.says = blind

        def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
            return [math.nan if "1" in node.text else 1.0 for node in nodes]

        def blind(self, run: Run, prompt: Prompt) -> str:
            return self.says

    for blind, answer, calls in (("", "2", 2), ("no tests", "1", 1)):
        model = ScriptedModel(replies=["\\boxed{1}", "\\boxed{2}"])
        result = solve("?", FirstVerified(Sometimes(blind), n=2), model)
        assert (result.answer, result.cost.calls) == (answer, calls)
