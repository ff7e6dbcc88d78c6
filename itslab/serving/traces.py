"""What a request asks of a machine, wave by wave, as a recorded run tells it.

A strategy is ordinary synchronous code: it orders some sequences, waits for all of them, thinks,
and orders the next ones. So a run, whatever its strategy, is a list of waves, and a wave a set of
sequences of known lengths; when they are drawn is up to the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from itslab.core import Cost, Event, Result, Tree, require
from itslab.options import Count, Options, Whole, checked

MOST_DRAWS = 4096
"""Sequences of a request."""


@dataclass(frozen=True)
class Draw(Options):
    """One sequence.

    Args:
        prompt: its tokens before the first that is drawn.
        drawn: tokens drawn.
        cached: leading tokens of the prompt that need not be evaluated, since the run, or another
            sequence of the wave, has them evaluated.
    """

    prompt: Whole
    drawn: Whole
    cached: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.prompt + self.drawn > 0, "prompt", 0, "at least 1 where nothing is drawn")
        require(self.cached <= self.prompt, "cached", self.cached, f"at most {self.prompt}")
        evaluated = self.cached < self.prompt or self.drawn > 0
        require(evaluated, "cached", self.cached, f"below {self.prompt} where nothing is drawn")


@dataclass(frozen=True)
class Trace(Options):
    """A request: what is submitted together, each wave when the one before is complete.

    Args:
        waves: sequences of each.
    """

    waves: tuple[tuple[Draw, ...], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        filled = bool(self.waves) and all(self.waves)
        require(filled, "waves", self.waves, "one or more, none of them empty")
        valid = f"of at most {MOST_DRAWS:,} sequences together"
        require(len(self.draws) <= MOST_DRAWS, "waves", len(self.draws), valid)

    @classmethod
    def of(cls, run: Result | Tree) -> Trace:
        """Return what a run asked for, verdicts that were drawn included.

        A wave is what was ordered with nothing coming back in between. What the first sequence
        found evaluated by other runs is evaluated anew. All models of the run are taken for one,
        that of the machine.

        Raises:
            OptionError: it is no run, or one that drew nothing.
        """
        tree = run.tree if isinstance(run, Result) else run
        require(isinstance(tree, Tree), "run", run, "a Result or a Tree")
        waves = _waves(list(tree.events))
        require(bool(waves), "run", run, "one that drew something")
        return cls(tuple(map(tuple, waves)))

    @classmethod
    @checked
    def parallel(cls, prompt: Count, lengths: Sequence[Count]) -> Trace:
        """Return samples of one prompt, drawn at once: as many tokens of each as ``lengths`` say.

        The prompt is evaluated once.
        """
        require(len(lengths) > 0, "lengths", lengths, "those of at least one sample")
        shared = (0, *[prompt] * (len(lengths) - 1))
        return cls((tuple(map(Draw, [prompt] * len(lengths), lengths, shared)),))

    @property
    def draws(self) -> list[Draw]:
        """All sequences."""
        return [draw for wave in self.waves for draw in wave]

    @property
    def tokens(self) -> int:
        """Tokens drawn."""
        return sum(draw.drawn for draw in self.draws)

    @property
    def prefilled(self) -> int:
        """Tokens of prompts evaluated."""
        return sum(draw.prompt - draw.cached for draw in self.draws)

    @property
    def reused(self) -> int:
        """Tokens of prompts that were evaluated before."""
        return sum(draw.cached for draw in self.draws)

    def __repr__(self) -> str:
        widths = "+".join(str(len(wave)) for wave in self.waves[:6])
        more = "+…" if len(self.waves) > 6 else ""
        return f"Trace({widths}{more} sequences, {self.tokens:,} tokens)"


def _waves(events: Sequence[Event]) -> list[list[Draw]]:
    """Sequences in the order in which they were opened; what comes back ends a wave."""
    costs = {event.node: event.data.get("cost") for event in events if event.kind == "done"}
    waves: list[list[Draw]] = []
    growing = ""  # what the last wave consists of, as long as nothing of it has come back
    for event in events:
        if event.kind == "done":
            growing = ""
            continue
        cost = costs.get(event.node) if event.kind == "node" else event.data.get("cost")
        draws = list(_draws(cost)) if cost and event.kind in ("node", "verdict") else []
        if draws and growing != event.kind:
            waves.append([])
            growing = event.kind
        if draws:
            waves[-1] += draws
    if waves:  # nobody else's evaluation is counted on
        waves[0][0] = replace(waves[0][0], cached=0)
    return waves


def _draws(cost: Cost) -> Iterable[Draw]:
    """The sequences that a cost paid for: one, but of a verdict for which several were drawn."""
    n = max(cost.calls, 1)
    for i in range(n):
        prefilled, reused, drawn = (
            total * (i + 1) // n - total * i // n
            for total in (cost.prefilled, cost.reused, cost.decoded)
        )
        if prefilled or drawn:
            yield Draw(prefilled + reused, drawn, reused)
