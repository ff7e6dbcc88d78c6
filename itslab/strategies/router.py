"""Look first, then spend: an estimate of how hard a problem is chooses who answers it and how.

Snell et al. 2024 (arXiv:2408.03314) choose the method and the budget by the difficulty of a
question: compute-optimal scaling. ``study.policy`` fits such a choice to recorded samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from itslab.core import Backend, BackendError, Node, OptionError, Prompt, Verifier, require
from itslab.options import Options, check
from itslab.run import Halt, Run, Strategy
from itslab.strategies.cascade import found, latest, named, note, passing
from itslab.strategies.chains import pose


@dataclass(frozen=True, repr=False)
class Route(Options):
    """One way to answer.

    Args:
        strategy: how to spend compute; None leaves it at the answer of the cheap look.
        model: who draws; None is the model of the run.
    """

    strategy: Strategy | None = None
    model: Backend | None = field(default=None)

    def __repr__(self) -> str:
        model = [f"model={self.model.name}"] if self.model else []
        return f"Route({', '.join([*([repr(self.strategy)] if self.strategy else []), *model])})"


@dataclass(frozen=True)
class Router(Options):
    """Estimate how easy a problem is, and take the route of its kind.

    What the cheap look drew is not drawn again: a route that asks the same model in the same way
    for more samples goes on from those. Where a route has no answer, or its model cannot be used,
    the answer of the look stands. Which route was taken, and why, is in ``Result.stages``.

        Router(Agreement(), [0.75], [Route(SelfConsistency(16)), Route()], SelfConsistency(4))

    Args:
        estimate: scores the answer of the look, or without a look the question itself. A higher
            score is an easier problem: how far samples agree, or P(right) as of ``Combined``.
        edges: scores that part the routes, ascending.
        routes: one more than there are edges, for the hardest problems first. A problem whose
            score is an edge or above goes on to the next; one without a score is of the hardest.
        look: a cheap strategy on the model of the run; None estimates from the question alone.
        digest: of the model that estimate and edges were fitted on; "" fits any.

    Raises:
        OptionError: there are not as many routes as edges and one; edges do not ascend; a route
            leaves it at the look where there is none; when it is run: the model is another one.
    """

    estimate: Verifier
    edges: tuple[float, ...]
    routes: tuple[Route, ...]
    look: Strategy | None = None
    digest: str = ""

    def __post_init__(self) -> None:
        check(self)
        rising = all(a < b for a, b in pairwise((-math.inf, *self.edges)))
        require(rising, "edges", self.edges, "numbers that ascend")
        fits = len(self.routes) == len(self.edges) + 1
        require(fits, "routes", self.routes, f"{len(self.edges) + 1}, one more than edges")
        answers = self.look is not None or all(route.strategy for route in self.routes)
        require(answers, "routes", self.routes, "all with a strategy, where there is no look")

    def __call__(self, run: Run, prompt: Prompt) -> Node | None:
        refuse_another(self.digest, run.backend)
        if self.look is None:
            first, seen, looked = None, pose(run, prompt, ""), list[Node]()
        else:
            before = len(run.used)
            with run.drawing_from(None):
                first = self.look(run, prompt)
            seen, looked = first or latest(run, prompt), run.used[before:]
            run.checkpoint(seen)
        score, why = self._estimated(run, seen)
        number = sum(score >= edge for edge in self.edges)
        route = self.routes[number]
        model = route.model or run.backend
        why = why or self._why(score, number)
        note(run, seen, number, route.strategy or self.look, model, True, why)
        if route.strategy is None:
            return first
        failed, drawn = "the route gave no answer", len(run.drawn)
        try:
            with run.drawing_from(route.model), run.reusing(looked):
                node = route.strategy(run, prompt)
        except (BackendError, Halt) as error:
            looks = first is not None and run.extract(first.turn_text) is not None
            node, failed = None if looks else found(run, drawn), named(error)
            if not passing(run, error) or (first is None and node is None):
                raise
        if first is None or (node is not None and run.extract(node.turn_text) is not None):
            return node
        note(run, first, number, self.look, run.backend, True, f"the look stands: {failed}")
        return first

    def _estimated(self, run: Run, seen: Node) -> tuple[float, str]:
        """The score, and why there is none where nobody can be asked for it."""
        try:
            [score] = run.score([seen], self.estimate)
        except (BackendError, Halt) as error:
            if not passing(run, error):
                raise
            return math.nan, f"{self.estimate!r} cannot be asked, as the hardest: {named(error)}"
        return score, ""

    def _why(self, score: float, number: int) -> str:
        if math.isnan(score):
            return f"{self.estimate!r} tells nothing: as the hardest"
        low = [f"{self.edges[number - 1]:g} ≤ "] if number > 0 else []
        high = [f" < {self.edges[number]:g}"] if number < len(self.edges) else []
        return f"{self.estimate!r}: {''.join([*low, f'{score:.3g}', *high])}"


def refuse_another(digest: str, backend: Backend) -> None:
    """Refuse a model other than the one that something was fitted on.

    Raises:
        OptionError: naming both digests.
    """
    if digest not in ("", backend.digest):
        raise OptionError(
            f"this was fitted on the model {digest}, and {backend.name} is {backend.digest}: "
            "fit it on samples of that one"
        )
