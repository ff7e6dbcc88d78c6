"""How sure the model was of what it wrote, and scores of any kind made into probabilities.

Confidence is free, since sampling measured it already. Calibration: of samples judged 0.7, seven in
ten should be right. Platt 1999, Probabilistic Outputs for Support Vector Machines: a logistic curve
is fitted to the scores of samples whose gold answers are known. Of r right and w wrong ones, what
is fitted are not the marks 1 and 0 but (r + 1) / (r + 2) and 1 / (w + 2), §2.2: a few samples that
happen to be separable do not make the curve a step. A rising curve leaves the order of samples, and
so best-of-n, as it is; thresholds, and votes that add probabilities up, change. Where higher scores
are worse, the curve falls and turns the order round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import Account, Completion, Node, Prompt, Verdict, Verifier, require
from itslab.options import Options, check

Measure = Literal["mean_logprob", "min_logprob", "entropy", "certainty", "deepconf", "lowest_group"]

GROUP = 32
"""Tokens in a group of ``lowest_group``; Fu et al. take 2,048 of chains that are far longer."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Score a node by how sure the model was of the tokens that it sampled in this turn.

    Args:
        measure: in nats per token, higher is surer.
            ``mean_logprob`` mean log-probability of the sampled tokens.
            ``min_logprob`` log-probability of the least likely one.
            ``entropy`` minus the mean entropy.
            ``certainty`` mean self-certainty (Kang et al. 2025, arXiv:2502.18581).
            ``deepconf`` mean token confidence (Fu et al. 2025, arXiv:2508.15260).
            ``lowest_group`` lowest mean token confidence over ``GROUP`` tokens in a row, or over
            all if there are fewer (the same).

    The last four read what ``Sampling(signals=True)`` measures. Where a backend gave nothing to
    measure, the score is nan and the note says what is missing.
    """

    measure: Measure = "mean_logprob"

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Score each node by all that was sampled in its turn, at no cost."""
        return [self._score([n.completion for n in node.turn() if n.completion]) for node in nodes]

    def _score(self, completions: Sequence[Completion]) -> Verdict:
        values: list[float] = []
        for completion in completions:
            measured = self._measured(completion)
            if completion.text and not measured:
                missing = "log-probabilities"
                if measured is not completion.logprobs:
                    missing = "signals: sample with signals=True"
                return Verdict(math.nan, note=f"the samples carry no {missing}")
            values += measured
        if not values:
            return Verdict(math.nan, note="nothing was sampled in this turn")
        if self.measure == "min_logprob":
            return Verdict(min(values))
        mean = _lowest_mean(values, GROUP if self.measure == "lowest_group" else None)
        return Verdict(-mean if self.measure == "entropy" else mean)

    def _measured(self, completion: Completion) -> tuple[float, ...]:
        signals = completion.signals
        by_measure = {
            "entropy": signals.entropies,
            "certainty": signals.certainties,
            "deepconf": signals.confidences,
            "lowest_group": signals.confidences,
        }
        return by_measure.get(self.measure, completion.logprobs)


def _lowest_mean(values: Sequence[float], group: int | None) -> float:
    """Lowest mean over ``group`` values in a row, or over all if None or if there are fewer."""
    size = min(group or len(values), len(values))
    total = lowest = math.fsum(values[:size])
    for new, old in zip(values[size:], values, strict=False):
        total += new - old
        lowest = min(lowest, total)
    return lowest / size


_LEAST = 1e-6  # a probability of 0 or 1 has no logit


@dataclass(frozen=True)
class Calibrated(Options):
    """Score a node by the probability that it is right, given what another verifier says of it.

    Args:
        verifier: whose scores are probabilities, if bad ones, such as ``Judge``.
        slope: of the curve, over the logit of the score; 1 leaves scores as they are.
        intercept: of the curve; 0 leaves scores as they are.
    """

    verifier: Verifier
    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Read the verifier's verdicts off the curve."""
        return [
            replace(verdict, score=self._probability(verdict.score))
            for verdict in run.verdicts(self.verifier, prompt, nodes)
        ]

    def _probability(self, score: float) -> float:
        if math.isnan(score):
            return score
        logit = self.slope * float(logits([score])[0, 0]) + self.intercept
        return 1 / (1 + math.exp(-min(max(logit, -500.0), 500.0)))

    @classmethod
    def fit(cls, verifier: Verifier, scores: ArrayLike, correct: ArrayLike) -> Calibrated:
        """Fit the curve to samples whose gold answers are known, such as a recorded bank.

        To measure how well it does, fit and measure on different problems: to ``probe.held_out``,
        the logits of scores are states of width 1.

        Args:
            verifier: gave the scores.
            scores: (n,) in [0, 1]; nan is left out.
            correct: (n,) whether each sample is right.

        Raises:
            OptionError: a score is no probability, or all samples are right or all wrong.
        """
        from sklearn.linear_model import LogisticRegression

        x, y = logits(scores), np.asarray(correct, dtype=bool)
        require(
            x.shape[:-1] == y.shape and y.ndim == 1, "scores", x.shape[:-1], f"of shape {y.shape}"
        )
        known = ~np.isnan(x[:, 0])
        x, y = x[known], y[known]
        right, wrong = int(y.sum()), int((~y).sum())
        said = f"{right} of {len(y)}"
        require(right > 0 and wrong > 0, "correct", said, "right and wrong samples")
        target = np.where(y, (right + 1) / (right + 2), 1 / (wrong + 2))
        # A target between 0 and 1 is a sample that counts in part as right, else as wrong.
        twice, marks = np.concatenate([x, x]), np.repeat([True, False], len(x))
        parts = np.concatenate([target, 1 - target])
        model = LogisticRegression(C=np.inf).fit(twice, marks, sample_weight=parts)
        # Further digits are the solver's tolerance, and would be others on another machine.
        fitted = model.coef_[0, 0], model.intercept_[0]
        return cls(verifier, *(float(f"{number:.3g}") for number in fitted))


def logits(scores: ArrayLike) -> NDArray[np.float64]:
    """Return the logits of probabilities, with a last axis of length 1.

    Args:
        scores: of any shape, in [0, 1]; 0 and 1 count as one in a million.
    """
    try:
        p = np.asarray(scores, dtype=float)
    except (TypeError, ValueError):
        require(False, "scores", scores, "probabilities, in [0, 1]")
    valid = p.size > 0 and bool(((p >= 0) & (p <= 1) | np.isnan(p)).all())
    require(valid, "scores", scores, "probabilities, in [0, 1]")
    p = np.clip(p, _LEAST, 1 - _LEAST)
    logit: NDArray[np.float64] = np.log(p / (1 - p))
    return logit[..., None]
