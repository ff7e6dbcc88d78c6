"""How long a model's samples become, told from the question alone, and how well that is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from itslab.core import require
from itslab.options import Bounds, NotNegative, Options, checked
from itslab.study.samples import Samples
from itslab.verifiers.combined import Question

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Quantile = Annotated[float, Bounds(0, 1, open="both")]

FEATURES = (Question("words"), Question("numbers"))
"""What is counted in a question. Characters say nothing that words and numbers do not."""
RIDGE = 1.0
FOLDS = 5
CHARACTERS = 4.0
"""Of a token of a prompt, where nothing was fitted."""


@dataclass(frozen=True)
class Lengths(Options):
    """How long a model's samples become, told from the question alone.

    The logarithm of a sample's tokens is linear in the logarithms of what is counted in the
    question; a question unlike any of those fitted counts as the nearest of them.

    Args:
        slopes: of the logarithm of a count and one, for each of ``FEATURES``.
        intercept: the logarithm of the tokens of a sample, at a count of 0.
        low, high: the least and the greatest logarithm of each, among those fitted.
        spread: by what factor the mean of 1, 2, … samples exceeds what is told, at the quantile.
        prompt: tokens of a prompt: so many, and so many for each character of the question.
    """

    slopes: tuple[float, ...]
    intercept: float
    low: tuple[float, ...]
    high: tuple[float, ...]
    spread: tuple[float, ...]
    prompt: tuple[float, NotNegative] = (0.0, 1 / CHARACTERS)

    def tokens(self, question: str) -> float:
        """Return how long a sample is in the mean."""
        at = np.clip(_features(question), self.low, self.high)
        return math.exp(self.intercept + float(at @ self.slopes))

    def within(self, samples: float) -> float:
        """Return by what factor the mean of so many samples stays below, at the quantile."""
        return self.spread[int(min(max(samples, 1), len(self.spread))) - 1]

    @classmethod
    @checked
    def fit(cls, samples: Samples, quantile: Quantile = 0.8) -> Lengths:
        """Fit them to recorded samples, by least squares with a ridge.

        Args:
            samples: of p problems in five clusters (templates) at least. Samples that were cut at
                ``max_tokens`` count as long as they are.
            quantile: of ``spread``, which is taken from questions held out.

        Raises:
            OptionError: there are too few clusters.
        """
        x, tokens, groups = _rows(samples)
        told = np.empty(len(x))
        for train, test in _folds(groups):
            told[test] = _told(_regression(x[train], tokens[train]), x[test])
        intercept, *slopes = _regression(x, tokens).tolist()
        return cls(
            tuple(slopes),
            intercept,
            tuple(x.min(axis=0).tolist()),
            tuple(x.max(axis=0).tolist()),
            tuple(_spread(tokens / told[:, None], quantile)),
            _prompt(samples),
        )


def _features(question: str) -> Array:
    return np.array([math.log1p(feature.count(question)) for feature in FEATURES])


def _rows(samples: Samples) -> tuple[Array, Array, Numbers]:
    """Features (p, f), tokens (p, n), and the number of the cluster of each problem (p,)."""
    x = np.array([_features(problem.prompt) for problem in samples.task])
    names = {name: i for i, name in enumerate(dict.fromkeys(samples.task.clusters))}
    require(len(names) >= FOLDS, "clusters", len(names), f"at least {FOLDS}, to hold some out")
    groups = np.array([names[name] for name in samples.task.clusters])
    return x, np.maximum(samples.tokens, 1).astype(float), groups


def _folds(groups: Numbers) -> list[tuple[Numbers, Numbers]]:
    """Problems to fit and problems to test; those of a cluster are together."""
    fold = groups % FOLDS
    return [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(FOLDS)]


def _regression(x: Array, tokens: Array) -> Array:
    """Intercept and slopes (1 + f,) of the logarithm of the mean tokens of a question."""
    mean = tokens.mean(axis=1)
    centre, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-9)
    z, y = (x - centre) / scale, np.log(mean)
    inner = z.T @ z + RIDGE * np.eye(x.shape[1])
    slopes = np.linalg.solve(inner, z.T @ (y - y.mean())) / scale
    fitted = np.array([y.mean() - slopes @ centre, *slopes])
    # The mean of logarithms is not that of tokens (Duan 1983, JASA 78(383)): sums are to agree.
    fitted[0] += math.log(mean.sum() / _told(fitted, x).sum())
    return fitted


def _told(fitted: Array, x: Array) -> Array:
    told: Array = np.exp(fitted[0] + x @ fitted[1:])
    return told


def _spread(ratios: Array, quantile: float) -> list[float]:
    """The quantile of the mean of 1, 2, … n samples, as a factor of what was told."""
    turned = np.stack([np.roll(ratios, i, axis=1) for i in range(ratios.shape[1])])
    means = turned.cumsum(axis=2) / np.arange(1, ratios.shape[1] + 1)
    return np.quantile(means, quantile, axis=(0, 1)).tolist()  # type: ignore[no-any-return]


def _prompt(samples: Samples) -> tuple[float, float]:
    """Tokens of a prompt, as a constant and by the character of the question."""
    first = [row[0].turn()[0].completion for row in samples.nodes]
    known = [
        (len(problem.prompt), one.cost.prefilled + one.cost.reused)
        for problem, one in zip(samples.task, first, strict=True)
        if one is not None
    ]
    characters, tokens = np.array(known, dtype=float).reshape(-1, 2).T
    if len(set(characters.tolist())) < 2 or not tokens.any():  # a server may not tell
        return 0.0, 1 / CHARACTERS
    slope, constant = np.polyfit(characters, tokens, 1)
    return (float(constant), float(slope)) if slope > 0 else (float(tokens.mean()), 0.0)


class Quality(NamedTuple):
    """How well lengths are told, of questions that they were not fitted to.

    Args:
        problems: how many.
        r2: the share of the variance that is told, of the logarithm of a question's mean tokens.
        r2_sample: of the logarithm of a single sample's tokens. Most of its variance is chance,
            which no question tells.
        error: mean absolute error of a question's mean tokens, as a share of the mean of all.
        plain: that of telling the same of all questions.
        coverage: the share of single samples that stay below the quantile.
    """

    problems: int
    r2: float
    r2_sample: float
    error: float
    plain: float
    coverage: float


@checked
def quality(samples: Samples, quantile: Quantile = 0.8) -> Quality:
    """Cross-validate: fit ``Lengths`` to four fifths of the problems and ask about the rest.

    Clusters stay together, and the quantile is fitted within the four fifths as well.

    Args:
        samples, quantile: as of ``Lengths.fit``.
    """
    x, tokens, groups = _rows(samples)
    told, plain, below = np.empty(len(x)), np.empty(len(x)), np.empty(tokens.shape, dtype=bool)
    for train, test in _folds(groups):
        told[test] = _told(_regression(x[train], tokens[train]), x[test])
        plain[test] = tokens[train].mean()
        inner, within = np.empty(len(train)), np.unique(groups[train], return_inverse=True)[1]
        for fit, rest in _folds(within):
            inner[rest] = _told(_regression(x[train[fit]], tokens[train[fit]]), x[train[rest]])
        factor = np.quantile(tokens[train] / inner[:, None], quantile)
        below[test] = tokens[test] <= told[test, None] * factor
    mean = tokens.mean(axis=1)
    return Quality(
        len(x),
        _explained(np.log(mean), np.log(told)),
        _explained(np.log(tokens), np.log(told)[:, None]),
        float(np.abs(mean - told).mean() / mean.mean()),
        float(np.abs(mean - plain).mean() / mean.mean()),
        float(below.mean()),
    )


def _explained(y: Array, told: Array) -> float:
    return float(1 - np.square(y - told).sum() / np.square(y - y.mean()).sum())
