"""What searches over steps share: where a step ends, how it is judged, which chain is chosen.

A chain is built step by step in one turn of the model; each step is a node that continues its
parent on the very same tokens, so that a branch is forked and never evaluated again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from itslab.answers import vote
from itslab.core import Node, Sampling, Verifier, require
from itslab.run import Run

PARAGRAPH = Sampling(stop=("\n\n",), include_stop=True, max_tokens=128, signals=True)
"""A step is a paragraph, of 128 tokens at most. Other stop strings make other steps; without any, a
step is a number of tokens."""

LINE = replace(PARAGRAPH, stop=("\n",), max_tokens=64)
"""A step is a line, of 64 tokens at most."""

Final = Literal["score", "vote"]


def check(strategy: Any, *counts: str) -> None:
    """Refuse counts below 1."""
    for name in counts:
        value = getattr(strategy, name)
        require(value >= 1, name, value, "a whole number ≥ 1")


def check_final(final: str, valid: Sequence[str] = get_args(Final)) -> None:
    """Refuse unknown ways to choose."""
    require(final in valid, "final", final, " or ".join(map(repr, valid)))


def merit(node: Node) -> float:
    """A node's score; what could not be scored comes last."""
    score = math.nan if node.verdict is None else node.verdict.score
    return -math.inf if math.isnan(score) else score


def judge(
    run: Run, steps: Sequence[Node], verifier: Verifier, sampling: Sampling, lookahead: int
) -> None:
    """Score steps, each by itself or by where it leads within some greedy steps more.

    Lookahead search: Snell et al. 2024 (arXiv:2408.03314, §5.2).
    """
    ends = list(steps)
    for _ in range(lookahead):
        going = [i for i, end in enumerate(ends) if not end.ended]
        if not going:
            break
        further = run.extend([ends[i] for i in going], replace(sampling, temperature=0))
        run.prune(further)
        for i, end in zip(going, further, strict=False):
            ends[i] = end
    run.score(steps, verifier, ends)


def distinct(run: Run, steps: Sequence[Node]) -> list[Node]:
    """Prune steps that repeat a sibling word by word, or the step before; return the others."""
    kept: dict[tuple[Node | None, str], Node] = {}
    for step in steps:
        before = step.parent.text if step.parent and step.parent.completion else None
        if step.text != before or not step.text.strip():  # there may be several blank lines
            kept.setdefault((step.parent, step.text), step)
    left = list(kept.values())
    run.prune(step for step in steps if step not in left)
    return left


def families(steps: Sequence[Node], size: int) -> Iterator[Sequence[Node]]:
    """Part steps into groups of ``size``; the last may be smaller, where a budget ended."""
    return (steps[i : i + size] for i in range(0, len(steps), size))


def chosen(run: Run, chains: Sequence[Node], final: Final = "score") -> Node:
    """The best chain: by score, or the first of those that most agree with.

    Chains that hold an answer go before all others, and of these the finished ones.
    """

    def rank(chain: Node) -> tuple[bool, bool, float]:
        return run.extract(chain.turn_text) is not None, chain.ended, merit(chain)

    if final == "vote":
        ended = [chain for chain in chains if chain.ended]
        winner = vote([run.extract(chain.turn_text) for chain in ended], key=run.key)
        if winner is not None:
            return ended[winner]
    return max(chains, key=rank)
