"""A step is worth what becomes of it: chains are drawn from it to their end, and scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from itslab.core import (
    Backend,
    Completion,
    Drawn,
    Node,
    Prompt,
    Request,
    Sampling,
    Till,
    Verdict,
    Verifier,
)
from itslab.options import Count
from itslab.verifiers.asking import Asking


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

    def __call__(self, run: Till, prompt: Prompt, nodes: Sequence[Node]) -> list[Verdict]:
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
