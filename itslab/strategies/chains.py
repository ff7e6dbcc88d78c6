"""One chain: answer directly, or think first.

Wei et al. 2022, Chain-of-Thought Prompting (arXiv:2201.11903); the zero-shot form is Kojima et al.
2022 (arXiv:2205.11916, §2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from itslab.core import Node, Prompt, Sampling, as_messages
from itslab.run import Run

STEP_BY_STEP = "Think step by step, then give the final answer within \\boxed{}."
ANSWER_ONLY = "Give the final answer within \\boxed{}, without any explanation."


def pose(run: Run, prompt: Prompt, instruction: str) -> Node:
    """Open a conversation whose last message ends with an instruction on how to answer."""
    *before, last = as_messages(prompt)
    if instruction:
        last = replace(last, content=f"{last.content}\n\n{instruction}")
    return run.reply(None, [*before, last])


@dataclass(frozen=True)
class Direct:
    """One short answer without reasoning, the most likely one by default."""

    instruction: str = ANSWER_ONLY
    sampling: Sampling = Sampling(temperature=0, max_tokens=48)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        [node] = run.extend(pose(run, prompt, self.instruction), self.sampling)
        return node


@dataclass(frozen=True)
class ChainOfThought:
    """One chain of thought, then the answer."""

    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling(temperature=0)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        [node] = run.extend(pose(run, prompt, self.instruction), self.sampling)
        return node
