"""Methods side by side: what they solve, what it costs, how they differ on the same problems."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import Completion, Node, Result, Shape, Tree, require
from itslab.study.samples import Samples
from itslab.study.statistics import Estimate, difference, mean
from itslab.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tried:
    """What a method did on p problems.

    ``runs`` and ``samples`` take clusters from the task: its templates, where it has such.

    Args:
        chance: (p,) that it ends on a right answer.
        tokens: (p,) decoded, by verifiers too.
        flops: (p,) floating point operations, of evaluating prompts too.
        clusters: (p,) which problems belong together; None: each is alone.
    """

    chance: Array
    tokens: Array
    flops: Array
    clusters: Sequence[Hashable] | None = None

    @property
    def solved(self) -> Estimate:
        """The share of problems solved, with its interval."""
        return mean(self.chance, clusters=self.clusters)

    def gain(self, base: Tried) -> Estimate:
        """The difference to another method on the same problems, with its interval."""
        return difference(self.chance, base.chance, clusters=self.clusters)

    @classmethod
    def runs(cls, task: Task, results: Sequence[Result]) -> Tried:
        """One run for each problem of a task, in their order.

        Each is billed for its prompt, as ``samples`` are, even if another run had evaluated it.
        """
        right = [task.grade(p, result.answer) for p, result in zip(task, results, strict=True)]
        costs = [result.cost for result in results]
        return cls(
            np.array(right, dtype=float),
            np.array([cost.decoded for cost in costs], dtype=float),
            np.array([result.cost.flops + _unpaid(result.tree) for result in results]),
            task.clusters,
        )

    @classmethod
    def samples(cls, samples: Samples, chance: ArrayLike, k: ArrayLike) -> Tried:
        """``k`` samples of each problem, at what they cost on average, their prompt evaluated once.

        Args:
            samples: of p problems.
            chance: (p,) that a selector which reads only these ends on a right answer.
            k: how many, the same for all problems or (p,).
        """
        counts = np.broadcast_to(np.asarray(k, dtype=float), len(samples.nodes))
        tokens = counts * samples.tokens.mean(axis=1)
        flops = [_flops(row, count) for row, count in zip(samples.nodes, counts, strict=True)]
        chances = np.asarray(chance, dtype=float)
        return cls(chances, tokens, np.array(flops), samples.task.clusters)


def at_tokens(tried: Sequence[Tried], tokens: float) -> Tried:
    """Return what a method does for as many tokens per problem on average.

    Between two sizes one of them is drawn by lot for each problem, with the chances that make the
    tokens come out right. Below the smallest and above the largest size, that one is returned.

    Args:
        tried: the method at several sizes, for ever more tokens.
        tokens: decoded per problem, on average.

    Raises:
        OptionError: there is no size, or their order is another one.
    """
    prices = [what.tokens.mean() for what in tried]
    rising = bool(prices) and all(a <= b for a, b in pairwise(prices))
    require(rising, "tried", prices, "of sizes that take ever more tokens")
    require(math.isfinite(tokens), "tokens", tokens, "a number")
    above = next((i for i, price in enumerate(prices) if price >= tokens), len(tried) - 1)
    if above == 0 or prices[above] <= tokens:
        return tried[above]
    low, high = tried[above - 1], tried[above]
    part = (tokens - prices[above - 1]) / (prices[above] - prices[above - 1])

    def mixed(a: Array, b: Array) -> Array:
        return np.asarray((1 - part) * a + part * b)

    return Tried(
        mixed(low.chance, high.chance),
        mixed(low.tokens, high.tokens),
        mixed(low.flops, high.flops),
        low.clusters,
    )


def _unpaid(tree: Tree) -> float:
    """FLOPs of the openings of a run's conversations that others had evaluated before it."""
    openings: dict[Node, list[Completion]] = {}
    for node in tree:
        before = node.parent
        if node.completion and before and not any(step.completion for step in before.path()):
            openings.setdefault(before, []).append(node.completion)
    return sum(map(_found, openings.values()), 0.0)


def _found(drawn: Sequence[Completion]) -> float:
    """FLOPs that the sample which evaluated most of one prompt did not spend on it."""
    shape = drawn[0].shape
    if shape is None:
        return 0.0
    logits = all(sample.cost.prefilled == 0 for sample in drawn)
    return shape.flops(0, min(sample.cost.reused for sample in drawn), int(logits))


def _flops(row: Sequence[Node], k: float) -> float:
    """Of k samples after one evaluation of their prompt, as these samples cost on average."""
    turns = [[step.completion for step in node.turn() if step.completion] for node in row]
    shape = turns[0][0].shape
    if shape is None:  # what was paid, whoever evaluated the prompt
        return k * float(np.mean([sum(step.cost.flops for step in turn) for turn in turns]))
    first = turns[0][0].cost
    prompt = first.prefilled + first.reused
    decoding = [_decoding(shape, prompt, turn) for turn in turns]
    return shape.flops(0, prompt, 1) + k * float(np.mean(decoding))


def _decoding(shape: Shape, prompt: int, turn: Sequence[Completion]) -> float:
    """FLOPs of a turn after its prompt, whose logits give the first token."""
    last, drawn = turn[-1].cost, sum(step.cost.decoded for step in turn)
    end = last.reused + last.prefilled + max(last.decoded - 1, 0)
    return shape.flops(prompt, max(prompt, end), max(drawn - 1, 0))


def curves(tried: Mapping[tuple[str, int], Tried]) -> pd.DataFrame:
    """Return one row per method and size, for ``viz.accuracy_against_tokens``.

    Args:
        tried: by the name of a method and its size, such as the number of samples.

    Returns:
        Columns ``method``, ``samples`` (the size), ``tokens`` (per problem), ``accuracy``, ``low``,
        ``high`` (its 95 % interval over problems).
    """
    import pandas as pd

    rows = []
    for (method, size), what in tried.items():
        solved = what.solved
        rows.append((method, size, what.tokens.mean(), solved.value, solved.low, solved.high))
    return pd.DataFrame(rows, columns=["method", "samples", "tokens", "accuracy", "low", "high"])


def beside(tried: Mapping[tuple[str, int], Tried], reference: str) -> pd.DataFrame:
    """Return a table to be read: each method beside the reference of the same size.

    Args:
        tried: by the name of a method and its size.
        reference: one of the methods.

    Returns:
        Index ``method``, ``size``; columns ``solved`` (percent with its 95 % interval), ``tokens``
        and ``GFLOPs`` (per problem), ``points against …`` (paired difference with its interval).

    Raises:
        OptionError: the reference is none of the methods.
    """
    names = dict.fromkeys(method for method, _ in tried)
    require(reference in names, "reference", reference, " or ".join(map(repr, names)))
    import pandas as pd

    rows = []
    for (method, size), what in tried.items():
        base = tried.get((reference, size))
        gain = "" if base in (None, what) else what.gain(base).points
        price = round(what.tokens.mean()), round(what.flops.mean() / 1e9)
        rows.append((method, size, what.solved.percent, *price, gain))
    columns = ["method", "size", "solved", "tokens", "GFLOPs", f"points against {reference}"]
    return pd.DataFrame(rows, columns=columns).set_index(["method", "size"])
