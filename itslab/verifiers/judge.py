"""A model asked for its opinion: the probability that it says Yes, or that it prefers A to B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from itslab.core import Backend, Message, Node, Prompt, Request, Verdict, as_messages, require
from itslab.verifiers.choice import choose

IS_ANSWER_RIGHT = "Is this solution correct? Answer with one word, Yes or No."
IS_STEP_RIGHT = "Is everything written so far correct? Answer with one word, Yes or No."
WHICH_IS_BETTER = (
    "{problem}\n\nTwo solutions are proposed.\n\nSolution A:\n{a}\n\nSolution B:\n{b}\n\n"
    "Which one is correct? Answer with one letter, A or B."
)


@dataclass(frozen=True)
class Judge:
    """Score a node by P(Yes) ÷ (P(Yes) + P(No)) for the next token after a question about it.

    One token is drawn per verdict, whose whole distribution is read: P(True) of Kadavath et al.
    2022 (arXiv:2207.05221, §4). The question follows the conversation that it is about, so that a
    model that judges its own solution evaluates the few tokens of the question and nothing else.

    Args:
        backend: who judges: the model that wrote, or another.
        question: ``IS_ANSWER_RIGHT``, or ``IS_STEP_RIGHT`` of an unfinished turn.
    """

    backend: Backend = field(repr=False)
    question: str = IS_ANSWER_RIGHT

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Ask about what each node's turn says so far, all in one batch."""
        asked, said = Message("user", self.question), [node.turn_text for node in nodes]
        talks = [(*as_messages(prompt), Message("assistant", text), asked) for text in said]
        return choose(self.backend, [Request(talk) for talk in talks], ("Yes", "No"))


@dataclass(frozen=True)
class PairwiseJudge:
    """Score nodes in pairs, the first with the second and so on: the chance that each is better.

    Every pair is shown in both orders and the two opinions averaged, since judges prefer a place
    (Zheng et al. 2023, arXiv:2306.05685, §3.4). For ``Knockout``.

    Args:
        backend: who judges.
        question: with places for ``{problem}``, ``{a}`` and ``{b}``.
    """

    backend: Backend = field(repr=False)
    question: str = field(default=WHICH_IS_BETTER, repr=False)

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Compare each even node with the odd one after it, all in one batch."""
        require(len(nodes) % 2 == 0, "nodes", len(nodes), "an even number of nodes")
        problem = as_messages(prompt)[-1].content
        texts = [node.turn_text for node in nodes]
        pairs = [(texts[i], texts[i ^ 1]) for i in range(len(texts))]  # each node once as A
        asked = [self.question.format(problem=problem, a=a, b=b) for a, b in pairs]
        firsts = choose(self.backend, [Request(as_messages(text)) for text in asked], ("A", "B"))
        scores = [(firsts[i].score + 1 - firsts[i ^ 1].score) / 2 for i in range(len(firsts))]
        return [replace(first, score=score) for first, score in zip(firsts, scores, strict=True)]
