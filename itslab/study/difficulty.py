"""How hard a problem is, told from a first look at it, and how far such estimates can be trusted.

Difficulty is how likely one sample of the model is right. Snell et al. 2024 (arXiv:2408.03314) take
it from gold answers, their oracle, or from a verifier's scores of many samples; here it is told
from the first k samples, or from the question alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from itslab.core import OptionError, require
from itslab.options import Count, checked
from itslab.run import judged
from itslab.study.samples import Samples, held_out
from itslab.verifiers.checks import dispersion
from itslab.verifiers.combined import Question
from itslab.verifiers.confidence import Confidence
from itslab.verifiers.probe import Probe

Array = NDArray[np.float64]

Estimator = Callable[[NDArray[np.int64]], Array]
"""Of the numbers of the problems that may be known: how likely each of all is solved, (p,)."""

ORACLE = "oracle (gold answers)"
"""The name of what no estimate may know."""


@checked
def signals(samples: Samples, k: Count = 4) -> dict[str, Array]:
    """Return what a look at k samples tells of each problem, by name: each (p, numbers).

    ``agreement`` is the share of the most frequent answer; ``entropy`` that of the answers and of
    the model's distribution over tokens; ``confidence`` the means of the log-probability of a token
    and of ``lowest_group``; ``probe`` the mean last hidden state; ``question`` counts words and
    numbers, and needs no sample.

    Args:
        samples: n > k of each of p problems, with signals.
        k: how many are looked at.
    """
    n = samples.correct.shape[1]
    require(k < n, "k", k, f"less than the {n} samples there are: the others tell what is true")
    first = [row[:k] for row in samples.keys]
    by_token = {
        name: _mean(samples.scores(Confidence(name))[:, :k])
        for name in ("mean_logprob", "lowest_group", "entropy")
    }
    return {
        "agreement": _column([_largest(row) / k for row in first]),
        "entropy": np.hstack([_column([dispersion(row) for row in first]), by_token["entropy"]]),
        "confidence": np.hstack([by_token["mean_logprob"], by_token["lowest_group"]]),
        "probe": samples.states[:, :k].mean(axis=1),
        "question": np.hstack([_column(_counted(samples, name)) for name in ("words", "numbers")]),
    }


@checked
def estimates(samples: Samples, k: Count = 4) -> dict[str, Array]:
    """Return how likely the other samples of each problem are to be right, by each signal: (p,).

    For each signal a logistic regression is fitted to four fifths of the problems and asked about
    the rest, with clusters (templates) kept together; ``all`` joins all but the probe. Where there
    is too little to fit, estimates are nan. ``oracle (gold answers)`` is the share of the other
    samples that is right: what an estimate is measured against, and no estimate itself.

    Args:
        samples, k: as of ``signals``.
    """
    later = samples.correct[:, k:]
    every = _joined(samples, k)
    rates = {name: _estimated(x, later, samples.task.clusters) for name, x in every.items()}
    return {**rates, ORACLE: later.mean(axis=1)}


@checked
def estimators(samples: Samples, k: Count = 4) -> dict[str, Estimator]:
    """Return what estimates difficulty by each signal, knowing some of the problems only.

    Whoever fits a policy to estimates, and judges it on other problems, must not let the estimates
    of the former know the latter: these are fitted within the problems that are given, those of
    each held out from its own, and asked about all others. See ``policy.cross_fitted``.

    Args:
        samples, k: as of ``signals``.
    """
    later, clusters = samples.correct[:, k:], samples.task.clusters

    def by(x: Array) -> Estimator:
        def estimate(known: NDArray[np.int64]) -> Array:
            rates = np.full(len(x), np.nan)
            names = [clusters[i] for i in known]
            rates[known] = _estimated(x[known], later[known], names)
            others = np.setdiff1d(np.arange(len(x)), known)
            try:
                probe = Probe.fit(_repeated(x[known], later), later[known], names)
            except OptionError:  # too little, as where there are no states
                return rates
            rates[others] = 1 / (1 + np.exp(-(x[others] @ np.array(probe.weights) + probe.bias)))
            return rates

        return estimate

    return {name: by(x) for name, x in _joined(samples, k).items()}


def _joined(samples: Samples, k: int) -> dict[str, Array]:
    """The signals, and ``all`` of them but the probe side by side."""
    told = signals(samples, k)
    return {**told, "all": np.hstack([told[name] for name in told if name != "probe"])}


def _repeated(x: Array, later: NDArray[np.bool_]) -> Array:
    """What is told of a problem, for each of its samples."""
    return np.repeat(x[:, None], later.shape[1], axis=1)


def _estimated(x: Array, later: NDArray[np.bool_], clusters: Sequence[object]) -> Array:
    if x.shape[1] == 0:  # samples without signals have no states
        return np.full(len(x), np.nan)
    rates: Array = held_out(_repeated(x, later), later, clusters).mean(axis=1)
    return rates


def _largest(answers: Sequence[str | None]) -> int:
    counts = Counter(answer for answer in answers if answer is not None)
    return max(counts.values(), default=0)


def _counted(samples: Samples, name: str) -> list[float]:
    """What a question's own text tells."""
    verifier = Question(name)  # type: ignore[arg-type]
    rows = zip(samples.task, samples.nodes, strict=True)
    return [judged(verifier, problem.prompt, row[:1])[0].score for problem, row in rows]


def _mean(scores: Array) -> Array:
    """Means of rows without nan, (p, 1); 0 where there is nothing else."""
    known = ~np.isnan(scores)
    sums = np.where(known, scores, 0).sum(axis=1)
    return _column(sums / np.maximum(known.sum(axis=1), 1))


def _column(values: Sequence[float] | Array) -> Array:
    return np.asarray(values, dtype=float)[:, None]
