"""Particle filtering: chains survive at random, in proportion to how good they look.

Puri et al. 2025 (arXiv:2502.01618v5, §3.1), who draw by the softmax of the weights; here that is
``weigh="exp"``. Where a verifier errs, the best few may all be wrong; a particle that looks bad
may still survive. Resampling: Douc, Cappé & Moulines 2005, Comparison of resampling schemes for
particle filtering (arXiv:cs/0507025, §2). Weights are arrays (n,) that sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from itslab.answers import Weigh, as_weights
from itslab.core import Node, Sampling, Verifier, require
from itslab.options import Count, NotNegative, Positive, UnitInterval
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP
from itslab.strategies.steps import PARAGRAPH, Candidates, Selection, StepSearch

Weights = NDArray[np.float64]


def tempered(weights: Sequence[float], temperature: float) -> Weights:
    """Return weights to the power of 1 ÷ temperature, normalised to sum to 1.

    Args:
        weights: ≥ 0; nan counts as 0. Where all are 0, all become the same.
        temperature: 0 leaves the highest alone.
    """
    w = np.nan_to_num(np.asarray(weights, dtype=float))
    valid = "≥ 0: let weigh='exp' or 'rank' make weights of other scores"
    require(bool(np.all(w >= 0)), "scores", w.tolist(), valid)
    if not w.any():
        return np.full(len(w), 1 / len(w))
    relative = w / w.max()
    powered = relative == 1 if temperature == 0 else relative ** (1 / temperature)
    return np.asarray(powered / powered.sum())


def reweighted(weights: Weights, scores: Sequence[float], temperature: float) -> Weights:
    """Return weights times the tempered scores, normalised; the latter alone if all would be 0."""
    fresh = tempered(scores, temperature)
    product = weights * fresh
    return product / product.sum() if product.any() else fresh


def effective_size(weights: Weights) -> float:
    """Return 1 ÷ Σw²: how many equally weighted particles would be as good (Kong 1992)."""
    return float(1 / np.square(weights).sum())


def systematic(weights: Weights, rng: np.random.Generator) -> list[int]:
    """Return n ancestors, drawn at the points (u + i) ÷ n of the cumulated weights with one u.

    A particle of weight w comes back n·w times, rounded up or down.
    """
    n = len(weights)
    return _ancestors(weights, (rng.random() + np.arange(n)) / n)


def multinomial(weights: Weights, rng: np.random.Generator) -> list[int]:
    """Return n ancestors, drawn independently, in ascending order."""
    return _ancestors(weights, np.sort(rng.random(len(weights))))


def _ancestors(weights: Weights, points: NDArray[np.float64]) -> list[int]:
    cumulated = np.cumsum(weights)
    cumulated[cumulated == cumulated[-1]] = math.inf  # rounding may leave it below the last point
    return [int(i) for i in np.searchsorted(cumulated, points, side="right")]


_SCHEMES = {"systematic": systematic, "multinomial": multinomial}


@dataclass(frozen=True)
class ParticleFilter(StepSearch):
    """Extend ``n`` chains by a step, weigh them by a verifier, and resample ``n`` of them.

    In each iteration a chain's weight is multiplied by the verifier's score of all of it so far, to
    the power of 1 ÷ temperature. Where few chains carry most of the weight, all are resampled and
    get equal weights; one that is drawn twice goes on in two ways. Finished chains stay, and are
    weighed and resampled like all others.

    Args:
        verifier: scores a chain by what it says so far.
        n: particles.
        depth: most steps in a chain.
        weigh: how a score becomes a weight; see ``answers.as_weights``.
        temperature: of the weights. High ones make all particles alike; 0 keeps the best alone.
        cooling: the factor by which the temperature is multiplied after each step.
        threshold: particles are resampled if the effective sample size is at most this fraction of
            n; 1 resamples always, 0 never.
        resampling: ``systematic`` draws all with one random number, ``multinomial`` each with its
            own.
        selection: as of ``BeamSearch``; in a ``vote`` the particles have their weights.
        instruction, sampling: as of ``BeamSearch``.
    """

    verifier: Verifier
    n: Count = 8
    depth: Count = 16
    weigh: Weigh = "score"
    temperature: NotNegative = 1.0
    cooling: Positive = 1.0
    threshold: UnitInterval = 1.0
    resampling: Literal["systematic", "multinomial"] = "systematic"
    selection: Selection = "score"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = PARAGRAPH

    def iterate(self, run: Run, root: Node) -> Iterator[Candidates]:
        """Extend the unfinished particles by a step, and weigh all."""
        particles, weights = [root] * self.n, np.full(self.n, 1 / self.n)
        temperature = self.temperature
        for _ in range(self.depth):
            growing = [i for i, particle in enumerate(particles) if not particle.ended]
            if not growing:
                break
            steps = run.extend([particles[i] for i in growing], self.sampling)
            run.score(steps, self.verifier)
            for i, step in zip(growing, steps, strict=False):
                particles[i] = step
            weights = self._weigh(run, weights, particles, temperature)
            yield particles, weights.tolist()
            if self.threshold == 1 or effective_size(weights) <= self.threshold * self.n:
                drawn = [particles[i] for i in _SCHEMES[self.resampling](weights, run.rng)]
                run.prune({p: None for p in particles if p not in drawn})
                particles, weights = drawn, np.full(self.n, 1 / self.n)
            temperature *= self.cooling

    def _weigh(
        self, run: Run, weights: Weights, particles: list[Node], temperature: float
    ) -> Weights:
        scores = [p.verdict.score if p.verdict else float("nan") for p in particles]
        weights = reweighted(weights, as_weights(scores, self.weigh), temperature)
        for particle, weight in zip(particles, weights.tolist(), strict=True):
            run.tree.log("value", particle, weight=weight)
        return weights
