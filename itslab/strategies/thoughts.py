"""Tree of thoughts: the model judges its partial thoughts, and the search goes on from the best.

Yao et al. 2023 (arXiv:2305.10601, §3). Its value prompt is a verifier that asks about one thought
(``Judge``), its vote prompt one that shows all of them (``Ballot``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from itslab.core import Node, Sampling, Verifier
from itslab.options import Count, Limit
from itslab.run import Run
from itslab.strategies.beams import BeamSearch
from itslab.strategies.chains import STEP_BY_STEP
from itslab.strategies.steps import (
    PARAGRAPH,
    Final,
    Left,
    StepSearch,
    distinct,
    judge,
    merit,
)


@dataclass(frozen=True)
class TreeOfThoughts(StepSearch):
    """Search over thoughts, breadth first or depth first.

    Breadth first is beam search. Depth first goes on from the most promising thought, leaves those
    below a threshold, and turns back at a dead end.

    Args:
        verifier: a value prompt or a vote prompt; any other step verifier will do.
        order: ``breadth`` (Algorithm 1) or ``depth`` (Algorithm 2).
        width: thoughts kept at each level, breadth first.
        expand: thoughts drawn after each.
        depth: thoughts in a chain at most.
        threshold: thoughts scored below are pruned, depth first; in the paper those at it, too.
        solutions: finished chains after which depth first ends.
        final, instruction, sampling: as of ``BeamSearch``.
    """

    verifier: Verifier
    order: Literal["breadth", "depth"] = "breadth"
    width: Count = 4
    expand: Count = 4
    depth: Count = 16
    threshold: Limit = -math.inf
    solutions: Count = 1
    final: Final = "score"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = PARAGRAPH

    def rounds(self, run: Run, root: Node) -> Iterator[Left]:
        """Each draws thoughts: after the best ones, or after the most promising one."""
        if self.order == "depth":
            return self._depth_first(run, root)
        breadth_first = BeamSearch(
            self.verifier,
            self.width,
            self.expand,
            self.depth,
            final=self.final,
            instruction=self.instruction,
            sampling=self.sampling,
        )
        return breadth_first.rounds(run, root)

    def _depth_first(self, run: Run, root: Node) -> Iterator[Left]:
        waiting = [(root, 0)]  # with their depths; the most promising one last
        finished: list[Node] = []
        seen = [root]
        while waiting and len(finished) < self.solutions:
            node, depth = waiting.pop()
            if node.ended:
                finished.append(node)
                continue
            if depth == self.depth:
                run.prune([node])
                continue
            thoughts = distinct(run, run.extend(node, self.sampling, self.expand))
            judge(run, thoughts, self.verifier, self.sampling, lookahead=0)
            run.prune(thought for thought in thoughts if merit(thought) < self.threshold)
            kept = [thought for thought in thoughts if thought.status != "pruned"]
            waiting += [(thought, depth + 1) for thought in sorted(kept, key=merit)]
            seen += thoughts
            yield finished or seen, None
        if finished:
            yield finished, None
