"""Stopping rules replayed on recorded samples: what they would save, and what that would cost.

A rule ends on another answer in another order of the same samples, so success and tokens are those
of all orders: enumerated where there are few, else of a stated number drawn from a seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import require
from itslab.options import Count, Whole, checked
from itslab.strategies.stopping import Codes, StoppingRule, encode, stops
from itslab.study.methods import MethodResult
from itslab.study.samples import Samples
from itslab.study.statistics import matrix

Array = NDArray[np.float64]


class Stopped(NamedTuple):
    """What comes of stopping, on average over the orders of each problem's samples.

    Args:
        success: (p,) the probability to end on a right answer.
        drawn: (p,) samples drawn.
        tokens: (p,) decoded, those of every sample that was begun.
    """

    success: Array
    drawn: Array
    tokens: Array


@checked
def replay(
    keys: Sequence[Sequence[str | None]],
    correct: ArrayLike,
    tokens: ArrayLike,
    rule: StoppingRule,
    thresholds: ArrayLike | None = None,
    *,
    wave: Count = 4,
    n: Count | None = None,
    orders: Count = 200,
    seed: Whole = 0,
) -> list[Stopped]:
    """Return what ``AdaptiveConsistency`` does with a rule, for each of its thresholds.

    Args:
        keys: (p, n) canonical answers; None abstains.
        correct: (p, n) whether each sample is right.
        tokens: (p, n) decoded for each sample.
        rule: when to stop.
        thresholds: of the rule; by default its own. What speaks for stopping is computed once.
        wave: samples that are drawn at a time.
        n: most samples; by default all. Of fewer, every subset is as likely.
        orders: of the samples of each problem. All are looked at if there are no more of them.
        seed: of the orders.
    """
    right, paid = matrix("correct", correct), matrix("tokens", tokens)
    shape = f"an array of shape {right.shape}, as correct"
    require(paid.shape == right.shape, "tokens", paid.shape, shape)
    same = len(keys) == len(right) and all(len(row) == right.shape[1] for row in keys)
    require(same, "keys", [len(row) for row in keys], shape)
    most = right.shape[1] if n is None else n
    require(most <= right.shape[1], "n", most, f"at most {right.shape[1]}, the samples there are")
    levels = np.asarray([rule.threshold] if thresholds is None else thresholds, dtype=float)
    numbers = levels.ndim == 1 and not np.isnan(levels).any()
    require(numbers, "thresholds", thresholds, "a list of numbers")
    rng = np.random.default_rng(seed)
    rows = [
        _replayed(encode([row])[0], right[p], paid[p], rule, levels, wave, order[:, :most])
        for p, row in enumerate(keys)
        for order in [orders_of(right.shape[1], orders, rng)]
    ]
    return [Stopped(*np.array([row[i] for row in rows]).T) for i in range(len(levels))]


def methods(
    samples: Samples,
    rule: StoppingRule,
    thresholds: ArrayLike | None = None,
    **options: int,
) -> list[MethodResult]:
    """Return what stopping early does on recorded samples, to be compared with other methods.

    Args:
        samples: of p problems.
        rule, thresholds, options: as of ``replay``.
    """
    found = replay(
        samples.keys, samples.correct, samples.tokens, rule, thresholds, **options
    )  # fmt: skip
    return [
        replace(MethodResult.of_samples(samples, s.success, s.drawn), tokens=s.tokens)
        for s in found
    ]


def orders_of(n: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Orders of n samples, (m, n): all of them, if there are no more than that."""
    if n <= 12 and math.factorial(n) <= most:
        return np.array(list(permutations(range(n))))
    return rng.permuted(np.tile(np.arange(n), (most, 1)), axis=1)


def _replayed(
    answers: NDArray[np.int64],
    right: Array,
    paid: Array,
    rule: StoppingRule,
    levels: Array,
    wave: int,
    order: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Success, samples and tokens of one problem at each level, (levels, 3)."""
    codes, n = renumbered(answers[order]), order.shape[1]
    marks, spent = right[order], np.cumsum(paid[order], axis=1)
    going = np.ones((len(levels), len(order)), dtype=bool)
    sums = np.zeros((len(levels), 3))
    for k in _ends(n, wave):
        ends = going & (stops(rule, codes[:, :k], n - k, levels) | (k == n))
        success = _success(codes[:, :k], marks)
        sums += np.stack([ends @ success, k * ends.sum(axis=1), ends @ spent[:, k - 1]], axis=1)
        going &= ~ends
    return sums / len(order)


def _ends(n: int, wave: int) -> Iterator[int]:
    yield from range(wave, n, wave)
    yield n


def renumbered(answers: NDArray[np.int64]) -> Codes:
    """Answers in several orders, numbered in each as they are first seen."""
    count = int(answers.max(initial=-1)) + 1
    if count == 0:
        return answers
    seen = answers[:, :, None] == np.arange(count)
    first = np.where(seen.any(axis=1), seen.argmax(axis=1), answers.shape[1])
    rank = first.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return np.where(answers < 0, -1, np.take_along_axis(rank, np.maximum(answers, 0), axis=1))


def _success(codes: Codes, marks: Array) -> Array:
    """Whether the vote ends on a right sample, (m,): the first of those that give the winner."""
    count = int(codes.max(initial=-1)) + 1
    if count == 0:
        return np.zeros(len(codes))
    counts = (codes[:, :, None] == np.arange(count)).sum(axis=1)
    winner = counts.argmax(axis=1)  # of equal counts the one seen first
    voted = counts.max(axis=1) > 0
    place = (codes == winner[:, None]).argmax(axis=1)
    return np.where(voted, marks[np.arange(len(codes)), place], 0.0)
