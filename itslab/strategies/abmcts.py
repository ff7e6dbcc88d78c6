"""Adaptive branching: at each answer, draw another one beside it, or go on from it.

Inoue et al. 2025, AB-MCTS-A with Beta posteriors (arXiv:2503.04412v5, §3.4; which scores count for
what, A.5.2): wider or deeper is decided by Thompson sampling, with no width fixed beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from itslab.core import Node, OptionError, Sampling, Verifier
from itslab.options import Count, Limit
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP
from itslab.strategies.refinement import remark, unjudged
from itslab.strategies.steps import Candidates, StepSearch, finished, merit
from itslab.strategies.trees import Branch, thompson

IMPROVE = "That may be wrong. Look for a mistake, then give the whole corrected answer."


@dataclass(frozen=True)
class ABMCTS(StepSearch):
    """Adaptive-branching tree search over whole answers, or over steps.

    Going deeper, a finished answer is revised in a further turn, and an unfinished one continued.

    Args:
        verifier: scores an answer in [0, 1]; what cannot be scored counts as 0. Its note on an
            answer goes into the request to revise it.
        iterations: most iterations.
        width: answers drawn in an iteration; for each, Thompson sampling decides anew where.
        depth: most revisions of an answer.
        stop_score: an answer that scores this ends the search.
        improve: the message that asks for a revision.
        instruction: as of ``ChainOfThought``.
        sampling: of an answer; with stop strings, of a step.
    """

    verifier: Verifier
    iterations: Count = 8
    width: Count = 4
    depth: Count = 4
    stop_score: Limit = math.inf
    improve: str = IMPROVE
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling(signals=True)

    def iterate(self, run: Run, root: Node) -> Iterator[Candidates]:
        """Draw answers wherever Thompson sampling sends them, and score them."""
        top = Attempt(root)
        for _ in range(self.iterations):
            grown = [self._walk(top, run.rng) for _ in range(self.width)]
            nodes = run.extend([self._open(run, attempt) for attempt in grown], self.sampling)
            scores = run.score(nodes, self.verifier)
            for parent, node, score in zip(grown, nodes, scores, strict=False):
                parent.add(Attempt(node, parent, score=_unit(score)))
            _log_values(run, top)
            yield [attempt.node for attempt in top.all()], None
            if any(merit(n) >= self.stop_score and finished(run, n) for n in nodes):
                break

    def _walk(self, attempt: Attempt, rng: np.random.Generator) -> Attempt:
        """Return the attempt below which the next one is drawn."""
        while True:
            deeper = [child for child in attempt.children if child.depth <= self.depth]
            if not deeper or attempt.wider(rng) > attempt.deeper(rng):
                return attempt
            attempt = max(deeper, key=lambda child: thompson(child.total, child.count, rng))

    def _open(self, run: Run, attempt: Attempt) -> Node:
        """The node after which an attempt goes on: itself, or a request to revise it."""
        node = attempt.node
        if node.completion is None or not node.ended:
            return node
        if attempt.request is None:
            note = "" if unjudged(node) else remark(node)
            attempt.request = run.reply(node, f"{note}\n\n{self.improve}".strip())
        return attempt.request


@dataclass(eq=False)
class Attempt(Branch):
    """An answer in the search, drawn first (at depth 1) or as a revision of another.

    Args:
        node, parent, children: as of ``Branch``.
        score: of itself, in [0, 1].
        request: asks for its revision, once that was asked for.
        total, count: sum and number of the scores of itself and all below it.
    """

    score: float = 0.0
    request: Node | None = None
    total: float = 0.0
    count: int = 0

    def add(self, child: Self) -> None:
        """Append a child, and its score to everything above it."""
        self.children.append(child)
        for above in child.lineage():
            above.total += child.score
            above.count += 1

    def wider(self, rng: np.random.Generator) -> float:
        """Draw what another child would score, from what the children scored."""
        return thompson(sum(child.score for child in self.children), len(self.children), rng)

    def deeper(self, rng: np.random.Generator) -> float:
        """Draw what an answer below a child would score, from what those below them scored."""
        total = sum(child.total - child.score for child in self.children)
        return thompson(total, sum(child.count - 1 for child in self.children), rng)


def _unit(score: float) -> float:
    if math.isnan(score):
        return 0.0
    if not 0 <= score <= 1:
        raise OptionError(
            f"score={score!r} is not valid: ABMCTS needs scores in [0, 1], such as those of Tests, "
            "Judge, Probe, or Calibrated over any other verifier"
        )
    return score


def _log_values(run: Run, root: Attempt) -> None:
    for attempt in root.all():
        if attempt.count:
            mean = attempt.total / attempt.count
            run.tree.log("value", attempt.node, visits=attempt.count, value=mean)
