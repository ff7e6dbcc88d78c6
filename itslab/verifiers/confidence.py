"""The model's own confidence in what it wrote: free, since sampling measured it already."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from itslab.core import Completion, Node, Prompt, Verdict
from itslab.options import check

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
