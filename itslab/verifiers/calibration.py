"""Scores made into probabilities: of samples judged 0.7, seven in ten should be right.

Platt 1999, Probabilistic Outputs for Support Vector Machines: a logistic curve is fitted to the
scores of samples whose gold answers are known. A rising curve leaves the order of samples, and so
best-of-n, as it is; thresholds, and votes that add probabilities up, change. Where higher scores
are worse, the curve falls and turns the order round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import Node, Prompt, Verdict, Verifier, require

_LEAST = 1e-6  # a probability of 0 or 1 has no logit


@dataclass(frozen=True)
class Calibrated:
    """Score a node by the probability that it is right, given what another verifier says of it.

    Args:
        verifier: whose scores are probabilities, if bad ones, such as ``Judge``.
        slope: of the curve, over the logit of the score; 1 leaves scores as they are.
        intercept: of the curve; 0 leaves scores as they are.
    """

    verifier: Verifier
    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Read the verifier's verdicts off the curve."""
        return [
            replace(verdict, score=self._probability(verdict.score))
            for verdict in self.verifier(prompt, nodes)
        ]

    def _probability(self, score: float) -> float:
        if math.isnan(score):
            return score
        logit = self.slope * float(logits([score])[0, 0]) + self.intercept
        return 1 / (1 + math.exp(-min(max(logit, -500.0), 500.0)))

    @classmethod
    def fit(cls, verifier: Verifier, scores: ArrayLike, correct: ArrayLike) -> Calibrated:
        """Fit the curve to samples whose gold answers are known, such as a recorded bank.

        To measure how well it does, fit and measure on different problems: to ``probe.held_out``,
        the logits of scores are states of width 1.

        Args:
            verifier: gave the scores.
            scores: (n,) in [0, 1]; nan is left out.
            correct: (n,) whether each sample is right.

        Raises:
            OptionError: a score is no probability, or all samples are right or all wrong.
        """
        from sklearn.linear_model import LogisticRegression

        x, y = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
        require(x.shape == y.shape and x.ndim == 1, "scores", x.shape, f"of shape {y.shape}")
        x, y = x[~np.isnan(x)], y[~np.isnan(x)]
        right = f"{y.sum()} of {len(y)}"
        require(0 < y.sum() < len(y), "correct", right, "right and wrong samples")
        model = LogisticRegression(C=np.inf).fit(logits(x), y)
        # Further digits are the solver's tolerance, and would be others on another machine.
        fitted = model.coef_[0, 0], model.intercept_[0]
        return cls(verifier, *(float(f"{number:.3g}") for number in fitted))


def logits(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the logits of probabilities, with a last axis of length 1.

    Args:
        scores: of any shape, in [0, 1]; 0 and 1 count as one in a million.
    """
    p = np.asarray(scores, dtype=float)
    valid = bool(((p >= 0) & (p <= 1) | np.isnan(p)).all())
    require(valid, "scores", (np.nanmin(p), np.nanmax(p)), "probabilities, in [0, 1]")
    p = np.clip(p, _LEAST, 1 - _LEAST)
    logit: NDArray[np.float64] = np.log(p / (1 - p))
    return logit[..., None]
