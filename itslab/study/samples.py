"""What was drawn for many problems: samples, finished chains and versions, read and graded once."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Sequence
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab import background
from itslab.core import (
    Completion,
    Cost,
    Node,
    OptionError,
    Problem,
    Result,
    Tree,
    Verifier,
    require,
)
from itslab.run import judged
from itslab.tasks import Task
from itslab.verifiers import probe
from itslab.verifiers.confidence import Confidence, Measure

Array = NDArray[np.float64]


class Samples:
    """n samples of each of p problems.

    Args:
        task: the problems.
        results: of a strategy that draws n samples for each, such as ``SelfConsistency``, in the
            order of the problems.

    Attributes:
        task, results: as given.
        nodes: (p, n) where each sample ends.
        answers: (p, n) what it says; None if nothing can be read.
        keys: (p, n) the form that equal answers share.
        correct: (p, n) whether its answer is right.
        readable: (p, n) whether it is, or would be if its text were read by another rule.
        tokens: (p, n) decoded.
        seconds: (p, n) of compute.

    Raises:
        OptionError: there are not as many results as problems, or not equally many samples each.
    """

    def __init__(self, task: Task, results: Sequence[Result]) -> None:
        require(len(results) == len(task), "results", len(results), f"one for each of {len(task)}")
        self.task, self.results = task, results
        self.nodes = [sample_ends(result.tree) for result in results]
        counts = sorted({len(row) for row in self.nodes})
        require(len(counts) == 1 and counts[0] > 0, "samples", counts, "equally many per problem")
        texts = [[node.turn_text for node in row] for row in self.nodes]
        self.answers = [[task.extract(text) for text in row] for row in texts]
        self.keys = [[None if a is None else task.key(a) for a in row] for row in self.answers]
        self.correct = self._graded([[[a] if a else [] for a in row] for row in self.answers])
        others = [[task.readings(text) for text in row] for row in texts]
        self.readable = self.correct | self._graded(others)
        paid = [[_paid(node) for node in row] for row in self.nodes]
        self.tokens = np.array([[cost.decoded for cost in row] for row in paid])
        self.seconds = np.array([[cost.seconds for cost in row] for row in paid])

    def __repr__(self) -> str:
        p, n = self.correct.shape
        right = f"{self.correct.mean():.1%} right"
        return f"Samples({self.task.name!r}, {p:,} problems × {n:,} samples, {right})"

    @property
    def unanswered(self) -> NDArray[np.bool_]:
        """(p, n) whether no answer can be read."""
        return np.array([[answer is None for answer in row] for row in self.answers])

    @property
    def states(self) -> Array:
        """(p, n, size of a state) last hidden states of the model; nan where there is none."""
        drawn = [[_last(node) for node in row] for row in self.nodes]
        states = [[sample.signals.state if sample else () for sample in row] for row in drawn]
        none = (np.nan,) * max(len(state) for row in states for state in row)
        return np.array([[state or none for state in row] for row in states], dtype=float)

    @property
    def verdicts(self) -> Array:
        """(p, n) scores that the strategy itself bought; nan where there is no answer."""
        given = [[n.verdict.score if n.verdict else np.nan for n in row] for row in self.nodes]
        return np.where(self.unanswered, np.nan, given)

    def scores(self, verifier: Verifier) -> Array:
        """Let a verifier score all samples, (p, n); nan where there is no answer to choose."""
        rows = [
            judged(verifier, row[0].conversation()[0], row, problem.id)
            for problem, row in zip(self.task, self.nodes, strict=True)
        ]
        scores = np.array([[verdict.score for verdict in row] for row in rows])
        return np.where(self.unanswered, np.nan, scores)

    def free_scores(self) -> dict[str, Array]:
        """Return the scores that cost nothing more, by name: each (p, n), nan without an answer.

        The measures of ``Confidence``; ``judge``, the verdicts that the strategy bought; ``probe``,
        see ``held_out``; and ``length``, by which a shorter sample is better, for comparison.
        """
        scores = {measure: self.scores(Confidence(measure)) for measure in get_args(Measure)}
        others = {
            "judge": self.verdicts,
            "probe": held_out(self.states, self.correct, self.task.clusters),
            "length": -self.tokens.astype(float),
        }
        return scores | {name: np.where(self.unanswered, np.nan, s) for name, s in others.items()}

    def by_tests(self, untested: float = math.nan) -> Array:
        """Return scores by visible tests, (p, n): of as many passed, the likelier sample is better.

        The score is the share of tests passed, plus a thousandth of the geometric mean of the
        probabilities of a sample's tokens, so that whoever passes all tests scores at least 1.

        Args:
            untested: the share of samples that have no tests: nan says that nothing is known of
                them, 0 that likelihood alone decides.
        """
        require(self.task.verifier is not None, "task", self.task.name, "one with a verifier")
        assert self.task.verifier is not None
        passed, likely = self.scores(self.task.verifier), self.scores(Confidence())
        return np.where(np.isnan(passed), untested, passed) + np.exp(likely) / 1000

    def _graded(self, answers: Sequence[Sequence[Sequence[str]]]) -> NDArray[np.bool_]:
        """Whether any of the answers of each sample is right; several at once, none twice."""
        asked = {
            (problem.id, answer): problem
            for problem, row in zip(self.task, answers, strict=True)
            for several in row
            for answer in several
        }
        with background.pool(os.cpu_count()) as pool:
            marks = pool.map(self._grade, asked.values(), (answer for _, answer in asked))
            right = {place for place, mark in zip(asked, marks, strict=True) if mark}
        return np.array(
            [
                [any((problem.id, answer) in right for answer in several) for several in row]
                for problem, row in zip(self.task, answers, strict=True)
            ]
        )

    def _grade(self, problem: Problem, answer: str) -> bool:
        return self.task.grade(problem, answer)


def sample_ends(tree: Tree) -> list[Node]:
    """Return where each sample ends, in the order in which they were drawn.

    Text may have been appended since.
    """

    def drawn(leaf: Node) -> int:
        return next(step.id for step in leaf.turn() if step.completion)

    return sorted((leaf for leaf in tree.leaves() if _last(leaf)), key=drawn)


def _last(node: Node) -> Completion | None:
    """What was drawn last in a turn, which may end in text that was appended to it."""
    return next((step.completion for step in reversed(node.turn()) if step.completion), None)


def _paid(node: Node) -> Cost:
    return sum((step.completion.cost for step in node.turn() if step.completion), Cost())


def held_out(states: ArrayLike, correct: ArrayLike, clusters: Sequence[Hashable]) -> Array:
    """Return what probes say of samples of problems that they were not trained on, (p, n).

    As ``verifiers.probe.held_out``, but where there is too little to train a probe on, all are nan.

    Args:
        states: (p, n, d) what a probe reads of each sample.
        correct: (p, n) whether each sample is right.
        clusters: (p,) which problems belong together, such as ``task.clusters``.
    """
    try:
        return probe.held_out(states, correct, clusters)
    except OptionError:
        return np.full(np.shape(correct), np.nan)


def finished(task: Task, result: Result) -> list[str]:
    """Return the answers of all chains that a run finished, dropped ones included."""
    answers = [task.extract(node.turn_text) for node in result.tree if node.ended]
    return [answer for answer in answers if answer is not None]


# -- versions of an answer -------------------------------------------------------------------------


def versions(tree: Tree) -> list[Node]:
    """Return the versions in a tree, in the order in which they were drawn."""
    return [tree.nodes[event.node] for event in list(tree.events) if event.kind == "version"]


def lines(tree: Tree) -> list[list[Node]]:
    """Return the lines of versions in a tree, each from an answer to its last revision.

    Where a version was revised more than once, as in ``MCTSr``, each of its revisions ends a line
    of its own.
    """
    logged = [event for event in list(tree.events) if event.kind == "version"]
    before = {event.node: event.data["of"] for event in logged}
    last = [node for node in before if node not in before.values()]
    return [_upwards(tree, before, node) for node in last]


def asides(tree: Tree) -> set[int]:
    """Return the turns that only speak of a version, as critiques and lessons do.

    They reply below a version, and are none themselves: what they say is no answer of the run.
    """
    versions = {event.node for event in list(tree.events) if event.kind == "version"}
    below = set[int]()
    for node in tree:  # parents come before their children
        above = None if node.parent is None else node.parent.id
        if above in below or (above in versions and node.role != "assistant"):
            below.add(node.id)
    return below - versions


def _upwards(tree: Tree, before: dict[int, int | None], last: int) -> list[Node]:
    node: int | None = last
    line: list[Node] = []
    while node is not None:
        line.append(tree.nodes[node])
        node = before[node]
    return line[::-1]


class Graded(NamedTuple):
    """A line of versions with what became of each.

    Args:
        scores: by the run's own verifier; nan where there is none.
        right: whether each version is right.
    """

    scores: list[float]
    right: list[bool]

    def at(self, iteration: int) -> int:
        """Return the place of the version that the line had come to; it may have ended before."""
        return min(iteration, len(self.right) - 1)

    def best(self, iteration: int) -> int:
        """Return the place of the best version by then: the earliest of the highest score."""
        so_far = self.scores[: iteration + 1]
        known = [-math.inf if math.isnan(score) else score for score in so_far]
        return known.index(max(known))


def graded(task: Task, results: Sequence[Result]) -> list[list[Graded]]:
    """Grade every version of every line, by problem; equal answers of a problem are graded once."""
    rows = []
    for problem, result in zip(task, results, strict=True):
        marks: dict[str | None, bool] = {}
        row = []
        for line in lines(result.tree):
            answers = [task.extract(node.turn_text) for node in line]
            for answer in answers:
                if answer not in marks:
                    marks[answer] = answer is not None and task.grade(problem, answer)
            scores = [math.nan if n.verdict is None else n.verdict.score for n in line]
            row.append(Graded(scores, [marks[answer] for answer in answers]))
        rows.append(row)
    return rows
