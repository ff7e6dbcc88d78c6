"""What a request will cost, before it is run: from the question, from what its tier may buy, and
from what that tier did cost lately.

A request is thought to take as many samples as its strategy buys at most (``bounds``), each as long
as the model's samples are for such a question (``Lengths``, fitted to recorded ones), times a
factor of its tier, which is learned while it serves: searches end early, votes are decided, chains
share their beginnings. The quantile beside the mean is that of the latest requests of the tier, as
in split conformal prediction (Vovk, Gammerman & Shafer 2005, Algorithmic Learning in a Random
World): one more request like these stays below it with that probability.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple

from itslab.core import Budget, Cost, Prompt, Shape, as_messages, require
from itslab.options import Bounds, checked
from itslab.run import Strategy
from itslab.serving.bounds import Purchases, most, purchases
from itslab.serving.lengths import CHARACTERS, Lengths, Quantile
from itslab.study.samples import Samples

NEWEST = 0.05
"""The weight of the newest request in a tier's factors, once there are twenty."""
KEPT = 200
"""Requests of a tier from which its quantile is taken, the latest."""


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
