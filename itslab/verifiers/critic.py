"""A model that first says what is wrong, and then how sure it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from itslab.core import (
    Backend,
    Cost,
    Message,
    Node,
    Prompt,
    Request,
    Sampling,
    Till,
    Verdict,
    as_messages,
)
from itslab.verifiers.asking import Asking
from itslab.verifiers.choice import choose
from itslab.verifiers.judge import IS_ANSWER_RIGHT

CRITICISE = "Check this solution step by step, briefly. Which step, if any, is wrong, and why?"


@dataclass(frozen=True, repr=False)
class Critic(Asking):
    """Score a node by P(Yes) after a critique of it, which is the verdict's note.

    A generative verifier: GenRM-CoT (Zhang et al. 2024, arXiv:2408.15240), which is trained for it,
    and averages over several critiques. With another, larger model as backend, a small one is told
    what is wrong by someone who can see it.

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

    def __call__(self, run: Till, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Criticise what each node's turn says so far, all in one batch.

        Of a budget that may not last for all, as many are criticised as can also be judged.
        """
        asked = Message("user", self.request)
        talks = [
            (*as_messages(prompt), Message("assistant", node.turn_text), asked) for node in nodes
        ]
        drawn = run.ask([Request(talk, (), self.sampling) for talk in talks], self.backend, spare=1)
        said = [reply.completions[0].text if reply.completions else None for reply in drawn]
        asked = Message("user", self.question)
        questions = [
            Request((*talk, Message("assistant", critique), asked))
            for talk, critique in zip(talks, said, strict=True)
            if critique is not None
        ]
        judged = iter(choose(run, self.backend, questions, ("Yes", "No")))
        return [
            Verdict(math.nan, reply.cost, reply.why)
            if critique is None
            else _noted(next(judged), reply.cost, critique)
            for reply, critique in zip(drawn, said, strict=True)
        ]


def _noted(verdict: Verdict, cost: Cost, critique: str) -> Verdict:
    """A verdict after a critique; where there is none, its own note says why."""
    note = verdict.note if math.isnan(verdict.score) else critique.strip()
    return replace(verdict, cost=verdict.cost + cost, note=note)
