"""Methods on the same problems: how often each solves them, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.core import Completion, Node, OptionError, Result, Shape, Tree, require
from itslab.study import selection
from itslab.study.samples import Samples, finished
from itslab.study.statistics import Estimate, difference, mean
from itslab.tasks import Task

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What a method did on p problems.

    Made from runs or samples, it takes its clusters from the task: the templates of the problems,
    where they have any.

    Args:
        success: (p,) its success rate on each problem, in [0, 1].
        tokens: (p,) decoded, by verifiers too.
        flops: (p,) floating point operations, those of evaluating prompts too.
        clusters: (p,) which problems belong together; None: each is alone.
        drawn: (p,) samples drawn, on average; of runs what they drew, as many steps as there are
            in a search; None if that is unknown.
        seconds: (p,) of compute, by whatever drew it; None if that is unknown.
        dollars: (p,) None without a price.
    """

    success: Array
    tokens: Array
    flops: Array
    clusters: Sequence[Hashable] | None = None
    drawn: Array | None = None
    seconds: Array | None = None
    dollars: Array | None = None

    def __post_init__(self) -> None:
        rows = {"tokens": self.tokens, "flops": self.flops, "drawn": self.drawn}
        rows |= {"seconds": self.seconds, "dollars": self.dollars}
        shape = np.shape(self.success)
        require(len(shape) == 1, "success", self.success, "(p,) rates, one for each problem")
        rates = np.asarray(self.success)
        known = rates.dtype.kind in "biuf" and bool(((rates >= -1e-9) & (rates <= 1 + 1e-9)).all())
        require(known, "success", self.success, "rates in [0, 1], none of them nan")
        for name, row in rows.items():
            require(row is None or np.shape(row) == shape, name, row, f"of shape {shape}")
        fits = self.clusters is None or len(self.clusters) == shape[0]
        require(fits, "clusters", self.clusters, f"{shape[0]} names, one for each problem")

    @property
    def solved(self) -> Estimate:
        """The share of problems solved, with its interval."""
        return mean(self.success, clusters=self.clusters)

    def part(self, where: slice | ArrayLike) -> MethodResult:
        """Return what it did on some of the problems.

        Args:
            where: a slice of them, their numbers, or whether each is among them.

        Raises:
            OptionError: there is no such problem, or not one mark for each of them.
        """
        count = len(self.success)
        try:
            chosen = np.arange(count)[where if isinstance(where, slice) else _places(where)]
        except IndexError as error:
            valid = f"numbers below {count}, or {count} marks, one for each problem"
            raise OptionError(f"where={where!r} is not valid: where must be {valid}") from error
        return MethodResult(
            self.success[chosen],
            self.tokens[chosen],
            self.flops[chosen],
            None if self.clusters is None else [self.clusters[i] for i in chosen],
            None if self.drawn is None else self.drawn[chosen],
            None if self.seconds is None else self.seconds[chosen],
            None if self.dollars is None else self.dollars[chosen],
        )

    def gain(self, reference: MethodResult) -> Estimate:
        """Return the difference to another method on the same problems, with its interval.

        Raises:
            OptionError: the other one's problems, or what they belong to, are others.
        """
        theirs = reference.clusters
        alike = self.clusters is None or theirs is None or [*self.clusters] == [*theirs]
        require(alike, "reference", theirs, f"on the same problems in one order, {self.clusters}")
        return difference(self.success, reference.success, clusters=self.clusters)

    @classmethod
    def of_runs(cls, task: Task, results: Sequence[Result]) -> MethodResult:
        """Return what one run for each problem of a task did, in the order of the problems.

        Each is billed for its prompt, as in ``of_samples``, even if another run had evaluated it.
        """
        right = [task.grade(p, result.answer) for p, result in zip(task, results, strict=True)]
        return cls._paid(task, results, right)

    @classmethod
    def of_chains(cls, task: Task, results: Sequence[Result]) -> MethodResult:
        """Return what searches would do if somebody chose among their finished chains.

        A problem is solved if any of them is right: the coverage of a search. Costs are those of
        ``of_runs``.
        """
        right = [
            any(task.grade(p, answer) for answer in finished(task, result))
            for p, result in zip(task, results, strict=True)
        ]
        return cls._paid(task, results, right)

    @classmethod
    def _paid(cls, task: Task, results: Sequence[Result], right: Sequence[bool]) -> MethodResult:
        return cls(
            np.array(right, dtype=float),
            np.array([result.cost.decoded for result in results], dtype=float),
            np.array([result.cost.flops + unpaid(result.tree) for result in results]),
            task.clusters,
            np.array([sum(bool(node.completion) for node in r.tree) for r in results], dtype=float),
            np.array([result.cost.seconds for result in results]),
        )

    @classmethod
    def of_samples(cls, samples: Samples, success: ArrayLike, k: ArrayLike) -> MethodResult:
        """Return what a selector among k samples does, at what these samples cost on average.

        Their prompt is evaluated once.

        Args:
            samples: of p problems.
            success: (p,) success rate of a selector that reads nothing but these samples.
            k: samples drawn, the same for all problems or (p,).
        """
        counts = np.broadcast_to(np.asarray(k, dtype=float), len(samples.nodes))
        size = samples.tokens.shape[1]
        return cls._weighed(samples, success, np.repeat(counts[:, None] / size, size, axis=1))

    @classmethod
    def _weighed(cls, samples: Samples, success: ArrayLike, weights: Array) -> MethodResult:
        """What costs each sample of each problem so often, (p, n)."""
        flops = [_flops(row, often) for row, often in zip(samples.nodes, weights, strict=True)]
        return cls(
            np.asarray(success, dtype=float),
            (weights * samples.tokens).sum(axis=1),
            np.array(flops),
            samples.task.clusters,
            weights.sum(axis=1),
            (weights * samples.seconds).sum(axis=1),
        )

    @classmethod
    def first_passing(
        cls, samples: Samples, scores: ArrayLike, k: int, threshold: float = 1.0
    ) -> MethodResult:
        """Return what drawing until a sample scores enough does; see ``selection.first_passing``.

        Its cost is exact: samples that fail are drawn more often than those that pass, and may be
        longer.

        Args:
            samples: of p problems.
            scores: (p, n) such as ``Samples.by_tests()``.
            k: draw at most so many, and take the best scored if none passes.
            threshold: the score at which drawing ends.
        """
        shape = samples.unanswered.shape
        score = np.array(scores, dtype=float)
        require(score.shape == shape, "scores", score.shape, f"of shape {shape}")
        success, weights = until_passing(
            score, samples.correct, samples.unanswered, k, threshold=threshold
        )
        return cls._weighed(samples, success, weights)

    @classmethod
    def best_of(cls, samples: Samples, scores: ArrayLike, k: int) -> MethodResult:
        """Return what taking the best scored of k samples does; see ``selection.best_at_k``."""
        success = selection.best_at_k(scores, samples.correct, [k])[:, 0]
        return cls.of_samples(samples, success, k)


def until_passing(
    scores: Array, correct: ArrayLike, unanswered: ArrayLike, k: int, threshold: float = 1.0
) -> tuple[Array, Array]:
    """Draw until a sample scores enough, at most k, and take the best scored if none does.

    Averaged over all orders of the samples; see ``selection.first_passing``.

    Args:
        scores: (p, n) of samples; nan where one cannot be scored.
        correct: (p, n) which are right.
        unanswered: (p, n) which hold no answer.
        k: draw at most so many.
        threshold: the score at which drawing ends.

    Returns:
        (p,) success rates; (p, n) how often each sample is drawn. Those that fail are drawn more
        often than those that pass.
    """
    score = _ranked(scores, np.asarray(unanswered, dtype=bool))
    success, drawn = selection.first_passing(score, correct, threshold, k)
    passing = (score >= threshold) & (score > -np.inf)
    ends = selection.pass_at_k(passing, [k])[:, 0]  # with one that passes, any of them
    count = passing.sum(axis=1)
    good, bad = ends / np.maximum(count, 1), (drawn - ends) / np.maximum((~passing).sum(1), 1)
    return success, np.where(passing, good[:, None], bad[:, None])


def _ranked(score: Array, mute: NDArray[np.bool_]) -> Array:
    """Scores in the order in which ``FirstVerified`` prefers samples: those without an answer last,
    before them those that cannot be scored. Rows in which no answer is scored stay nan.
    """
    seen = (~np.isnan(score) & ~mute).any(axis=1, keepdims=True)
    ranked = np.where(mute, np.nan, np.where(np.isnan(score) & seen, -np.inf, score))
    return np.where(mute.all(axis=1, keepdims=True), -np.inf, ranked)


def _places(where: ArrayLike) -> NDArray[Any]:
    places = np.asarray(where)
    return places if places.size else places.astype(np.int64)  # of none numpy makes floats


Results = Mapping[tuple[str, int], MethodResult]
"""By the name of a method and its size, such as the number of samples, in ascending order."""


def selected(
    samples: Samples, success: Mapping[str, ArrayLike], ks: Sequence[int]
) -> dict[tuple[str, int], MethodResult]:
    """Return what selectors do on numbers of samples, by the name of each and the number.

    Args:
        samples: of p problems.
        success: name -> (p, number of ks) success rates, as ``selection.select`` returns them; with
            fewer columns where a method has fewer sizes.
        ks: numbers of samples.
    """
    priced = {k: MethodResult.of_samples(samples, np.zeros(len(samples.nodes)), k) for k in ks}
    return {
        (name, k): replace(priced[k], success=column)
        for name, rates in success.items()
        for k, column in zip(ks, np.asarray(rates, dtype=float).T, strict=False)
    }


def gains(results: Results, reference: str) -> dict[str, Estimate]:
    """Return the paired difference of each method to one of them, at the largest size of each.

    Raises:
        OptionError: the reference is none of the methods.
    """
    largest = {name: result for (name, _), result in results.items()}
    valid = " or ".join(map(repr, largest))
    require(reference in largest, "reference", reference, valid)
    return {
        name: result.gain(largest[reference])
        for name, result in largest.items()
        if name != reference
    }


Budget = Literal["tokens", "flops", "seconds", "dollars"]
"""What is spent: of ``MethodResult``, the field's name."""


def at_tokens(sizes: Iterable[MethodResult], tokens: float) -> MethodResult:
    """Return what a method does for as many tokens per problem on average; see ``at_budget``."""
    return at_budget(sizes, tokens, "tokens")


def at_budget(
    sizes: Iterable[MethodResult],
    amount: float,
    budget: Budget,
) -> MethodResult:
    """Return what a method does for as much of a budget per problem on average.

    Between two sizes one of them is drawn by lot for each problem, with the probabilities that make
    the budget come out right. Below the smallest and above the largest size, that one is returned.

    Args:
        sizes: the method at several sizes, for ever more of the budget.
        amount: per problem, on average.
        budget: what is spent: decoded ``tokens``, ``flops``, ``seconds`` of compute, ``dollars``.

    Raises:
        OptionError: there is no size, their order is another one, or what they spend is unknown.
    """
    ladder = list(sizes)
    names = ("tokens", "flops", "seconds", "dollars")
    require(budget in names, "budget", budget, " or ".join(map(repr, names)))
    known = all(getattr(result, budget) is not None for result in ladder)
    require(known, budget, None, "known of all sizes")
    prices = [float(getattr(result, budget).mean()) for result in ladder]
    # Sizes that cost the same differ by rounding.
    rising = bool(prices) and all(a <= b * (1 + 1e-9) for a, b in pairwise(prices))
    require(rising, "sizes", prices, f"results that take ever more {budget}")
    number = isinstance(amount, int | float | np.number) and math.isfinite(amount)
    require(number, budget, amount, "a number")
    shapes = sorted({len(result.success) for result in ladder})
    require(len(shapes) == 1, "sizes", shapes, "of the same problems")
    above = next((i for i, price in enumerate(prices) if price >= amount), len(ladder) - 1)
    if above == 0 or prices[above] <= amount:
        return ladder[above]
    low, high = ladder[above - 1], ladder[above]
    part = (amount - prices[above - 1]) / (prices[above] - prices[above - 1])

    def mixed(name: str) -> Any:
        a, b = getattr(low, name), getattr(high, name)
        return None if a is None or b is None else np.asarray((1 - part) * a + part * b)

    return MethodResult(
        mixed("success"),
        mixed("tokens"),
        mixed("flops"),
        low.clusters,
        seconds=mixed("seconds"),
        dollars=mixed("dollars"),
    )


# -- what it costs ---------------------------------------------------------------------------------


def unpaid(tree: Tree) -> float:
    """Return the FLOPs of a run's prompts that others had evaluated before it."""
    return sum(map(_saved, _openings(tree)), 0.0)


def found(tree: Tree) -> int:
    """Return the tokens of a run's prompts that others had evaluated before it."""
    return sum(min(sample.cost.reused for sample in drawn) for drawn in _openings(tree))


def _openings(tree: Tree) -> list[list[Completion]]:
    """The samples that begin a run, by what they were asked: who evaluates a prompt is among them.

    Whoever asks one model the same again, as a later stage does, finds it evaluated.
    """
    openings: dict[object, list[Completion]] = {}
    for node in tree:
        before = node.parent
        if node.completion and before and not any(step.completion for step in before.path()):
            said = tuple((step.role, step.text) for step in before.path())
            openings.setdefault((said, node.completion.shape), []).append(node.completion)
    return [*openings.values()]


def _saved(drawn: Sequence[Completion]) -> float:
    """FLOPs that the sample which evaluated most of one prompt did not spend on it."""
    shape = drawn[0].shape
    if shape is None:
        return 0.0
    logits = all(sample.cost.prefilled == 0 for sample in drawn)
    return shape.flops(0, min(sample.cost.reused for sample in drawn), int(logits))


def _flops(row: Sequence[Node], often: Array) -> float:
    """FLOPs of one evaluation of a prompt, and of each of its samples so often."""
    return opening(row) + float(often @ decodings(row))


def decodings(row: Sequence[Node]) -> list[float]:
    """Return the FLOPs of each of several samples of one prompt, without that of the prompt.

    Where the model's shape is unknown: what was paid, whoever evaluated the prompt.
    """
    turns = [[step.completion for step in node.turn() if step.completion] for node in row]
    shape = turns[0][0].shape
    if shape is None:
        return [sum(step.cost.flops for step in turn) for turn in turns]
    first = turns[0][0].cost
    return [_decoding(shape, first.prefilled + first.reused, turn) for turn in turns]


def opening(row: Sequence[Node]) -> float:
    """Return the FLOPs of the prompt of samples; 0 where the model's shape is unknown."""
    first = next(step.completion for step in row[0].turn() if step.completion)
    if first.shape is None:
        return 0.0
    return first.shape.flops(0, first.cost.prefilled + first.cost.reused, 1)


def _decoding(shape: Shape, prompt: int, turn: Sequence[Completion]) -> float:
    """FLOPs of a turn after its prompt, whose logits give the first token."""
    last, drawn = turn[-1].cost, sum(step.cost.decoded for step in turn)
    end = last.reused + last.prefilled + max(last.decoded - 1, 0)
    return shape.flops(prompt, max(prompt, end), max(drawn - 1, 0))
