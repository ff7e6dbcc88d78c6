"""What tree searches share: branches, and rules that choose where to go on by what was won so far.

UCT: Kocsis & Szepesvári 2006, Bandit based Monte-Carlo planning (§2.3; the bound, UCB1, §2.2).
PUCT: Silver et al. 2017, Mastering the game of Go without human knowledge (Methods). Thompson
sampling with Beta posteriors: Chapelle & Li 2011, An empirical evaluation of Thompson sampling (§2,
Algorithm 2), where rewards are 0 or 1; one between counts here in part as either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from itslab.core import Node


@dataclass(eq=False)
class Branch:
    """A place in a search. Each search keeps in a subclass what it counts there.

    Args:
        node: what was drawn; the root's is the question.
        parent: the branch that it continues; None of the root.
        children: the branches that continue it.
    """

    node: Node
    parent: Self | None = None
    children: list[Self] = field(default_factory=list)

    def lineage(self) -> Iterator[Self]:
        """This branch, its parent, and so on up to the root."""
        branch: Self | None = self
        while branch is not None:
            yield branch
            branch = branch.parent

    def all(self) -> Iterator[Self]:
        """This branch and all below it."""
        yield self
        yield from self.below()

    def below(self) -> Iterator[Self]:
        """All branches below this one."""
        for child in self.children:
            yield from child.all()

    @property
    def depth(self) -> int:
        """How many branches lie above this one."""
        return sum(1 for _ in self.lineage()) - 1


def uct(value: float, visits: int, parent: int, c: float) -> float:
    """Return value + c √(ln parent ÷ visits); what was never visited comes first.

    Args:
        value: mean of what it brought, in [0, 1].
        visits: how often it was tried.
        parent: how often any of its rivals was, ≥ 1.
        c: how much exploring is worth; √2 in UCB1.
    """
    return value + c * math.sqrt(math.log(parent) / visits) if visits else math.inf


def puct(value: float, visits: int, parent: int, c: float, prior: float) -> float:
    """Return value + c · prior · √parent ÷ (1 + visits).

    Args:
        value, visits, parent, c: as of ``uct``.
        prior: how likely it was held to be the best at first, in [0, 1].
    """
    return value + c * prior * math.sqrt(parent) / (1 + visits)


def thompson(total: float, count: int, rng: np.random.Generator) -> float:
    """Draw a mean from its posterior, Beta(½ + total, ½ + count − total): Jeffreys' prior.

    Args:
        total: of the values seen, each in [0, 1].
        count: of the values seen.
        rng: what to draw with.
    """
    return float(rng.beta(0.5 + total, 0.5 + count - total))
