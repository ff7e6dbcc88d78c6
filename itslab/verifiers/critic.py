"""A model that first says what is wrong, and then how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from itslab.core import Backend, Message, Node, Prompt, Request, Sampling, Verdict, as_messages
from itslab.verifiers.asking import Asking
from itslab.verifiers.choice import choose
from itslab.verifiers.judge import IS_ANSWER_RIGHT

CRITICISE = "Check this solution step by step, briefly. Which step, if any, is wrong, and why?"


@dataclass(frozen=True, repr=False)
class Critic(Asking):
    """Score a node by P(Yes) after a critique of it, which is the verdict's note.

    A generative verifier: Zhang et al. 2024 (arXiv:2408.15240, §3.3). With another, larger model as
    backend, a small one is told what is wrong by someone who can see it.

    Args:
        backend: who criticises.
        request: asks for the critique.
        question: asked after it.
        sampling: of the critique.
    """

    backend: Backend
    request: str = CRITICISE
    question: str = IS_ANSWER_RIGHT
    sampling: Sampling = Sampling(temperature=0, max_tokens=256)

    def __call__(self, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Criticise what each node's turn says so far, all in one batch."""
        asked = Message("user", self.request)
        talks = [
            (*as_messages(prompt), Message("assistant", node.turn_text), asked) for node in nodes
        ]
        drawn = self.backend.generate([Request(talk, (), self.sampling) for talk in talks])
        critiques = [completion for [completion] in drawn]
        asked = Message("user", self.question)
        judged = choose(
            self.backend,
            [
                Request((*talk, Message("assistant", critique.text), asked))
                for talk, critique in zip(talks, critiques, strict=True)
            ],
            ("Yes", "No"),
        )
        return [
            replace(verdict, cost=verdict.cost + critique.cost, note=critique.text.strip())
            for verdict, critique in zip(judged, critiques, strict=True)
        ]
