"""What a solution or a step is worth: by a reward model trained for it, or by rollouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from itslab.core import (
    Account,
    Backend,
    Completion,
    Cost,
    Drawn,
    Message,
    Node,
    Piece,
    Prompt,
    Request,
    Sampling,
    Scorer,
    Verdict,
    Verifier,
    as_messages,
    require,
)
from itslab.options import Count, Text
from itslab.verifiers.judges import Asking, choose

Combine = Literal["min", "last", "product"]


@dataclass(frozen=True, repr=False)
class Reward(Asking):
    """Score a node by what an outcome reward model says of the conversation up to it.

    Outcome supervision: Cobbe et al. 2021 (arXiv:2110.14168).

    Args:
        model: the reward model, such as ``RewardModel("reward.gguf")``.
    """

    model: Scorer

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Score what each node's turn says so far, all in one batch."""
        asked, said = as_messages(prompt), [node.turn_text for node in nodes]
        return run.rate([(*asked, Message("assistant", text)) for text in said], self.model)


@dataclass(frozen=True, repr=False)
class StepReward(Asking):
    """Score a node by what a process reward model says at the end of each step.

    The model reads the solution with a tag after every step; its next token there would be the
    first choice after a good step and the second after a bad one (Math-Shepherd, Wang et al. 2023,
    arXiv:2312.08935). A step's score is P(first) ÷ P(either). Each tag is asked with the text
    before it as prefix, which the engine evaluates once for all.

    Math-Shepherd's own model was trained on ``tag=" ки"`` and ``split="\\n"``.

    Args:
        backend: the process reward model, which must be trained on such tags.
        tag: what follows a step, and asks for its label.
        choices: the labels of a good step and of a bad one; they must begin with different tokens.
        split: what stands between steps.
        combine: how steps make a solution's score.
            ``min`` the worst step's (Wang et al. 2023, §3.4).
            ``product`` the probability that all are right (Lightman et al. 2023, arXiv:2305.20050).
            ``last`` the last step's, asked alone (Snell et al. 2024, arXiv:2408.03314, §5.1).
    """

    backend: Backend
    tag: Text
    choices: tuple[Text, Text] = ("+", "-")
    split: Text = "\n\n"
    combine: Combine = "min"

    def __post_init__(self) -> None:
        super().__post_init__()
        different = self.choices[0] != self.choices[1]
        require(different, "choices", self.choices, "two different, non-empty strings")

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Ask at the tags of each node's turn so far, all in one batch."""
        asked = [self._requests(as_messages(prompt), node.turn_text) for node in nodes]
        wanted = [request for row in asked for request in row]
        verdicts = iter(choose(run, self.backend, wanted, self.choices))
        return [self._combined([next(verdicts) for _ in row]) for row in asked]

    def _requests(self, messages: tuple[Message, ...], text: str) -> list[Request]:
        """One request per tag; the text before it is its prefix, in one piece per step."""
        steps = [step for step in text.split(self.split) if step.strip()]
        parts = [step + self.tag for step in steps]
        pieces = [Piece(part if i == 0 else self.split + part) for i, part in enumerate(parts)]
        ends = range(1, len(pieces) + 1)
        asked = ends[-1:] if self.combine == "last" else ends
        return [Request(messages, tuple(pieces[:end])) for end in asked]

    def _combined(self, steps: Sequence[Verdict]) -> Verdict:
        if not steps:
            return Verdict(math.nan, note="there are no steps")
        cost = sum((step.cost for step in steps), Cost())
        scores = [step.score for step in steps]
        if any(map(math.isnan, scores)):
            return Verdict(math.nan, cost, next(s.note for s in steps if math.isnan(s.score)))
        score = math.prod(scores) if self.combine == "product" else min(scores)
        return Verdict(score, cost, "steps " + ", ".join(f"{score:.2f}" for score in scores))


@dataclass(frozen=True, repr=False)
class Rollouts(Asking):
    """Score a node by the mean score of ``n`` chains that go on from it to their end.

    Monte Carlo estimation of a step's value, as Wang et al. 2023, Math-Shepherd (arXiv:2312.08935,
    §3.3), label steps; there by the gold answer, here by a verifier. What is drawn stays out of the
    tree, and is paid for.

    Args:
        backend: who draws, usually the model at work.
        verifier: scores finished chains.
        n: chains from each node; a finished one is scored itself.
        sampling: of the rest of a chain.
    """

    backend: Backend
    verifier: Verifier
    n: Count = 4
    sampling: Sampling = Sampling(signals=True)

    def __call__(self, run: Account, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
        """Draw from all nodes in one batch, and score all ends together."""
        going = [node for node in nodes if not node.ended]
        drawn = run.ask([self._request(node) for node in going], self.backend)
        by_node = dict(zip(going, drawn, strict=True))
        ends = {node: [node] for node in nodes}
        for node, reply in by_node.items():
            ends[node] = [_end(node, completion) for completion in reply.completions]
        every = [end for node in nodes for end in ends[node]]
        verdicts = iter(run.verdicts(self.verifier, prompt, every))
        return [
            _mean([next(verdicts) for _ in ends[node]], by_node.get(node, Drawn()))
            for node in nodes
        ]

    def _request(self, node: Node) -> Request:
        messages, pieces = node.conversation()
        return Request(messages, pieces, self.sampling, self.n)


def _end(node: Node, completion: Completion) -> Node:
    return Node(node.id, node, "assistant", completion.text, completion)


def _mean(verdicts: Sequence[Verdict], drawn: Drawn) -> Verdict:
    known = [verdict.score for verdict in verdicts if not math.isnan(verdict.score)]
    cost = sum((verdict.cost for verdict in verdicts), drawn.cost)
    if not known:
        return Verdict(math.nan, cost, verdicts[0].note if verdicts else drawn.why)
    return Verdict(sum(known) / len(known), cost, f"{len(known)} rollouts")
