"""Sharing out a budget: of each group one option is taken, so that the gains are most in sum.

The multiple-choice knapsack, exactly for few groups, and for many with one of them mixed.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from itslab.core import OptionError

Array = NDArray[np.float64]
_PARTIAL = 50_000
"""Most ways to spend a budget on the first groups that are followed up."""


def relaxed(gained: Array, spent: Array, budget: float) -> tuple[list[int], tuple[int, int, float]]:
    """The option of each group that gives the most in sum for a budget, if one may be mixed.

    From the cheapest of each group on, the step that gives most by the token is taken next, along
    the upper hulls of options (Dyer 1984; Zemel 1984: the relaxed multiple-choice knapsack).

    Args:
        gained, spent: (groups, options).

    Returns:
        An option for each group; and one group that takes another option, and with what
        probability.
    """
    left = budget - _least(spent, budget)
    steps, chosen = [], []
    for group, (gain, price) in enumerate(zip(gained, spent, strict=True)):
        hull = _hull(gain, price)
        chosen.append(hull[0])
        for place, (a, b) in enumerate(pairwise(hull)):
            slope = (gain[b] - gain[a]) / (price[b] - price[a])
            steps.append((-slope, group, place, b))
    for _, group, _, better in sorted(steps):
        price = spent[group, better] - spent[group, chosen[group]]
        if price > left * (1 + 1e-12):
            return chosen, (group, better, max(left, 0.0) / price)
        chosen[group], left = better, left - price
    return chosen, (0, chosen[0], 0.0)


def _hull(gain: Array, price: Array) -> list[int]:
    """The options on the upper hull, from the cheapest: each step gives less by the token."""
    hull: list[int] = []
    for i in sorted(range(len(gain)), key=lambda i: (price[i], -gain[i])):
        if hull and gain[i] <= gain[hull[-1]]:
            continue
        while len(hull) > 1 and _flatter(gain, price, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    return hull


def _flatter(gain: Array, price: Array, a: int, b: int, c: int) -> bool:
    """Whether b is not above the line from a to c."""
    rise = (gain[b] - gain[a]) * (price[c] - price[a])
    return bool(rise <= (gain[c] - gain[a]) * (price[b] - price[a]))


def best_of_each(gained: Array, spent: Array, budget: float) -> list[int]:
    """The option of each group that gives the most in sum for a budget, none mixed.

    Group after group, of all ways to spend on the first ones those are kept which nothing cheaper
    equals (Nemhauser & Ullmann 1969). This is exact, but for more than ``_PARTIAL`` of them.

    Args:
        gained, spent: (groups, options).
    """
    _least(spent, budget)
    rest = np.append(np.cumsum(spent.min(axis=1)[::-1])[::-1][1:], 0.0)
    price, worth, steps = np.zeros(1), np.zeros(1), []
    for gain, cost, ahead in zip(gained, spent, rest, strict=True):
        prices, worths = np.add.outer(price, cost).ravel(), np.add.outer(worth, gain).ravel()
        order = np.lexsort((-worths, prices))
        order = order[prices[order] + ahead <= budget * (1 + 1e-9)]
        before = np.maximum.accumulate(np.append(-np.inf, worths[order]))[:-1]
        kept = order[worths[order] > before]
        kept = kept[np.unique(np.linspace(0, len(kept) - 1, _PARTIAL).astype(int))]
        price, worth = prices[kept], worths[kept]
        steps.append(np.divmod(kept, len(gain)))
    place, chosen = len(worth) - 1, []
    for parents, options in reversed(steps):
        chosen.append(int(options[place]))
        place = parents[place]
    return chosen[::-1]


def _least(spent: Array, budget: float) -> float:
    """What the cheapest options take in all."""
    least = float(spent.min(axis=1).sum())
    if budget < least * (1 - 1e-9):
        raise OptionError(
            f"tokens={budget:g} in all is not valid: the cheapest methods take {least:g}"
        )
    return least
