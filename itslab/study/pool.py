"""What methods did, out of the rows of their runs, or of the samples among which they choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from itslab.study import selection
from itslab.study.methods import MethodResult, until_passing
from itslab.study.prices import Price

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
_POOLED = ("correct", "score", "tokens", "flops", "seconds", "prefilled", "reused")


def of_runs(
    rows: pd.DataFrame,
    problems: Sequence[str],
    clusters: Sequence[Any],
    price: Price | None,
    others: Mapping[str, Price],
) -> MethodResult:
    """Return what a method did at one size, averaged over seeds."""
    columns = {"success": "correct", "tokens": "decoded"}
    columns |= {name: name for name in ("flops", "drawn", "seconds")}
    if price is not None:
        rows, columns = price.priced(rows, others), {**columns, "dollars": "dollars"}
    numbers = rows[["problem", *columns.values()]].astype(dict.fromkeys(columns.values(), float))
    means = numbers.groupby("problem").mean().reindex([*problems])
    paid = {name: means[column].to_numpy() for name, column in columns.items()}
    if price is not None and np.isnan(paid["dollars"]).any():
        del paid["dollars"]  # the price of a model that was asked besides is not known
    return MethodResult(**paid, clusters=clusters)


@dataclass(frozen=True)
class Pool:
    """Independent samples of some problems, (p, n) each."""

    keys: list[list[str | None]]
    correct: Array
    scores: Array
    tokens: Array
    flops: Array
    seconds: Array
    prefilled: Array
    reused: Array
    opening: Array
    prompt: Array

    @property
    def size(self) -> int:
        """Samples of each problem."""
        return int(self.correct.shape[1])

    @classmethod
    def of(cls, rows: pd.DataFrame, problems: Sequence[str]) -> Pool | None:
        """Return the samples of a method's largest size, those of all seeds; None if uneven."""
        rows = rows[rows["size"].eq(rows["size"].max()) | rows["size"].isna()]
        counts = rows.groupby("problem").size().reindex([*problems], fill_value=0)
        if counts.min() == 0 or counts.min() != counts.max():
            return None
        n = int(counts.max())
        order = {problem: i for i, problem in enumerate(problems)}
        rows = rows.iloc[np.argsort(rows.problem.map(order).to_numpy(), kind="stable")]

        def square(name: str) -> Array:
            return rows[name].to_numpy(dtype=float, na_value=math.nan).reshape(-1, n)

        keys = np.array([k if isinstance(k, str) else None for k in rows.key], dtype=object)
        columns = (square(name) for name in _POOLED)
        whole = (square(name)[:, 0] for name in ("opening", "prompt"))
        return cls(keys.reshape(-1, n).tolist(), *columns, *whole)

    def methods(
        self, rule: str, ks: Sequence[int], clusters: Sequence[Any], price: Price | None
    ) -> list[MethodResult]:
        """Return what choosing among k of them does, averaged over all subsets, for each k."""
        if rule == "majority":
            success = selection.majority_at_k(self.keys, self.correct, ks)
        elif rule == "best":
            unheard = np.array([[key is None for key in row] for row in self.keys])
            scores = np.where(unheard, math.nan, self.scores)
            success = selection.best_at_k(scores, self.correct, ks)
        else:
            success = selection.pass_at_k(self.correct, ks)
        weights = [np.full(self.correct.shape, k / self.size) for k in ks]
        return [
            self._priced(rates, often, clusters, price)
            for often, rates in zip(weights, success.T, strict=True)
        ]

    def until(
        self, k: int, threshold: float, clusters: Sequence[Any], price: Price | None
    ) -> MethodResult:
        """Return what drawing until one scores enough does, at most k, averaged over all orders."""
        mute = np.array([[key is None for key in row] for row in self.keys])
        success, weights = until_passing(self.scores, self.correct, mute, k, threshold)
        return self._priced(success, weights, clusters, price)

    def _priced(
        self, success: Array, weights: Array, clusters: Sequence[Any], price: Price | None
    ) -> MethodResult:
        """Success rates with what samples cost that are drawn so often, (p, n): their prompt is
        evaluated once.
        """

        def paid(column: Array) -> Array:
            return np.asarray((weights * column).sum(axis=1))

        drawn, tokens, seconds = weights.sum(axis=1), paid(self.tokens), paid(self.seconds)
        fresh = self.prompt + paid(self.prefilled)
        again = (drawn - 1) * self.prompt + paid(self.reused)
        bill = zip(fresh, again, tokens, seconds, strict=True)
        return MethodResult(
            success,
            tokens,
            self.opening + paid(self.flops),
            clusters,
            drawn,
            seconds,
            None if price is None else np.array([price.of(*each) for each in bill]),
        )
