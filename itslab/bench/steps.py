"""How long a step of the engine takes by its rows: what simulations of serving go by.

The speed of full batches (``bench.speed``) tells nothing of prompts, of which a step evaluates up
to 128 rows, nor of how long the engine takes when other programs need the cores as well.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

from itslab.backends.llama import Llama
from itslab.bench.rounds import new_texts
from itslab.core import Request, Sampling, as_messages
from itslab.options import Count, checked
from itslab.serving.machine import Curve

PROMPTS = 5
"""So many are together long enough for full steps, and fit into small contexts."""


@checked
def measure_steps(llm: Llama, *, tokens: Count = 48, rounds: Count = 3) -> Curve:
    """Time steps of a loaded model: of 1, 2, 4 … sequences that draw, and of prompts alone.

    Nobody else should draw from it meanwhile. A step's time is the mean over those of one call, and
    so is its number of rows, rounded; of several calls the median is taken.

    Args:
        llm: with its own batch size and threads.
        tokens: drawn of each sequence, at most.
        rounds: calls of each kind.
    """
    texts = new_texts()
    widths = [2**i for i in range(llm.batch_size.bit_length())]
    widths = sorted({*(n for n in widths if n < llm.batch_size), llm.batch_size})
    found: dict[int, list[tuple[int, float]]] = {}  # by width; 0: prompts
    for _ in range(rounds):
        for n in widths:
            text = next(texts)
            _mean_step(llm, text, 1, 1)  # so that the prompt is evaluated
            found.setdefault(n, []).append(_mean_step(llm, text, n, tokens))
        long = " ".join(next(texts) for _ in range(PROMPTS))
        found.setdefault(0, []).append(_mean_step(llm, long, 1, 1))
    points = {
        round(median(rows for rows, _ in calls)): median(seconds for _, seconds in calls)
        for calls in found.values()
    }
    return Curve(tuple(sorted(points)), tuple(points[rows] for rows in sorted(points)))


def _mean_step(llm: Llama, text: str, n: int, tokens: int) -> tuple[int, float]:
    before = replace(llm.stats)
    sampling = Sampling(max_tokens=tokens, temperature=1.0)
    llm.generate([Request(as_messages(text), sampling=sampling, n=n)])
    steps = llm.stats.steps - before.steps
    rows = round((llm.stats.evaluated - before.evaluated) / steps)
    return max(rows, 1), (llm.stats.busy - before.busy) / steps
