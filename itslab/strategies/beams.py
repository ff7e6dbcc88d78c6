"""StepSearch over steps that keeps the best few: beam search, and its diverse form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from itslab.core import Node, Sampling, Verifier
from itslab.options import Count, Whole
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP
from itslab.strategies.steps import (
    PARAGRAPH,
    Final,
    Left,
    StepSearch,
    distinct,
    families,
    judge,
    merit,
)


@dataclass(frozen=True)
class BeamSearch(StepSearch):
    """Continue the ``width`` best chains by ``expand`` steps each, keep the best, and so on.

    Finished chains keep their place for as long as nothing better takes it. Snell et al. 2024
    (arXiv:2408.03314, §5.2), whose N is ``width`` × ``expand``.

    Args:
        verifier: scores a chain by what it says so far.
        width: chains kept after each round.
        expand: steps drawn after each of them; the first round draws ``width`` × ``expand``.
        depth: rounds at most.
        lookahead: greedy steps more by which a step is judged.
        final: of all chains finished so far, the one with the best ``score``; or the answer that
            wins a ``vote`` of the finished ones among those kept.
        instruction: as of ``ChainOfThought``.
        sampling: of one step, and where it ends.
    """

    verifier: Verifier
    width: Count = 4
    expand: Count = 4
    depth: Count = 16
    lookahead: Whole = 0
    final: Final = "score"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = PARAGRAPH

    def rounds(self, run: Run, root: Node) -> Iterator[Left]:
        """Each draws steps after all unfinished chains kept."""
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
    options are those of ``BeamSearch``, but that ``width`` counts independent subtrees, and of the
    ``expand`` steps drawn in each of them the best goes on.
    """

    def rounds(self, run: Run, root: Node) -> Iterator[Left]:
        """Each draws steps in all unfinished subtrees."""
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
