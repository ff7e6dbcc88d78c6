"""Monte Carlo tree search over steps: select, expand, simulate, back up.

Browne et al. 2012, A survey of Monte Carlo tree search methods (§3); over the steps of a language
model Hao et al. 2023, RAP (arXiv:2305.14992, §3.3). Leaves are selected in batches, with virtual
loss (Chaslot et al. 2008, Parallel Monte-Carlo tree search), so that many are drawn at once.
Values are scaled to [0, 1] by the least and the greatest so far (Schrittwieser et al. 2020, MuZero,
arXiv:1911.08265, appendix B), so that exploring is worth the same with any verifier.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from itslab.core import Node, Sampling, Verifier
from itslab.options import Bounds, Count, Limit, NotNegative, Whole
from itslab.run import Run
from itslab.strategies.chains import STEP_BY_STEP
from itslab.strategies.steps import (
    PARAGRAPH,
    Candidates,
    StepSearch,
    chosen,
    distinct,
    finished,
    merit,
)
from itslab.strategies.trees import Branch, puct, uct

Rule = Literal["uct", "puct"]
Choice = Literal["visits", "value", "vote"]


@dataclass(frozen=True)
class MCTS(StepSearch):
    """Monte Carlo tree search.

    An iteration selects up to ``width`` leaves, draws ``expand`` steps after each, values every new
    step, and adds its value to all steps before it. A finished chain is a leaf like any other, but
    nothing is drawn after it: its own value is added once more.

    Args:
        verifier: values a step by itself or, with rollouts, the finished chains that it leads to.
            What cannot be scored is worth as little as the least known.
        iterations: most iterations.
        width: leaves selected in an iteration.
        expand: steps drawn after a leaf.
        rollouts: chains drawn to their end after each new step, whose mean score is its value; with
            0 the step itself is scored.
        c: weight of exploration.
        rule: ``uct``, or ``puct`` with priors in proportion to the steps' likelihood per token.
        widening: a step visited N times has up to ``expand`` · N^widening steps after it
            (progressive widening: Couëtoux et al. 2011, Continuous upper confidence trees); 0 keeps
            to ``expand``.
        depth: most steps in a chain.
        stop_score: a finished chain that scores this ends the search.
        selection: how the answer is selected in the end: of all finished chains, the one with the
            best ``value``; or the best of those reached by following the most ``visits``; or by a
            ``vote`` of all. Unlike the value, visits and votes say little after few iterations,
            however good the verifier.
        instruction: as of ``ChainOfThought``.
        sampling: of one step, and where it ends.
        rollout: of the rest of a chain.
    """

    verifier: Verifier
    iterations: Count = 16
    width: Count = 4
    expand: Count = 4
    rollouts: Whole = 0
    c: NotNegative = 1.0
    rule: Rule = "uct"
    widening: Annotated[float, Bounds(0, 1, open="high")] = 0.0
    depth: Count = 16
    stop_score: Limit = math.inf
    selection: Choice = "value"
    instruction: str = STEP_BY_STEP
    sampling: Sampling = PARAGRAPH
    rollout: Sampling = Sampling(signals=True)

    @property
    def rest(self) -> Sampling:
        """As of a rollout."""
        return self.rollout

    def _ending(self, run: Run) -> Sampling:
        return self.rollout if self.rollouts else super()._ending(run)

    def iterate(self, run: Run, root: Node) -> Iterator[Candidates]:
        """Select, expand, simulate, back up."""
        tree = Search(self, run, Step(root))
        for _ in range(self.iterations):
            leaves = tree.select()
            if not leaves:
                break
            fresh = tree.expand(leaves)
            tree.back_up(fresh, tree.simulate(fresh))
            chains = tree.root.chains()
            good = [c for c in chains if finished(run, c) and merit(c) >= self.stop_score]
            yield good or tree.candidates(), None
            if good:
                break


@dataclass(eq=False)
class Step(Branch):
    """A step of the search.

    Args:
        node, parent, children: as of ``Branch``.
        prior: its likelihood per token, divided by the sum of that of all siblings.
        drawn: how many steps were drawn after it, repetitions included.
        ends: chains that its rollouts led to.
        visits, total: how many values it and the steps after it brought, and their sum.
        unscored: how many of them are not known, and stand in the sum as the least known.
        worth: the value that it brought itself; nan if it is not known.
        pending: walks through it in the batch under way.
    """

    prior: float = 1.0
    drawn: int = 0
    ends: list[Node] = field(default_factory=list)
    visits: int = 0
    total: float = 0.0
    unscored: int = 0
    worth: float = math.nan
    pending: int = 0

    @property
    def value(self) -> float:
        """Mean value; nan of what brought none."""
        return self.total / self.visits if self.visits else math.nan

    def chains(self) -> Iterator[Node]:
        """All chains in this branch: steps, and where rollouts led."""
        for step in self.all():
            yield from (step.node, *step.ends)


class Search:
    """The state of a search, and the phases of an iteration."""

    def __init__(self, options: MCTS, run: Run, root: Step) -> None:
        self.options, self.run, self.root = options, run, root
        self.least, self.greatest = math.inf, -math.inf  # values so far

    # -- select ------------------------------------------------------------------------------------

    def select(self) -> list[Step]:
        """Return leaves to expand; none if there are none left.

        A walk to a leaf counts as a loss for the walks that follow. One that comes to the end of a
        finished chain, for the first time in this iteration, adds its value once more.
        """
        leaves: list[Step] = []
        taken: set[Step] = set()
        while len(leaves) < self.options.width and self._open(self.root, taken):
            leaf = self.root
            while not self._room(leaf) and not self._terminal(leaf):
                rivals = [c for c in leaf.children if self._open(c, taken, self._terminal)]
                leaf = max(rivals, key=self.promise)
            taken.add(leaf)
            if self._terminal(leaf):
                self._revisit(leaf)
                continue
            leaves.append(leaf)
            for branch in leaf.lineage():
                branch.pending += 1
        for branch in {branch for leaf in leaves for branch in leaf.lineage()}:
            branch.pending = 0
        return leaves

    def promise(self, branch: Step) -> float:
        """The rule's upper bound, with values scaled and walks under way counted as losses."""
        assert branch.parent is not None  # the root has no rivals
        visits, rivals = (b.visits + b.pending for b in (branch, branch.parent))
        span = self.greatest - self.least
        won = (branch.total - branch.visits * self.least) / span if span > 0 else 0.0
        value = won / max(visits, 1)
        if self.options.rule == "uct":
            return uct(value, visits, rivals, self.options.c)
        return puct(value, visits, rivals, self.options.c, branch.prior)

    def _open(
        self,
        branch: Step,
        taken: set[Step],
        too: Callable[[Step], bool] = lambda branch: False,
    ) -> bool:
        """Whether a branch holds a leaf not taken that can be expanded, or that counts as well."""
        if branch in taken:
            return False
        if self._room(branch) or too(branch):
            return True
        return any(self._open(child, taken, too) for child in branch.children)

    def _terminal(self, branch: Step) -> bool:
        """Whether a chain goes no further than this step."""
        return branch.node.ended or branch.depth == self.options.depth

    def _room(self, branch: Step) -> int:
        """How many steps may be drawn after a branch now."""
        if self._terminal(branch):
            return 0
        grown = math.pow(max(branch.visits, 1), self.options.widening)
        return max(math.floor(self.options.expand * grown) - branch.drawn, 0)

    # -- expand ------------------------------------------------------------------------------------

    def expand(self, leaves: Sequence[Step]) -> list[Step]:
        """Draw steps after each leaf, all in one batch, and return those that are new."""
        wanted = [leaf for leaf in leaves for _ in range(self._room(leaf))]
        for leaf in wanted:
            leaf.drawn += 1
        steps = self.run.extend([leaf.node for leaf in wanted], self.options.sampling)
        by_node = {leaf.node: leaf for leaf in leaves}
        fresh = []
        for step in distinct(self.run, steps):
            assert step.parent is not None  # it continues a leaf
            branch = Step(step, by_node[step.parent])
            by_node[step.parent].children.append(branch)
            fresh.append(branch)
        for leaf in leaves:
            _set_priors(leaf.children)
        return fresh

    # -- simulate ----------------------------------------------------------------------------------

    def simulate(self, fresh: Sequence[Step]) -> list[float]:
        """Value each new branch; nan of what cannot be valued."""
        going = [b for b in fresh if not b.node.ended] if self.options.rollouts else []
        if going:
            starts = [branch.node for branch in going]
            ends = self.run.extend(starts, self.options.rollout, self.options.rollouts)
            for branch in going:
                branch.ends = [end for end in ends if end.parent is branch.node]
        judged = {branch: branch.ends if branch in going else [branch.node] for branch in fresh}
        self.run.score([node for nodes in judged.values() for node in nodes], self.options.verifier)
        return [_mean([merit(node) for node in judged[branch]]) for branch in fresh]

    # -- back up -----------------------------------------------------------------------------------

    def back_up(self, fresh: Sequence[Step], values: Sequence[float]) -> None:
        """Add the value of each new branch to all branches that it continues."""
        before = self._worst
        known = [value for value in values if not math.isnan(value)]
        self.least = min([self.least, *known])
        self.greatest = max([self.greatest, *known])
        changed = dict.fromkeys(branch for branch in self.root.all() if branch.unscored)
        for branch in changed:
            branch.total += branch.unscored * (self._worst - before)
        for branch, value in zip(fresh, values, strict=True):
            branch.worth = value
            self._add(branch)
        changed |= dict.fromkeys(above for branch in fresh for above in branch.lineage())
        for branch in changed:
            self._log(branch)

    def _revisit(self, leaf: Step) -> None:
        """Add the value of a leaf once more."""
        self._add(leaf)
        for branch in leaf.lineage():
            self._log(branch)

    @property
    def _worst(self) -> float:
        """What stands for a value that is not known: the least known."""
        return self.least if math.isfinite(self.least) else 0.0

    def _add(self, branch: Step) -> None:
        """Add a branch's own value to itself and all above."""
        unknown = math.isnan(branch.worth)
        for above in branch.lineage():
            above.visits += 1
            above.unscored += unknown
            above.total += self._worst if unknown else branch.worth

    def _log(self, branch: Step) -> None:
        terms = {"visits": branch.visits, "value": branch.value}
        if branch.parent is not None:
            terms[self.options.rule] = self.promise(branch)
        if self.options.rule == "puct":
            terms["prior"] = branch.prior
        self.run.tree.log("value", branch.node, **terms)

    # -- the answer --------------------------------------------------------------------------------

    def candidates(self) -> list[Node]:
        """The chains among which the answer of the search so far is selected."""
        branch = self.root
        while self.options.selection == "visits" and branch.children:
            branch = max(branch.children, key=lambda child: child.visits)
        for above in branch.lineage():
            ended = [chain for chain in above.chains() if finished(self.run, chain)]
            if ended and self.options.selection != "value":
                return ended
        return list(self.root.chains())

    def choose(self) -> Node:
        """Return the chain that is the answer of the search so far."""
        vote = self.options.selection == "vote"
        return chosen(self.run, self.candidates(), "vote" if vote else "score")


def _set_priors(children: Sequence[Step]) -> None:
    """Divide a prior of 1 among siblings in proportion to their likelihood per token."""
    likely = []
    for child in children:
        assert child.node.completion is not None  # it was drawn
        logprobs = child.node.completion.logprobs
        likely.append(math.exp(sum(logprobs) / len(logprobs)) if logprobs else 1.0)
    for child, likelihood in zip(children, likely, strict=True):
        child.prior = likelihood / sum(likely)


def _mean(scores: Sequence[float]) -> float:
    known = [score for score in scores if math.isfinite(score)]
    return sum(known) / len(known) if known else math.nan
