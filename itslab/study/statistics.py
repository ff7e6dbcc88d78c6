"""Confidence intervals and tests for what was measured on some problems.

Problems are the independent units, and samples are clustered in them; where problems are made from
templates, the templates are the units. With counts no method covers exactly 95 % of the time: how
often these do is simulated in ``tests/test_coverage.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import require

Array = NDArray[np.float64]
_UNSEEN_SHARE, _UNSEEN_DIFFERENCE = 0.1, 0.03
"""Fractions of a problem that is solved always or never, added to those seen when their spread is
estimated: a few problems that look alike do not prove that all others are. Chosen by simulation."""
_EVEN = 0.5
"""Where the effective number of clusters is a smaller fraction of their number, a few large ones
decide, and no interval is known that covers: [0, 1] is returned."""
_ROUNDING = 1e-9  # a sum of probabilities may end above 1
_FEW = 12  # up to so many problems that differ, all 2^12 combinations of their signs are tried


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over n independent units, problems or clusters of them, and its confidence interval.

    Args:
        value: the mean.
        low, high: the ends of the interval.
        n: the number of units.
        p: of a difference, the two-sided p-value of there being none; else nan. The interval
            excludes 0 if and only if p ≤ 1 − level.
    """

    value: float
    low: float
    high: float
    n: int
    p: float = math.nan

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes 0, before anything is rounded."""
        return self.low > 0 or self.high < 0

    @property
    def percent(self) -> str:
        """The value and the interval of a fraction in whole percent, for tables."""
        return f"{self.value:.0%} [{self.low:.0%}, {self.high:.0%}]"

    @property
    def points(self) -> str:
        """The value and the interval of a difference in percentage points, for tables.

        Whole points, or as many digits as it takes to see on which side of 0 an end lies.
        """
        ends = (self.low, self.high) if self.excludes_zero else (1.0,)
        digits = next((d for d in range(3) if all(round(100 * x, d) for x in ends)), 3)
        value, low, high = (round(100 * x, digits) + 0.0 for x in (self.value, self.low, self.high))
        return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean(
    values: ArrayLike, level: float = 0.95, clusters: Sequence[Hashable] | None = None
) -> Estimate:
    """Return the mean of success rates on problems, with an interval for problems like these.

    The interval is Wilson's at the effective sample size, the number of problems that a plain
    proportion would need for the variance between these (Franco, Little, Louis & Slud 2019,
    J. Survey Statistics and Methodology 7), with Student's t.

    Args:
        values: (p,) in [0, 1]. One problem says nothing of others: the interval is then [0, 1].
        level: nominal coverage, between 0 and 1.
        clusters: (p,) which problems belong together, such as those of one template; by default
            each is alone.

    Raises:
        OptionError: an argument is of another shape or out of its range.
    """
    y = _numbers("values", values)
    return proportion(y, np.ones_like(y), level, clusters)


def proportion(
    part: ArrayLike,
    whole: ArrayLike,
    level: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
) -> Estimate:
    """Return Σ part ÷ Σ whole, such as the fraction of samples that are right, with an interval.

    The interval is that of ``mean``. The part and the whole of a cluster are the sums of its
    members'. The variance is that of a ratio of sums over clusters; a large cluster pulls the ratio
    towards itself, which is corrected as in CR2 (Bell & McCaffrey 2002, Survey Methodology 28), and
    Student's t has the degrees of freedom that are left (Satterthwaite). Where a few clusters hold
    most problems, the interval is [0, 1].

    Args:
        part: (p,) what counts in each problem, such as its right samples; from 0 to ``whole``.
        whole: (p,) out of what, such as all its samples; at least one of them > 0.
        level, clusters: as of ``mean``.
    """
    y, w = _numbers("values", part), _numbers("whole", whole)
    require(y.shape == w.shape and w.sum() > 0, "whole", w, f"{len(y)} numbers, not all 0")
    valid = bool(((y >= -_ROUNDING) & (y <= w + _ROUNDING)).all())
    require(valid, "values", (y.min(), y.max()), "in [0, 1]" if (w == 1).all() else "in [0, whole]")
    check_level(level)
    y, w = sums(np.clip(y, 0, w), clusters), sums(w, clusters)
    y, w = y[w > 0], w[w > 0]
    n, total = len(y), float(w.sum())
    m = float(y.sum()) / total
    if n == 1:
        return Estimate(m, 0.0, 1.0, 1)
    squares = float(((y - m * w) ** 2 / (1 - w / total)).sum())
    one = float((w**2).sum())  # times m (1 − m): if clusters were right or wrong as a whole
    effective = total**2 / one  # clusters, if they were equally large
    if effective < _EVEN * n:
        return Estimate(m, 0.0, 1.0, n)
    unseen = _UNSEEN_SHARE * one / n
    ratio = (squares + unseen) / (m * (1 - m) * one + unseen)
    freedom = one**2 / float((w**4).sum()) - 1  # of a variance to which large ones add most
    low, high = _wilson(m, effective / ratio, _student(level, freedom))
    return Estimate(m, low, high, n)


def difference(
    a: ArrayLike,
    b: ArrayLike,
    level: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
) -> Estimate:
    """Return the mean of a − b over the same problems, with an interval as in ``mean``.

    Pairing removes what makes problems hard for both. Differences of ±1 have Tango's score interval
    (1998, Statistics in Medicine 17); others have that of as many differences of one size as have
    the same sum and sum of squares. Where all wins are on one side, the interval is that of
    ``proportion``. Few differences are tested exactly, by all combinations of their signs (for ±1
    this is the sign test, McNemar's exact one): where that does not exclude 0, the interval does
    not either.

    Where single samples, right or wrong, are compared with means of many, the few large differences
    that would outweigh many small ones may not have been seen. There, if all wins are on one side,
    p is at least twice the probability of that (as if what was not seen were of full size).

    Args:
        a: (p,) success rates on the problems, in [0, 1].
        b: (p,) likewise, of the same problems in the same order.
        level, clusters: as of ``mean``. A cluster's difference is the sum of its members'.
    """
    x, y = _numbers("a", a), _numbers("b", b)
    require(x.shape == y.shape, "b", y.shape, f"of the shape of a, {x.shape}")
    for name, rates in (("a", x), ("b", y)):
        valid = bool(((rates >= -_ROUNDING) & (rates <= 1 + _ROUNDING)).all())
        require(valid, name, (rates.min(), rates.max()), "in [0, 1]")
    check_level(level)
    gaps, sizes = sums(x - y, clusters), sums(np.ones_like(x), clusters)
    n, value = len(gaps), float((x - y).mean())
    if n == 1:
        return Estimate(value, -1.0, 1.0, 1, 1.0)
    typical = float((sizes**2).sum() / sizes.sum())
    unseen = _UNSEEN_DIFFERENCE * typical
    size = float(((gaps**2).sum() + unseen * typical) / (np.abs(gaps).sum() + unseen))
    wins, losses = (float(np.maximum(side, 0).sum()) / size for side in (gaps, -gaps))
    p = _p_value(gaps, wins, losses)
    if not (wins and losses) and _single(x) != _single(y):
        p = max(p, min(2 * math.exp(-float(np.abs(gaps).sum()) / typical), 1.0))
    low, high = (end * size * n / len(x) for end in _tango(wins, losses, n, quantile(level)))
    if not (wins and losses):
        one = proportion(np.abs(gaps), sizes, level)
        ends = (one.low if wins else -one.high, -one.low if losses else one.high)
        if p <= 1 - level:
            return Estimate(value, *ends, n, p)
        low, high = min(low, ends[0]), max(high, ends[1])
    if p > 1 - level:
        low, high = min(low, 0.0), max(high, 0.0)
    return Estimate(value, max(low, -1.0), min(high, 1.0), n, p)


def level(p: float) -> str:
    """Return a p-value as text, to three decimals."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for the number of tests: Holm 1979, step down.

    With probability 95 % none of those up to 0.05 is a false alarm, however the tests depend on
    each other.

    Args:
        ps: p-values, in any order.
    """
    p = _numbers("ps", ps)
    require(bool(((p >= 0) & (p <= 1)).all()), "ps", ps, "p-values, in [0, 1]")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return [float(x) for x in np.minimum(adjusted, 1.0)]


# -- intervals -------------------------------------------------------------------------------------


def _wilson(m: float, size: float, quantile: float) -> tuple[float, float]:
    """The interval of a proportion m of ``size`` draws: Wilson 1927."""
    t2 = quantile**2 / size
    centre, half = (m + t2 / 2) / (1 + t2), math.sqrt(m * (1 - m) * t2 + t2 * t2 / 4) / (1 + t2)
    return min(max(centre - half, 0.0), m), max(min(centre + half, 1.0), m)


def _tango(wins: float, losses: float, n: int, z: float) -> tuple[float, float]:
    """The differences δ at which the score statistic of wins − losses is within ±z: Tango 1998."""

    def inside(delta: float) -> bool:
        # The likeliest share of losses if the difference is δ: the larger root of 2n q² + β q + γ.
        beta = (2 * n - wins + losses) * delta - wins - losses
        gamma = -losses * delta * (1 - delta)
        root = math.sqrt(max(beta * beta - 8 * n * gamma, 0.0))
        q = max((root - beta) / (4 * n), 0.0)
        return (wins - losses - n * delta) ** 2 <= z * z * n * (2 * q + delta * (1 - delta))

    low, high = (_border(inside, (wins - losses) / n, end) for end in (-1.0, 1.0))
    return low, high


def _border(inside: Callable[[float], bool], start: float, end: float) -> float:
    """The end of an interval around ``start`` in the direction of ``end``, by bisection."""
    if inside(end):
        return end
    good, bad = start, end
    while abs(bad - good) > 1e-12:
        middle = (good + bad) / 2
        good, bad = (middle, bad) if inside(middle) else (good, middle)
    return good


def _p_value(gaps: Array, wins: float, losses: float) -> float:
    """Two-sided p-value of a mean difference of 0: exact if possible, else of the score test."""
    gaps = gaps[gaps != 0]
    if not gaps.size:
        return 1.0
    if not (wins and losses):
        return 2.0 ** (1 - gaps.size)
    score = math.erfc(abs(wins - losses) / math.sqrt(2 * (wins + losses)))
    if np.ptp(np.abs(gaps)) < 1e-9:
        return max(score, sign_test(int((gaps > 0).sum()), int((gaps < 0).sum())))
    if gaps.size <= _FEW:
        signs = np.array(list(product((1, -1), repeat=gaps.size)))
        as_far = np.abs(signs @ np.abs(gaps)) >= abs(gaps.sum()) - 1e-9
        return max(score, float(as_far.mean()))
    return score


def _single(rates: Array) -> bool:
    """Whether these are single samples, right or wrong, and not means of several."""
    return bool(np.isin(rates, (0.0, 1.0)).all())


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided exact p-value of a split as unequal as this among fair coins."""
    from scipy.special import bdtr

    return min(2 * float(bdtr(min(wins, losses), wins + losses, 0.5)), 1.0)


def _student(level: float, freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def quantile(level: float) -> float:
    """Return how many standard deviations an interval of this level reaches to each side."""
    from scipy.special import ndtri

    return float(ndtri((1 + level) / 2))


# -- what is given ---------------------------------------------------------------------------------


def _numbers(name: str, values: ArrayLike) -> Array:
    """Return one or more finite numbers as an array."""
    try:
        row = np.asarray(values)
    except ValueError:  # rows of unequal length
        row = np.empty(0)
    fit = row.ndim == 1 and row.size > 0 and row.dtype.kind in "biuf"
    require(fit and bool(np.isfinite(row).all()), name, values, "one finite number per problem")
    return row.astype(float)


def matrix(name: str, values: ArrayLike) -> Array:
    """Return numbers of shape (p, n) as an array; nan is allowed.

    Raises:
        OptionError: the values are no numbers, or of another shape.
    """
    try:
        rows = np.asarray(values)
    except ValueError:  # rows of unequal length
        rows = np.empty(0)
    require(rows.ndim == 2 and rows.size > 0, name, rows.shape, "of shape (p, n)")
    require(rows.dtype.kind in "biuf", name, values, "numbers")
    return rows.astype(float)


def check_level(level: float) -> None:
    """Refuse what is no level of an interval.

    Raises:
        OptionError: it is not between 0 and 1.
    """
    number = isinstance(level, int | float | np.number) and not isinstance(level, bool)
    require(number and 0 < level < 1, "level", level, "a number between 0 and 1")


def sums(values: Array, clusters: Sequence[Hashable] | None) -> Array:
    """Return sums over the members of each cluster, (number of clusters,)."""
    if clusters is None:
        return values
    row = isinstance(clusters, Sequence | np.ndarray) and not isinstance(clusters, str)
    named = row and all(isinstance(cluster, Hashable) for cluster in clusters)
    valid = f"{len(values)} names, one per problem"
    require(named and len(clusters) == len(values), "clusters", clusters, valid)
    places: dict[Hashable, int] = {}
    rows = [places.setdefault(cluster, len(places)) for cluster in clusters]
    sums: Array = np.bincount(rows, weights=values).astype(float)
    return sums


# -- discrimination --------------------------------------------------------------------------------


def auroc(scores: ArrayLike, correct: ArrayLike) -> NDArray[np.float64]:
    """Return how well scores tell right from wrong samples of the same problem: AUROC, (p,).

    AUROC is the probability that a right sample scores above a wrong one, ties counting half
    (Hanley & McNeil 1982). Samples without a score are left out; a problem whose other samples are
    all right or all wrong has nan. Its mean over problems says how much scores help to select.

    Args:
        scores: (p, n) the higher the better.
        correct: (p, n) whether each sample is right.
    """
    score, right = matrix("scores", scores), matrix("correct", correct).astype(bool)
    require(score.shape == right.shape, "scores", score.shape, f"of shape {right.shape}")
    areas = np.full(len(score), math.nan)
    for row, (points, marks) in enumerate(zip(score, right, strict=True)):
        good, bad = points[marks & ~np.isnan(points)], points[~marks & ~np.isnan(points)]
        if good.size and bad.size:
            above, tied = good[:, None] > bad, good[:, None] == bad
            areas[row] = (above + tied / 2).mean()
    return areas
