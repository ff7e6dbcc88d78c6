"""DeepConf online: chains that lose the model's confidence are given up while they are drawn.

Fu et al. 2025, Deep Think with Confidence (arXiv:2508.15260): whole chains of a warm-up set the
level, all further ones are cut when a group of tokens falls below it, and votes weigh as much as
their chain was confident. Their groups are of 2,048 tokens, their chains of tens of thousands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from itslab.answers import as_weights, tally, vote
from itslab.core import Cutoff, Node, Prompt, Sampling, require
from itslab.options import Bounds, Count, Options, check
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose


@dataclass(frozen=True)
class DeepConf(Options):
    """Draw a warm-up, then chains that are cut where they are less confident than most of it.

    The level is the confidence that a part ``keep`` of the warm-up never falls below: with 0.9
    (DeepConf-high) few chains are cut, with 0.1 (DeepConf-low) most. Chains that stay above it
    vote, each with the weight of its mean confidence; the warm-up's that do not are left out. No
    further chain is begun once two or more vote and the leading answer has ``consensus`` of the
    weight. Of a server that
    tells no probabilities no chain is cut, and all weigh the same.

    Args:
        n: most chains, those of the warm-up among them.
        warmup: chains that are drawn whole, to set the level; with as many as ``n`` none is cut.
        keep: the part of the warm-up that stays above the level.
        window: tokens of a group; a chain without a whole group is never cut.
        consensus: the share of the weight at which the leading answer ends it; 1 only if all agree.
        wave: chains that are drawn at a time after the warm-up.
        instruction: as of ``ChainOfThought``.
        sampling: of a chain; signals are measured in any case.
    """

    n: Count = 16
    warmup: Count = 4
    keep: Annotated[float, Bounds(0, 1, open="low")] = 0.9
    window: Count = 64
    consensus: Annotated[float, Bounds(0.5, 1, open="low")] = 0.95
    wave: Count = 4
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling(signals=True)

    def __post_init__(self) -> None:
        check(self)
        require(self.warmup <= self.n, "warmup", self.warmup, f"at most n={self.n}")

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        asked = pose(run, prompt, self.instruction)
        sampling = replace(self.sampling, signals=True)
        drawn = run.extend(asked, sampling, self.warmup)
        cutoff = Cutoff(self._level(drawn), self.window)
        chains = self._confident(run, drawn, cutoff)
        leader, share = self._poll(run, chains)
        while len(drawn) < self.n and share < self.consensus:
            wave = min(self.wave, self.n - len(drawn))
            more = run.extend(asked, sampling, wave, cutoff)
            drawn += more
            chains += self._confident(run, more, cutoff)
            leader, share = self._poll(run, chains)
        return leader

    def _level(self, warmup: Sequence[Node]) -> float:
        """The confidence that a part of the warm-up never falls below; 0 where none has a group."""
        lowest = [Cutoff(0, self.window).lowest(_confidences(chain)) for chain in warmup]
        known = [level for level in lowest if math.isfinite(level)]
        return float(np.quantile(known, 1 - self.keep)) if known else 0.0

    def _confident(self, run: Run, chains: Sequence[Node], cutoff: Cutoff) -> list[Node]:
        """Those that stay above the level; the others are pruned."""
        unsure = [c for c in chains if cutoff.place(_confidences(c)) is not None]
        run.prune(unsure)
        return [chain for chain in chains if chain not in unsure]

    def _poll(self, run: Run, chains: Sequence[Node]) -> tuple[Node | None, float]:
        """The leading chain, and its answer's share of all weight."""
        said = [run.extract(chain.turn_text) for chain in chains]
        said_so = [_confidences(chain) for chain in chains]
        weights = as_weights([float(np.mean(row)) if row else math.nan for row in said_so])
        winner = vote(said, weights, run.key)
        if winner is None:
            return None, 0.0
        keys = [None if answer is None else run.key(answer) for answer in said]
        run.tree.log("vote", chains[winner], votes=keys)
        run.checkpoint(chains[winner])
        votes = tally(said, weights, run.key)
        if sum(key is not None for key in keys) < 2:
            return chains[winner], 0.0  # one does not agree with itself
        return chains[winner], max(votes.values()) / (sum(votes.values()) or 1.0)


def _confidences(chain: Node) -> tuple[float, ...]:
    """Of each token, as far as it is a number."""
    told = chain.completion.signals.confidences if chain.completion else ()
    return tuple(max(c, 0.0) for c in told if math.isfinite(c))
