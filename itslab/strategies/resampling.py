"""How particles are drawn in proportion to their weights.

Douc, Cappé & Moulines 2005, Comparison of resampling schemes for particle filtering
(arXiv:cs/0507025, §2). Weights are arrays (n,) that sum to 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from itslab.core import require

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
    """Return n ancestors, each drawn by itself, in ascending order."""
    return _ancestors(weights, np.sort(rng.random(len(weights))))


def _ancestors(weights: Weights, points: NDArray[np.float64]) -> list[int]:
    cumulated = np.cumsum(weights)
    cumulated[cumulated == cumulated[-1]] = math.inf  # rounding may leave it below the last point
    return [int(i) for i in np.searchsorted(cumulated, points, side="right")]
