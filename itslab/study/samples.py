"""Samples of many problems as tables: read, graded and scored once, whoever selects among them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from itslab.core import Node, Problem, Result, Verifier, require
from itslab.run import judged
from itslab.tasks import Task


class Samples:
    """n samples of each of p problems.

    Args:
        task: the problems.
        results: of a strategy that draws n samples for each, such as ``SelfConsistency``, in the
            order of the problems.

    Attributes:
        nodes: (p, n) where each sample ends.
        answers: (p, n) what it says; None if nothing can be read.
        keys: (p, n) the form that equal answers share.
        correct: (p, n) whether its answer is right.
        readable: (p, n) whether it is, or would be if its text were read by another rule.
        tokens: (p, n) decoded.

    Raises:
        OptionError: there are not as many results as problems, or not equally many samples each.
    """

    def __init__(self, task: Task, results: Sequence[Result]) -> None:
        require(len(results) == len(task), "results", len(results), f"one for each of {len(task)}")
        self.task = task
        self.nodes = [
            [node for node in result.tree.leaves() if node.completion] for result in results
        ]
        counts = sorted({len(row) for row in self.nodes})
        require(len(counts) == 1 and counts[0] > 0, "samples", counts, "equally many per problem")
        texts = [[node.turn_text for node in row] for row in self.nodes]
        self.answers = [[task.extract(text) for text in row] for row in texts]
        self.keys = [[None if a is None else task.key(a) for a in row] for row in self.answers]
        self.correct = self._graded([[[a] if a else [] for a in row] for row in self.answers])
        others = [[task.readings(text) for text in row] for row in texts]
        self.readable = self.correct | self._graded(others)
        self.tokens = np.array([[_decoded(node) for node in row] for row in self.nodes])

    @property
    def silent(self) -> NDArray[np.bool_]:
        """(p, n) whether no answer can be read."""
        return np.array([[answer is None for answer in row] for row in self.answers])

    @property
    def states(self) -> NDArray[np.float64]:
        """(p, n, width of the model) last hidden states; nan where there is none."""
        drawn = [[node.completion for node in row if node.completion] for row in self.nodes]
        states = [[sample.signals.state for sample in row] for row in drawn]
        none = (np.nan,) * max(len(state) for row in states for state in row)
        return np.array([[state or none for state in row] for row in states], dtype=float)

    @property
    def verdicts(self) -> NDArray[np.float64]:
        """(p, n) scores that the strategy itself asked for; nan where there is no answer."""
        given = [[n.verdict.score if n.verdict else np.nan for n in row] for row in self.nodes]
        return np.where(self.silent, np.nan, given)

    def scores(self, verifier: Verifier) -> NDArray[np.float64]:
        """Let a verifier score all samples, (p, n); nan where there is no answer to choose."""
        rows = [
            judged(verifier, row[0].conversation()[0], row, problem.id)
            for problem, row in zip(self.task, self.nodes, strict=True)
        ]
        scores = np.array([[verdict.score for verdict in row] for row in rows])
        return np.where(self.silent, np.nan, scores)

    def _graded(self, answers: Sequence[Sequence[Sequence[str]]]) -> NDArray[np.bool_]:
        """Whether any of the answers of each sample is right; several at once, none twice."""
        asked = {
            (problem.id, answer): problem
            for problem, row in zip(self.task, answers, strict=True)
            for several in row
            for answer in several
        }
        with ThreadPoolExecutor(os.cpu_count()) as pool:
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


def _decoded(node: Node) -> int:
    return sum(step.completion.cost.decoded for step in node.turn() if step.completion)
