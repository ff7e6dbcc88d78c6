"""Partial solutions side by side, and a model that votes for one: tree of thoughts' vote prompt."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from itslab.core import Backend, Cost, Node, Prompt, Request, Till, Verdict, as_messages, require
from itslab.verifiers.asking import Asking
from itslab.verifiers.choice import opinions

MOST_PROMISING = (
    "{problem}\n\nSeveral solutions were begun.\n\n{options}\n\n"
    "Which one is the most promising? Answer with one letter, {letters}."
)


@dataclass(frozen=True, repr=False)
class Ballot(Asking):
    """Score nodes by a vote on which of them is the most promising: share × number of options.

    Yao et al. 2023 (arXiv:2305.10601, §3, "Vote across states"), who let a model vote five times;
    here the probability of each letter is read from one token, which is the expectation of any
    number of votes. The options are shown in both orders and the two opinions averaged.

    A vote ranks the options of one ballot. Where a search holds those of one against those of
    another, shares alone would favour the smaller ballot. So a score tells how many times likelier
    than by chance an option was chosen: 1 where nothing speaks for or against it, as of a lone one,
    and at most the number of options.

    Args:
        backend: who votes.
        question: with places for ``{problem}``, ``{options}`` and ``{letters}``.
    """

    backend: Backend
    question: str = MOST_PROMISING

    def __call__(self, run: Till, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Let the model vote on up to 26 nodes; the first verdict carries the cost of all."""
        require(len(nodes) <= 26, "nodes", len(nodes), "at most 26, one per letter")
        if len(nodes) == 1:
            return [Verdict(1.0, note="nothing to choose from")]
        problem, letters = as_messages(prompt)[-1].content, string.ascii_uppercase[: len(nodes)]
        said = [node.turn_text for node in nodes]
        asked = [self._ask(problem, order, letters) for order in (said, said[::-1])]
        there, back = opinions(run, self.backend, asked, letters)
        both = zip(there.shares, back.shares[::-1], strict=True)
        scores = [len(nodes) * (a + b) / 2 for a, b in both]
        costs = [there.cost + back.cost] + [Cost()] * (len(nodes) - 1)
        return [Verdict(score, cost) for score, cost in zip(scores, costs, strict=True)]

    def _ask(self, problem: str, said: Sequence[str], letters: str) -> Request:
        pairs = zip(letters, said, strict=True)
        options = "\n\n".join(f"Option {letter}:\n{text}" for letter, text in pairs)
        listed = f"{', '.join(letters[:-1])} or {letters[-1]}"
        text = self.question.format(problem=problem, options=options, letters=listed)
        return Request(as_messages(text))
