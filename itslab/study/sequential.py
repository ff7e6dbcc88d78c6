"""End a study when its question is answered, with the error that one would have had otherwise.

Whoever looks at an interval after every problem, and stops as soon as it excludes 0, is wrong far
more often than it says. A bettor against "there is no difference" may look whenever he likes: if
that is true, he ever multiplies his capital by 20 with probability 5 % at most (Ville 1939). This
is the hedged capital process of Waudby-Smith & Ramdas 2024 (J. Royal Statistical Society B 86),
which needs nothing but that differences lie in [−1, 1].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import require
from itslab.options import Bounds, Options, Text
from itslab.study.outcome import CELL, Outcome
from itslab.study.statistics import Estimate, check_level

Array = NDArray[np.float64]
Level = Annotated[float, Bounds(0, 1, open="both")]
_BOLD = 0.5
"""The most of what he could lose that the bettor ever stakes: half of it."""
_GRID = 801
"""Differences from −1 to 1 against each of which he bets."""


def wealth(gaps: ArrayLike, means: ArrayLike = (0.0,)) -> Array:
    """Return the capital of a bettor who bets that the mean difference is another one.

    Half of his capital bets that it is larger, half that it is smaller; what he stakes on the next
    difference follows from those before: their mean and variance, with one imagined of 0.

    Args:
        gaps: (t,) differences in [−1, 1], in an order that does not depend on them.
        means: (m,) the means that he bets against, in (−1, 1).

    Returns:
        (t, m) after each difference, beginning with 1.
    """
    x, m = np.asarray(gaps, dtype=float), np.asarray(means, dtype=float)
    require(bool((np.abs(x) <= 1 + 1e-9).all()), "gaps", gaps, "differences in [-1, 1]")
    seen = np.arange(1, len(x) + 1)
    average = np.concatenate([[0.0], np.cumsum(x)[:-1]]) / seen
    squares = np.concatenate([[0.25], 0.25 + np.cumsum((x - average) ** 2)[:-1]]) / seen
    edge = average[:, None] - m
    stake = edge / (squares[:, None] + edge**2)
    up = np.clip(stake, 0, _BOLD / (1 + m))
    down = np.clip(-stake, 0, _BOLD / (1 - m))
    gains = x[:, None] - m
    logs = np.cumsum(np.log1p(up * gains), axis=0), np.cumsum(np.log1p(-down * gains), axis=0)
    capital: Array = (np.exp(logs[0]) + np.exp(logs[1])) / 2
    return capital


def sequence(gaps: ArrayLike, level: float = 0.95) -> Estimate:
    """Return the mean difference with an interval that holds however often one looked before.

    All means that no capital, at any time, has grown 1 / (1 − level)-fold against. Wider than that
    of ``statistics.difference``, which holds for a number of problems fixed beforehand.

    Args:
        gaps: (t,) differences in [−1, 1], in the order in which they were looked at.
        level: with which all intervals, of all times, hold the mean at once.
    """
    x = np.asarray(gaps, dtype=float)
    require(x.ndim == 1 and x.size > 0, "gaps", gaps, "one difference at least")
    check_level(level)
    means = np.linspace(-1, 1, _GRID + 2)[1:-1]
    alive = means[wealth(x, means).max(axis=0) < 1 / (1 - level)]
    step = float(means[1] - means[0])  # between two of the grid
    value = float(x.mean())
    low, high = (alive[0] - step, alive[-1] + step) if alive.size else (value, value)
    worth = float(wealth(x).max())
    p = min(1 / worth, 1.0)
    if p <= 1 - level:  # as the bet against 0 itself says, which the grid may miss
        low, high = (max(low, 1e-9), high) if value > 0 else (low, min(high, -1e-9))
    return Estimate(value, float(max(low, -1.0)), float(min(high, 1.0)), len(x), p)


@dataclass(frozen=True)
class Answered(Options):
    """Ends a study when it is known which of two methods solves more; see ``conduct``.

    Problems count in their own order, those of one template together once all of them are done.

    Args:
        a, b: names of methods; of several sizes the largest counts.
        task, model: of the study.
        level: with this probability no difference is claimed where there is none.
        budget: as text, as in ``Outcome.runs``; by default the study's first.
    """

    a: Text
    b: Text
    task: Text
    model: Text
    level: Level = 0.95
    budget: str | None = None

    def __call__(self, outcome: Outcome) -> bool:
        """Whether the question is answered by now."""
        return self.estimate(outcome).p <= 1 - self.level

    def estimate(self, outcome: Outcome) -> Estimate:
        """Return the difference so far, with the interval that holds at any time.

        Raises:
            OptionError: the study has no such method, task or model.
        """
        part, budget = self._part(outcome)
        if {*part.runs.method} < {self.a, self.b}:  # the study has not come so far
            return _NOTHING
        results = part.results(self.task, self.model, budget)
        largest = {name: result for (name, _), result in results.items()}
        first, second = largest[self.a], largest[self.b]
        assert first.clusters is not None  # a study's results have some
        whole = Counter(outcome.about["clusters"][self.task])
        runs = outcome.runs[outcome.runs.method.isin([self.a, self.b])]  # of others none is lost
        asked = (runs.task == self.task) & (runs.model == self.model) & (runs.budget == budget)
        failed = runs[asked & (runs.failed != "")]
        lost = Counter(failed.drop_duplicates("problem").cluster)
        gaps = _by_cluster(first.success - second.success, first.clusters, whole, lost)
        return sequence(gaps, self.level) if len(gaps) else _NOTHING

    def _part(self, outcome: Outcome) -> tuple[Outcome, str]:
        """The finished runs of both methods, on problems of which both have finished all."""
        cells = [dict(zip(CELL, cell, strict=False)) for cell in outcome.about["cells"]]
        there = {name: list(dict.fromkeys(cell[name] for cell in cells)) for name in CELL}
        budget = there["budget"][0] if self.budget is None else self.budget
        asked = {"a": self.a, "b": self.b, "task": self.task, "model": self.model}
        for option, wanted in {**asked, "budget": budget}.items():
            names = there["method" if option in ("a", "b") else option]
            require(wanted in names, option, wanted, " or ".join(map(repr, names)))
        runs = outcome.runs[outcome.runs.method.isin([self.a, self.b])]
        runs = runs[(runs.task == self.task) & (runs.model == self.model)]
        runs = runs[(runs.budget == budget) & (runs.failed == "")]
        sizes = len(runs[["method", "size", "seed"]].drop_duplicates())
        counts = runs.problem.value_counts()
        runs = runs[runs.problem.isin(counts.index[counts == sizes])]
        place = self.task, self.model, budget
        known = [
            [*cell[:-1], runs.problem.nunique()]
            for cell in outcome.about["cells"]
            if (cell[0], cell[1], cell[4]) == place and cell[2] in (self.a, self.b)
        ]
        return replace(outcome, runs=runs, about={**outcome.about, "cells": known}), budget


_NOTHING = Estimate(0.0, -1.0, 1.0, 0, 1.0)
"""What is known before anything can be compared."""


def _by_cluster(
    gaps: Array,
    clusters: Sequence[Hashable],
    whole: Mapping[Hashable, int],
    lost: Mapping[Hashable, int],
) -> Array:
    """Of each cluster that is done as a whole, in the order in which they were: the sum of its
    differences as a part of the largest cluster, in [−1, 1]. Problems that are lost, since a run
    failed, count as done.
    """
    members: dict[Hashable, list[float]] = {}
    done = []
    for gap, cluster in zip(gaps, clusters, strict=True):
        row = members.setdefault(cluster, [])
        row.append(float(gap))
        if len(row) == whole[cluster] - lost.get(cluster, 0):
            done.append(sum(row))
    return np.array(done) / max(whole.values())
