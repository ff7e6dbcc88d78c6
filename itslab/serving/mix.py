"""What requests ask: who, in which tier, which question, and what each tier makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from itslab.core import Result, require
from itslab.options import Options
from itslab.serving.traces import Trace
from itslab.serving.traffic import Arrival

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Query(Options):
    """A question, and what each tier makes of it.

    Args:
        traces: tier -> the request.
        difficulty: the class that it is thought to belong to, such as ``hard``.
    """

    traces: Mapping[str, Trace]
    difficulty: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.traces), "traces", self.traces, "of at least one tier")


def questions(
    results: Mapping[str, Sequence[Result]], difficulty: Sequence[str] = ()
) -> list[Query]:
    """Return recorded runs as questions.

    Args:
        results: tier -> what its strategy did, one result for each question, all in one order.
        difficulty: the class of each question; empty where there are none.

    Raises:
        OptionError: tiers or classes are not of equally many questions.
    """
    counts = {len(each) for each in results.values()}
    require(len(counts) == 1, "results", counts, "of equally many questions in each tier")
    [count] = counts
    valid = f"one for each of {count:,} questions, or none"
    require(len(difficulty) in (0, count), "difficulty", len(difficulty), valid)
    traces = {tier: [*map(Trace.of, each)] for tier, each in results.items()}
    return [
        Query({tier: each[i] for tier, each in traces.items()}, difficulty[i] if difficulty else "")
        for i in range(count)
    ]


class Ask(NamedTuple):
    """What is asked: by whom, in which tier, what."""

    user: str
    tier: str
    query: Query


@dataclass(frozen=True)
class Mix(Options):
    """Who asks what: user, tier and question are drawn independently of each other.

    Args:
        queries: questions, such as recorded ones, each as often as the others of its difficulty.
        tiers: name -> share of the requests; shares are divided by their sum.
        users: name -> share of the requests.
        difficulty: class -> how many times as often as among ``queries``; 1 where nothing is said.

    Raises:
        OptionError: a share is negative, all are 0, or a tier or class is not that of any query.
    """

    queries: Sequence[Query]
    tiers: Mapping[str, float]
    users: Mapping[str, float] = field(default_factory=lambda: {"user": 1.0})
    difficulty: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.queries) > 0, "queries", self.queries, "at least one")
        known = self.every_tier
        require({*self.tiers} <= {*known}, "tiers", self.tiers, f"of {known}")
        classes = sorted({query.difficulty for query in self.queries})
        require({*self.difficulty} <= {*classes}, "difficulty", self.difficulty, f"of {classes}")
        for name, shares in (
            ("tiers", self.tiers.values()),
            ("users", self.users.values()),
            ("difficulty", self._weights),
        ):
            valid = all(share >= 0 for share in shares) and 0 < sum(shares) < math.inf
            told = "shares of at least 0, one of them above, with a finite sum"
            require(valid, name, getattr(self, name), told)

    @property
    def _weights(self) -> list[float]:
        return [self.difficulty.get(query.difficulty, 1.0) for query in self.queries]

    @cached_property
    def _chances(self) -> tuple[Array, Array, Array]:
        """Of tiers, users and questions."""
        shares = [*self.tiers.values()], [*self.users.values()], self._weights
        tiers, users, queries = map(_sums, shares)
        return tiers, users, queries

    def draw(self, arrival: Arrival, rng: np.random.Generator) -> Ask:
        """Return what an arrival asks; what it says itself holds.

        Raises:
            OptionError: it is for a tier that the questions do not have.
        """
        tiers, users, queries = self._chances
        tier = arrival.tier or [*self.tiers][_place(tiers, rng)]
        user = arrival.user or [*self.users][_place(users, rng)]
        query = self.queries[_place(queries, rng)]
        require(tier in query.traces, "tier", tier, f"one of {sorted(query.traces)}")
        return Ask(user, tier, query)

    @property
    def every_tier(self) -> list[str]:
        """All tiers of the questions, those that nobody asks for included."""
        return sorted(set.intersection(*({*query.traces} for query in self.queries)))

    def mean(self, of: Callable[[Trace], float]) -> float:
        """Return the mean of something over the requests of the mix."""
        each = np.diff(self._chances[2], prepend=0.0)
        whole = sum(self.tiers.values())
        return sum(
            share / whole * float(each @ [of(query.traces[tier]) for query in self.queries])
            for tier, share in self.tiers.items()
            if share
        )

    def tokens(self, tier: str, difficulty: str | None = None) -> float:
        """Return the mean number of tokens that a tier draws for a question, of a class or any."""
        queries = [q for q in self.queries if difficulty in (None, q.difficulty)]
        return sum(query.traces[tier].tokens for query in queries) / len(queries)


def _sums(weights: Sequence[float]) -> Array:
    """Sums of the shares up to each; a number drawn from [0, 1) lies below one of them."""
    sums: Array = np.cumsum(weights)
    whole = float(sums[-1])
    return sums / whole


def _place(sums: Array, rng: np.random.Generator) -> int:
    return int(np.searchsorted(sums, rng.random(), "right"))
