"""Stopping rules on recorded samples: the same as running the strategy on every order of them."""

import itertools
import random
import time

import numpy as np
import pytest

from itslab.core import OptionError
from itslab.handle import solve
from itslab.strategies import AdaptiveConsistency
from itslab.strategies.stopping import (
    BetaStop,
    DecidedStop,
    DirichletStop,
    MarginalValue,
    StoppingRule,
    WindowStop,
)
from itslab.study import selection
from itslab.study.stopping import replay
from itslab.testing import ScriptedModel


def world(p: int, n: int, answers: str = "abcd-", seed: int = 0):  # type: ignore[no-untyped-def]
    """Problems whose right answer is a, each with other chances."""
    rng = random.Random(seed)
    keys = []
    for _ in range(p):
        weights = [rng.random() for _ in answers]
        drawn = rng.choices(answers, weights, k=n)
        keys.append([None if key == "-" else key for key in drawn])
    correct = np.array([[key == "a" for key in row] for row in keys])
    tokens = np.array([[rng.choice([3, 5]) for _ in row] for row in keys])
    return keys, correct, tokens


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        BetaStop(0.8),
        DirichletStop(0.7),
        WindowStop(2),
        DecidedStop(),
        MarginalValue(price=0.03),
    ],
    ids=repr,
)
@pytest.mark.parametrize("wave", [1, 2])
def test_all_orders_are_what_the_strategy_does_on_each(rule: StoppingRule, wave: int) -> None:
    keys, correct, tokens = world(3, 5)
    [found] = replay(keys, correct, tokens, rule, wave=wave, orders=120)
    for p, row in enumerate(keys):
        ends = []
        for order in itertools.permutations(range(5)):
            replies = [f"\\boxed{{{row[i]}}}" if row[i] else "?" for i in order]
            strategy = AdaptiveConsistency(rule, n=5, wave=wave)
            result = solve("?", strategy, ScriptedModel(replies=replies))
            drawn = result.cost.calls
            ends.append((result.answer == "a", drawn, sum(tokens[p][list(order[:drawn])])))
        expected = np.mean(ends, axis=0)
        assert (found.success[p], found.drawn[p], found.tokens[p]) == pytest.approx(tuple(expected))


def test_a_rule_that_never_stops_is_the_majority_of_all() -> None:
    keys, correct, tokens = world(20, 6)
    [found] = replay(keys, correct, tokens, BetaStop(), [2.0], orders=720)
    assert found.success == pytest.approx(selection.majority_at_k(keys, correct, [6])[:, 0])
    assert found.drawn.tolist() == [6] * 20
    assert found.tokens.tolist() == tokens.sum(axis=1).tolist()


def test_what_is_decided_loses_nothing() -> None:
    keys, correct, tokens = world(20, 6)
    [never, decided] = (
        replay(keys, correct, tokens, rule, levels, wave=1, orders=720)[0]
        for rule, levels in ((BetaStop(), [2.0]), (DecidedStop(), None))
    )
    assert decided.success == pytest.approx(never.success)
    assert decided.drawn.mean() < 6


def test_fewer_samples_are_every_subset() -> None:
    keys, correct, tokens = world(20, 6)
    [found] = replay(keys, correct, tokens, BetaStop(), [2.0], n=3, orders=720)
    assert found.success == pytest.approx(selection.majority_at_k(keys, correct, [3])[:, 0])


def test_a_higher_threshold_draws_more() -> None:
    keys, correct, tokens = world(30, 16)
    found = replay(keys, correct, tokens, BetaStop(), [0.6, 0.9, 0.99], wave=1)
    drawn = [stopped.drawn.mean() for stopped in found]
    assert drawn == sorted(drawn)
    assert drawn[0] < drawn[-1]


def test_where_nobody_answers_all_is_drawn_and_nothing_is_right() -> None:
    [found] = replay([[None] * 4], [[False] * 4], [[1] * 4], DirichletStop(), wave=1)
    assert (found.success[0], found.drawn[0]) == (0, 4)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [BetaStop(), DirichletStop(), DecidedStop(), MarginalValue()])
def test_100_problems_of_64_samples_at_20_thresholds_take_under_10_seconds(
    rule: StoppingRule,
) -> None:
    keys, correct, tokens = world(100, 64, "abcdefghijklmnopqrst-")
    began = time.process_time()  # others use the machine, too
    replay(keys, correct, tokens, rule, np.linspace(0.5, 0.99, 20).tolist())
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "options", [{"n": 9}, {"wave": 0}, {"orders": 0}, {"tokens": [[1]]}, {"keys": [["a"]]}]
)
def test_what_does_not_fit_is_refused(options: dict[str, object]) -> None:
    keys, correct, tokens = world(2, 4)
    given = {"keys": keys, "correct": correct, "tokens": tokens, "rule": BetaStop()} | options
    with pytest.raises(OptionError):
        replay(**given)  # type: ignore[arg-type]
