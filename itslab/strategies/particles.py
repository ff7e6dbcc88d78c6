"""Particle filtering: chains live on in proportion to how good they look, by chance, not by rank.

Puri et al. 2025 (arXiv:2502.01618, §3). Where a verifier errs, the best few may all be wrong; a
particle that looks bad keeps its chance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from itslab.answers import Weigh, as_weights
from itslab.core import Node, Prompt, Sampling, Verifier, require
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose
from itslab.strategies.resampling import (
    Weights,
    effective_size,
    multinomial,
    systematic,
    tempered,
)
from itslab.strategies.steps import PARAGRAPH, Final, check, check_final, chosen

_SCHEMES = {"systematic": systematic, "multinomial": multinomial}


@dataclass(frozen=True)
class ParticleFilter:
    """Extend ``n`` chains by a step, weigh them by a verifier, and draw the next ``n`` among them.

    A chain's weight is what the verifier says of all of it so far, to the power of 1 ÷ temperature.
    The chains are resampled where few of them carry most of the weight; one that is drawn twice
    goes on in two ways. Finished chains stay and are drawn like all others.

    Args:
        verifier: scores a chain by what it says so far.
        n: particles.
        depth: steps at most.
        weigh: how a score becomes a weight; see ``answers.as_weights``.
        temperature: of the weights. High ones make all particles alike; 0 keeps the best alone.
        cooling: the temperature is multiplied by this after each step.
        threshold: particles are resampled if their effective number is at most this share of n; 1
            is always, 0 never.
        resampling: ``systematic`` draws all with one random number, ``multinomial`` each by itself.
        final, instruction, sampling: as of ``BeamSearch``.
    """

    verifier: Verifier
    n: int = 8
    depth: int = 16
    weigh: Weigh = "score"
    temperature: float = 1.0
    cooling: float = 1.0
    threshold: float = 1.0
    resampling: Literal["systematic", "multinomial"] = "systematic"
    final: Final = "score"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = PARAGRAPH

    def __post_init__(self) -> None:
        check(self, "n", "depth")
        check_final(self.final)
        as_weights([], self.weigh)
        require(self.temperature >= 0, "temperature", self.temperature, "a number ≥ 0")
        require(self.cooling > 0, "cooling", self.cooling, "a number > 0")
        require(0 <= self.threshold <= 1, "threshold", self.threshold, "in [0, 1]")
        valid = " or ".join(map(repr, _SCHEMES))
        require(self.resampling in _SCHEMES, "resampling", self.resampling, valid)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        particles = [pose(run, prompt, self.instruction)] * self.n
        temperature = self.temperature
        for _ in range(self.depth):
            growing = [i for i, particle in enumerate(particles) if not particle.ended]
            if not growing:
                break
            steps = run.extend([particles[i] for i in growing], self.sampling)
            run.score(steps, self.verifier)
            for i, step in zip(growing, steps, strict=False):
                particles[i] = step
            weights = self._weights(run, particles, temperature)
            if effective_size(weights) <= self.threshold * self.n:
                drawn = [particles[i] for i in _SCHEMES[self.resampling](weights, run.rng)]
                run.prune({p: None for p in particles if p not in drawn})
                particles = drawn
            temperature *= self.cooling
            run.checkpoint(chosen(run, particles, self.final))
        return chosen(run, particles, self.final)

    def _weights(self, run: Run, particles: list[Node], temperature: float) -> Weights:
        scores = [p.verdict.score if p.verdict else float("nan") for p in particles]
        weights = tempered(as_weights(scores, self.weigh), temperature)
        for particle, weight in zip(particles, weights.tolist(), strict=True):
            run.tree.log("value", particle, weight=weight)
        return weights
