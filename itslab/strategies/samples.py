"""Many chains, one answer: by majority, or by a verifier."""

from __future__ import annotations

import math
from dataclasses import dataclass

from itslab.answers import vote
from itslab.core import Node, Prompt, Sampling, Verifier, require
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose


@dataclass(frozen=True)
class SelfConsistency:
    """Sample ``n`` chains and return the answer that most of them reach.

    Answers are compared in canonical form; chains without one abstain; of equally frequent answers
    the one seen first wins. Wang et al. 2022 (arXiv:2203.11171, §2).
    """

    n: int = 8
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        require(self.n >= 1, "n", self.n, "a whole number ≥ 1")

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        chains = run.extend(pose(run, prompt, self.instruction), self.sampling, self.n)
        winner = vote([run.extract(chain.turn_text) for chain in chains])
        return None if winner is None else chains[winner]


@dataclass(frozen=True)
class BestOfN:
    """Sample ``n`` chains and return the one a verifier scores highest.

    Chains that cannot be scored (``nan``) or hold no answer are passed over while any other is
    left; of equal scores the first wins. Cobbe et al. 2021 (arXiv:2110.14168, §4).
    """

    verifier: Verifier
    n: int = 8
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        require(self.n >= 1, "n", self.n, "a whole number ≥ 1")

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        chains = run.extend(pose(run, prompt, self.instruction), self.sampling, self.n)
        scores = run.score(chains, self.verifier)

        def merit(i: int) -> tuple[bool, float]:
            answered = run.extract(chains[i].turn_text) is not None
            return answered, -math.inf if math.isnan(scores[i]) else scores[i]

        return chains[max(range(len(chains)), key=merit)]
