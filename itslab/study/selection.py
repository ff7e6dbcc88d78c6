"""Success rates of selectors on any number of samples, from n samples of each of p problems.

The estimators return the probability that a selector, given k of a problem's samples, ends on a
right answer: an array of shape (p, number of ks). It is averaged over all subsets of k samples and
all their orders, so that nothing hangs on which samples came first. Ties fall as in
``answers.vote``: the earliest wins, and by symmetry each of the tied is equally likely to be that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from itslab.answers import Weigh, as_weights
from itslab.core import Result, require
from itslab.study.samples import Samples
from itslab.study.statistics import matrix

Array = NDArray[np.float64]
_MOST_SAMPLES = 1000  # beyond, binomial coefficients leave the range of a float
_AT_ONCE = 256
"""Problems that are counted at once, so that memory stays small."""


def pass_at_k(correct: ArrayLike, ks: Sequence[int]) -> Array:
    """Return the probability that at least one of k samples is right, per problem: coverage.

    Chen et al. 2021, arXiv:2107.03374, eq. 1, in exact integers.

    Args:
        correct: (p, n) whether each sample is right.
        ks: numbers of samples, each from 1 to n.
    """
    right = _samples(correct, ks)
    wrong = right.shape[1] - right.sum(axis=1).astype(int)
    return np.stack([1 - _all_among(right.shape[1], k)[wrong] for k in ks], axis=1)


def best_at_k(scores: ArrayLike, correct: ArrayLike, ks: Sequence[int]) -> Array:
    """Return the probability that the best scored of k samples is right, per problem: best-of-k.

    Args:
        scores: (p, n) the higher the better; nan comes last, after −inf. Of equal scores the
            earliest wins.
        correct: (p, n) whether each sample is right.
        ks: numbers of samples, each from 1 to n.
    """
    right = _samples(correct, ks)
    score = _scores(scores, right)
    return np.stack([(_chosen(score, k) * right).sum(axis=1) for k in ks], axis=1)


def first_passing(
    scores: ArrayLike, correct: ArrayLike, threshold: float, k: int | None = None
) -> tuple[Array, Array]:
    """Return success rates of drawing until a sample passes, and how many samples that takes.

    If none of k samples passes, the best scored is taken. Where no sample of a problem is scored
    there is nothing to choose by: one sample is taken.

    Args:
        scores: (p, n) the higher the better; nan comes last and never passes.
        correct: (p, n) whether each sample is right.
        threshold: the score at which a sample passes, such as 1 for all visible tests.
        k: draw at most so many; by default all n.

    Returns:
        The probability to end on a right answer, (p,), and the samples drawn on average, (p,), over
        all subsets of k samples and all their orders.
    """
    right = _samples(correct, () if k is None else (k,))
    score, n = _scores(scores, right), right.shape[1]
    plain = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    require(plain and not math.isnan(float(threshold)), "threshold", threshold, "a number")
    most = n if k is None else k
    passing = (score >= threshold) & (score > -np.inf)
    count = passing.sum(axis=1)
    # none[j]: the probability that none of the first j passes.
    none = np.stack([_all_among(n, j)[n - count] for j in range(most + 1)])
    # Each of those that pass is equally likely to come first. A failing one is chosen where it is
    # the best of k, since then all of them fail.
    first = (1 - none[most]) * (passing * right).sum(axis=1) / np.maximum(count, 1)
    best = (_chosen(score, most) * right * ~passing).sum(axis=1)
    unscored = np.isnan(np.asarray(scores, dtype=float)).all(axis=1)
    success = np.where(unscored, right.mean(axis=1), first + best)
    return success, np.where(unscored, 1.0, none[:most].sum(axis=0))


def majority_at_k(
    keys: Sequence[Sequence[str | None]], correct: ArrayLike, ks: Sequence[int]
) -> Array:
    """Return the probability that the majority vote of k samples is right, per problem: maj@k.

    For each right answer and each number of votes it may get, this counts the subsets in which no
    other answer gets more, by the number of answers that get as many.

    Args:
        keys: (p, n) canonical answers; None abstains.
        correct: (p, n) whether each sample is right.
        ks: numbers of samples, each from 1 to n.
    """
    right = _samples(correct, ks)
    votes, credit, silent = _ballots(keys, right)
    success = np.zeros((len(right), len(ks)))
    for start in range(0, len(right), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        _count(votes[part], credit[part], silent[part], right.shape[1], ks, success[part])
    return success


def _count(
    votes: NDArray[np.int64],
    credit: Array,
    silent: NDArray[np.int64],
    n: int,
    ks: Sequence[int],
    success: Array,
) -> None:
    """Add up what each number of votes for a right answer contributes to success, (p, len(ks))."""
    most = max(ks)
    binomial = np.array([[float(math.comb(c, i)) for i in range(n + 1)] for c in range(n + 1)])
    for target in np.flatnonzero(credit.any(axis=0)):
        own, others = votes[:, target], np.delete(votes, target, axis=1)
        for m in range(1, min(int(own.max()), most) + 1):
            rows = np.flatnonzero((own >= m) & (credit[:, target] > 0))
            ways = _ways(others[rows], silent[rows], m, most - m, binomial)
            shared = (ways / np.arange(1, ways.shape[1] + 1)[:, None]).sum(axis=1)
            for column, k in enumerate(ks):
                if m <= k:
                    subsets = binomial[own[rows], m] * shared[:, k - m]
                    success[rows, column] += credit[rows, target] * subsets / math.comb(n, k)


def weighted_at_k(
    keys: Sequence[Sequence[str | None]],
    scores: ArrayLike,
    correct: ArrayLike,
    ks: Sequence[int],
    weigh: Weigh = "score",
    draws: int = 2000,
    seed: int = 0,
) -> Array:
    """Return the probability that a weighted vote of k samples is right, per problem.

    This is weighted maj@k. Every subset of k samples votes, or where there are more than ``draws``
    of them and more than 2^14, that many drawn at random.

    Args:
        keys: (p, n) canonical answers; None abstains.
        scores: (p, n) a verifier's; nan abstains, unless all that vote are nan.
        correct: (p, n) whether each sample is right.
        ks: numbers of samples, each from 1 to n.
        weigh: how a score becomes a weight; see ``answers.as_weights``.
        draws, seed: of random subsets.
    """
    right = _samples(correct, ks)
    score = matrix("scores", scores)
    require(score.shape == right.shape, "scores", score.shape, f"of shape {right.shape}")
    as_weights([], weigh)
    lowest = float(np.nanmin(score, initial=0.0))
    require(weigh != "score" or lowest >= 0, "scores", lowest, "≥ 0, or weigh 'exp' or 'rank'")
    rng = np.random.default_rng(seed)
    subsets = [_subsets(right.shape[1], k, draws, rng) for k in ks]
    success = np.zeros((len(right), len(ks)))
    with threadpool_limits(1):  # more threads would wait for each other, and for the model
        for row, (said, marks) in enumerate(zip(keys, right, strict=True)):
            silent = np.array([key is None for key in said])
            if not (marks * ~silent).any():
                continue  # whoever is chosen is wrong
            names = dict.fromkeys(key for key in said if key is not None)
            choice = np.array([[key == name for key in said] for name in names], dtype=float)
            points = np.where(silent, np.nan, score[row])
            for column, members in enumerate(subsets):
                success[row, column] = _elect(members, choice, marks, points, weigh).mean()
    return success


# -- on samples that were drawn --------------------------------------------------------------------


def select(samples: Samples, scores: Mapping[str, Array], ks: Sequence[int]) -> dict[str, Array]:
    """Return the success rates of selectors on these samples, (p, number of ks) by name.

    Beside ``majority`` and ``coverage`` there are two for each verifier: ``best by …`` takes the
    sample with the highest score, ``vote by …`` adds up the scores of equal answers. Scores weigh
    as they are if none of them is negative, else by rank.

    Args:
        samples: of p problems.
        scores: name of a verifier -> (p, n) its scores; see ``Samples.scores``.
        ks: numbers of samples.
    """
    keys, correct = samples.keys, samples.correct
    success = {"majority": majority_at_k(keys, correct, ks)}
    for name, score in scores.items():
        weigh: Weigh = "rank" if np.nanmin(score, initial=0) < 0 else "score"
        success[f"best by {name}"] = best_at_k(score, correct, ks)
        success[f"vote by {name}"] = weighted_at_k(keys, score, correct, ks, weigh)
    return success | {"coverage": pass_at_k(correct, ks)}


def knockout(samples: Samples) -> Array:
    """Return the probability that a knock-out of 1, 2, 4, … n samples ends on a right answer.

    A knock-out of n holds two of n ÷ 2, four of n ÷ 4 and so on, among other samples each: who is
    left after a round are the winners of them all.

    Args:
        samples: n of each of p problems, drawn by ``Knockout``, where n is a power of 2.

    Returns:
        (p, log2 n + 1).
    """
    n = samples.correct.shape[1]
    require(n & (n - 1) == 0, "samples", n, "a power of 2, so that no one waits for a round")
    rows = []
    for nodes, right, result in zip(samples.nodes, samples.correct, samples.results, strict=True):
        left = {node.id: mark for node, mark in zip(nodes, right, strict=True)}
        rows.append([right.mean()])
        for event in result.tree.events:
            if event.kind == "pruned":
                del left[event.node]
            elif event.kind == "iteration":
                rows[-1].append(np.mean(list(left.values())))
    return np.array(rows)


def first_preferred(results: Iterable[Result]) -> tuple[int, int]:
    """Return in how many pairs a judge preferred the one that it saw first, and of how many.

    It is half of them if its judgement does not hang on the place.

    Args:
        results: of ``Knockout`` by a ``PairwiseJudge`` that sees each pair in one order.
    """
    events = (event for result in results for event in result.tree.events)
    scores = [event.data["score"] for event in events if event.kind == "verdict"]
    first = scores[::2]  # then comes the other one of the pair
    return sum(score > 0.5 for score in first), len(first)


# -- counting --------------------------------------------------------------------------------------


def _elect(members: Array, choice: Array, marks: Array, points: Array, weigh: Weigh) -> Array:
    """The probability that the weighted vote of each of s subsets is right, (s,).

    Args:
        members: (n, s) which samples each subset holds.
        choice: (a, n) which of a answers each sample gives; silent ones give none.
        marks: (n,) whether each is right.
        points: (n,) scores, nan where there is none.
        weigh: how a score becomes a weight.
    """
    scored = ~np.isnan(points)
    blind = ~(scored @ members > 0)  # without any score in a subset, all weigh the same
    if blind.any() and scored.any():
        same = np.full_like(points, np.nan)
        success = np.empty(len(blind))
        success[blind] = _elect(members[:, blind], choice, marks, same, weigh)
        success[~blind] = _elect(members[:, ~blind], choice, marks, points, weigh)
        return success
    if scored.any():
        choice = choice * scored
    heads = choice @ members
    if weigh == "rank" and scored.any():
        below = points[None, :] <= points[:, None]  # nan is below nothing
        votes = choice @ ((below.astype(float) @ members) * members)
    else:
        votes = (choice * np.nan_to_num(as_weights(points.tolist(), weigh))) @ members
    np.copyto(votes, -1, where=heads == 0)
    tied = votes >= votes.max(axis=0) * (1 - 1e-12)
    heads *= tied
    # The first sample of those that say a tied answer is chosen, in any order of them.
    right = ((choice * marks) @ members * (heads > 0)).sum(axis=0)
    return np.asarray(right / np.maximum(heads.sum(axis=0), 1))


def _subsets(n: int, k: int, draws: int, rng: np.random.Generator) -> Array:
    """Subsets of k out of n samples, (n, number of them): all, or some at random."""
    if math.comb(n, k) <= max(draws, 2**14):
        chosen = np.array(list(combinations(range(n), k)))
    else:
        chosen = rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)[:, :k]
    member = np.zeros((n, len(chosen)))
    np.put_along_axis(member, chosen.T, 1.0, axis=0)
    return member


def _ways(
    others: NDArray[np.int64], silent: NDArray[np.int64], m: int, most: int, binomial: Array
) -> Array:
    """Ways to draw j samples of others so that t answers get m votes and none gets more: (p, t, j).

    A generating function: one factor per answer, multiplied up to ``most`` samples.
    """
    others = others[:, others.any(axis=0)]
    ties = min(most // m, others.shape[1])
    ways = np.zeros((len(others), ties + 1, most + 1))
    ways[:, 0] = binomial[silent, : most + 1]
    for count in others.T:
        product = np.zeros_like(ways)
        for i in range(min(m - 1, most, int(count.max())) + 1):
            product[:, :, i:] += binomial[count, i, None, None] * ways[:, :, : most + 1 - i]
        if m <= most:
            product[:, 1:, m:] += binomial[count, m, None, None] * ways[:, :-1, : most + 1 - m]
        ways = product
    return ways


def _ballots(
    keys: Sequence[Sequence[str | None]], right: Array
) -> tuple[NDArray[np.int64], Array, NDArray[np.int64]]:
    """Votes per problem and answer, the fraction of them that is right, and abstentions.

    The answers that are ever right come first, then those with most votes.
    """
    require(len(keys) == len(right), "keys", len(keys), f"of length {len(right)}")
    votes = np.zeros(right.shape, dtype=np.int64)
    credit = np.zeros(right.shape)
    for row, (answers, marks) in enumerate(zip(keys, right, strict=True)):
        require(len(answers) == len(marks), "keys", len(answers), f"{len(marks)} per problem")
        marks_of: dict[str, list[float]] = {}
        for answer, mark in zip(answers, marks, strict=True):
            if answer is not None:
                marks_of.setdefault(answer, []).append(mark)
        ranked = sorted(marks_of.values(), key=lambda marks: (-np.mean(marks), -len(marks)))
        votes[row, : len(ranked)] = [len(marks) for marks in ranked]
        credit[row, : len(ranked)] = [np.mean(marks) for marks in ranked]
    used = max(int((votes > 0).sum(axis=1).max()), 1)
    return votes[:, :used], credit[:, :used], right.shape[1] - votes.sum(axis=1)


def _chosen(score: Array, k: int) -> Array:
    """Probability of each sample to be the best scored of k, (p, n); equal ones share it."""
    below = (score[:, None, :] < score[:, :, None]).sum(axis=2)
    up_to = (score[:, None, :] <= score[:, :, None]).sum(axis=2)
    among = _all_among(score.shape[1], k)
    chosen: Array = (among[up_to] - among[below]) / (up_to - below)
    return chosen


def _scores(scores: ArrayLike, right: Array) -> Array:
    """Scores of the shape of ``right``; nan comes last, after −inf."""
    score = matrix("scores", scores)
    require(score.shape == right.shape, "scores", score.shape, f"of shape {right.shape}")
    return np.where(np.isnan(score), -np.inf, np.maximum(score, np.finfo(float).min))


def _samples(correct: ArrayLike, ks: Sequence[int]) -> Array:
    right = matrix("correct", correct)
    require(bool(((right >= 0) & (right <= 1)).all()), "correct", correct, "marks, 0 or 1")
    n = right.shape[1]
    require(n <= _MOST_SAMPLES, "samples", n, f"at most {_MOST_SAMPLES} per problem")
    require(isinstance(ks, Iterable) and not isinstance(ks, str), "ks", ks, "numbers of samples")
    for k in ks:
        whole = isinstance(k, int | np.integer) and not isinstance(k, bool)
        require(whole and 1 <= k <= n, "k", k, f"from 1 to the {n} samples there are")
    return right


def _all_among(n: int, k: int) -> Array:
    """Probability that k of n samples all fall among j given ones, for j = 0 … n."""
    return np.array([math.comb(j, k) / math.comb(n, k) for j in range(n + 1)])
