"""A linear probe on the model's hidden state: what it knows about its answer and does not say.

Kadavath et al. 2022 (arXiv:2207.05221, §5) train a head that predicts from a question whether it
will be answered (P(IK)), Azaria & Mitchell 2023 (arXiv:2304.13734) a small network that reads from
a statement's hidden state whether it is true. Here it is logistic regression on the state from
which the last token of a sample was drawn. Sampling computes that state anyway: a verdict costs no
forward pass.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import ItslabError, Node, Prompt, Verdict, require
from itslab.options import Options

FOLDS = 5
_STRENGTHS = 10.0 ** np.arange(-5, 0)  # inverse regularisation, chosen by cross-validation


@dataclass(frozen=True, repr=False)
class Probe(Options):
    """Score a node by the probability that it is right, read from its last sample's hidden state.

    Nodes are whole answers, or steps if it was trained on steps. Samples need
    ``Sampling(signals=True)``; a probe fits the one model whose states it was trained on.

    Args:
        weights: (hidden size of the model,) of the raw state.
        bias: of the logit.
    """

    weights: NDArray[np.float64]
    bias: float

    def __post_init__(self) -> None:
        super().__post_init__()
        numbers = (
            self.weights.ndim == 1 and self.weights.size > 0 and self.weights.dtype.kind == "f"
        )
        valid = numbers and bool(np.isfinite(self.weights).all())
        require(valid, "weights", self.weights, "a row of finite numbers")

    def __repr__(self) -> str:
        spelled = np.append(self.weights, self.bias).astype("<f8").tobytes()
        return f"Probe({hashlib.blake2b(spelled, digest_size=4).hexdigest()})"

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Read each node's state, at no cost."""
        return [self._verdict(node) for node in nodes]

    def _verdict(self, node: Node) -> Verdict:
        state = node.completion.signals.state if node.completion else ()
        if not state:
            return Verdict(math.nan, note="the sample has no state: sample with signals=True")
        require(
            len(state) == len(self.weights),
            "state",
            f"{len(state)} wide",
            f"{len(self.weights)} wide, as of the model that the probe was trained on",
        )
        return Verdict(float(_sigmoid(np.asarray(state) @ self.weights + self.bias)))

    @classmethod
    def fit(
        cls, states: ArrayLike, correct: ArrayLike, clusters: Sequence[Hashable] | None = None
    ) -> Probe:
        """Train on samples whose gold answers are known, such as a recorded bank.

        The strength of the regularisation is chosen by cross-validation over problems, or clusters
        of them, not over samples.

        Args:
            states: (p, n, hidden size of the model) of n samples of each of p problems, or of n
                steps; nan where there is none.
            correct: (p, n) whether each is right, or leads to a right answer.
            clusters: (p,) which problems belong together, such as those of one template
                (``task.clusters``): who has seen one of them knows something of the others. By
                default each is alone.

        Raises:
            OptionError: there are fewer than 5 clusters, or so few with right or with wrong samples
            that a part of the problems would be without.
        """
        return cls._fitted(*_rows(states, correct, clusters))

    @classmethod
    def _fitted(cls, x: Any, y: Any, groups: Any) -> Probe:
        scaler, model = _regression(x, y, groups)
        weights = model.coef_[0] / scaler.scale_
        return cls(weights, float(model.intercept_[0] - weights @ scaler.mean_))

    def save(self, path: str | Path) -> None:
        """Write the probe to an .npz file."""
        np.savez(path, weights=self.weights, bias=self.bias)

    @classmethod
    def load(cls, path: str | Path) -> Probe:
        """Read a probe from an .npz file.

        Raises:
            ItslabError: the file cannot be read, or holds no probe.
        """
        try:
            with np.load(path) as file:
                return cls(file["weights"], float(file["bias"]))
        except (OSError, KeyError, ValueError) as error:
            raise ItslabError(
                f"{path} holds no probe ({error}): write one by Probe.save"
            ) from error


def held_out(
    states: ArrayLike, correct: ArrayLike, clusters: Sequence[Hashable] | None = None
) -> NDArray[np.float64]:
    """Return the scores that probes give to samples of problems they were not trained on, (p, n).

    One probe for each of 5 parts of the problems, trained on the other 4; a cluster is in one part.
    This is how a probe is compared with other verifiers on the samples that it is trained on.

    Args and errors as of :meth:`Probe.fit`.
    """
    x, y, groups = _rows(states, correct, clusters)
    predicted = np.empty(len(y))
    for train, test in _parts(x, y, groups):
        probe = Probe._fitted(x[train], y[train], groups[train])
        predicted[test] = _sigmoid(x[test] @ probe.weights + probe.bias)
    scores = np.full(np.shape(correct), math.nan)
    scores[~np.isnan(states).any(axis=2)] = predicted
    return scores


def _rows(
    states: ArrayLike, correct: ArrayLike, clusters: Sequence[Hashable] | None
) -> tuple[Any, Any, Any]:
    """The samples that have a state, one per row: state, whether it is right, its cluster."""
    try:
        x = np.asarray(states, float)
    except (TypeError, ValueError):  # no numbers, or rows of unequal length
        x = np.empty(0)
    y = np.asarray(correct, bool)
    require(x.ndim == 3, "states", x.shape, "numbers of shape (p, n, hidden size of the model)")
    require(y.shape == x.shape[:2], "correct", y.shape, f"of shape {x.shape[:2]}")
    there = ~np.isnan(x).any(axis=2)
    names = range(len(x)) if clusters is None else clusters
    require(len(names) == len(x), "clusters", names, f"{len(x)} names, one per problem")
    number = {name: i for i, name in enumerate(dict.fromkeys(names))}
    groups = np.array([number[name] for name in names])[np.nonzero(there)[0]]
    x, y = x[there], y[there]
    require(0 < y.sum() < len(y), "correct", f"{y.sum()} of {len(y)}", "right and wrong samples")
    count = len(np.unique(groups))
    require(
        count >= FOLDS,
        "problems" if clusters is None else "clusters",
        count,
        f"at least {FOLDS} different ones",
    )
    return x, y, groups


def _parts(x: Any, y: Any, groups: Any) -> list[tuple[Any, Any]]:
    """Rows to train on and rows to test on, so that each problem is tested once."""
    from sklearn.model_selection import GroupKFold

    parts = list(GroupKFold(min(FOLDS, len(np.unique(groups)))).split(x, y, groups))
    for train, _ in parts:
        right, problems = int(y[train].sum()), len(np.unique(groups[train]))
        found = f"{right} right of {len(train)} in {problems} problems"
        require(
            0 < right < len(train), "samples", found, "right and wrong ones: record more problems"
        )
    return parts


def _regression(x: Any, y: Any, groups: Any) -> tuple[Any, Any]:
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    scaler = StandardScaler().fit(x)
    model = LogisticRegressionCV(
        Cs=_STRENGTHS,
        l1_ratios=(0,),
        cv=_parts(x, y, groups),
        scoring="neg_log_loss",
        max_iter=1000,
        use_legacy_attributes=False,
    )
    with threadpool_limits(1):  # more threads would wait for each other, and for the model
        return scaler, model.fit(scaler.transform(x), y)


def _sigmoid(logit: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(logit, -500, 500)))
