"""A model asked for its opinion: the probability that it says Yes, or that it prefers A to B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from itslab.core import Backend, Message, Node, Prompt, Request, Till, Verdict, as_messages, require
from itslab.verifiers.asking import Asking
from itslab.verifiers.choice import choose

IS_ANSWER_RIGHT = "Is this solution correct? Answer with one word, Yes or No."
IS_STEP_RIGHT = "Is everything written so far correct? Answer with one word, Yes or No."
WHICH_IS_BETTER = (
    "{problem}\n\nTwo solutions are proposed.\n\nSolution A:\n{a}\n\nSolution B:\n{b}\n\n"
    "Which one is correct? Answer with one letter, A or B."
)


@dataclass(frozen=True, repr=False)
class Judge(Asking):
    """Score a node by P(Yes) ÷ (P(Yes) + P(No)) for the next token after a question about it.

    One token is drawn per verdict, whose whole distribution is read: P(True) of Kadavath et al.
    2022 (arXiv:2207.05221, §4). The question follows the conversation that it is about, so that a
    model that judges its own solution evaluates the few tokens of the question and nothing else.

    Args:
        backend: who judges: the model that wrote, or another.
        question: ``IS_ANSWER_RIGHT``, or ``IS_STEP_RIGHT`` of an unfinished turn.
    """

    backend: Backend
    question: str = IS_ANSWER_RIGHT

    def __call__(self, run: Till, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Ask about what each node's turn says so far, all in one batch."""
        asked, said = Message("user", self.question), [node.turn_text for node in nodes]
        talks = [(*as_messages(prompt), Message("assistant", text), asked) for text in said]
        return choose(run, self.backend, [Request(talk) for talk in talks], ("Yes", "No"))


@dataclass(frozen=True, repr=False)
class PairwiseJudge(Asking):
    """Score nodes in pairs, the first with the second and so on: the chance that each is better.

    For ``Knockout``.

    Args:
        backend: who judges.
        question: with places for ``{problem}``, ``{a}`` and ``{b}``.
        both_orders: show every pair in both orders and average the two opinions, since judges
            prefer a place (Zheng et al. 2023, arXiv:2306.05685, §3.3; §3.4 takes two that differ
            for a tie). Otherwise the earlier one is A, for half the price.
    """

    backend: Backend
    question: str = WHICH_IS_BETTER
    both_orders: bool = True

    def __call__(self, run: Till, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Compare each even node with the odd one after it, all in one batch."""
        require(len(nodes) % 2 == 0, "nodes", len(nodes), "an even number of nodes")
        problem = as_messages(prompt)[-1].content
        texts = [node.turn_text for node in nodes]
        shown = range(0, len(texts), 1 if self.both_orders else 2)  # each of these once as A
        asked = [self.question.format(problem=problem, a=texts[i], b=texts[i ^ 1]) for i in shown]
        told = choose(run, self.backend, [Request(as_messages(text)) for text in asked], ("A", "B"))
        if not self.both_orders:
            return [v for a in told for v in (a, Verdict(1 - a.score, note=a.note))]
        scores = [(told[i].score + 1 - told[i ^ 1].score) / 2 for i in shown]
        return [replace(verdict, score=score) for verdict, score in zip(told, scores, strict=True)]
