"""What strategies buy at most, by hand and held against what they do buy."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import pytest
from test_buying import OTHER, PAIRS, STEP, VERIFIERS, WHOLE, Talk

import itslab as its
from itslab import strategies
from itslab.core import Budget, Node, Output, Prompt, Sampling
from itslab.handle import solve
from itslab.run import Run, Strategy
from itslab.serving.bounds import UNKNOWN, Purchase, asked, either, most, purchases
from itslab.strategies import (
    MCTS,
    AdaptiveConsistency,
    BeamSearch,
    BestOfN,
    ChainOfThought,
    Direct,
    ExtendedThinking,
    MCTSr,
    ProgramAided,
    Route,
    Router,
    SelfConsistency,
    TreeOfThoughts,
)
from itslab.strategies.deepconf import DeepConf
from itslab.strategies.stopping import BetaStop
from itslab.verifiers import Combined, Confidence, Critic

MORE_PAIRS: list[tuple[str, Strategy]] = [
    ("direct", Direct(sampling=WHOLE)),
    ("chain", ChainOfThought(sampling=WHOLE)),
    ("thinking", ExtendedThinking(floor=20, ceiling=30, sampling=WHOLE)),
    ("adaptive", AdaptiveConsistency(BetaStop(), n=6, wave=4, sampling=WHOLE)),
    ("confident", DeepConf(n=6, warmup=2, sampling=WHOLE)),
    ("programs", ProgramAided(Output, n=3, repairs=2, sampling=WHOLE)),
    ("widening", MCTS(Confidence(), 4, 2, 2, widening=0.5, depth=3, sampling=STEP)),
    ("tree of versions", MCTSr(VERIFIERS["critic"], 3, 2, width=2, sampling=WHOLE)),
]
EVERY = [*PAIRS, *MORE_PAIRS]


@pytest.mark.parametrize("strategy", [s for _, s in EVERY], ids=[name for name, _ in EVERY])
def test_nobody_buys_more_than_that(strategy: Strategy) -> None:
    for seed in range(3):
        spent = solve("Say something.", strategy, Talk(), seed=seed, extract=str.strip).cost.decoded
        assert spent <= most(strategy) < math.inf
    budgets = Budget(tokens=40), Budget(samples=5), Budget(seconds=0.1), Budget(flops=4e7)
    for budget in budgets:
        cost = solve("Say something.", strategy, Talk(), budget=budget, extract=str.strip).cost
        assert cost.decoded <= most(strategy, budget)


def test_every_public_strategy_has_a_rule() -> None:
    kinds = [getattr(strategies, name) for name in strategies.__all__]
    called = [kind for kind in kinds if isinstance(kind, type) and "__call__" in dir(kind)]
    assert len(called) > 15
    assert not [kind for kind in called if purchases.dispatch(kind) is purchases.dispatch(object)]


def test_by_hand() -> None:
    short = Sampling(max_tokens=100)
    critic = Critic(OTHER, sampling=replace(short, max_tokens=50))
    assert most(SelfConsistency(8, sampling=short)) == 800
    assert most(BestOfN(critic, 4, sampling=short)) == 4 * (100 + 50 + 1)
    assert most(BestOfN(critic, 4, sampling=short), Budget(samples=5)) == 4 * 100 + 50
    assert most(BestOfN(critic, 4, sampling=short), Budget(tokens=77, samples=5)) == 77
    beams = BeamSearch(Confidence(), width=2, expand=3, depth=4, sampling=replace(STEP))
    assert most(beams) == 4 * 2 * 3 * 9 + 16 * 9  # and one chain is finished in 16 more steps
    assert most(beams, Budget(seconds=9)) == 4 * 2 * 3 * 9 + 2 * 16 * 9
    looked = Router(Confidence(), (), (Route(SelfConsistency(5, sampling=short)),), Direct())
    assert most(looked) == 48 + 500
    thoughts = TreeOfThoughts(Confidence(), "depth", expand=3, depth=2, sampling=STEP)
    assert most(thoughts) == (3 + 9) * 9 + 16 * 9
    assert most(replace(thoughts, depth=10_000), Budget(tokens=5)) == 5


def test_one_of_several_is_bounded_by_the_longer_samples_of_any() -> None:
    few, many = [Purchase(1, 100)], [Purchase(5, 10), Purchase(1, 2)]
    assert either([few, many]) == [Purchase(1, 100), Purchase(4, 10), Purchase(1, 2)]
    assert either([]) == []


def test_nobody_knows_what_a_strange_one_takes_unless_it_says_so_or_its_budget_does() -> None:
    def strange(run: Run, prompt: Prompt) -> Node:
        raise NotImplementedError

    def asks(run: Run, prompt: Prompt, nodes: list[Node]) -> list[float]:
        raise NotImplementedError

    def looks(prompt: Prompt, nodes: list[Node]) -> list[float]:
        raise NotImplementedError

    assert most(strange) == math.inf
    assert most(strange, Budget(samples=1)) == math.inf
    assert most(strange, Budget(tokens=9)) == 9
    assert most(BestOfN(asks, sampling=WHOLE)) == math.inf
    assert most(BestOfN(looks, 2, sampling=WHOLE)) == 18
    assert asked(Combined((looks, asks), (1.0, 1.0)), 1, 9) == [UNKNOWN]

    @dataclass(frozen=True)
    class Twice:
        n: int = 2

        def __call__(self, run: Run, prompt: Prompt) -> Node:
            raise NotImplementedError

    purchases.register(Twice, lambda strategy, budget: [Purchase(strategy.n, 7)])
    assert most(Twice()) == 14


def test_the_workbench_defaults_are_finite() -> None:
    for kind, verifier in itertools.product((its.MCTS, its.BeamSearch), (Confidence(),)):
        assert 1_000 < most(kind(verifier)) < 1e6
