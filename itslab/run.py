"""The one place where compute is bought.

A strategy gets a ``Run`` and spends through four verbs: ``reply`` opens a turn, ``extend`` buys
continuations, ``append`` writes into the model's own turn, ``score`` buys verdicts. Since there is
no other till, discarded branches, truncated samples and a judge's tokens are all paid for, and a
budget holds whatever the strategy does.
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from itslab import answers
from itslab.core import (
    Backend,
    Budget,
    Completion,
    Cost,
    Extractor,
    Key,
    Message,
    Node,
    Prompt,
    Request,
    Sampling,
    Tree,
    Verdict,
    Verifier,
    as_messages,
    require,
)
from itslab.gate import Gate


class Strategy(Protocol):
    """A way to spend compute on a prompt. Frozen, with nothing but its own options."""

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        """Return the node that holds the answer; None if there is none."""
        ...


class Halt(Exception):
    """Nothing more can be bought; ``reason`` is the exhausted limit, ``context`` or ``stop``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Run:
    """One strategy at work on one prompt.

    Args:
        backend: who draws the samples.
        extract: reads an answer from the model's turn.
        budget: the most that may be spent.
        seed: of everything random in this run.
        key: the form that equal answers share, for votes.
        opening: a node of an earlier run's tree from which this one goes on, in the same tree.

    Attributes:
        tree: the nodes and the events that made them.
        cost: all that has been spent so far.
        rng: the only randomness a strategy may use.
        stopped_by: what ended the run early; see ``Result``.
        unscored: why verdicts are missing, if any are -> how many.
    """

    def __init__(
        self,
        backend: Backend,
        extract: Extractor,
        budget: Budget = Budget(),
        seed: int = 0,
        key: Key = answers.canonical,
        opening: tuple[Tree, Node] | None = None,
    ) -> None:
        self.extract = extract
        self.key = key
        self.budget = budget
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.tree: Tree
        self.opening: Node | None
        self.tree, self.opening = opening or (Tree(), None)
        self._first = len(self.tree)
        self.gate = Gate()
        self.cost = Cost()
        self.stopped_by: str | None = None
        self.unscored: Counter[str] = Counter()
        self.backend = backend
        self._best: Node | None = None
        self._bought: Counter[Request] = Counter()
        self._stop = threading.Event()

    # -- the four verbs ----------------------------------------------------------------------------

    def reply(self, node: Node | None, message: Prompt) -> Node:
        """Open a further turn after a node, or a conversation after None."""
        for m in as_messages(message):
            node = self.tree.add(node, m.role, m.content)
        assert node is not None  # a prompt has at least one message
        return node

    def append(self, node: Node, text: str) -> Node:
        """Write into the model's own turn, as if it had said it."""
        return self.tree.add(node, "assistant", text)

    def extend(
        self, nodes: Node | Sequence[Node], sampling: Sampling = Sampling(), n: int = 1
    ) -> list[Node]:
        """Buy ``n`` continuations of each node, all in one batch.

        A budget in tokens is never overdrawn: where it may not last for everyone at full length,
        samples are bought while one of full length fits, then shorter ones while any token is left.
        So fewer nodes than asked for may come back.

        Returns:
            The new nodes, those of the first parent first; of no parents none.

        Raises:
            Halt: nothing could be bought, or the run was stopped.
        """
        require(n >= 1, "n", n, "a whole number ≥ 1")
        parents = [nodes] if isinstance(nodes, Node) else list(nodes)
        wanted = [parent for parent in parents for _ in range(n)]
        made: list[Node] = []
        while len(made) < len(wanted):
            self.stopped_by = "stop" if self._stop.is_set() else self.budget.exhausted(self.cost)
            if self.stopped_by and made:
                break
            if self.stopped_by:
                raise Halt(self.stopped_by)
            made += self._buy(*self._affordable(wanted[len(made) :], sampling))
        whole = [node for node in made if node.status == "done"]
        if made and not whole:
            raise Halt("stop")  # all were cut short; they stay in the tree, and are paid for
        return whole

    def score(
        self, nodes: Sequence[Node], verifier: Verifier, ends: Sequence[Node] | None = None
    ) -> list[float]:
        """Buy a verdict on each node and return the scores.

        A verifier that fails marks its nodes with ``nan`` and the reason; the run goes on, and its
        result tells what is missing.

        Args:
            nodes: what to score, by what its own turn says: answers to one and the same prompt, the
                first ones or their revisions.
            verifier: who scores.
            ends: where each node led to, if it is to be judged by that instead of by itself.
        """
        if not nodes:
            return []
        try:
            verdicts = verifier(_asked(nodes[0]), ends or nodes)
        except Exception as error:
            verdicts = [Verdict(math.nan, note=f"{type(error).__name__}: {error}")] * len(nodes)
        for node, verdict in zip(nodes, verdicts, strict=True):
            node.verdict = verdict
            self.cost += verdict.cost
            if math.isnan(verdict.score):
                self.unscored[f"{verifier!r}: {verdict.note or 'the score is nan'}"] += 1
            told = {"score": verdict.score, "note": verdict.note, "cost": verdict.cost}
            self.tree.log("verdict", node, **told)
        return [verdict.score for verdict in verdicts]

    # -- the course of a search --------------------------------------------------------------------

    def prune(self, nodes: Iterable[Node]) -> None:
        """Note that the search does not go on from these nodes."""
        for node in nodes:
            node.status = "pruned"
            self.tree.log("pruned", node)

    def checkpoint(self, best: Node) -> None:
        """End an iteration: note the best node so far, and wait here while the run is paused.

        Raises:
            Halt: the run was stopped.
        """
        self.best = best
        self.tree.log("iteration", best)
        self.gate.enter()
        if self._stop.is_set():
            raise Halt("stop")

    # -- the ending --------------------------------------------------------------------------------

    @property
    def best(self) -> Node | None:
        """The best answer so far: set by strategies as they go, returned if the run is stopped.

        Until they set one that holds an answer, the latest completion from which one can be read.
        """
        if self._best is not None and self.extract(self._best.turn_text) is not None:
            return self._best
        drawn = (node for node in reversed(self.tree.nodes[self._first :]) if node.completion)
        answered = (node for node in drawn if self.extract(node.turn_text) is not None)
        return next(answered, self._best)

    @best.setter
    def best(self, node: Node) -> None:
        self._best = node
        self.tree.log("best", node)

    def stop(self) -> None:
        """End the run at once, from any thread; its best answer so far is its result."""
        self._stop.set()
        self.gate.let(math.inf)

    # -- buying ------------------------------------------------------------------------------------

    def _affordable(self, parents: list[Node], sampling: Sampling) -> tuple[list[Node], Sampling]:
        """Return how many of these can be bought now, and how long each may become."""
        budget, count = self.budget, len(parents)
        if budget.samples is not None:
            count = min(count, budget.samples - self.cost.calls)
        if budget.seconds is not None or budget.flops is not None:
            count = min(count, self.backend.width)  # their price is known only afterwards
        if budget.tokens is not None:
            left = budget.tokens - self.cost.decoded
            count = min(count, max(left // sampling.max_tokens, 1))
            sampling = replace(sampling, max_tokens=min(sampling.max_tokens, left))
        return parents[:count], sampling

    def _buy(self, parents: list[Node], sampling: Sampling) -> list[Node]:
        """Draw one continuation for each of these nodes; equal neighbours share a request."""
        requests, rows = [], []
        for parent, same in itertools.groupby(parents):
            count = len(list(same))
            requests.append(self._request(parent, sampling, count))
            rows.append([self.tree.add(parent, "assistant", "", "open") for _ in range(count)])

        def grow(i: int, j: int, text: str) -> None:
            rows[i][j].text += text

        def close(i: int, j: int, completion: Completion) -> None:
            node = rows[i][j]
            node.completion, node.text = completion, completion.text
            node.status = "failed" if completion.finish == "cancelled" else "done"
            self.cost += completion.cost
            self.tree.log("done", node, finish=completion.finish, cost=completion.cost)

        made = [node for row in rows for node in row]
        try:
            self.backend.generate(requests, on_text=grow, on_sample=close, cancel=self._stop)
        except Exception:
            for node in made:
                node.status = "failed" if node.status == "open" else node.status
            raise
        return made

    def _request(self, node: Node, sampling: Sampling, n: int) -> Request:
        """Return the request that continues a node with samples not bought in this run before."""
        messages, prefix = node.conversation()
        # A sample's length does not change which sample it is.
        key = Request(messages, prefix, replace(sampling, max_tokens=1))
        first = self._bought[key]
        self._bought[key] += n
        return Request(messages, prefix, sampling, n, self.seed, first)


def _asked(node: Node) -> tuple[Message, ...]:
    """The messages before anything was drawn: what a node answers, first or in the end."""
    first = next((step for step in node.path() if step.completion), node)
    return first.conversation()[0]
