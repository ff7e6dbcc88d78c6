"""Calibration: whether what verifiers take for likely happens that often."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.study.samples import held_out
from itslab.study.statistics import proportion

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


def reliability(
    scores: ArrayLike,
    correct: ArrayLike,
    bins: int = 10,
    clusters: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Return how often samples are right that a verifier gives the same probability.

    Samples are put into bins of about equally many, from the lowest scores to the highest; where
    many have one score, there are fewer bins (Nguyen & O'Connor 2015, arXiv:1508.05154).

    Args:
        scores: (p, n) probabilities; nan is left out.
        correct: (p, n) whether each sample is right.
        bins: at most so many.
        clusters: (p,) which problems belong together, such as ``task.clusters``.

    Returns:
        Columns ``predicted`` (mean score), ``observed`` with ``low`` and ``high``, ``count``.
    """
    import pandas as pd

    score, right = np.asarray(scores, dtype=float), np.asarray(correct, dtype=bool)
    known = score[~np.isnan(score)]
    borders = np.unique(np.quantile(known, np.arange(1, bins) / bins)) if known.size else known
    place = np.digitize(score, borders)
    rows = []
    for number in range(len(borders) + 1):
        inside = (place == number) & ~np.isnan(score)
        if inside.any():
            counts = inside.sum(axis=1)
            observed = proportion((inside & right).sum(axis=1), counts, clusters=clusters)
            interval = (observed.value, observed.low, observed.high)
            rows.append((float(score[inside].mean()), *interval, int(counts.sum())))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "count"])


def calibration_error(scores: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Return the expected calibration error: the mean distance of predicted and observed rates.

    Naeini, Cooper & Hauskrecht 2015 (AAAI), with bins of equally many samples; arguments as of
    ``reliability``; nan if there is no score.
    """
    table = reliability(scores, correct, bins)
    distance = (table["predicted"] - table["observed"]).abs()
    count = table["count"].sum()
    return float((distance * table["count"]).sum() / count) if count else math.nan


def calibration_errors(
    states: ArrayLike,
    correct: ArrayLike,
    clusters: Sequence[Hashable],
    splits: int,
    bins: int = 10,
    seed: int = 0,
) -> Array:
    """Return the calibration error of probes on held out problems, for each of some splits.

    Args:
        states: (p, n, d) what a probe reads of each sample; see ``samples.held_out``.
        correct: (p, n) whether each sample is right.
        clusters: (p,) which problems are held out together.
        splits: how often the problems are shuffled, so that others fall into each part.
        bins: as of ``reliability``.
        seed: of the shuffles.

    Returns:
        (splits,).
    """
    features, right = np.asarray(states, dtype=float), np.asarray(correct, dtype=bool)
    rng, errors = np.random.default_rng(seed), []
    for _ in range(splits):
        order = rng.permutation(len(right))
        scores = held_out(features[order], right[order], [clusters[i] for i in order])
        errors.append(calibration_error(scores, right[order], bins))
    return np.array(errors)


def readouts(
    scores: Mapping[str, ArrayLike],
    correct: ArrayLike,
    bins: int = 10,
    clusters: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Return the reliability of several verifiers, one below the other, for ``viz.reliability``.

    Args:
        scores: (p, n) probabilities, by the name of a verifier.
        correct, bins, clusters: as of ``reliability``.

    Returns:
        The columns of ``reliability``, and ``method``: the name and its calibration error.
    """
    import pandas as pd

    return pd.concat(
        reliability(score, correct, bins, clusters).assign(
            method=f"{name}: error {calibration_error(score, correct, bins):.3f}"
        )
        for name, score in scores.items()
    )


def held_out_errors(
    reads: Mapping[str, tuple[ArrayLike, int]],
    correct: ArrayLike,
    clusters: Sequence[Hashable],
    bins: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the calibration errors of probes on other problems, and on those of other templates.

    Args:
        reads: what a probe reads of each sample, (p, n, d), and how often the problems are
            shuffled, by the name of the probe; see ``calibration_errors``.
        correct: (p, n) whether each sample is right.
        clusters: (p,) which problems are of one template, such as ``task.clusters``.
        bins, seed: as of ``calibration_errors``.

    Returns:
        A row per probe; columns ``other problems`` and ``other templates``: the mean over the
        shuffles, and from where to where they go, as text.
    """
    import pandas as pd

    kinds = {"other problems": range(len(clusters)), "other templates": clusters}
    columns = {
        kind: {
            name: spread(calibration_errors(states, correct, apart, splits, bins, seed))
            for name, (states, splits) in reads.items()
        }
        for kind, apart in kinds.items()
    }
    return pd.DataFrame(columns)


def spread(errors: ArrayLike) -> str:
    """Return the mean of some errors, and from where to where they go, as text for a table."""
    found = np.asarray(errors, dtype=float)
    return f"{found.mean():.3f} ({found.min():.3f}–{found.max():.3f})"
