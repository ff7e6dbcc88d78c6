"""When to stop sampling: rules that look at the answers so far, and the strategy that obeys one.

Every rule gives a number for how much speaks for stopping, and stops where that reaches its
``threshold``. It looks at many orders of samples at once, so that the same rule that ends a run can
be replayed over all orders of recorded samples (``itslab.study.stopping.replay``).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.answers import vote
from itslab.core import Node, Prompt, Sampling, Verifier, require
from itslab.options import Bounds, Count, Options, Positive, check
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose
from itslab.strategies.steps import merit

Codes = NDArray[np.int64]
"""(m, k): the answers of k samples in m orders, numbered as they are first seen in each; −1 where a
sample has no answer."""
Levels = NDArray[np.float64]  # (m,)
Stops = NDArray[np.bool_]  # (thresholds, m)


class StoppingRule(Protocol):
    """Says how much speaks for stopping: it stops at its ``threshold``."""

    @property
    def threshold(self) -> float:
        """Where to stop."""
        ...

    def evidence(self, codes: Codes, left: int) -> Levels:
        """Return what speaks for stopping, (m,).

        Args:
            codes: (m, k) the answers so far; see ``Codes``.
            left: samples that could still be drawn.
        """
        ...


Confident = Annotated[float, Bounds(0.5, 1, open="high")]


@dataclass(frozen=True)
class BetaStop(Options):
    """Stop when the leading answer is likely to be more frequent than the second.

    Adaptive-Consistency with the Beta criterion (Aggarwal et al. 2023, arXiv:2305.11860): with
    a uniform prior the posterior of the leader's part of both is Beta(a + 1, b + 1), and what
    counts is its probability above one half.

    Args:
        threshold: that probability.
    """

    threshold: Confident = 0.95

    def evidence(self, codes: Codes, left: int) -> Levels:
        """Return P(the leader is more frequent than the second)."""
        leader, second = _leading(codes)
        return _beats(leader, second)


@dataclass(frozen=True)
class DirichletStop(Options):
    """Stop when the leading answer is likely to be the most frequent of those seen.

    Adaptive-Consistency with the Dirichlet criterion (arXiv:2305.11860).

    Args:
        threshold: that probability.
    """

    threshold: Confident = 0.95

    def evidence(self, codes: Codes, left: int) -> Levels:
        """Return P(the leader is the most frequent of the answers seen)."""
        # The same counts have the same evidence, whichever other orders are looked at beside them.
        return np.round(_most_frequent(-np.sort(-_counts(codes), axis=1)), 12)


@dataclass(frozen=True)
class WindowStop(Options):
    """Stop when all samples of the last window agree: ESC (Li et al. 2024, arXiv:2401.10480).

    A wave of ``AdaptiveConsistency`` is a window, if both have the same size.

    Args:
        size: samples of a window.
    """

    size: Annotated[int, Bounds(2)] = 4

    @property
    def threshold(self) -> float:
        """All of them."""
        return 1.0

    def evidence(self, codes: Codes, left: int) -> Levels:
        """Return the part of the last window that gives its most frequent answer."""
        if codes.shape[1] < self.size:
            return np.zeros(len(codes))
        leader, _ = _leading(codes[:, -self.size :])
        return np.asarray(leader / self.size)


@dataclass(frozen=True)
class DecidedStop(Options):
    """Stop when no sample that could still come would change the vote: nothing is lost."""

    @property
    def threshold(self) -> float:
        """Decided or not."""
        return 1.0

    def evidence(self, codes: Codes, left: int) -> Levels:
        """Return 1 where the vote is decided, else 0."""
        counts = _counts(codes)
        leader = counts.argmax(axis=1)  # of equal counts the one seen first, which wins
        most = counts.max(axis=1)
        # One seen before the leader wins a tie against it; one not seen yet loses it.
        earlier = np.arange(counts.shape[1]) < leader[:, None]
        reach = counts + left + earlier
        np.put_along_axis(reach, leader[:, None], 0, axis=1)
        decided = (most > 0) & (most >= np.maximum(reach.max(axis=1), left))
        return np.asarray(decided, dtype=float)


@dataclass(frozen=True)
class MarginalValue(Options):
    """Stop when no number of further samples is worth their price.

    What is known is worth the probability that the leader is more frequent than the second (as of
    ``BetaStop``). What m more samples would add to it on average is known beforehand, for how they
    fall is beta-binomial, given what was seen. One sample alone can seldom change the leader, so
    the m counts that gives the most by the sample (Frazier & Powell 2010, Paradoxes in Learning and
    the Marginal Value of Information: KG(*)).

    Args:
        price: of a sample, in probability of being right.
        ahead: most further samples that are looked at.
    """

    price: Positive = 0.005
    ahead: Count = 32

    @property
    def threshold(self) -> float:
        """Minus the price: what is gained must not be less."""
        return -self.price

    def evidence(self, codes: Codes, left: int) -> Levels:
        """Return minus the gain in probability by the sample, at best."""
        leader, second = _leading(codes)
        most = min(self.ahead, left)
        pairs = zip(leader.tolist(), second.tolist(), strict=True)
        return np.array([-_gain(a, b, most) for a, b in pairs])


@dataclass(frozen=True)
class AdaptiveConsistency(Options):
    """Self-consistency that stops when its answers say so (Aggarwal et al. 2023, arXiv:2305.11860).

    Samples are drawn in waves, so that the model's batch stays full; the rule is asked after each.
    The samples are those of ``SelfConsistency`` with the same options.

    Args:
        rule: when to stop.
        n: most chains.
        wave: chains that are drawn at a time.
        instruction: as of ``ChainOfThought``.
        sampling: of a chain.
    """

    rule: StoppingRule = BetaStop()
    n: Count = 16
    wave: Count = 4
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        check(self)
        has = isinstance(getattr(self.rule, "threshold", None), int | float)
        require(has, "rule", self.rule, "a StoppingRule, with a number as its threshold")

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        asked = pose(run, prompt, self.instruction)
        chains: list[Node] = []
        keys: list[str | None] = []
        while len(chains) < self.n:
            drawn = run.extend(asked, self.sampling, min(self.wave, self.n - len(chains)))
            chains += drawn
            said = [run.extract(chain.turn_text) for chain in drawn]
            keys += [None if answer is None else run.key(answer) for answer in said]
            winner = vote(keys, None, str)
            if winner is not None:
                run.tree.log("vote", chains[winner], votes=list(keys))
            run.checkpoint(chains[-1 if winner is None else winner])
            if stops(self.rule, encode([keys]), self.n - len(chains), [self.rule.threshold]).any():
                break
        return None if winner is None else chains[winner]


@dataclass(frozen=True)
class FirstVerified(Options):
    """Sample until a verifier accepts: best-of-n that stops at the first good one.

    Args:
        verifier: scores a chain.
        stop_score: the score at which a chain is accepted. If none comes to it, the best is
            returned, as by ``BestOfN``; one without an answer is not accepted. Where the verifier
            says beforehand that it can score nothing (``Verifier``), one wave is drawn.
        n: most chains.
        wave: chains that are drawn at a time.
        instruction: as of ``ChainOfThought``.
        sampling: of a chain.
    """

    verifier: Verifier
    stop_score: float = 1.0
    n: Count = 8
    wave: Count = 1
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        asked = pose(run, prompt, self.instruction)
        best, count = None, 0
        most = min(self.wave, self.n) if run.blind(self.verifier, prompt) else self.n
        while count < most:
            drawn = run.extend(asked, self.sampling, min(self.wave, most - count))
            run.score(drawn, self.verifier)
            count += len(drawn)
            best = max([*([best] if best else []), *drawn], key=lambda node: _rank(run, node))
            run.checkpoint(best)
            if _rank(run, best) >= (True, self.stop_score):
                break
        assert best is not None  # or nothing could be bought
        return best


def stops(rule: StoppingRule, codes: Codes, left: int, thresholds: ArrayLike) -> Stops:
    """Ask a rule whether to stop at each threshold in each order, (thresholds, m).

    Args:
        rule, codes, left: as of ``StoppingRule.evidence``.
        thresholds: of the rule.

    Raises:
        OptionError: the rule gives no number for each order.
    """
    evidence = np.asarray(rule.evidence(codes, left))
    numbers = evidence.shape == codes.shape[:1] and evidence.dtype.kind in "biuf"
    require(numbers, "rule", rule, f"one that gives {len(codes)} numbers here, not {evidence!r}")
    return np.asarray(evidence >= np.asarray(thresholds, dtype=float)[:, None])


# -- the arithmetic --------------------------------------------------------------------------------


def encode(orders: Sequence[Sequence[Hashable | None]]) -> Codes:
    """Number the answers of each order as they are first seen; None, for no answer, is −1.

    Args:
        orders: (m, k) answers, equal ones alike.
    """
    rows = []
    for order in orders:
        numbers: dict[Hashable, int] = {}
        rows.append([-1 if a is None else numbers.setdefault(a, len(numbers)) for a in order])
    return np.array(rows, dtype=np.int64).reshape(len(rows), -1)


def _counts(codes: Codes) -> Codes:
    """How often each answer was given, (m, at least 2)."""
    answers = max(int(codes.max(initial=-1)) + 1, 2)
    rows = np.arange(len(codes))[:, None] * (answers + 1)
    flat = np.bincount((codes + 1 + rows).ravel(), minlength=len(codes) * (answers + 1))
    return flat.reshape(len(codes), answers + 1)[:, 1:]


def _leading(codes: Codes) -> tuple[Codes, Codes]:
    """The counts of the most frequent answer and of the second, (m,) each."""
    two = np.partition(_counts(codes), -2, axis=1)[:, -2:]
    return two[:, 1], two[:, 0]


def _beats(leader: Codes, second: Codes) -> Levels:
    """P(p > 1/2) where p is Beta(leader + 1, second + 1)."""
    from scipy.special import betainc

    return np.asarray(betainc(second + 1, leader + 1, 0.5), dtype=float)


def _most_frequent(counts: Codes) -> Levels:
    """P(the first is the largest) of Dirichlets with these counts + 1, (m, answers) in descent.

    A Dirichlet is gammas divided by their sum. So it is the mean, over the distribution of the
    first, of the probability that all others are smaller. Nothing beside the first counts as one
    answer that was not seen yet.
    """
    counts = counts.copy()
    counts[:, 1] = np.where(counts[:, 1] == 0, _UNSEEN, counts[:, 1])
    most = int(counts.max(initial=0))
    known = range(2 ** most.bit_length()) if most < _TABLED else np.unique(np.maximum(counts, 0))
    smaller, weights = _smaller(tuple(map(int, known)))
    others = np.where(counts[:, 1:] == 0, len(known), np.searchsorted(known, counts[:, 1:]))
    leader = np.searchsorted(known, counts[:, :1])
    return np.asarray(np.exp(smaller[leader, others].sum(axis=1)) @ weights, dtype=float)


_UNSEEN = -1
_TABLED = 128  # samples, below which one table serves all counts


@lru_cache(maxsize=16)
def _smaller(counts: tuple[int, ...]) -> tuple[Levels, Levels]:
    """Log-probabilities that a gamma of each count + 1 is smaller than another one at its
    quantiles, (counts of the other, counts, quantiles), and the weights of these. The last stands
    for nobody, who is always smaller.
    """
    from scipy.special import gammainc, gammaincinv

    nodes, weights = np.polynomial.legendre.leggauss(96)
    shapes = np.array(counts) + 1.0
    at = gammaincinv(shapes[:, None], (nodes + 1) / 2)
    chance = gammainc(shapes[None, :, None], at[:, None, :])
    below = np.log(np.maximum(chance, np.finfo(float).tiny))
    nobody = np.zeros((len(shapes), 1, len(nodes)))
    return np.concatenate([below, nobody], axis=1), weights / 2


@lru_cache(maxsize=100_000)
def _gain(leader: int, second: int, most: int) -> float:
    """How much surer of the leader up to so many further samples make at best, by the sample."""
    from scipy.special import betaln, gammaln

    if most == 0:
        return 0.0
    m = np.arange(1, most + 1)[:, None]
    j = np.minimum(np.arange(most + 1)[None, :], m)
    ways = gammaln(m + 1) - gammaln(j + 1) - gammaln(m - j + 1)
    chance = np.exp(
        ways + betaln(leader + 1 + j, second + 1 + m - j) - betaln(leader + 1, second + 1)
    )
    chance[np.arange(most + 1)[None, :] > m] = 0
    a, b = leader + j, second + m - j
    later = (chance * _beats(np.maximum(a, b), np.minimum(a, b))).sum(axis=1)
    now = _beats(np.array([leader]), np.array([second]))
    return max(float(((later - now) / m[:, 0]).max()), 0.0)


def _rank(run: Run, node: Node) -> tuple[bool, float]:
    return run.extract(node.turn_text) is not None, merit(node)
