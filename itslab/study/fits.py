"""Scaling laws of inference: curves fitted to accuracy and coverage, forecasts and their error.

- The exponentiated power law, log c = −e^a k^−b for coverage c at k samples: Brown et al. 2024,
  Large Language Monkeys (arXiv:2407.21787).
- Success rates that follow a beta distribution. Where many problems are nearly hopeless, failures
  fall as a power of k with the exponent of the distribution's left tail: Schaeffer et al. 2025
  (arXiv:2502.17578).
- A logistic curve in the logarithm of compute, with or without a ceiling below 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import OptionError, require
from itslab.study.selection import pass_at_k
from itslab.study.statistics import check_level, matrix

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


class Law(NamedTuple):
    """A curve with parameters.

    Args:
        names: of the parameters.
        value: of the parameters and x, the curve.
        start: of x and y, parameters to begin with.
        formula: for people.
    """

    names: tuple[str, ...]
    value: Callable[[Array, Array], Array]
    start: Callable[[Array, Array], Sequence[float]]
    formula: str


def _inside(y: Array) -> Array:
    """Rates as far inside (0, 1) as their logarithms are finite."""
    return np.clip(y, 1e-4, 1 - 1e-4)


def _power(parameters: Array, x: Array) -> Array:
    a, b = parameters
    curve: Array = np.exp(-np.exp(np.clip(a - b * np.log(x), -50, 50)))
    return curve


def _power_start(x: Array, y: Array) -> Sequence[float]:
    slope, height = np.polyfit(np.log(x), np.log(-np.log(_inside(y))), 1)
    return height, -slope


def _logistic(parameters: Array, x: Array) -> Array:
    a, b = parameters
    curve: Array = 1 / (1 + np.exp(-np.clip(a + b * np.log(x), -50, 50)))
    return curve


def _logistic_start(x: Array, y: Array) -> Sequence[float]:
    inside = _inside(y)
    slope, height = np.polyfit(np.log(x), np.log(inside / (1 - inside)), 1)
    return height, slope


def _saturating(parameters: Array, x: Array) -> Array:
    a, b, top = parameters
    curve: Array = _logistic(np.array([a, b]), x) / (1 + math.exp(-min(max(top, -50.0), 50.0)))
    return curve


def _saturating_start(x: Array, y: Array) -> Sequence[float]:
    top = min(max(float(y.max()) * 1.05, 0.02), 0.98)
    return (*_logistic_start(x, _inside(y / top)), math.log(top / (1 - top)))


LAWS: Mapping[str, Law] = {
    "power law": Law(("a", "b"), _power, _power_start, "exp(−e^a x^−b)"),
    "logistic": Law(("a", "b"), _logistic, _logistic_start, "1 / (1 + e^−(a + b log x))"),
    "logistic with a ceiling": Law(
        ("a", "b", "logit of the ceiling"),
        _saturating,
        _saturating_start,
        "ceiling / (1 + e^−(a + b log x))",
    ),
}


@dataclass(frozen=True, eq=False)
class Fit:
    """A law that was fitted to a curve.

    Args:
        law: a key of ``LAWS``.
        parameters: by their names.
        x, observed: (k,) what it was fitted to.
        draws: (d, number of parameters) fits to as many samples of the problems, drawn again.
        units: problems, or clusters of them, that were drawn again.
    """

    law: str
    parameters: Mapping[str, float]
    x: Array
    observed: Array
    draws: Array
    units: int

    @property
    def residuals(self) -> Array:
        """(k,) observed − fitted."""
        return self.observed - self(self.x)

    def __call__(self, x: ArrayLike) -> Array:
        """Return the curve at any x."""
        return LAWS[self.law].value(np.array([*self.parameters.values()]), np.asarray(x, float))

    def interval(self, x: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
        """Return the ends of the interval of the curve at any x: percentiles of the draws.

        They are expanded for few problems, as Student's t is: Hesterberg 2015 (The American
        Statistician 69, section 4.3). In simulations those of 95 % hold the curve in 90 % of cases
        with 5 problems, 91 % with 10 and 95 % with 20 or more; of one problem, or one cluster, the
        interval is [0, 1].
        """
        at = np.asarray(x, dtype=float)
        if self.units < 2:
            check_level(level)
            return np.zeros_like(at), np.ones_like(at)
        curves = np.array([LAWS[self.law].value(row, at) for row in self.draws])
        low, high = np.quantile(curves, self._percentiles(level), axis=0)
        return low, high

    def ranges(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Return the interval of each parameter, expanded likewise; of one problem none is known.

        That is then (−inf, inf).
        """
        ends = np.array([[-math.inf] * len(self.parameters), [math.inf] * len(self.parameters)])
        if self.units > 1:
            ends = np.quantile(self.draws, self._percentiles(level), axis=0)
        return {
            name: (float(low), float(high))
            for name, (low, high) in zip(self.parameters, ends.T, strict=True)
        }

    def _percentiles(self, level: float) -> tuple[float, float]:
        """Drawing n units again spreads by (n − 1) / n too little, and as if it were known."""
        from scipy.special import ndtr, stdtrit

        check_level(level)
        n = self.units
        tail = float(ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2)))
        return tail, 1 - tail


def fit(
    law: str,
    x: ArrayLike,
    rates: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    draws: int = 400,
    seed: int = 0,
) -> Fit:
    """Fit a law to the mean of success rates, by least squares; problems are drawn again for its
    intervals, those of one template together.

    Args:
        law: a key of ``LAWS``.
        x: (k,) numbers of samples, tokens, FLOPs or seconds, > 0; ever more.
        rates: (p, k) success rates of p problems.
        clusters: (p,) which problems belong together.
        draws, seed: of the bootstrap.

    Raises:
        OptionError: there is nothing that a curve could be fitted to; the text says why.
    """
    require(isinstance(law, str) and law in LAWS, "law", law, " or ".join(map(repr, LAWS)))
    _whole("draws", draws, 1)
    _whole("seed", seed, 0)
    values = matrix("rates", rates)
    fine = bool(np.isfinite(values).all() and (np.abs(values - 0.5) <= 0.5 + 1e-9).all())
    require(fine, "rates", rates, "success rates in [0, 1], none of them nan")
    at = _finite("x", x)
    rising = at.ndim == 1 and bool((at > 0).all()) and bool((np.diff(at) > 0).all())
    require(rising and len(at) == values.shape[1], "x", x, f"{values.shape[1]} rising numbers > 0")
    least = len(LAWS[law].names) + 1
    require(len(at) >= least, "x", x, f"{least} budgets at least: fewer fit any {law}")
    mean = values.mean(axis=0)
    for end, what in ((0, "nothing is solved"), (1, "all is solved")):
        if bool((np.abs(mean - end) < 1e-12).all()):
            raise OptionError(f"there is no {law} to fit: {what} at any budget")
    groups = _groups(len(values), clusters)
    sums = np.array([values[group].sum(axis=0) for group in groups])
    counts = np.array([len(group) for group in groups], dtype=float)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), draws)
    again = (times @ sums) / (times @ counts)[:, None]
    best = _least_squares(law, at, mean)
    fitted = np.array([_least_squares(law, at, row) for row in again])
    names = LAWS[law].names
    parameters = {name: float(v) for name, v in zip(names, best, strict=True)}
    return Fit(law, parameters, at, mean, fitted, len(groups))


def _finite(name: str, values: ArrayLike) -> Array:
    """Numbers as an array, none of them infinite or nan."""
    numbers = np.asarray(values)
    plain = numbers.dtype.kind in "biuf" and bool(np.isfinite(numbers).all())
    require(plain, name, values, "finite numbers")
    return numbers.astype(float)


def _whole(name: str, value: int, least: int) -> None:
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    require(number and value >= least, name, value, f"a whole number ≥ {least}")


def _least_squares(law: str, x: Array, y: Array) -> Array:
    from scipy.optimize import least_squares

    chosen = LAWS[law]
    found = least_squares(
        lambda parameters: chosen.value(parameters, x) - y,
        np.clip(np.asarray(chosen.start(x, y), dtype=float), -60, 60),
        max_nfev=200,
    )
    best: Array = found.x
    return best


def _groups(count: int, clusters: Sequence[Hashable] | None) -> list[list[int]]:
    """The numbers of the problems of each cluster."""
    named = range(count) if clusters is None else clusters
    require(len(named) == count, "clusters", clusters, f"{count} names, one per problem")
    groups: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(named):
        groups.setdefault(cluster, []).append(i)
    return [*groups.values()]


# -- success rates that differ from problem to problem ---------------------------------------------


@dataclass(frozen=True)
class BetaBinomial:
    """Success rates of problems as a beta distribution, so that right samples are beta-binomial.

    Args:
        alpha: the exponent with which failures fall in the end: 1 − c ∝ k^−alpha.
        beta: the larger, the fewer problems are nearly certain.
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("beta", self.beta)):
            require(0 < value < math.inf, name, value, "a finite number > 0")

    @classmethod
    def of(cls, right: ArrayLike, drawn: ArrayLike) -> BetaBinomial:
        """Return the likeliest distribution.

        Args:
            right: (p,) right samples of each problem.
            drawn: (p,) or one number: samples of each.

        Raises:
            OptionError: all samples are right, or none is: no distribution is likeliest then.
        """
        from scipy.optimize import minimize
        from scipy.special import betaln

        good, whole = _finite("right", right), _finite("drawn", drawn)
        alike = good.ndim == 1 and good.size > 0 and whole.shape in ((), good.shape)
        require(alike, "drawn", drawn, f"one number, or of the shape of right, {good.shape}")
        bad = np.broadcast_to(whole, good.shape) - good
        require(bool((good >= 0).all() and (bad >= 0).all()), "right", right, "from 0 to drawn")
        mixed = bool(good.any() and bad.any())
        require(mixed, "right", right, "some right and some wrong samples, for a distribution")
        pairs, times = np.unique(np.stack([good, bad], axis=1), axis=0, return_counts=True)

        def unlikely(logs: Array) -> float:
            a, b = np.exp(np.clip(logs, -12, 12))
            terms = betaln(a + pairs[:, 0], b + pairs[:, 1]) - betaln(a, b)
            return -float(times @ terms)

        m = min(max(float(good.sum() / (good + bad).sum()), 0.01), 0.99)
        found = minimize(unlikely, np.log([m, 1 - m]), method="Nelder-Mead")
        alpha, beta = np.exp(np.clip(found.x, -12, 12))
        return cls(float(alpha), float(beta))

    def coverage(self, ks: ArrayLike) -> Array:
        """Return the share of problems of which any of k samples is right."""
        from scipy.special import betaln

        k = _finite("ks", ks)
        curve: Array = 1 - np.exp(betaln(self.alpha, self.beta + k) - betaln(self.alpha, self.beta))
        return curve


def forecast(
    correct: ArrayLike,
    seen: int,
    ks: Sequence[int],
    repeats: int = 300,
    seed: int = 0,
) -> pd.DataFrame:
    """Forecast coverage from a few samples of each problem, and compare it with what came.

    Each repeat draws ``seen`` of the samples of each problem, fits both laws to them, and forecasts
    coverage at k; ``coverage`` is that of all samples. The error of such a forecast is mostly that
    of the few samples: see ``noise``, the error of coverage at ``seen`` itself, which nothing is
    forecast for.

    Args:
        correct: (p, n) whether each sample is right.
        seen: samples of each problem that the forecast may see, from 3 to n.
        ks: numbers of samples that are forecast, at most n.
        repeats, seed: of the draws.

    Returns:
        One row for each law and k: ``law``, ``k``, ``coverage``, ``forecast`` (mean), ``low``,
        ``high`` (of 95 % of the forecasts), ``error`` (mean absolute difference), ``noise``.
    """
    import pandas as pd

    marks = matrix("correct", correct)
    n = marks.shape[1]
    for name, count, least in (("seen", seen, 3), ("repeats", repeats, 1), ("seed", seed, 0)):
        _whole(name, count, least)
    require(seen <= n, "seen", seen, f"from 3 to {n}")
    require(len(ks) > 0, "ks", ks, "one number of samples at least")
    actual, at_seen = pass_at_k(marks, ks).mean(axis=0), pass_at_k(marks, [seen]).mean()
    rng = np.random.default_rng(seed)
    made: dict[str, list[Array]] = {"power law": [], "beta-binomial": []}
    noise = []
    for _ in range(repeats):
        few = rng.permuted(marks, axis=1)[:, :seen]
        if not 0 < few.mean() < 1:
            continue  # there is no law to fit
        steps = range(1, seen + 1)
        curve = pass_at_k(few, steps).mean(axis=0)
        noise.append(abs(float(curve[-1] - at_seen)))
        power = _least_squares("power law", np.array(steps, dtype=float), curve)
        made["power law"].append(LAWS["power law"].value(power, np.array(ks, dtype=float)))
        made["beta-binomial"].append(BetaBinomial.of(few.sum(axis=1), seen).coverage(ks))
    require(bool(noise), "correct", marks.mean(), "neither all right nor all wrong")
    rows = []
    for law, curves in made.items():
        several = np.array(curves)
        low, high = np.quantile(several, [0.025, 0.975], axis=0)
        errors = np.abs(several - actual).mean(axis=0)
        for i, k in enumerate(ks):
            row = (actual[i], several[:, i].mean(), low[i], high[i], errors[i], np.mean(noise))
            rows.append((law, k, *map(float, row)))
    columns = ["law", "k", "coverage", "forecast", "low", "high", "error", "noise"]
    return pd.DataFrame(rows, columns=columns)
