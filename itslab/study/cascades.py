"""Cascades replayed on recorded samples: what any sequence of stages would solve and cost.

A stage is known by what it does on each problem if it is asked: how likely its answer is accepted,
and how likely it is that and right, over all orders of the samples. Stages draw independently, so a
cascade is a sum over them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import require
from itslab.options import Bounds, Count, Limit, Whole, checked
from itslab.strategies.stopping import encode
from itslab.study import selection
from itslab.study.methods import MethodResult, opening
from itslab.study.samples import Samples
from itslab.study.statistics import matrix
from itslab.study.stopping import orders_of, renumbered

Array = NDArray[np.float64]
Share = Annotated[float, Bounds(0, 1, open="low")]


class Offer(NamedTuple):
    """What a stage does on p problems, if it is asked.

    Args:
        model: who draws.
        accepted: (p,) the probability that its answer is accepted.
        right: (p,) the probability that it is accepted and right.
        alone: what the stage would do if every answer were accepted, as the last one.
        silent: (p,) the probability that it has no answer.
        blind: (p,) where nothing can be scored: it is passed over, or, if no other model is left,
            its answer stands.
        prompt: (p,) FLOPs of what it is asked, which its model evaluates once.
        asked: names what it is asked: stages with the same prompts share it.
    """

    model: str
    accepted: Array
    right: Array
    alone: MethodResult
    silent: Array
    blind: NDArray[np.bool_]
    prompt: Array
    asked: Hashable


class Cascaded(NamedTuple):
    """What a cascade does on p problems.

    Args:
        result: how often it solves each, and what that costs.
        answers: (stages, p) the probability that each stage gives the answer.
        tokens: decoded by each model, (p,), by its name.
    """

    result: MethodResult
    answers: Array
    tokens: Mapping[str, Array]


def cascade(offers: Sequence[Offer]) -> Cascaded:
    """Return what stages do one after the other; the last one's answer is always taken.

    Where it has none, the latest of those before stands.

    A model that is asked the same again, as by a later stage, is not billed for its prompt again.

    Args:
        offers: at least one, of the same problems.
    """
    require(len(offers) > 0, "offers", offers, "those of at least one stage")
    sizes = {len(offer.accepted) for offer in offers}
    require(len(sizes) == 1, "offers", sorted(sizes), "of the same problems")
    shape = next(iter(sizes))
    waiting, rescued = np.ones(shape), np.zeros(shape)  # it waits, and what stands is right
    standing = np.zeros((len(offers), shape))  # it waits, and the answer of that stage stands
    answers = np.zeros((len(offers), shape))
    evaluated: dict[Hashable, NDArray[np.bool_]] = {}
    success, decoded, flops = np.zeros((3, shape))
    tokens = dict[str, Array]()
    for number, offer in enumerate(offers):
        last = number == len(offers) - 1
        others = any(other.model != offer.model for other in offers[number + 1 :])
        met = waiting * ~offer.blind if others else waiting
        stands = offer.blind | last
        taken = met * np.where(stands, 1 - offer.silent, offer.accepted)
        right = np.where(stands, offer.alone.success, offer.right)
        success = success + met * right
        answers[number] = taken
        # Who has no answer leaves the one before; who is refused takes its place.
        kept = np.where(met > 0, offer.silent, 1.0)
        standing, rescued = standing * kept, rescued * kept
        standing[number] = met * (1 - offer.silent) - taken
        rescued = rescued + met * (offer.alone.success - right)
        paid = met * offer.alone.tokens
        tokens[offer.model] = tokens.get(offer.model, np.zeros(shape)) + paid
        seen = evaluated.get((offer.model, offer.asked), np.zeros(shape, dtype=bool))
        decoded = decoded + paid
        flops = flops + met * (offer.alone.flops - np.where(seen, offer.prompt, 0))
        evaluated[offer.model, offer.asked] = seen | (met > 0)
        waiting = waiting - taken
    success, answers = success + rescued, answers + standing
    answers[-1] += waiting - standing.sum(axis=0)  # where nobody has an answer
    result = MethodResult(success, decoded, flops, offers[0].alone.clusters)
    return Cascaded(result, answers, tokens)


@checked
def one(
    model: str,
    samples: Samples,
    scores: ArrayLike,
    threshold: Limit | np.floating[Any] = 1.0,
    blind: ArrayLike | None = None,
) -> Offer:
    """Return what a stage of one sample does, such as a greedy one.

    Args:
        model: who drew.
        samples: n of each of p problems; any of them is as likely.
        scores: (p, n) the higher the better; nan is not accepted, nor is what has no answer.
        threshold: the score from which on a sample is accepted.
        blind: (p,) where the verifier says beforehand that it can score nothing, as ``Tests`` does
            where there are none; see ``Offer``. Nowhere, by default.
    """
    passing = _passing(samples, scores, threshold)
    alone = MethodResult.of_samples(samples, samples.correct.mean(axis=1), 1)
    right = (passing & samples.correct).mean(axis=1)
    return _offer(model, samples, passing.mean(axis=1), right, alone, _silent(samples, 1), blind)


@checked
def first_passing(
    model: str,
    samples: Samples,
    scores: ArrayLike,
    k: Count,
    threshold: Limit | np.floating[Any] = 1.0,
    blind: ArrayLike | None = None,
) -> Offer:
    """Return what a stage does that draws until a sample passes, but no more than k.

    Args and the answer that is given if none passes: see ``selection.first_passing``. For
    ``blind`` see ``one``.
    """
    passing = _passing(samples, scores, threshold)
    accepted = selection.pass_at_k(passing, [k])[:, 0]
    # Each of those that pass is equally likely to come first.
    right = (passing & samples.correct).sum(axis=1) / np.maximum(passing.sum(axis=1), 1)
    alone = MethodResult.first_passing(samples, scores, k, float(threshold))
    one_drawn = _blind(samples, blind)
    silent = np.where(one_drawn, _silent(samples, 1), _silent(samples, k))
    return _offer(model, samples, accepted, accepted * right, alone, silent, blind)


@checked
def agreeing(
    model: str,
    samples: Samples,
    k: Count,
    threshold: Share | np.floating[Any],
    orders: Count = 400,
    seed: Whole = 0,
) -> Offer:
    """Return what a stage does that lets k samples vote, and is accepted if so many agree.

    Args:
        model: who drew.
        samples: n ≥ k of each of p problems.
        k: samples that vote.
        threshold: the share of them that must give the leading answer.
        orders: of the samples of each problem. All are looked at if there are no more of them.
        seed: of the orders.
    """
    n = samples.correct.shape[1]
    require(k <= n, "k", k, f"at most {n}, the samples there are")
    require(bool(0 < threshold <= 1), "threshold", threshold, "a share in (0, 1]")
    rng = np.random.default_rng(seed)
    rows = []
    for keys, right in zip(samples.keys, samples.correct, strict=True):
        order = orders_of(n, orders, rng)[:, :k]
        codes, marks = renumbered(encode([keys])[0][order]), right[order]
        counts = (codes[:, :, None] == np.arange(max(codes.max(), 0) + 1)).sum(axis=1)
        leader = counts.argmax(axis=1)  # of equal counts the one seen first
        place = (codes == leader[:, None]).argmax(axis=1)
        heard = counts.max(axis=1) > 0
        good = heard & (marks[np.arange(len(order)), place] > 0)
        agreed = heard & (counts.max(axis=1) / k >= threshold)
        rows.append((agreed.mean(), (agreed & good).mean(), good.mean(), 1 - heard.mean()))
    accepted, right, success, silent = np.array(rows, dtype=float).T
    alone = MethodResult.of_samples(samples, success, k)
    return _offer(model, samples, accepted, right, alone, silent)


def _blind(samples: Samples, where: ArrayLike | None) -> NDArray[np.bool_]:
    count = len(samples.correct)
    blind = np.zeros(count, dtype=bool) if where is None else np.asarray(where)
    valid = blind.shape == (count,) and blind.dtype == bool
    require(valid, "blind", where, f"({count},) of True and False, one per problem")
    return blind


def _silent(samples: Samples, k: int) -> Array:
    """The probability that none of k samples has an answer, (p,)."""
    return np.asarray(1 - selection.pass_at_k(~samples.unanswered, [k])[:, 0])


def _passing(
    samples: Samples, scores: ArrayLike, threshold: float | np.floating[Any]
) -> NDArray[np.bool_]:
    require(not math.isnan(threshold), "threshold", threshold, "a number")
    score = matrix("scores", scores)
    shape = samples.correct.shape
    require(score.shape == shape, "scores", score.shape, f"of shape {shape}")
    return (score >= threshold) & ~samples.unanswered  # of nan neither


def _offer(
    model: str,
    samples: Samples,
    accepted: Array,
    right: Array,
    alone: MethodResult,
    silent: Array,
    where: ArrayLike | None = None,
) -> Offer:
    prompts = np.array([opening(row) for row in samples.nodes])
    asked = tuple(row[0].conversation()[0] for row in samples.nodes)
    return Offer(model, accepted, right, alone, silent, _blind(samples, where), prompts, asked)
