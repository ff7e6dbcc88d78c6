"""Compute-optimal scaling: which method and budget for which difficulty, fitted and judged.

Snell et al. 2024 (arXiv:2408.03314): problems are put into bins by difficulty, and in each bin the
method is taken that does best there, on other problems than those it is judged on.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import Verifier, require
from itslab.options import Count, Options, Positive, check, checked
from itslab.run import Strategy
from itslab.strategies.router import Route, Router
from itslab.study.difficulty import Estimator
from itslab.study.knapsack import best_of_each, relaxed
from itslab.study.methods import MethodResult

Array = NDArray[np.float64]
Methods = Mapping[Any, MethodResult]
FOLDS = 5


@dataclass(frozen=True)
class ComputeOptimal(Options):
    """What to do about problems of each difficulty.

    Args:
        edges: estimates that part the bins, ascending; a problem at an edge is in the higher bin.
        choices: the name of a method for each bin, the hardest first (lowest estimates).
        digest: of the model whose samples it was fitted on; "" if that is unknown.
    """

    edges: tuple[float, ...]
    choices: tuple[Hashable, ...]
    digest: str = field(default="")

    def __post_init__(self) -> None:
        check(self)
        rising = all(a < b for a, b in pairwise(self.edges))
        require(rising, "edges", self.edges, "numbers that ascend")
        fits = len(self.choices) == len(self.edges) + 1
        require(fits, "choices", self.choices, f"{len(self.edges) + 1}, one more than edges")

    @classmethod
    @checked
    def fit(
        cls,
        estimates: ArrayLike,
        results: Methods,
        tokens: Positive,
        bins: Count = 4,
        digest: str = "",
    ) -> ComputeOptimal:
        """Choose the method of each bin so that most problems are solved for a budget.

        Args:
            estimates: (p,) how easy each problem is thought to be; nan counts as hardest.
            results: by name, what each method did on these problems.
            tokens: decoded per problem, on average: what may be spent. How much falls to which bin
                is chosen as well.
            bins: of equally many problems; fewer where estimates are equal.
            digest: of the model that drew the samples; the policy then refuses others.

        Raises:
            OptionError: nothing can be afforded, or shapes do not fit.
        """
        easy = _finite(_levels(estimates, results))
        edges = _edges(easy, np.quantile(easy, np.arange(1, bins) / bins))
        places = np.searchsorted(edges, easy, side="right")
        names = list(results)
        members = [places == i for i in range(len(edges) + 1)]
        gained = np.array([[results[m].success[at].sum() for m in names] for at in members])
        spent = np.array([[results[m].tokens[at].sum() for m in names] for at in members])
        chosen = best_of_each(gained, spent, tokens * len(easy))
        return cls(tuple(edges.tolist()), tuple(names[i] for i in chosen), digest)

    def choose(self, estimates: ArrayLike) -> list[Hashable]:
        """Return the method for each problem.

        Args:
            estimates: (p,) how easy each is thought to be; nan counts as hardest.
        """
        given = _numbers(estimates)
        easy = np.where(np.isnan(given), -np.inf, given)
        return [self.choices[i] for i in np.searchsorted(self.edges, easy, side="right")]

    def applied(self, estimates: ArrayLike, results: Methods) -> MethodResult:
        """Return what the policy does on problems on which all methods were tried."""
        _levels(estimates, results)
        for name in self.choices:
            require(name in results, "results", list(results), f"with those of {name!r}")
        return _picked(self.choose(estimates), results)

    def router(
        self,
        estimate: Verifier,
        strategies: Mapping[Any, Strategy | None],
        look: Strategy | None = None,
    ) -> Router:
        """Return the strategy that does as this policy says.

        Args:
            estimate: gives the estimates, as of ``Router``.
            strategies: by the name of a method; None for one that leaves it at the look.
            look: as of ``Router``.
        """
        for name in self.choices:
            require(name in strategies, "strategies", list(strategies), f"with one for {name!r}")
        routes = tuple(Route(strategies[name]) for name in self.choices)
        return Router(estimate, self.edges, routes, look, self.digest)


@checked
def cross_fitted(
    estimates: ArrayLike | Estimator, results: Methods, tokens: Positive, bins: Count = 4
) -> MethodResult:
    """Return what policies do on problems that they were not fitted on.

    One for each of 5 parts of the problems, fitted on the other 4; a cluster is in one part. Where
    these 4 happen to cost more than all problems do, and the tokens are not enough for any one
    method on them, they are given what the cheapest takes.

    Args:
        estimates: one of ``difficulty.estimators``, which is fitted anew on each 4 parts; or (p,)
            numbers that know no gold answer, such as counts. What was fitted to answers of these
            problems knows something of those that a policy is judged on.
        results, tokens, bins: as of ``ComputeOptimal.fit``.

    Raises:
        OptionError: there are fewer than 5 clusters, or as of ``ComputeOptimal.fit``.
    """
    from sklearn.model_selection import GroupKFold

    count = _same_problems(results)
    clusters = next(iter(results.values())).clusters
    names = range(count) if clusters is None else clusters
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    require(len(number) >= FOLDS, "clusters", len(number), f"at least {FOLDS}")
    groups = [number[name] for name in names]
    chosen = np.empty(count, dtype=object)
    enough = tokens >= min(result.tokens.mean() for result in results.values())
    for train, test in GroupKFold(FOLDS).split(groups, groups=groups):
        easy = _levels(estimates(train) if callable(estimates) else estimates, results)
        seen = {name: result.part(train) for name, result in results.items()}
        least = min(result.tokens.mean() for result in seen.values()) if enough else 0
        policy = ComputeOptimal.fit(easy[train], seen, max(tokens, float(least)), bins)
        for i, name in zip(test, policy.choose(easy[test]), strict=True):
            chosen[i] = name
    return _picked(list(chosen), results)


@checked
def oracle(results: Methods, tokens: Positive) -> MethodResult:
    """Return the best that any policy could do, if it knew each problem's success rates.

    What a policy lacks beside it is its regret. So that the budget is spent to the last token, one
    problem may get one of two methods by lot.

    Args:
        results: by name, what each method did.
        tokens: decoded per problem, on average.
    """
    names = list(results)
    _same_problems(results)
    gained = np.stack([results[name].success for name in names], axis=1)
    spent = np.stack([results[name].tokens for name in names], axis=1)
    chosen, (last, better, part) = relaxed(gained, spent, tokens * len(gained))
    taken = _picked([names[i] for i in chosen], results)
    other = results[names[better]]
    share = np.where(np.arange(len(chosen)) == last, part, 0.0)
    return replace(
        taken,
        success=(1 - share) * taken.success + share * other.success,
        tokens=(1 - share) * taken.tokens + share * other.tokens,
        flops=(1 - share) * taken.flops + share * other.flops,
    )


def _levels(estimates: ArrayLike, results: Methods) -> Array:
    """Estimates of problems, for which there are results of every method."""
    count = _same_problems(results)
    easy = _numbers(estimates)
    valid = f"of shape ({count},), one for each problem"
    require(easy.shape == (count,), "estimates", easy.shape, valid)
    return _without_nan(easy)


def _same_problems(results: Methods) -> int:
    """How many problems there are results of."""
    require(len(results) > 0, "results", results, "those of one method at least")
    sizes = sorted({len(result.success) for result in results.values()})
    require(len(sizes) == 1, "results", sizes, "of the same problems")
    require(sizes[0] > 0, "results", "those of no problem", "of one at least")
    for name, result in results.items():
        finite = bool(np.isfinite([result.success, result.tokens]).all())
        require(finite, "results", f"nan or inf of {name!r}", "finite success and tokens")
    return sizes[0]


def _numbers(estimates: ArrayLike) -> Array:
    """Estimates of problems, (p,)."""
    try:
        numbers = np.asarray(estimates, dtype=float)
    except (TypeError, ValueError):
        numbers = np.zeros(())
    require(numbers.ndim == 1, "estimates", estimates, "(p,) numbers, one for each problem")
    return numbers


def _edges(easy: Array, quantiles: Array) -> Array:
    """Numbers midway between neighbours, where quantiles part them: no bin is empty."""
    known = np.unique(easy)
    above = np.unique(np.searchsorted(known, quantiles))
    above = above[(above > 0) & (above < len(known))]
    return np.asarray(known[above] / 2 + known[above - 1] / 2)


def _finite(easy: Array) -> Array:
    """Infinite estimates as ones that are beyond all others."""
    known = easy[np.isfinite(easy)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    return np.clip(easy, low - 1, high + 1)


def _without_nan(easy: Array) -> Array:
    """A problem of which nothing is known is taken as the hardest."""
    lowest = np.nanmin(easy) if (~np.isnan(easy)).any() else 0.0
    return np.where(np.isnan(easy), lowest, easy)


def _picked(names: Sequence[Hashable], results: Methods) -> MethodResult:
    """What methods did, of each problem another one."""
    rows = [(results[name], i) for i, name in enumerate(names)]
    return MethodResult(
        np.array([result.success[i] for result, i in rows]),
        np.array([result.tokens[i] for result, i in rows]),
        np.array([result.flops[i] for result, i in rows]),
        next(iter(results.values())).clusters,
    )
