"""A panel that lets samples vote while one watches.

It is made of sliders, buttons and one SVG picture, so that it weighs some kilobytes in a saved
notebook, where a live plotly figure takes megabytes. Where nobody can move it (a page, a notebook
that was executed by a program), its picture stands in its place.

Callbacks of widgets arrive in any thread, and what they raise is swallowed by the kernel. So each
change goes through one lock, the model is called in a thread of its own, and whatever goes wrong is
shown in the panel.
"""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from itslab import answers
from itslab.core import Cost, Extractor, ItslabError, Result, Tree
from itslab.viz.plots import INK, MUTED, Bar, bars

if TYPE_CHECKING:
    from itslab.run import Started

REFRESH = 0.2
"""Seconds between two looks at a run."""

_ROW, _LABEL, _WIDTH = 28, 150, 640  # pixels


def votes_so_far(tree: Tree, extract: Extractor, gold: str | None = None) -> list[Bar]:
    """Return the bars of a run's votes; the run may still be drawing."""
    samples = [node for node in tree if node.role == "assistant"]
    done = [node for node in samples if node.status == "done"]
    said = [extract(node.turn_text) for node in done]
    drawing = sum(node.status == "open" for node in samples)
    return bars(answers.tally(said), gold, said.count(None), drawing)


def picture(rows: Sequence[Bar], caption: str) -> str:
    """Draw bars as an SVG image with a line of text below."""
    most = max((row.votes for row in rows), default=1)
    longest = _WIDTH - _LABEL - 50
    height = _ROW * max(len(rows), 1) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="Helvetica, Arial, sans-serif" '
        f'font-size="14" fill="{INK}"><rect width="100%" height="100%" fill="white"/>'
    ]
    for i, row in enumerate(rows):
        y, length = 8 + i * _ROW, max(longest * row.votes / most, 2)
        parts.append(
            f'<text x="{_LABEL - 10}" y="{y + 17}" text-anchor="end">{html.escape(row.label)}'
            f"</text>"
            f'<rect x="{_LABEL}" y="{y + 2}" width="{length:.0f}" height="{_ROW - 6}" '
            f'fill="{row.colour}"/>'
            f'<text x="{_LABEL + length + 8:.0f}" y="{y + 17}">{row.votes:g}</text>'
        )
    text = html.escape(caption)
    parts.append(f'<text x="10" y="{height - 12}" fill="{MUTED}">{text}</text></svg>')
    return "".join(parts)


def price(cost: Cost) -> str:
    """Say in one line what was paid."""
    samples = "1 sample" if cost.calls == 1 else f"{cost.calls} samples"
    return (
        f"{samples} · {cost.decoded:,} tokens decoded · {cost.seconds:.1f} s · "
        f"{cost.flops / 1e9:,.0f} GFLOPs"
    )


class VotePanel:
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

    def __init__(
        self,
        begin: Callable[[int, float], Started],
        first: Result,
        *,
        gold: str | None = None,
        extract: Extractor = answers.extract,
        n: Sequence[int] = (1, 2, 4, 8, 16),
        temperatures: Sequence[float] = (0.2, 0.5, 0.8, 1.1, 1.4),
    ) -> None:
        import ipywidgets as widgets

        self.temperatures = temperatures
        self._begin, self._gold, self._extract = begin, gold, extract
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._started: Started | None = None
        self._halt = threading.Event()

        def slider(label: str, choices: Sequence[float], value: float) -> Any:
            style = {"description_width": "90px"}
            return widgets.SelectionSlider(
                description=label, options=list(choices), value=value, style=style
            )

        self.n = slider("samples", n, n[-1])
        self.temperature = slider("temperature", temperatures, temperatures[len(temperatures) // 2])
        self.run_button = widgets.Button(description="Run", icon="play", button_style="primary")
        self.stop_button = widgets.Button(description="Stop", icon="stop", disabled=True)
        self.run_button.on_click(lambda _: self.run())
        self.stop_button.on_click(lambda _: self.stop())
        self.message, self.view = widgets.HTML(), widgets.HTML()
        controls = widgets.HBox([self.n, self.temperature, self.run_button, self.stop_button])
        self.box = widgets.VBox([controls, self.message, self.view])
        self._show(first.tree, first.cost, "as drawn above")

    def run(self) -> None:
        """Begin a run with the sliders' values; does nothing while one goes on."""
        with self._lock:
            if self._worker and self._worker.is_alive():
                return
            self._halt.clear()
            self._worker = threading.Thread(target=self._work, daemon=True)
            self._worker.start()

    def stop(self) -> None:
        """End the run that goes on; the votes given so far stay."""
        self._halt.set()
        if self._started:
            self._started.stop()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of the run that goes on, at most ``timeout`` seconds."""
        if self._worker:
            self._worker.join(timeout)

    def _work(self) -> None:
        self._busy(True)
        self.message.value = ""
        try:
            started = self._started = self._begin(self.n.value, self.temperature.value)
            if self._halt.is_set():  # Stop was pressed before there was anything to stop
                started.stop()
            run = started.run
            while started.running:
                self._show(run.tree, run.cost, "drawing")
                time.sleep(REFRESH)
            started.result()
            self._show(run.tree, run.cost, "stopped" if run.stopped_by else "done")
        except Exception as error:
            kind = "" if isinstance(error, ItslabError) else f"{type(error).__name__}: "
            self.message.value = f'<b style="color:#b00020">{html.escape(f"{kind}{error}")}</b>'
        finally:
            self._busy(False)

    def _show(self, tree: Tree, cost: Cost, state: str) -> None:
        rows = votes_so_far(tree, self._extract, self._gold)
        self.view.value = picture(rows, f"{state}: {price(cost)}")

    def _busy(self, busy: bool) -> None:
        self.run_button.disabled = busy
        self.stop_button.disabled = not busy

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {**self.box._repr_mimebundle_(**options), "image/svg+xml": self.view.value}
