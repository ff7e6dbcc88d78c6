"""Search over steps that keeps the best few: beam search, and its diverse form."""

from __future__ import annotations

from dataclasses import dataclass

from itslab.core import Node, Prompt, Sampling, Verifier, require
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP, pose
from itslab.strategies.steps import (
    PARAGRAPH,
    Final,
    check,
    check_final,
    chosen,
    distinct,
    families,
    judge,
    merit,
)


@dataclass(frozen=True)
class BeamSearch:
    """Continue the ``width`` best chains by ``expand`` steps each, keep the best, and so on.

    Finished chains keep their place for as long as nothing better takes it. Snell et al. 2024
    (arXiv:2408.03314, §5.2), whose N is ``width`` × ``expand``.

    Args:
        verifier: scores a chain by what it says so far.
        width: chains kept after each round.
        expand: steps drawn after each of them; the first round draws ``width`` × ``expand``.
        depth: rounds at most.
        lookahead: greedy steps more by which a step is judged.
        final: of the chains left, the one with the best ``score``, or the answer that wins a
            ``vote`` of the finished ones.
        instruction: as of ``ChainOfThought``.
        sampling: of one step, and where it ends.
    """

    verifier: Verifier
    width: int = 4
    expand: int = 4
    depth: int = 16
    lookahead: int = 0
    final: Final = "score"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = PARAGRAPH

    def __post_init__(self) -> None:
        check(self, "width", "expand", "depth")
        check_final(self.final)
        require(self.lookahead >= 0, "lookahead", self.lookahead, "a whole number ≥ 0")

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        beams, each = [pose(run, prompt, self.instruction)], self.width * self.expand
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
            run.checkpoint(chosen(run, beams, self.final))
        return chosen(run, beams, self.final)


@dataclass(frozen=True)
class DVTS(BeamSearch):
    """Diverse verifier tree search: beams that never compete, each the best of its own steps.

    Beeching, Tunstall & Rush 2024, Scaling test-time compute with open models (Hugging Face). Its
    options are those of ``BeamSearch``, but that ``width`` counts independent subtrees, and of the
    ``expand`` steps drawn in each of them the best goes on.
    """

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        beams = [pose(run, prompt, self.instruction)] * self.width
        for _ in range(self.depth):
            growing = [i for i, beam in enumerate(beams) if not beam.ended]
            if not growing:
                break
            steps = run.extend([beams[i] for i in growing], self.sampling, self.expand)
            judge(run, steps, self.verifier, self.sampling, self.lookahead)
            for i, family in zip(growing, families(steps, self.expand), strict=False):
                beams[i] = max(family, key=merit)
                run.prune(step for step in family if step is not beams[i])
            run.checkpoint(chosen(run, beams, self.final))
        return chosen(run, beams, self.final)
