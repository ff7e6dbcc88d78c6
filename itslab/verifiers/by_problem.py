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
    own, whatever the strategy says before or after the problem. A run of a task knows its problem;
    of one that was asked by hand, the problem is the one whose prompt its own holds. Where there is
    none, or more than one with the same prompt, nothing can be scored.

    Args:
        name: what the verifiers are, for plots.
        verifiers: the problem's id -> its verifier.
        prompts: the problem's id -> its prompt.
    """

    name: str
    verifiers: Mapping[str, Verifier] = field(repr=False)
    prompts: Mapping[str, str] = field(repr=False, default_factory=dict)

    def __call__(self, run: Till, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Let the problem's own verifier score."""
        asked = prompt if run.prompt is None else run.prompt
        known = self._named(asked) if run.problem is None else [run.problem]
        found = [self.verifiers[problem] for problem in known if problem in self.verifiers]
        if len(found) == 1:
            return run.verdicts(found[0], prompt, nodes)
        several = "the prompt is that of several problems: name one, start(…, problem=id)"
        note = several if found else "the prompt is none of the task's problems"
        return [Verdict(math.nan, note=note)] * len(nodes)

    def _named(self, prompt: Prompt) -> list[str]:
        """The problems with the longest prompt that this one holds."""
        said = [message.content for message in as_messages(prompt) if message.role == "user"]
        held = {i: p for i, p in self.prompts.items() if any(p in text for text in said)}
        longest = max(map(len, held.values()), default=0)
        return [i for i, p in held.items() if len(p) == longest]

    def __repr__(self) -> str:
        return self.name
