"""Beyond one interval: exact tests of pairs, bands over curves, how many problems it takes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import require
from itslab.study import statistics
from itslab.study.statistics import Estimate, matrix

Array = NDArray[np.float64]


class Pairs(NamedTuple):
    """Problems on which one of two methods is right and the other is not.

    Args:
        wins, losses: of the first method.
        p: two-sided p-value of their being equally likely: McNemar's exact test.
    """

    wins: int
    losses: int
    p: float


def mcnemar(a: ArrayLike, b: ArrayLike) -> Pairs:
    """Compare two methods that are right or wrong on the same problems, by those that differ.

    The exact test, which is the sign test on these (McNemar 1947, Psychometrika 12). Problems count
    as independent: where they come from templates, see ``statistics.difference``.

    Args:
        a, b: (p,) whether each is right, 0 or 1.

    Raises:
        OptionError: they are no marks of the same problems.
    """
    x, y = np.asarray(a), np.asarray(b)
    for name, marks in (("a", x), ("b", y)):
        plain = marks.ndim == 1 and marks.size > 0 and marks.dtype.kind in "biuf"
        require(plain and bool(np.isin(marks, (0, 1)).all()), name, marks, "(p,) marks, 0 or 1")
    require(x.shape == y.shape, "b", y.shape, f"of the shape of a, {x.shape}")
    wins, losses = int((x > y).sum()), int((x < y).sum())
    return Pairs(wins, losses, sign_test(wins, losses))


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided exact p-value of a split as unequal as this among fair coins."""
    for name, count in (("wins", wins), ("losses", losses)):
        whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
        require(whole and 0 <= count < 2**53, name, count, "a whole number ≥ 0, below 2^53")
    return statistics.sign_test(int(wins), int(losses))


def band(
    rates: ArrayLike,
    level: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> list[Estimate]:
    """Return the mean at each point of a curve, with intervals that hold all at once.

    The intervals of ``statistics.mean``, pointwise, are each as wide as one point needs; here the
    quantile is that of the largest deviation of a Gaussian vector with the correlations of the
    points (Montiel Olea & Plagborg-Møller 2019, J. Applied Econometrics 34), so that with
    probability ``level`` the whole curve lies within.

    Args:
        rates: (p, k) success rates on p problems at k points, in [0, 1].
        level: nominal coverage of the whole curve, between 0 and 1.
        clusters: (p,) as of ``statistics.mean``.
        seed: of the 20,000 draws by which the quantile is found.
    """
    values = matrix("rates", rates)
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0
    require(whole, "seed", seed, "a whole number ≥ 0")
    points = [statistics.mean(column, level, clusters) for column in values.T]
    gaps = np.array([statistics.sums(column, clusters) for column in (values - values.mean(0)).T])
    moving = gaps.std(axis=1) > 1e-12
    if not moving.any():
        return points
    correlation = np.atleast_2d(np.corrcoef(gaps[moving]))
    rng = np.random.default_rng(seed)
    draws = rng.multivariate_normal(np.zeros(len(correlation)), correlation, 20_000, method="eigh")
    largest = float(np.quantile(np.abs(draws).max(axis=1), level))
    joint = math.erf(largest / math.sqrt(2))  # the level of one point that has this quantile
    return [statistics.mean(column, joint, clusters) for column in values.T]


def problems_needed(
    gain: float, differing: float, *, power: float = 0.8, level: float = 0.95, each: float = 1.0
) -> int:
    """Return how many problems it takes to see a difference between two methods.

    Of methods that are right or wrong, by the exact test that ``statistics.difference`` makes of
    wins and losses; beginning from Connor's approximation (1987, Biometrics 43), which falls short
    of it by a tenth, and alone where it takes more than 20,000 problems.

    Args:
        gain: the difference that is there, as a fraction, such as 0.05 for five points.
        differing: the fraction of problems on which one is right and the other is not; a pilot's,
            or of two independent methods a (1 − b) + b (1 − a). At least the gain.
        power: the probability with which it is to be seen.
        level: of the interval that is to exclude 0.
        each: problems that a problem counts for less than: the design effect of clusters,
            1 + (size − 1) × correlation within them; see ``design_effect``.

    Raises:
        OptionError: a number is not in its range.
    """
    from scipy.special import ndtri

    for name, value in (("gain", gain), ("power", power), ("level", level)):
        fine = _number(value) and 1e-6 <= value <= 1 and (value < 1 or name == "gain")
        require(fine, name, value, "a number from 0.000001 to 1" + ", below 1" * (name != "gain"))
    fits = _number(differing) and gain <= differing <= 1
    require(fits, "differing", differing, f"from the gain, {gain}, to 1")
    require(_number(each) and 0 < each < math.inf, "each", each, "a finite number > 0")
    tail, reach = float(ndtri((1 + level) / 2)), float(ndtri(power))
    spread = math.sqrt(differing - gain**2)
    needed = math.ceil(((tail * math.sqrt(differing) + reach * spread) / gain) ** 2)
    if needed <= _MANY:
        needed = max(needed * 9 // 10, 1)
        while _power(needed, gain, differing, level) < power:
            needed += max(needed // 200, 1)
    return math.ceil(needed * each)


_MANY = 20_000
"""Problems, above which the normal approximation is as good."""


def _power(n: int, gain: float, differing: float, level: float) -> float:
    """How likely the interval of the difference of n problems excludes 0."""
    from scipy.special import bdtr
    from scipy.stats import binom

    unequal = np.arange(n + 1)
    share = (1 + gain / differing) / 2  # of them that are wins
    least = binom.ppf((1 - level) / 2, unequal, 0.5)  # as few losses as a fair coin hardly gives
    least -= 2 * bdtr(np.maximum(least, 0), unequal, 0.5) > 1 - level
    tail = statistics.quantile(level)
    least = np.minimum(least, np.floor((unequal - tail * np.sqrt(unequal)) / 2))
    seen = np.where(
        least < 0, 0, binom.cdf(least, unequal, 1 - share) + binom.cdf(least, unequal, share)
    )
    return float(binom.pmf(unequal, n, differing) @ seen)


def design_effect(a: ArrayLike, b: ArrayLike, clusters: Sequence[Hashable]) -> float:
    """Return for how many independent problems less each counts, as problems share templates.

    The variance of the mean difference with clusters, as a multiple of that without (Kish 1965,
    Survey Sampling); at least 1.

    Args:
        a, b: (p,) success rates of two methods.
        clusters: (p,) which problems belong together.
    """
    gaps = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    gaps = gaps - gaps.mean()
    alone = float((gaps**2).sum())
    together = statistics.sums(gaps, clusters)
    correction = len(together) / max(len(together) - 1, 1) * (len(gaps) - 1) / len(gaps)
    return max(float((together**2).sum()) * correction / alone, 1.0) if alone else 1.0


def _number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
