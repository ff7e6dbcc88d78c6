"""Many chains, one answer: by a vote, by a verifier, or by comparing them in pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from itslab.answers import Weigh, as_weights, vote
from itslab.core import Node, Prompt, Sampling, Verifier
from itslab.options import Count, Options
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose
from itslab.strategies.steps import merit


@dataclass(frozen=True)
class SelfConsistency(Options):
    """Sample ``n`` chains and return the answer that most of them reach.

    Answers are compared in canonical form; chains without one abstain; of answers with equally many
    votes the one seen first wins. Wang et al. 2022 (arXiv:2203.11171, §2).

    Args:
        n: chains.
        verifier: its scores weigh the votes, so that those of equal answers add up: weighted
            majority, also known as weighted best-of-n (Li et al. 2022, DiVeRSe, arXiv:2206.02336,
            §2.2). With None every chain has one vote.
        weigh: how a score becomes a weight; see ``answers.as_weights``.
        instruction: as of ``ChainOfThought``.
        sampling: of a chain.
    """

    n: Count = 8
    verifier: Verifier | None = None
    weigh: Weigh = "score"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        chains = run.extend(pose(run, prompt, self.instruction), self.sampling, self.n)
        said = [run.extract(chain.turn_text) for chain in chains]
        weights = None
        if self.verifier is not None:
            scores = run.score(chains, self.verifier)
            heard = [math.nan if a is None else s for a, s in zip(said, scores, strict=True)]
            weights = as_weights(heard, self.weigh)
        winner = vote(said, weights, run.key)
        if winner is None:
            return None
        keys = [None if answer is None else run.key(answer) for answer in said]
        run.tree.log("vote", chains[winner], votes=keys)
        return chains[winner]


@dataclass(frozen=True)
class BestOfN(Options):
    """Sample ``n`` chains and return the one a verifier scores highest.

    Chains that cannot be scored (``nan``) or hold no answer are passed over while any other is
    left; of equal scores the first wins. Cobbe et al. 2021 (arXiv:2110.14168, §4.2).

    Args:
        verifier: scores a chain.
        n: chains.
        instruction: as of ``ChainOfThought``.
        sampling: of a chain.
    """

    verifier: Verifier
    n: Count = 8
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        chains = run.extend(pose(run, prompt, self.instruction), self.sampling, self.n)
        run.score(chains, self.verifier)

        def rank(chain: Node) -> tuple[bool, float]:
            return run.extract(chain.turn_text) is not None, merit(chain)

        return max(chains, key=rank)


@dataclass(frozen=True)
class Knockout(Options):
    """Sample ``n`` chains and compare them in pairs, round after round, until one is left.

    Neighbours are compared; of an odd number the last waits for the next round; on a draw, or where
    the judge has no opinion, the earlier one stays. The judge is asked only where it matters: of
    two that say the same the earlier stays, and one without an answer gives way. Liu et al.
    2025, PairJudge RM (arXiv:2501.13007, §3.2), who let only different answers meet, and drop both
    of two that are judged wrong.

    Args:
        judge: a verifier that scores nodes in pairs, such as ``PairwiseJudge``.
        n: chains.
        instruction: as of ``ChainOfThought``.
        sampling: of a chain.
    """

    judge: Verifier
    n: Count = 8
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        left = run.extend(pose(run, prompt, self.instruction), self.sampling, self.n)
        while len(left) > 1:
            pairs = list(zip(left[::2], left[1::2], strict=False))
            losers = set(map(id, self._losers(run, pairs)))
            run.prune(node for node in left if id(node) in losers)
            left = [node for node in left if id(node) not in losers]
            run.checkpoint(left[0])
        return left[0]

    def _losers(self, run: Run, pairs: list[tuple[Node, Node]]) -> list[Node]:
        """Which node of each pair gives way."""
        losers, undecided = [], []
        for a, b in pairs:
            ours, theirs = (run.extract(node.turn_text) for node in (a, b))
            if ours is None or theirs is None:
                losers.append(b if theirs is None else a)
            elif run.key(ours) == run.key(theirs):
                losers.append(b)
            else:
                undecided.append((a, b))
        scores = run.score([node for pair in undecided for node in pair], self.judge)
        met = zip(undecided, scores[::2], scores[1::2], strict=True)
        return losers + [a if theirs > ours else b for (a, b), ours, theirs in met]
