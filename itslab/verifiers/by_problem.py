"""Verifiers that know something of each problem, as one for them all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from itslab.core import Node, Prompt, Verdict, Verifier, as_messages


@dataclass(frozen=True, repr=False)
class ByProblem:
    """Score each conversation by the verifier of the problem that it begins with.

    So that one strategy serves all problems of a task, although each has tests or a target of its
    own. A conversation about anything else cannot be scored.

    Args:
        name: what the verifiers are, for plots.
        verifiers: the problem's prompt, with which the user's first message starts -> its verifier.
    """

    name: str
    verifiers: Mapping[str, Verifier] = field(repr=False)

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Let the problem's own verifier score."""
        asked = next((m.content for m in as_messages(prompt) if m.role == "user"), "")
        known = [problem for problem in self.verifiers if asked.startswith(problem)]
        if not known:
            unknown = Verdict(math.nan, note="the prompt is none of the task's problems")
            return [unknown] * len(nodes)
        return self.verifiers[max(known, key=len)](prompt, nodes)

    def __repr__(self) -> str:
        return self.name
