"""A panel that lets samples vote while one watches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from itslab import answers
from itslab.core import Cost, Extractor, Result, Tree
from itslab.viz.panels import RunPanel, price, slider
from itslab.viz.voting import Bar, bars, marked, picture

if TYPE_CHECKING:
    from itslab.handle import RunHandle


class VotePanel(RunPanel):
    """Sliders for the number of samples and the temperature, Run and Stop, and the votes.

    Args:
        begin: starts a run with this many samples at this temperature, such as a call of
            ``itslab.start`` with ``SelfConsistency``.
        first: what is shown until Run is pressed.
        gold: the gold answer, whose bar is marked.
        extract: reads the answer from a sample.
        n: choices for the number of samples; the last one is set at first.
        temperatures: choices for the temperature; the middle one is set at first.
    """

    mime = "image/svg+xml"

    def __init__(
        self,
        begin: Callable[[int, float], RunHandle],
        first: Result,
        *,
        gold: str | None = None,
        extract: Extractor = answers.extract,
        n: Sequence[int] = (1, 2, 4, 8, 16),
        temperatures: Sequence[float] = (0.2, 0.5, 0.8, 1.1, 1.4),
    ) -> None:
        self.temperatures = temperatures
        self.n = slider("samples", n, n[-1])
        self.temperature = slider("temperature", temperatures, temperatures[len(temperatures) // 2])
        self._gold, self._extract = gold, extract
        super().__init__(begin, first, [self.n, self.temperature])

    def draw(self, tree: Tree, cost: Cost, state: str) -> str:
        """Return the votes so far as an SVG picture."""
        rows = votes_so_far(tree, self._extract, self._gold)
        return picture(rows, f"{state}: {price(cost)}")


def votes_so_far(tree: Tree, extract: Extractor, gold: str | None = None) -> list[Bar]:
    """Return the bars of a run's votes; the run may still be drawing."""
    samples = [node for node in tree if node.role == "assistant"]
    done = [node for node in samples if node.status == "done"]
    said = [extract(node.turn_text) for node in done]
    drawing = sum(node.status == "open" for node in samples)
    return bars(answers.tally(said), marked(gold), said.count(None), drawing)
