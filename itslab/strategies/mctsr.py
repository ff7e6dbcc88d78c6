"""Refinements as nodes of a tree: a search that may go back to an earlier version.

Zhang et al. 2024, MCT Self-Refine (arXiv:2406.07394). Their code ends a search when the answer is
the gold one; here nothing but the verifier decides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from itslab.core import Node, Prompt
from itslab.options import Count, NotNegative, Whole
from itslab.run import Run
from itslab.strategies.chains import pose
from itslab.strategies.refinement import Line, SelfRefine, converse, unjudged
from itslab.strategies.steps import chosen, merit
from itslab.strategies.trees import Branch


@dataclass(frozen=True)
class MCTSr(SelfRefine):
    """Monte Carlo tree self-refine: criticise and revise the most promising version.

    A version's quality is its score or, once it was revised, the mean of its score and of its best
    revision's quality. The paper asks a model for several noisy scores, takes the mean of their
    average and the least of them, and counts them as visits; a verifier here is asked once, and a
    version's visits are itself and all below it. What could not be scored is worth the least score
    so far. Qualities are scaled to [0, 1] by the least and the greatest score.

    Args:
        verifier: says how good a version is; everything hangs on it.
        iterations: most iterations.
        branches: first answers.
        width: versions revised in an iteration, all in one batch.
        children: revisions after which a version is left alone, if one of them is better than it.
        c: weight of exploration.
        stop_score, selection, request, instruction, sampling, critique, content, criticism: as of
            ``SelfRefine``.
    """

    iterations: Whole = 4
    width: Count = 1
    children: Count = 2
    c: NotNegative = 1.4

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        root = Version(pose(run, prompt, self.instruction))
        drafts = run.extend(root.node, self.sampling, self.branches)
        self._grow(run, root, [root] * len(drafts), drafts)
        for _ in range(self.iterations):
            if any(version.line.why == "stop_score" for version in root.below()):
                break
            picked = self.select(root)
            if not picked:
                break
            asked = self.ask(run, [version.line for version in picked])
            requests = {v: a for v, a in zip(picked, asked, strict=True) if a is not None}
            drawn = converse(run, list(requests.values()), self.sampling)
            self._grow(run, root, list(requests), drawn)
        return self._best(run, root)

    def select(self, root: Version) -> list[Version]:
        """Return the open versions with the highest upper bounds, up to ``width``."""
        scores = [merit(v.node) for v in root.below() if math.isfinite(merit(v.node))]
        low, high = min(scores, default=0.0), max(scores, default=1.0)

        def bound(version: Version) -> float:
            assert version.parent is not None  # the root is not asked
            scaled = (version.quality - low) / (high - low) if high > low else 0.0
            return scaled + self.c * math.sqrt(
                (math.log(version.parent.visits) + 1) / version.visits
            )

        going = [version for version in root.below() if version.open(self.children)]
        return sorted(going, key=bound, reverse=True)[: self.width]

    def _grow(
        self, run: Run, root: Version, parents: Sequence[Version], drawn: Sequence[Node | None]
    ) -> None:
        """Score the new versions, back their scores up, and end an iteration."""
        fresh = [(p, node) for p, node in zip(parents, drawn, strict=True) if node is not None]
        run.score([node for _, node in fresh], self.verifier)
        known = [merit(v.node) for v in root.below()] + [merit(node) for _, node in fresh]
        least = min((score for score in known if math.isfinite(score)), default=0.0)
        for parent, node in fresh:
            line = replace(parent.line, versions=[*parent.line.versions])
            line.add(run, node, self.stop_score)
            parent.add(Version(node, parent, line=line, score=merit(node)))
        for version in root.below():
            if unjudged(version.node):
                version.score = least
        for version in root.below():
            run.tree.log("value", version.node, visits=version.visits, value=version.quality)
        run.checkpoint(self._best(run, root))

    def _best(self, run: Run, root: Version) -> Node:
        return chosen(run, [version.node for version in root.below()], self.selection)


@dataclass(eq=False)
class Version(Branch):
    """An answer in the search, or a revision of one.

    Args:
        node, parent, children: as of ``Branch``.
        line: the versions that led to it, and itself.
        score: its own.
        visits: how many versions it and all below it are.
    """

    line: Line = field(default_factory=Line)
    score: float = 0.0
    visits: int = 1

    @property
    def quality(self) -> float:
        """The mean of its score and of its best revision's quality; its score if it has none."""
        best = max((child.quality for child in self.children), default=self.score)
        return (self.score + best) / 2

    def add(self, child: Self) -> None:
        """Append a revision, and let it count for everything above it."""
        self.children.append(child)
        for above in self.lineage():
            above.visits += 1

    def open(self, children: int) -> bool:
        """Whether it may be revised (again)."""
        surpassed = any(child.quality > self.quality for child in self.children)
        return not self.line.why and (len(self.children) < children or not surpassed)
