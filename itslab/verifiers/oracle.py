"""The oracle: a verifier that knows the gold answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from itslab import answers
from itslab.core import Extractor, Node, Problem, Prompt, Verdict
from itslab.options import Options


@dataclass(frozen=True, repr=False)
class Oracle(Options):
    """Score 1 for a right answer, 0 for a wrong one or none.

    This is the only way in which a gold answer may enter a run, and its name says so in every plot.

    Args:
        problem: the one that is being solved.
        grade: the task's grader.
        extract: the task's extractor.
    """

    problem: Problem
    grade: Callable[[Problem, str | None], bool]
    extract: Extractor = answers.extract

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Grade what each node's turn says so far."""
        said = [self.extract(node.turn_text) for node in nodes]
        return [Verdict(float(self.grade(self.problem, answer))) for answer in said]

    def __repr__(self) -> str:
        return "Oracle()"
