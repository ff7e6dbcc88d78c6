"""One chain: answer directly, think first, or think within a floor and a ceiling.

Wei et al. 2022, Chain-of-Thought Prompting (arXiv:2201.11903); the zero-shot form is Kojima et al.
2022 (arXiv:2205.11916, §3), who ask for the answer in a prompt of its own. Budget forcing is
Muennighoff et al. 2025, s1 (arXiv:2501.19393, §3.1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from itslab.core import Node, Prompt, PromptTooLong, Sampling, as_messages, require
from itslab.options import Count, Options, Text, Whole, check
from itslab.run import Halt, Run

STEP_BY_STEP = "Think step by step, then give the final answer within \\boxed{}."
ANSWER_ONLY = "Give the final answer within \\boxed{}, without any explanation."
FINAL, CLOSE = "The final answer is \\boxed{", "}"


def pose(run: Run, prompt: Prompt, instruction: str) -> Node:
    """Open a conversation with a prompt and, in its last message, an instruction after it."""
    *before, last = as_messages(prompt)
    if instruction:
        last = replace(last, content=f"{last.content}\n\n{instruction}")
    return run.reply(None, [*before, last])


def force(run: Run, node: Node, final: str, close: str, sampling: Sampling) -> Node:
    """Write the beginning of an answer into the model's turn, and draw the rest of it."""
    stop = (*sampling.stop, *([close] if close else []))
    begun = run.append(node, final)
    [node] = run.extend(begun, replace(sampling, stop=stop, include_stop=True))
    return node


@dataclass(frozen=True)
class Direct(Options):
    """Answer at once, without reasoning; by default with the most likely answer.

    Small models reason even when asked not to, so the reply is begun for them.

    Args:
        instruction: as of ``ChainOfThought``.
        final: the text with which the reply is begun.
        close: what ends the answer; "" leaves that to the model.
        sampling: of the answer.
    """

    instruction: str = ANSWER_ONLY
    final: str = FINAL
    close: str = CLOSE
    sampling: Sampling = Sampling(temperature=0, max_tokens=48)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        posed = pose(run, prompt, self.instruction)
        return force(run, posed, self.final, self.close, self.sampling)


@dataclass(frozen=True)
class ChainOfThought(Options):
    """One chain of thought, then the answer.

    Args:
        instruction: added to the end of the prompt, to say how to think and where to put the
            answer; "" adds nothing.
        sampling: of the chain.
    """

    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling(temperature=0)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        [node] = run.extend(pose(run, prompt, self.instruction), self.sampling)
        return node


@dataclass(frozen=True)
class ExtendedThinking(Options):
    """One chain whose thinking is held between a floor and a ceiling: budget forcing.

    A model that stops thinking before the floor is made to go on by words put into its mouth. At
    the ceiling its thinking is cut and the final answer forced.

    Args:
        floor: fewest tokens of thinking, unless the budget or the context ends before.
        ceiling: most tokens of thinking.
        wait: what the model is made to say when it stops too early.
        tags: what opens and closes the thinking of a model that was trained to think between tags,
            such as ``("<think>", "</think>")``. None for any other: its whole chain is thinking,
            and it stops where it closes its turn.
        final: what the model is made to say before a forced answer. A chain without tags that has
            already said its last word (``\\boxed{``) and then ``close`` is not asked again.
        close: what ends a forced answer; "" leaves that to the model.
        instruction: as of ``ChainOfThought``.
        sampling: ``max_tokens`` is for the answer after the thinking.
    """

    floor: Whole = 0
    ceiling: Count = 512
    wait: Text = "\n\nWait, let me check this again.\n"
    tags: tuple[Text, Text] | None = None
    final: Text = f"\n\n{FINAL}"
    close: str = CLOSE
    instruction: str = STEP_BY_STEP
    sampling: Sampling = Sampling(temperature=0, max_tokens=48)

    def __post_init__(self) -> None:
        check(self)
        valid = f"a whole number ≥ floor={self.floor}"
        require(self.ceiling >= self.floor, "ceiling", self.ceiling, valid)
        require(bool(self.final.strip()), "final", self.final, "text that is not blank")

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        began = len(run.drawn)
        try:
            return self._answer(run, pose(run, prompt, self.instruction))
        except PromptTooLong:
            if not any(node.completion for node in run.drawn[began:]):
                raise
            raise Halt("context") from None

    def _answer(self, run: Run, node: Node) -> Node:
        opening, closing = self.tags or ("", "")
        if opening:
            node = run.append(node, f"{opening}\n")
        node, cut = self._think(run, node, closing)
        if cut and (closing or not self._answered(node.turn_text)):
            return force(run, node, closing + self.final, self.close, self.sampling)
        if closing:
            [node] = run.extend(run.append(node, f"{closing}\n"), self.sampling)
        return node

    def _answered(self, thinking: str) -> bool:
        """Whether an answer was begun as ``final`` ends, and closed."""
        _, begun, answer = thinking.rpartition(self.final.split()[-1])
        return bool(begun) and self.close in answer

    def _think(self, run: Run, node: Node, closing: str) -> tuple[Node, bool]:
        """Think from the floor to the ceiling; return the end, and whether it was cut there."""
        stop = (*self.sampling.stop, *([closing] if closing else []))
        thought = 0
        while True:
            room = replace(self.sampling, max_tokens=self.ceiling - thought, stop=stop)
            [node] = run.extend(node, room)
            assert node.completion is not None  # it was drawn
            thought += max(node.completion.cost.decoded, 1)  # a server may not say
            if thought >= self.floor:
                return node, node.completion.finish == "length"
            node = run.append(node, self.wait)
