"""What a strategy buys at most: how many samples, of how many tokens, by anyone, judges included.

Each class of strategies and of verifiers has its own rule, as ``functools.singledispatch`` finds
it; a subclass has that of its base. Rules of a user's own are registered likewise::

    @purchases.register
    def _(strategy: MyStrategy, budget: Budget) -> Sequence[Purchase]:
        return [Purchase(strategy.n, strategy.sampling.max_tokens)]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import singledispatch
from itertools import chain
from typing import NamedTuple

from itslab.core import Budget, Verifier
from itslab.run import Strategy, draws
from itslab.strategies import (
    ABMCTS,
    MCTS,
    AdaptiveConsistency,
    BeamSearch,
    BestOfN,
    Cascade,
    ChainOfThought,
    CheckedRefine,
    Direct,
    ExtendedThinking,
    FirstVerified,
    Knockout,
    MCTSr,
    ParticleFilter,
    ProgramAided,
    Reflexion,
    Router,
    SelfConsistency,
    SelfRefine,
    TreeOfThoughts,
)
from itslab.strategies.deepconf import DeepConf
from itslab.strategies.steps import MORE, StepSearch
from itslab.verifiers import (
    Agreement,
    Ballot,
    ByProblem,
    Calibrated,
    Combined,
    Critic,
    Judge,
    PairwiseJudge,
    Question,
    Reward,
    Rollouts,
    StepReward,
)

MANY = 10**15
"""Samples, more than anyone pays for: what a search with exponential growth is counted as."""


class Purchase(NamedTuple):
    """Samples of one kind.

    Args:
        samples: how many, at most.
        tokens: decoded for each, at most; infinity where nobody knows.
    """

    samples: int
    tokens: float


UNKNOWN = Purchase(1, math.inf)
Purchases = Sequence[Purchase]


def most(strategy: Strategy, budget: Budget = Budget()) -> float:
    """Return how many tokens a strategy decodes at most, judges included.

    A budget in tokens or in samples holds as it is; one in seconds or FLOPs bounds no tokens. It is
    a bound as long as no text outgrows the model's context: what a search then does to finish its
    chains is not in it.

    Returns:
        Tokens; infinity for a strategy or a judge that nothing is known of (a user's, see
        ``purchases``) on a budget without tokens.
    """
    left = math.inf if budget.samples is None else budget.samples
    total = 0.0
    for purchase in sorted(purchases(strategy, budget), key=lambda p: p.tokens, reverse=True):
        count = min(purchase.samples, left)
        total += count * purchase.tokens if count else 0.0
        left -= count
    return total if budget.tokens is None else min(total, budget.tokens)


@singledispatch
def purchases(strategy: Strategy, budget: Budget) -> Purchases:
    """Return what a strategy buys at most on a budget, which is not yet applied to it."""
    return [UNKNOWN]


@singledispatch
def asked(verifier: Verifier | None, nodes: int, tokens: float) -> Purchases:
    """Return what a verifier buys at most to score so many nodes.

    Args:
        verifier: who scores; None is nobody.
        nodes: how many are scored, in all calls together.
        tokens: in the turn of each, at most.
    """
    return [UNKNOWN] if verifier is not None and draws(verifier) else []


def either(rows: Iterable[Purchases]) -> Purchases:
    """Return what bounds each of several alternatives, of which one is bought."""
    rows, found, before = list(rows), list[Purchase](), 0
    for tokens in sorted({p.tokens for row in rows for p in row}, reverse=True):
        as_long = max(sum(p.samples for p in row if p.tokens >= tokens) for row in rows)
        found.append(Purchase(as_long - before, tokens))
        before = as_long
    return found


# -- chains and samples ----------------------------------------------------------------------------


@purchases.register(Direct)
@purchases.register(ChainOfThought)
def _chain(strategy: Direct | ChainOfThought, budget: Budget) -> Purchases:
    return [Purchase(1, strategy.sampling.max_tokens)]


@purchases.register
def _thinking(strategy: ExtendedThinking, budget: Budget) -> Purchases:
    # However often it is made to go on, its thoughts share the ceiling.
    return [Purchase(1, strategy.ceiling), Purchase(1, strategy.sampling.max_tokens)]


@purchases.register(SelfConsistency)
@purchases.register(BestOfN)
@purchases.register(FirstVerified)
def _samples(strategy: SelfConsistency | BestOfN | FirstVerified, budget: Budget) -> Purchases:
    tokens = strategy.sampling.max_tokens
    return [Purchase(strategy.n, tokens), *asked(strategy.verifier, strategy.n, tokens)]


@purchases.register(AdaptiveConsistency)
@purchases.register(DeepConf)
def _waves(strategy: AdaptiveConsistency | DeepConf, budget: Budget) -> Purchases:
    return [Purchase(strategy.n, strategy.sampling.max_tokens)]


@purchases.register
def _knockout(strategy: Knockout, budget: Budget) -> Purchases:
    tokens = strategy.sampling.max_tokens
    return [Purchase(strategy.n, tokens), *asked(strategy.judge, 2 * (strategy.n - 1), tokens)]


@purchases.register
def _programs(strategy: ProgramAided, budget: Budget) -> Purchases:
    tries = 1 + strategy.repairs + (strategy.fallback == "chain")
    return [Purchase(strategy.n * tries, strategy.sampling.max_tokens)]


# -- one after the other ---------------------------------------------------------------------------


@purchases.register
def _cascade(strategy: Cascade, budget: Budget) -> Purchases:
    bought: list[Purchase] = []
    for stage in strategy.stages:
        own = purchases(stage.strategy, budget)
        bought += [*own, *asked(stage.accept, 1, _total(own))]
    return bought


@purchases.register
def _router(strategy: Router, budget: Budget) -> Purchases:
    look = [] if strategy.look is None else purchases(strategy.look, budget)
    routes = [purchases(r.strategy, budget) for r in strategy.routes if r.strategy is not None]
    return [*look, *asked(strategy.estimate, 1, _total(look)), *either(routes)]


def _total(bought: Purchases) -> float:
    return sum(purchase.samples * purchase.tokens for purchase in bought)


# -- refinement ------------------------------------------------------------------------------------


@purchases.register
def _checked(strategy: CheckedRefine, budget: Budget) -> Purchases:
    return _versions(strategy, strategy.branches * (1 + strategy.iterations))


@purchases.register
def _refined(strategy: SelfRefine, budget: Budget) -> Purchases:
    revisions = strategy.branches * strategy.iterations
    critiques = Purchase(revisions, strategy.criticism.max_tokens)
    return [*_versions(strategy, strategy.branches + revisions), critiques]


@purchases.register
def _tree_of_versions(strategy: MCTSr, budget: Budget) -> Purchases:
    revisions = strategy.width * strategy.iterations
    critiques = Purchase(revisions, strategy.criticism.max_tokens)
    return [*_versions(strategy, strategy.branches + revisions), critiques]


@purchases.register
def _reflexion(strategy: Reflexion, budget: Budget) -> Purchases:
    lessons = Purchase(strategy.iterations, strategy.lesson.max_tokens)
    return [*_versions(strategy, 1 + strategy.iterations), lessons]


def _versions(strategy: CheckedRefine | Reflexion, count: int) -> Purchases:
    tokens = strategy.sampling.max_tokens
    return [Purchase(count, tokens), *asked(strategy.verifier, count, tokens)]


# -- search ----------------------------------------------------------------------------------------


@purchases.register
def _beams(strategy: BeamSearch, budget: Budget) -> Purchases:
    steps = strategy.depth * strategy.width * strategy.expand
    ahead = Purchase(steps * strategy.lookahead, strategy.sampling.max_tokens)
    further = strategy.lookahead * strategy.sampling.max_tokens
    return [*_steps(strategy, steps, strategy.width, budget, further), ahead]


@purchases.register
def _particles(strategy: ParticleFilter, budget: Budget) -> Purchases:
    return _steps(strategy, strategy.depth * strategy.n, strategy.n, budget)


@purchases.register
def _thoughts(strategy: TreeOfThoughts, budget: Budget) -> Purchases:
    expand, depth = strategy.expand, strategy.depth
    if strategy.order == "breadth":
        return _steps(strategy, depth * strategy.width * expand, strategy.width, budget)
    if expand == 1:
        thoughts = min(depth, MANY)
    elif depth * math.log2(expand) < math.log2(MANY):
        thoughts = (expand ** (depth + 1) - expand) // (expand - 1)  # of all levels
    else:
        thoughts = MANY
    return _steps(strategy, thoughts, thoughts, budget)


@purchases.register
def _mcts(strategy: MCTS, budget: Budget) -> Purchases:
    walks = strategy.iterations * strategy.width
    # A walk draws at most e = expand · V^widening steps, where V is the most visits of any step. A
    # step counts as a visit when it is drawn and, where a chain ends, once more in each iteration,
    # so that V ≤ (1 + iterations) · walks · e, which is to be solved for V.
    try:
        every = (1 + strategy.iterations) * walks * strategy.expand
        visits = every ** (1 / (1 - strategy.widening))
        each = math.floor(strategy.expand * visits**strategy.widening)
    except OverflowError:
        each = MANY
    steps, rollout = min(walks * each, MANY), strategy.rollout.max_tokens
    if not strategy.rollouts:
        return _steps(strategy, steps, steps, budget)
    ends = steps * strategy.rollouts
    own = _steps(strategy, steps, steps + ends, budget)
    longest = strategy.depth * strategy.sampling.max_tokens + rollout
    return [*own, Purchase(ends, rollout), *asked(strategy.verifier, ends, longest)]


@purchases.register
def _answers(strategy: ABMCTS, budget: Budget) -> Purchases:
    count = strategy.iterations * strategy.width
    return _steps(strategy, count, count, budget)


def _steps(
    strategy: StepSearch, steps: int, chains: int, budget: Budget, further: float = 0
) -> Purchases:
    """What any search buys: its steps, what draws its chains to their end, and the verdicts.

    Without a budget one chain is drawn to its end, else as many as the rest of it lasts for.

    Args:
        strategy: the search.
        steps: that it draws.
        chains: that are unfinished at the end.
        budget: of the run.
        further: tokens by which a step is longer when it is judged.
    """
    own, last = strategy.sampling.max_tokens, max(strategy.depth, MORE)
    whole = budget.samples is not None or bool(getattr(strategy, "rollouts", 0))
    ending = strategy.rest.max_tokens if whole else own
    ends = 1 if budget == Budget() else chains
    bought = [Purchase(steps, own), Purchase(ends * last, ending)]
    longest = strategy.depth * own + max(further, last * ending)
    return [*bought, *asked(strategy.verifier, steps + ends, longest)]


# -- verifiers -------------------------------------------------------------------------------------


@asked.register(Agreement)
@asked.register(Question)
@asked.register(Reward)
def _free(verifier: Verifier, nodes: int, tokens: float) -> Purchases:
    return []


@asked.register(Judge)
@asked.register(PairwiseJudge)
@asked.register(Ballot)
def _opinion(verifier: Verifier, nodes: int, tokens: float) -> Purchases:
    return [Purchase(nodes, 1)]


@asked.register
def _critic(verifier: Critic, nodes: int, tokens: float) -> Purchases:
    return [Purchase(nodes, verifier.sampling.max_tokens), Purchase(nodes, 1)]


@asked.register
def _process(verifier: StepReward, nodes: int, tokens: float) -> Purchases:
    tags = 1 if verifier.combine == "last" else min(tokens + 1, MANY)  # after each token, at most
    return [Purchase(int(nodes * tags), 1)]


@asked.register
def _rollouts(verifier: Rollouts, nodes: int, tokens: float) -> Purchases:
    ends, rollout = nodes * verifier.n, verifier.sampling.max_tokens
    return [Purchase(ends, rollout), *asked(verifier.verifier, ends, tokens + rollout)]


@asked.register
def _calibrated(verifier: Calibrated, nodes: int, tokens: float) -> Purchases:
    return asked(verifier.verifier, nodes, tokens)


@asked.register
def _combined(verifier: Combined, nodes: int, tokens: float) -> Purchases:
    return [*chain.from_iterable(asked(one, nodes, tokens) for one in verifier.verifiers)]


@asked.register
def _by_problem(verifier: ByProblem, nodes: int, tokens: float) -> Purchases:
    return either(asked(one, nodes, tokens) for one in verifier.verifiers.values())
