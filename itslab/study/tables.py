"""What a study reports: accuracy with intervals, and where the rest was lost."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.answers import Weigh
from itslab.core import Result, require
from itslab.study.samples import Samples
from itslab.study.selection import best_at_k, majority_at_k, pass_at_k, weighted_at_k
from itslab.study.statistics import mean, share

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


def select(samples: Samples, scores: Mapping[str, Array], ks: Sequence[int]) -> dict[str, Array]:
    """Return the chance that each selector ends on a right answer, (p, number of ks) by its name.

    Beside ``majority`` and ``coverage`` there are two for each verifier: ``best by …`` takes the
    sample with the highest score, ``vote by …`` adds up the scores of equal answers. Scores weigh
    as they are if none of them is negative, else by rank.

    Args:
        samples: of p problems.
        scores: name of a verifier -> (p, n) its scores; see ``Samples.scores``.
        ks: numbers of samples.
    """
    keys, correct = samples.keys, samples.correct
    chances = {"majority": majority_at_k(keys, correct, ks)}
    for name, score in scores.items():
        weigh: Weigh = "rank" if np.nanmin(score, initial=0) < 0 else "score"
        chances[f"best by {name}"] = best_at_k(score, correct, ks)
        chances[f"vote by {name}"] = weighted_at_k(keys, score, correct, ks, weigh)
    return chances | {"coverage": pass_at_k(correct, ks)}


def knockout(samples: Samples, results: Sequence[Result]) -> Array:
    """Return the chance that a knock-out of 1, 2, 4, … n samples ends on a right answer.

    A knock-out of n holds two of n ÷ 2, four of n ÷ 4 and so on, among other samples each: who is
    left after a round are the winners of them all.

    Args:
        samples: n of each of p problems, where n is a power of 2.
        results: of the ``Knockout`` of these samples, in the order of the problems.

    Returns:
        (p, log2 n + 1).
    """
    n = samples.correct.shape[1]
    require(n & (n - 1) == 0, "samples", n, "a power of 2, so that no one waits for a round")
    rows = []
    for nodes, right, result in zip(samples.nodes, samples.correct, results, strict=True):
        left = {node.id: mark for node, mark in zip(nodes, right, strict=True)}
        rows.append([right.mean()])
        for event in result.tree.events:
            if event.kind == "pruned":
                del left[event.node]
            elif event.kind == "iteration":
                rows[-1].append(np.mean(list(left.values())))
    return np.array(rows)


def accuracy(
    chances: Mapping[str, ArrayLike],
    ks: Sequence[int],
    tokens: Mapping[str, float] | float,
    clusters: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Return one row per method and number of samples: accuracy with its interval over problems.

    Args:
        chances: name of a method -> (p, number of ks) as ``select`` returns them, or (p,) for a
            method that draws one sample.
        ks: numbers of samples.
        tokens: decoded per sample, on average; where methods differ, by the name of the method.
        clusters: (p,) which problems belong together, such as ``task.clusters``.

    Returns:
        Columns ``method``, ``samples``, ``tokens`` (per problem), ``accuracy``, ``low``, ``high``.
    """
    import pandas as pd

    rows = []
    for method, chance in chances.items():
        each = tokens[method] if isinstance(tokens, Mapping) else tokens
        columns = np.atleast_2d(np.asarray(chance, dtype=float).T)
        for k, column in zip(ks, columns, strict=False):  # one sample has one column
            estimate = mean(column, clusters=clusters)
            rows.append((method, k, k * each, estimate.value, estimate.low, estimate.high))
    names = ["method", "samples", "tokens", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def losses(samples: Samples, chance: ArrayLike, ks: Sequence[int]) -> pd.DataFrame:
    """Split the problems into those solved and those lost, by what they were lost to.

    - ``coverage``: no sample holds the right answer, however it is read;
    - ``extraction``: one does, but it was read wrongly, and no other sample was read rightly;
    - ``selection``: a right answer was read, and another one chosen.

    Args:
        samples: of p problems.
        chance: (p, number of ks) that a selector ends on a right answer.
        ks: numbers of samples.

    Returns:
        Columns ``samples``, ``solved``, ``selection``, ``extraction``, ``coverage``: shares of all
        problems, which add up to 1.
    """
    import pandas as pd

    solved = np.asarray(chance, dtype=float).mean(axis=0)
    read = pass_at_k(samples.correct, ks).mean(axis=0)
    there = pass_at_k(samples.readable, ks).mean(axis=0)
    return pd.DataFrame(
        {
            "samples": ks,
            "solved": solved,
            "selection": read - solved,
            "extraction": there - read,
            "coverage": 1 - there,
        }
    )


def reliability(
    scores: ArrayLike,
    correct: ArrayLike,
    bins: int = 10,
    clusters: Sequence[Hashable] | None = None,
) -> pd.DataFrame:
    """Return how often samples are right that a verifier gives the same chance: its calibration.

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
            observed = share((inside & right).sum(axis=1), inside.sum(axis=1), clusters=clusters)
            told = (float(score[inside].mean()), observed.value, observed.low, observed.high)
            rows.append((*told, int(inside.sum())))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "count"])


def calibration_error(scores: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Return the mean distance between what is predicted and what is observed, over samples: ECE.

    Naeini, Cooper & Hauskrecht 2015 (AAAI), with bins of equally many samples; arguments as of
    ``reliability``; nan if there is no score.
    """
    table = reliability(scores, correct, bins)
    distance = (table["predicted"] - table["observed"]).abs()
    count = table["count"].sum()
    return float((distance * table["count"]).sum() / count) if count else math.nan
