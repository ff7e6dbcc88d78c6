"""Recorded samples as the requests of a service: what tiers that vote would have drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from itslab.core import require
from itslab.options import Count, checked
from itslab.serving.traces import Draw, Trace
from itslab.serving.traffic import Query
from itslab.study.samples import Samples

CLASSES = ("easy", "middling", "hard")
"""Classes of difficulty, of equally many questions each."""


@checked
def queries(
    samples: Samples, sizes: Mapping[str, Count], easy: ArrayLike, classes: Sequence[str] = CLASSES
) -> list[Query]:
    """Return what each question asks of a machine, in every tier.

    A tier draws one sample, and then all others at once, as ``tiers.looked`` does.

    Args:
        samples: n of each of p questions.
        sizes: tier -> how many of them vote.
        easy: (p,) how likely a sample is thought to be right; nan counts as hardest.
        classes: names, the easiest first; each is that of equally many questions.

    Raises:
        OptionError: a tier takes more samples than there are.
    """
    n = samples.correct.shape[1]
    for tier, size in sizes.items():
        require(size <= n, "sizes", {tier: size}, f"at most the {n} samples of a question")
    ranks = np.argsort(np.argsort(-np.nan_to_num(np.asarray(easy, dtype=float), nan=-1.0)))
    names = [classes[rank * len(classes) // len(ranks)] for rank in ranks]
    found = []
    for row, name in zip(samples.nodes, names, strict=True):
        costs = [node.turn()[0].completion.cost for node in row]  # type: ignore[union-attr]
        prompt = costs[0].prefilled + costs[0].reused
        lengths = [cost.decoded for cost in costs]
        traces = {tier: _voted(prompt, lengths[:size]) for tier, size in sizes.items()}
        found.append(Query(traces, name))
    return found


def _voted(prompt: int, lengths: Sequence[int]) -> Trace:
    first, *others = lengths
    waves: list[tuple[Draw, ...]] = [(Draw(prompt, first),)]
    if others:
        waves.append(tuple(Draw(prompt, length, prompt) for length in others))
    return Trace(tuple(waves))
