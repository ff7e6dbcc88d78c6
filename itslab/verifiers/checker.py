"""Truth that can be computed: an answer is right if it does what the problem asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from itslab import answers
from itslab.core import Extractor, Node, Prompt, Verdict
from itslab.options import Options

Check = Callable[[Mapping[str, Any], str | None], bool]  # the facts of a problem, an answer


@dataclass(frozen=True)
class Checker(Options):
    """Score 1 for an answer that does what the problem asks, 0 for any other; needs no gold.

    Args:
        check: the task's rule, such as ``tasks.puzzles.reaches_target``.
        facts: what the problem itself says (its ``meta``), such as numbers and target.
        extract: reads the answer from the model's turn.
    """

    check: Check
    facts: Mapping[str, Any] = field(repr=False)
    extract: Extractor = field(default=answers.extract, repr=False)

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Check what each node's turn says so far."""
        said = [self.extract(node.turn_text) for node in nodes]
        return [Verdict(float(self.check(self.facts, answer))) for answer in said]

    def __repr__(self) -> str:
        return f"Checker({getattr(self.check, '__name__', self.check)})"
