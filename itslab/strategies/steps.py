"""What searches over steps share: where a step ends, how chains are ranked, which one is chosen.

A chain is built step by step in one turn of the model; each step is a node that continues its
parent on the very same tokens, so that a branch is forked and never evaluated again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from itslab.answers import vote
from itslab.core import Node, Prompt, PromptTooLong, Sampling, Verifier
from itslab.options import Options
from itslab.run import Halt, Run
from itslab.strategies.chains import pose

PARAGRAPH = Sampling(stop=("\n\n",), include_stop=True, max_tokens=128, signals=True)
"""A step is a paragraph, of 128 tokens at most. Other stop strings make other steps; without any, a
step is a number of tokens."""

LINE = replace(PARAGRAPH, stop=("\n",), max_tokens=64)
"""A step is a line, of 64 tokens at most."""

Selection = Literal["score", "vote"]

MORE = 16
"""Most steps drawn to finish a chain at the end, unless the search itself goes deeper."""

Candidates = tuple[Sequence[Node], Sequence[float] | None]
"""The chains in play after an iteration, and their weights in a vote; None if all weigh the same.
"""


class StepSearch(Options):
    """A search in which chains grow step by step, and which answers with a finished one.

    A subclass yields its candidates after each iteration. If in the end no finished chain is as
    good as the most promising unfinished one, that one is drawn to its end. If a budget ended the
    search, what was reserved of it (a quarter at most) finishes as many as it can.
    """

    verifier: Verifier
    depth: int
    instruction: str
    sampling: Sampling

    def iterate(self, run: Run, root: Node) -> Iterator[Candidates]:
        """Search from a root, and yield the candidates after each iteration."""
        raise NotImplementedError

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        root = pose(run, prompt, self.instruction)
        candidates: Candidates = [root], None
        ended: list[Node] = []
        reason, run.stepwise, run.ledger.reserve = None, True, self.rest.max_tokens
        seen = len(run.drawn)
        try:
            for candidates in self.iterate(run, root):
                drawn, seen = run.drawn[seen:], len(run.drawn)
                ended += [node for node in drawn if finished(run, node)]
                run.ledger.reserve = 0 if self._settled(candidates, ended) else self.rest.max_tokens
                run.checkpoint(self._choose(run, candidates, ended))
        except Halt as halt:
            if halt.reason == "stop":
                raise
            reason = halt.reason
        except PromptTooLong:
            if candidates == ([root], None):
                raise
            reason = "context"
        ended += [node for node in run.drawn[seen:] if finished(run, node)]
        if not self._settled(candidates, ended):
            ended += self._finish(run, candidates[0], several=reason is not None)
        node = self._choose(run, candidates, ended)
        run.best, run.stopped_by = node, reason or run.stopped_by
        return node

    # -- the answer --------------------------------------------------------------------------------

    @property
    def rest(self) -> Sampling:
        """How a chain is drawn to its end in one sample, without borders between steps."""
        return replace(self.sampling, stop=(), include_stop=False, max_tokens=Sampling().max_tokens)

    def _ending(self, run: Run) -> Sampling:
        """How a chain is drawn to its end: by further steps, where samples are not counted."""
        return self.sampling if run.budget.samples is None else self.rest

    def _settled(self, candidates: Candidates, ended: Sequence[Node]) -> bool:
        """Whether a finished chain is as good as any that is not finished."""
        best = max(map(merit, ended), default=-math.inf)
        by_score = getattr(self, "selection", "score") in ("score", "value")
        going = _going(candidates[0])
        return bool(ended) and not (by_score and going and merit(going[0]) > best)

    def _choose(self, run: Run, candidates: Candidates, ended: Sequence[Node]) -> Node:
        """The chain that answers the question."""
        chains, weights = candidates
        selection = getattr(self, "selection", "score")
        if selection == "visits":
            below = any(finished(run, chain) for chain in chains)
            return chosen(run, chains if below else [*chains, *ended])
        if selection == "vote":
            winner = voted(run, chains, weights) or voted(run, ended)
            if winner is not None:
                return winner
        return chosen(run, [*chains, *ended])

    def _finish(self, run: Run, chains: Sequence[Node], several: bool) -> list[Node]:
        """Draw the most promising chains to their end, and score them: one, or all affordable."""
        going, ends, run.ledger.reserve = _going(chains), list[Node](), 0
        try:
            for chain in going if several else going[:1]:
                ends.append(chain)
                for _ in range(max(self.depth, MORE)):
                    [ends[-1]] = run.extend(ends[-1], self._ending(run))
                    if ends[-1].ended:
                        break
        except Halt as halt:
            if halt.reason == "stop":
                raise
        except PromptTooLong:
            pass
        drawn = [end for end in ends if end not in going]
        try:
            run.score(drawn, self.verifier)
        except Halt as halt:
            if halt.reason == "stop":
                raise
        return drawn


def _going(chains: Sequence[Node]) -> list[Node]:
    """The ends that may be continued, the most promising first."""
    inner = {chain.parent for chain in chains}
    leaves = dict.fromkeys(c for c in chains if not c.ended and c not in inner)
    return sorted(leaves, key=merit, reverse=True)


def finished(run: Run, chain: Node) -> bool:
    """Whether the model closed its turn here, with an answer in it."""
    return chain.ended and run.extract(chain.turn_text) is not None


def merit(node: Node) -> float:
    """A node's score; what could not be scored comes last."""
    score = math.nan if node.verdict is None else node.verdict.score
    return -math.inf if math.isnan(score) else score


def distinct(run: Run, steps: Sequence[Node]) -> list[Node]:
    """Prune steps that repeat a sibling or the step before word for word; return the others."""
    kept: dict[tuple[Node | None, str], Node] = {}
    for step in steps:
        before = step.parent.text if step.parent and step.parent.completion else None
        if step.text != before or not step.text.strip():  # there may be several blank lines
            kept.setdefault((step.parent, step.text), step)
    left = list(kept.values())
    run.prune(step for step in steps if step not in left)
    return left


def chosen(run: Run, chains: Sequence[Node], selection: Selection = "score") -> Node:
    """Return the best chain by score, or the first one with the most frequent answer.

    Chains that hold an answer go before all others, and of these the finished ones.
    """

    def rank(chain: Node) -> tuple[bool, bool, float]:
        return run.extract(chain.turn_text) is not None, chain.ended, merit(chain)

    winner = voted(run, chains) if selection == "vote" else None
    return max(chains, key=rank) if winner is None else winner


def voted(run: Run, chains: Sequence[Node], weights: Sequence[float] | None = None) -> Node | None:
    """Return the first finished chain with the most frequent answer; None if none has one."""
    said = [run.extract(chain.turn_text) if chain.ended else None for chain in chains]
    winner = vote(said, weights, run.key)
    return None if winner is None else chains[winner]
