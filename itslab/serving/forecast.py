"""What a request will cost, before it is run: from the question, from what its tier may buy, and
from what that tier did cost lately.

A request is thought to take as many samples as its strategy buys at most (``bounds``), each as long
as the model's samples are for such a question (``Lengths``, fitted to recorded ones), times a
factor of its tier, which is learned while it serves: searches end early, votes are decided, chains
share their beginnings. The quantile beside the mean is that of the latest requests of the tier, as
in split conformal prediction (Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a Random
World, §4.2): of as many as there are, one more stays below it with that probability.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from itslab.core import Budget, Cost, Prompt, Shape, as_messages, require
from itslab.options import Bounds, NotNegative, Options, checked
from itslab.run import Strategy
from itslab.serving.bounds import Purchases, most, purchases
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
NEWEST = 0.05
"""The weight of the newest request in a tier's factors, once there are twenty."""
KEPT = 200
"""Requests of a tier from which its quantile is taken, the latest."""


# -- how long samples are --------------------------------------------------------------------------


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


# -- what a request costs --------------------------------------------------------------------------


class Expected(NamedTuple):
    """What a request is thought to cost.

    Args:
        tokens: decoded, in the mean.
        high: tokens that it stays below with the probability of the quantile.
        most: tokens that its strategy and budget allow; infinity where neither says.
        prefilled: tokens of prompts evaluated.
        flops: floating point operations; 0 as long as nothing is known of them.
        seconds: of compute; nan as long as nothing was measured.
        base: what it would take without its tier's factors: tokens, prefilled, and FLOPs (tokens,
            if the model's shape is unknown).
    """

    tokens: float
    high: float
    most: float
    prefilled: float
    flops: float
    seconds: float
    base: tuple[float, float, float]


class Ratio:
    """What things cost ÷ what they were thought to, the latest counting most.

    Args:
        prior: what it is at first, as if it had been seen once; nan if nothing is known.
    """

    def __init__(self, prior: float = math.nan) -> None:
        self._prior, self._seen = prior, 0 if math.isnan(prior) else 1
        self._spent = self._thought = 0.0

    @property
    def value(self) -> float:
        """Of sums, so that what is thought adds up to what is spent."""
        return self._spent / self._thought if self._thought > 0 else self._prior

    def learn(self, spent: float, thought: float) -> None:
        """Enter what was spent and what was thought, in the same unit or not."""
        if not self._thought and self._seen:
            self._spent, self._thought = self._prior * thought, thought
        self._seen += 1
        newest = max(1 / self._seen, NEWEST)
        self._spent += newest * (spent - self._spent)
        self._thought += newest * (thought - self._thought)


@dataclass
class Tier:
    """What was learned of a tier.

    Args:
        tokens, prefilled, flops: factors on the base of ``Expected``.
        seen: tokens ÷ base of the latest requests.
    """

    tokens: Ratio = field(default_factory=lambda: Ratio(1.0))
    prefilled: Ratio = field(default_factory=lambda: Ratio(1.0))
    flops: Ratio = field(default_factory=Ratio)
    seen: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))


class Forecast:
    """What requests to one model will cost. It learns from those that are over.

    Without ``lengths`` a tier is thought to cost the most that it may, until it has shown what it
    does cost. It keeps no lock: whoever asks from several threads has one.

    Args:
        lengths: of the model's samples.
        shape: of the model, for FLOPs.
        quantile: of ``Expected.high``.
        speed: tokens that the model decodes in a second of compute, as measured; None learns it.

    Attributes:
        tiers: what was learned, by the name of the tier.
    """

    @checked
    def __init__(
        self,
        lengths: Lengths | None = None,
        shape: Shape | None = None,
        quantile: Quantile = 0.8,
        speed: Annotated[float, Bounds(0, open="low")] | None = None,
    ) -> None:
        self.lengths, self.shape, self.quantile = lengths, shape, quantile
        self.tiers: dict[str, Tier] = {}
        self._seconds = Ratio(math.nan if speed is None else 1 / speed)

    @classmethod
    @checked
    def fit(cls, samples: Samples, quantile: Quantile = 0.8) -> Forecast:
        """Fit a forecast to recorded samples of the model: ``Lengths``, and its shape if known."""
        drawn = (node.completion for row in samples.nodes for node in row)
        shape = next((one.shape for one in drawn if one is not None and one.shape), None)
        return cls(Lengths.fit(samples, quantile), shape, quantile)

    def expect(
        self, tier: str, prompt: Prompt, strategy: Strategy, budget: Budget = Budget()
    ) -> Expected:
        """Return what a request is thought to cost.

        Args:
            tier: its name, under which it is learned what such requests cost.
            prompt: as it is asked.
            strategy: that answers it.
            budget: the most that it may take.

        Raises:
            OptionError: neither the strategy nor the budget bounds what it takes.
        """
        bought, bound = purchases(strategy, budget), most(strategy, budget)
        known = self.tiers.get(tier, Tier())
        alone = self._alone(prompt)
        tokens = min(sum(n * min(alone, longest) for n, longest in bought), bound)
        valid = "given to a strategy of which nothing is known: Budget(tokens=…)"
        require(math.isfinite(tokens), "budget", budget, valid)
        evaluated = self._prompt(prompt)
        mean = min(tokens * known.tokens.value, bound)
        base = tokens, evaluated, self._flops(bought, alone, evaluated, mean)
        flops = known.flops.value
        if math.isnan(flops):
            flops = 0.0 if self.shape is None else 1.0
        return Expected(
            tokens=mean,
            high=max(mean, self._high(known, tokens, bought, bound)),
            most=bound,
            prefilled=evaluated * known.prefilled.value,
            flops=base[2] * flops,
            seconds=mean * self._seconds.value,
            base=base,
        )

    def learn(self, tier: str, expected: Expected, cost: Cost) -> None:
        """Correct what is thought of a tier by what a request did cost.

        Args:
            tier: that it was served in.
            expected: what was thought of it there.
            cost: of a request that came to its own end, or to that of its budget or deadline: not
                of one that its user cancelled.
        """
        known = self.tiers.setdefault(tier, Tier())
        tokens, prefilled, flops = expected.base
        known.tokens.learn(cost.decoded, tokens)
        known.prefilled.learn(cost.prefilled, prefilled)
        if cost.flops and flops:
            known.flops.learn(cost.flops, flops)
        if cost.seconds and cost.decoded:
            self._seconds.learn(cost.seconds, cost.decoded)
        known.seen.append(cost.decoded / tokens)

    def _alone(self, prompt: Prompt) -> float:
        """Tokens of a sample; as many as it may have, if nothing was fitted."""
        if self.lengths is None:
            return math.inf
        return self.lengths.tokens(as_messages(prompt)[-1].content)

    def _prompt(self, prompt: Prompt) -> float:
        """Tokens of the prompt."""
        constant, each = (0.0, 1 / CHARACTERS) if self.lengths is None else self.lengths.prompt
        characters = sum(len(message.content) for message in as_messages(prompt))
        return max(constant + each * characters, 1.0)

    def _flops(self, bought: Purchases, alone: float, evaluated: float, mean: float) -> float:
        """FLOPs of the prompt once and of so many tokens after it; tokens if there is no shape."""
        if self.shape is None:
            return mean
        start, longest = round(evaluated), max((p.tokens for p in bought), default=1)
        length = max(round(min(alone, longest, mean)), 1)  # of a sample
        sample = self.shape.flops(start, start + length - 1, length)
        return self.shape.flops(0, start, 1) + sample * mean / length

    def _high(self, known: Tier, tokens: float, bought: Purchases, bound: float) -> float:
        """The quantile of what the latest took; as long as these are few, of what was fitted."""
        place = math.ceil((len(known.seen) + 1) * self.quantile)
        if place <= len(known.seen):
            return min(tokens * sorted(known.seen)[place - 1], bound)
        if self.lengths is None:
            return bound
        samples = sum(p.samples for p in bought if p.tokens > 1)  # opinions are of one token
        return min(tokens * self.lengths.within(samples), bound)
