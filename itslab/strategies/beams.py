"""Search over steps that keeps the best few: beam search, its diverse form, and tree of thoughts.

Tree of thoughts: Yao et al. 2023 (arXiv:2305.10601, §3). Its value prompt is a verifier that asks
about one thought (``Judge``), its vote prompt one that shows all of them (``Ballot``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from itslab.core import Node, Sampling, Verifier
from itslab.options import Count, Limit, Whole
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP
from itslab.strategies.steps import (
    PARAGRAPH,
    Candidates,
    Selection,
    StepSearch,
    distinct,
    merit,
)


@dataclass(frozen=True)
class BeamSearch(StepSearch):
    """Continue the ``width`` best chains by ``expand`` steps each, keep the best, and so on.

    Finished chains keep their place for as long as nothing better takes it. Snell et al. 2024
    (arXiv:2408.03314, §5.2), whose N is ``width`` × ``expand``.

    Args:
        verifier: scores a chain by what it says so far.
        width: chains kept after each iteration.
        expand: steps drawn after each of them; the first iteration draws ``width`` × ``expand``.
        depth: most iterations, and so most steps in a chain.
        lookahead: further greedy steps by which a step is judged.
        selection: how the answer is selected in the end: of all chains finished so far, the one
            with the best ``score``; or by a ``vote`` of the finished ones among those kept.
        instruction: as of ``ChainOfThought``.
        sampling: of one step, and where it ends.
    """

    verifier: Verifier
    width: Count = 4
    expand: Count = 4
    depth: Count = 16
    lookahead: Whole = 0
    selection: Selection = "score"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = PARAGRAPH

    def iterate(self, run: Run, root: Node) -> Iterator[Candidates]:
        """Draw steps after all unfinished chains, and keep the best of all."""
        beams, each = [root], self.width * self.expand
        for _ in range(self.depth):
            growing = [beam for beam in beams if not beam.ended]
            if not growing:
                break
            steps = distinct(run, run.extend(growing, self.sampling, each))
            judge(run, steps, self.verifier, self.sampling, self.lookahead)
            rivals = [beam for beam in beams if beam.ended] + steps
            rivals.sort(key=merit, reverse=True)
            run.prune(rivals[self.width :])
            beams, each = rivals[: self.width] or beams, self.expand
            yield beams, None


@dataclass(frozen=True)
class DVTS(BeamSearch):
    """Diverse verifier tree search: beams that never compete, each the best of its own steps.

    Beeching, Tunstall & Rush 2024, Scaling test-time compute with open models (Hugging Face). Its
    options are those of ``BeamSearch``, except that ``width`` counts independent subtrees, and that
    the best of the ``expand`` steps drawn in each of them goes on.
    """

    def iterate(self, run: Run, root: Node) -> Iterator[Candidates]:
        """Draw steps in all unfinished subtrees, and keep the best of each."""
        beams = [root] * self.width
        for _ in range(self.depth):
            growing = [i for i, beam in enumerate(beams) if not beam.ended]
            if not growing:
                break
            steps = run.extend([beams[i] for i in growing], self.sampling, self.expand)
            judge(run, steps, self.verifier, self.sampling, self.lookahead)
            for i, family in zip(growing, families(steps, self.expand), strict=False):
                beams[i] = max(family, key=merit)
                run.prune(step for step in family if step is not beams[i])
            yield beams, None


@dataclass(frozen=True)
class TreeOfThoughts(StepSearch):
    """Search over thoughts, breadth first or depth first.

    Breadth first is beam search. Depth first goes on from the most promising thought, leaves those
    below a threshold, and turns back at a dead end.

    Args:
        verifier: scores a thought: a value prompt, a vote prompt, or any other step verifier.
        order: ``breadth`` (Algorithm 1) or ``depth`` (Algorithm 2).
        width: thoughts kept at each level, breadth first.
        expand: thoughts drawn after each.
        depth: most thoughts in a chain.
        threshold: depth first, thoughts that score less are pruned; in the paper, those that score
            as much are pruned too.
        solutions: finished chains after which a depth-first search ends.
        selection, instruction, sampling: as of ``BeamSearch``.
    """

    verifier: Verifier
    order: Literal["breadth", "depth"] = "breadth"
    width: Count = 4
    expand: Count = 4
    depth: Count = 16
    threshold: Limit = -math.inf
    solutions: Count = 1
    selection: Selection = "score"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = PARAGRAPH

    def iterate(self, run: Run, root: Node) -> Iterator[Candidates]:
        """Draw thoughts after the best ones, or after the most promising one."""
        if self.order == "depth":
            return self._depth_first(run, root)
        breadth_first = BeamSearch(
            self.verifier,
            self.width,
            self.expand,
            self.depth,
            selection=self.selection,
            instruction=self.instruction,
            sampling=self.sampling,
        )
        return breadth_first.iterate(run, root)

    def _depth_first(self, run: Run, root: Node) -> Iterator[Candidates]:
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


def judge(
    run: Run, steps: Sequence[Node], verifier: Verifier, sampling: Sampling, lookahead: int
) -> None:
    """Score steps by themselves, or by where ``lookahead`` further greedy steps lead.

    Lookahead search: Snell et al. 2024 (arXiv:2408.03314, §5.2).
    """
    ends = list(steps)
    for _ in range(lookahead):
        going = [i for i, end in enumerate(ends) if not end.ended]
        if not going:
            break
        further = run.extend([ends[i] for i in going], replace(sampling, temperature=0))
        run.prune(further)
        for i, end in zip(going, further, strict=False):
            ends[i] = end
    run.score(steps, verifier, ends)


def families(steps: Sequence[Node], size: int) -> Iterator[Sequence[Node]]:
    """Part steps into groups of ``size``; the last may be smaller, where a budget ended."""
    return (steps[i : i + size] for i in range(0, len(steps), size))
