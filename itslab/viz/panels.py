"""What panels have in common: controls over a view, and a run to watch.

A view is HTML or an SVG picture, so that a panel weighs some kilobytes in a saved notebook, where a
live plotly figure takes megabytes. Where nobody can move it (a page, a notebook that was executed
by a program), its view stands in its place.
"""

from __future__ import annotations

import html
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from itslab.core import Budget, Cost, ItslabError, Result, Tree
from itslab.viz.style import RED

if TYPE_CHECKING:
    from itslab.handle import RunHandle

REFRESH = 0.2
"""Seconds between two looks at a run."""


class Panel:
    """Controls over a view; shows itself in a notebook.

    Args:
        controls: widgets, in a row.
        view: a widget; by default one that shows a text as HTML.

    Attributes:
        mime: what kind of text stands for the panel in a page.
    """

    mime = "text/html"

    def __init__(self, controls: Sequence[Any], view: Any = None) -> None:
        import ipywidgets as widgets

        self.view = widgets.HTML() if view is None else view
        row = widgets.HBox(controls, layout={"flex_flow": "row wrap"})
        self.box = widgets.VBox([row, self.view])

    def picture(self) -> str:
        """Return what stands for the panel in a page."""
        return str(self.view.value)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {**self.box._repr_mimebundle_(**options), self.mime: self.picture()}


class RunPanel(Panel, ABC):
    """Sliders, Run and Stop, and a view of the run that they begin.

    Callbacks of widgets arrive in any thread, and what they raise is swallowed by the kernel. So
    each change goes through one lock, the run is watched from a thread of its own, and whatever
    goes wrong is shown in the panel.

    Args:
        begin: starts a run with the values of the sliders, in their order.
        first: what is shown until Run is pressed.
        sliders: each with a ``value``.

    Attributes:
        settings: the values that the run on view was begun with; at first those of the sliders.
    """

    def __init__(
        self, begin: Callable[..., RunHandle], first: Result, sliders: Sequence[Any]
    ) -> None:
        import ipywidgets as widgets

        narrow = {"width": "90px"}
        self.run_button = widgets.Button(
            description="Run", icon="play", button_style="primary", layout=narrow
        )
        self.stop_button = widgets.Button(
            description="Stop", icon="stop", disabled=True, layout=narrow
        )
        self.run_button.on_click(lambda _: self.run())
        self.stop_button.on_click(lambda _: self.stop())
        self.message = widgets.HTML(layout={"width": "100%"})  # a line of its own
        super().__init__([*sliders, self.run_button, self.stop_button, self.message])
        self.settings = tuple(slider.value for slider in sliders)
        self._begin, self._sliders = begin, sliders
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None
        self._started: RunHandle | None = None
        self._halt = threading.Event()
        self.view.value = self.draw(first.tree, first.cost, "as drawn above")

    @abstractmethod
    def draw(self, tree: Tree, cost: Cost, state: str) -> str:
        """Return the view of a run, which may still be drawing.

        Args:
            tree: all that was drawn so far.
            cost: of it.
            state: "as drawn above", "drawing", "done", or what ended it early, as ``ending`` says.
        """

    def finish(self, result: Result, state: str) -> None:
        """Show a run at its end."""
        self.view.value = self.draw(result.tree, result.cost, state)

    def run(self) -> None:
        """Begin a run with the sliders' values; does nothing while one goes on."""
        with self._lock:
            if self._worker and self._worker.is_alive():
                return
            self._halt.clear()
            self._worker = threading.Thread(target=self._work, daemon=True)
            self._worker.start()

    def stop(self) -> None:
        """End the run that goes on; what was drawn so far stays."""
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
            settings = tuple(slider.value for slider in self._sliders)
            started = self._started = self._begin(*settings)
            self.settings = settings
            if self._halt.is_set():  # Stop was pressed before there was anything to stop
                started.stop()
            run = started.run
            while started.running:
                self.view.value = self.draw(run.tree, run.cost, "drawing")
                time.sleep(REFRESH)
            result = started.result()
            self.finish(result, ending(result.stopped_by, result.cost, run.budget))
        except Exception as error:
            text = html.escape(complaint(error))
            self.message.value = f'<b style="color:{RED}">{text}</b>'
        finally:
            self._busy(False)

    def _busy(self, busy: bool) -> None:
        self.run_button.disabled = busy
        self.stop_button.disabled = not busy


def complaint(error: Exception) -> str:
    """Say what went wrong; whose errors name themselves well enough, without their kind."""
    return str(error) if isinstance(error, ItslabError) else f"{type(error).__name__}: {error}"


def ending(stopped_by: str | None, cost: Cost, budget: Budget = Budget()) -> str:
    """Say how a run ended: by itself, by someone, or because something was spent."""
    if stopped_by is None:
        return "done"
    if stopped_by == "stop":
        return "stopped"
    if stopped_by == "server":
        return "ended by the server"
    if stopped_by == "context":
        return "context full"
    scale, unit, form = _UNITS[stopped_by]
    amounts = [budget.spent(cost)[stopped_by], getattr(budget, stopped_by)]
    told = [format(amount / scale, form) for amount in amounts if amount is not None]
    return f"budget spent ({' of '.join(told)} {unit})"


_UNITS = {  # of a limit: what it is divided by, its name, and how it is written
    "tokens": (1, "tokens", ",.0f"),
    "samples": (1, "samples", ",.0f"),
    "seconds": (1, "s", ",.1f"),
    "flops": (1e9, "GFLOPs", ",.0f"),
}


def slider(label: str, choices: Sequence[Any], value: float) -> Any:
    """Make a slider over choices: values, or pairs of a text and a value."""
    import ipywidgets as widgets

    return widgets.SelectionSlider(
        description=label,
        options=list(choices),
        value=value,
        style={"description_width": "90px"},
        layout={"margin": "2px 12px 2px 2px"},
    )


def price(cost: Cost, unit: str = "sample") -> str:
    """Say in one line what was paid; a unit is what one call bought."""
    return (
        f"{cost.calls} {unit}{'' if cost.calls == 1 else 's'} · {cost.decoded:,} tokens decoded · "
        f"{cost.seconds:.1f} s · {cost.flops / 1e9:,.0f} GFLOPs"
    )
