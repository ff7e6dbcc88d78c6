"""Verifiers that know something of each problem, as one for them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from itslab.core import Node, Prompt, Till, Verdict, Verifier, as_messages


@dataclass(frozen=True, repr=False)
class ByProblem:
    """Score by the verifier of the problem that the run was asked.

    So that one strategy serves all problems of a task, although each has tests or a target of its
    own, whatever the strategy says before or after the problem. Where a run was asked anything
    else, nothing can be scored.

    Args:
        name: what the verifiers are, for plots.
        verifiers: the problem's prompt -> its verifier.
    """

    name: str
    verifiers: Mapping[str, Verifier] = field(repr=False)

    def __call__(self, run: Till, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Let the problem's own verifier score."""
        asked = as_messages(prompt if run.prompt is None else run.prompt)
        said = [message.content for message in asked if message.role == "user"]
        known = [problem for problem in self.verifiers if any(problem in text for text in said)]
        if not known:
            unknown = Verdict(math.nan, note="the prompt is none of the task's problems")
            return [unknown] * len(nodes)
        return run.verdicts(self.verifiers[max(known, key=len)], prompt, nodes)

    def __repr__(self) -> str:
        return self.name
