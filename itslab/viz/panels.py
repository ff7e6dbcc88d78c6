"""Panels: controls in a notebook, and a view of the run that they begin, watch and stop.

A view is HTML or an SVG picture, so that a panel weighs some kilobytes in a saved notebook, where a
live plotly figure takes megabytes. Where nobody can move it (a page, a notebook that was executed
by a program), its view stands in its place.
"""

from __future__ import annotations

import html
import json
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from itslab import answers, background
from itslab.core import Budget, Cost, Extractor, ItslabError, Node, Result, Tree, require
from itslab.handle import RunHandle
from itslab.viz import style, theme
from itslab.viz.controls import slider
from itslab.viz.figures import Bar, bars, canonical_gold, picture
from itslab.viz.style import BLUE, GRID, INK, ORANGE, RED, WINE

PLOTLY = "application/vnd.plotly.v1+json"

# -- a run to watch --------------------------------------------------------------------------------

REFRESH = 0.18
"""Seconds from one look at a run to the next. Every look costs its kernel, server and browser time
that a model on the same cores has to do without."""

Begin = Callable[[], RunHandle]


class Watcher:
    """Starts one run at a time and watches it from a thread of its own until it ends.

    Callbacks of widgets arrive in any thread, and what they raise is swallowed by the kernel. So
    one lock decides who begins a run, and whatever goes wrong is kept to be shown. A subclass
    overrides ``notify``, ``look`` and ``finish``.

    Args:
        begin: begins a run; None if only runs that were begun elsewhere are watched.

    Attributes:
        handle: the last run that was begun; None if there was none.
        result: how that run ended; None before its end, and if it failed.
        error: what went wrong, as it is shown; empty if nothing did.
        before: functions that are called where another run is asked for, by whoever asks: they
            read what it is begun with, which may change while its thread begins.
        followers: functions that are called after each look at a run, and at its end.
    """

    def __init__(self, begin: Begin | None) -> None:
        self.handle: RunHandle | None = None
        self.result: Result | None = None
        self.error = ""
        self.before: list[Callable[[], None]] = []
        self.followers: list[Callable[[], None]] = []
        self._begin = begin
        self._end = "done"  # how the run ended; empty while one goes on
        self._halted = self._held = False  # Stop was pressed; a run is held, by Pause or Step
        self._early = False  # Pause was pressed, perhaps before there was a run to hold
        self._lock = threading.RLock()
        self._ended = threading.Event()  # a thread whose join is interrupted looks ended
        self._ended.set()

    @property
    def state(self) -> str:
        """Where the run stands.

        ``drawing``, ``pausing`` until the iteration under way is finished, ``paused``, ``failed``,
        or how it ended: ``done``, ``stopped``, ``budget spent (…)``.
        """
        if self._end:
            return self._end
        if self.handle is not None and self.handle.paused:
            return "paused"
        return "pausing" if self._held else "drawing"

    # -- what a subclass shows

    def notify(self) -> None:
        """Show that the state or the error has changed."""

    def look(self, handle: RunHandle) -> None:
        """Show a run while it goes on."""

    def finish(self, result: Result, state: str) -> None:
        """Show a run at its end."""

    # -- what a user does

    def run(self) -> None:
        """Begin another run; does nothing while one goes on."""
        require(self._begin is not None, "begin", None, "given, to begin a run")
        assert self._begin is not None
        self._watch(self._begin)

    def follow(self, handle: RunHandle) -> None:
        """Watch another run, such as a fork of this one; does nothing while one goes on."""
        self._watch(lambda: handle)

    def stop(self) -> None:
        """End the run that goes on; what was drawn so far stays."""
        self._halted = True
        if self.handle is not None:
            self.handle.stop()

    def pause(self) -> None:
        """Let the run finish the iteration under way, and wait."""
        self._held = self._early = True
        if self.handle is not None:
            self.handle.pause()

    def resume(self) -> None:
        """Let the run go on."""
        if self.handle is not None:
            self._held = self._early = False
            self.handle.resume()

    def step(self) -> None:
        """Let a run that is paused take one iteration."""
        if self.handle is not None and self.handle.paused:
            self._held, self._early = True, False
            self.handle.step()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of the run that goes on, at most ``timeout`` seconds."""
        self._ended.wait(timeout)

    # -- the thread

    def _watch(self, begin: Begin) -> None:
        with self._lock:
            if not self._end:
                return
            self._end = self.error = ""
            self.result = None
            self._halted = self._held = self._early = False
            try:
                for prepare in self.before:
                    prepare()
            except Exception as error:  # is told as what goes wrong later
                begin = partial(_fail, error)
            self._ended.clear()
            background.begin(partial(self._work, begin))

    def _work(self, begin: Begin) -> None:
        end = "failed"
        try:
            self.notify()
            self.handle = handle = begin()
            if self._early:  # and Pause
                handle.pause()
            self._held = self._held or handle.paused
            if self._halted:  # Stop was pressed before there was anything to stop
                handle.stop()
            self._look(handle)
            began = time.monotonic()
            while handle.running:  # a look takes its own time, of at least as long a rest
                taken = time.monotonic() - began
                time.sleep(max(REFRESH - taken, REFRESH / 2, taken))
                began = time.monotonic()
                self._look(handle)
            self.result = result = handle.result()
            end = ending(result.stopped_by, result.cost, handle.run.budget)
            self.finish(result, end)
        except BaseException as error:  # a model's SystemExit ends its run, and no more
            self.error = error_text(error)
        try:
            self._end = end
            self.notify()
            self._tell()
        finally:
            self._ended.set()

    def _look(self, handle: RunHandle) -> None:
        self.look(handle)
        self._tell()

    def _tell(self) -> None:
        for follow in self.followers:
            follow()


def _fail(error: Exception) -> RunHandle:
    raise error


def error_text(error: BaseException) -> str:
    """Return what is shown of an error: its text, and its kind unless the error is our own."""
    return str(error) if isinstance(error, ItslabError) else f"{type(error).__name__}: {error}"


_ENDINGS = {
    "stop": "stopped",
    "server": "ended by the server",
    "context": "context full",
}
_UNITS = {  # of a limit: what it is divided by, its name, and how it is written
    "tokens": (1, "tokens", ",.0f"),
    "samples": (1, "samples", ",.0f"),
    "seconds": (1, "s of compute", ",.1f"),
    "flops": (1e9, "GFLOPs", ",.0f"),
}


def ending(stopped_by: str | None, cost: Cost, budget: Budget = Budget()) -> str:
    """Return in words how a run ended, with what was spent of a budget that ended it."""
    if stopped_by is None:
        return "done"
    if stopped_by in _ENDINGS:
        return _ENDINGS[stopped_by]
    scale, unit, form = _UNITS[stopped_by]
    amounts = [budget.spent(cost)[stopped_by], getattr(budget, stopped_by)]
    written = [format(amount / scale, form) for amount in amounts if amount is not None]
    return f"budget spent ({' of '.join(written)} {unit})"


def ended(result: Result, budget: Budget = Budget()) -> str:
    """Return in words how a run ended, and that its answer is no finished chain's if it is not."""
    state = ending(result.stopped_by, result.cost, budget)
    if not result.unfinished:
        return state
    stopped = "" if state == "done" else f"{state}, "
    return f"{stopped}unfinished: the answer was read from a chain that was cut short"


def price(cost: Cost, unit: str = "sample", costs: Mapping[str, Cost] = {}) -> str:
    """Return what was paid as one line, and as a further line for each of several models.

    Args:
        cost: what was paid.
        unit: what one call bought, in the singular.
        costs: the cost of each model, by its name.
    """
    paid = {model: each for model, each in costs.items() if each != Cost()}
    models = [f"{model}: {price(each, 'call')}" for model, each in paid.items()]
    total = (
        f"{cost.calls} {unit}{'' if cost.calls == 1 else 's'} · {cost.decoded:,} tokens decoded · "
        f"{cost.seconds:.1f} s of compute · {cost.flops / 1e9:,.0f} GFLOPs"
    )
    return "\n".join([total, *(models if len(models) > 1 else [])])


# -- controls over a view --------------------------------------------------------------------------


class Panel:
    """Controls above a view, displayed in a notebook.

    Args:
        controls: widgets, in a row.
        view: a widget; by default one that shows a text as HTML.

    Attributes:
        mime: the MIME type of the picture that replaces the panel in a page.
    """

    mime = "text/html"

    def __init__(self, controls: Sequence[Any], view: Any = None) -> None:
        import ipywidgets as widgets

        self.view = widgets.HTML() if view is None else view
        sheet = widgets.HTML(theme.SHEET, layout={"display": "none"})
        row = widgets.HBox([*controls, sheet], layout={"flex_flow": "row wrap"})
        self.box = widgets.VBox([row, self.view])
        self.box.add_class("its-panel")

    def picture(self) -> Any:
        """Return the picture that replaces the panel in a page."""
        return str(self.view.value)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {**self.box._repr_mimebundle_(**options), self.mime: self.picture()}


class FigurePanel(Panel):
    """Controls above a plotly figure, which is drawn anew whenever one of them changes.

    Args:
        controls: widgets, in a row; those that have a value are followed.
    """

    mime = PLOTLY

    def __init__(self, controls: Sequence[Any]) -> None:
        import ipywidgets as widgets

        # What a live figure of plotly would bring into a saved notebook are five megabytes.
        super().__init__(controls, widgets.Output())
        self._settling = False
        self.settle()
        self.show()
        for control in controls:
            control.observe(self._change, "value")

    def settle(self) -> None:
        """Bring controls into line with each other, before the figure is drawn."""

    def figure(self) -> Any:
        """Return the figure that the controls ask for."""
        raise NotImplementedError

    def show(self) -> None:
        """Draw the figure anew."""
        data = {PLOTLY: self.picture()}
        self.view.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)

    def picture(self) -> Any:
        """Return the figure, as plain data, that replaces the panel in a page."""
        return json.loads(self.figure().to_json())

    def _change(self, _: Any) -> None:
        if self._settling:  # the change is one of our own
            return
        self._settling = True
        try:
            self.settle()
        finally:
            self._settling = False
        self.show()


class RunPanel(Watcher, Panel, ABC):
    """Sliders, the buttons Run and Stop, and a view of the run that they begin.

    Args:
        begin: starts a run with the values of the sliders, in their order.
        first: what is shown until Run is pressed.
        sliders: widgets with a ``value``.

    Attributes:
        settings: the values that the run on view was begun with; at first those of the sliders.
        unit: what one call buys, in the words of the view.
    """

    unit = "completion"

    def __init__(
        self, begin: Callable[..., RunHandle], first: Result, sliders: Sequence[Any]
    ) -> None:
        import ipywidgets as widgets

        def begin_with_settings() -> RunHandle:
            settings = tuple(slider.value for slider in sliders)
            handle = begin(*settings)
            self.settings = settings
            return handle

        narrow = {"width": "90px"}
        self.run_button = widgets.Button(
            description="Run", icon="play", button_style="primary", layout=narrow
        )
        self.stop_button = widgets.Button(
            description="Stop", icon="stop", disabled=True, layout=narrow
        )
        self.run_button.on_click(lambda _: self.run())
        self.stop_button.on_click(lambda _: self.stop())
        buttons = widgets.HBox([self.run_button, self.stop_button])  # never on two lines
        self.message = widgets.HTML(layout={"width": "100%"})  # a line of its own
        self.settings = tuple(slider.value for slider in sliders)
        Watcher.__init__(self, begin_with_settings)
        Panel.__init__(self, [*sliders, buttons, self.message])
        self.finish(first, "as drawn above")

    @abstractmethod
    def draw(self, tree: Tree, caption: str, drawing: bool) -> str:
        """Return the view of a run.

        Args:
            tree: all that was drawn so far.
            caption: how the run stands and what it cost, to be shown below; one line or more.
            drawing: whether it still goes on.
        """

    def notify(self) -> None:
        """Enable the buttons that can be pressed, and show what went wrong."""
        busy = not self._end
        self.run_button.disabled, self.stop_button.disabled = busy, not busy
        error = html.escape(self.error)
        self.message.value = f'<b style="color:{RED}">{error}</b>' if error else ""

    def look(self, handle: RunHandle) -> None:
        """Show a run while it goes on."""
        run = handle.run
        paid = price(run.cost, self.unit, run.ledger.by_model)
        self.view.value = self.draw(run.tree, f"{self.state}: {paid}", True)

    def finish(self, result: Result, state: str) -> None:
        """Show a run at its end."""
        caption = f"{state}: {price(result.cost, self.unit, result.costs)}"
        if result.unfinished:
            caption += "\nThe answer was read from a chain that was cut short."
        self.view.value = self.draw(result.tree, caption, False)


# -- samples that vote -----------------------------------------------------------------------------


class VotePanel(RunPanel):
    """Samples that vote: sliders for their number and temperature, Run and Stop, and the votes.

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
    unit = "sample"

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

    def draw(self, tree: Tree, caption: str, drawing: bool) -> str:
        """Return the votes so far as an SVG picture."""
        return picture(votes_so_far(tree, self._extract, self._gold), caption)


def votes_so_far(tree: Tree, extract: Extractor, gold: str | None = None) -> list[Bar]:
    """Return the bars of a run's votes; the run may still be drawing."""
    samples = [node for node in tree if node.role == "assistant"]
    said = [extract(node.turn_text) for node in samples if node.status == "done"]
    drawing = sum(node.status == "open" for node in samples)
    return bars(answers.tally(said), canonical_gold(gold), said.count(None), drawing)


# -- a model that thinks ---------------------------------------------------------------------------

CHARACTERS = 3.5
"""Characters of English text per token, about: what is being drawn is not counted in tokens yet."""

# A reversed column starts at its end: the box stays scrolled to the last line as the text grows.
_SCROLL = "display: flex; flex-direction: column-reverse; max-height: 22rem; overflow-y: auto"
_WORD = (
    f"font-size: 11px; font-weight: bold; color: white; background: {WINE}; "
    "border-radius: 3px; padding: 1px 5px; margin-right: 5px"
)
_INSERTED = f"background: #f6e1ee; border-bottom: 2px solid {WINE}"
_INNER = re.compile(r"\S(?:.*\S)?", re.DOTALL)  # a text without the blanks and lines around it
_MARKED = rf'<span style="{_WORD}">inserted</span><span style="{_INSERTED}">\g<0></span>'


class ThinkingPanel(RunPanel):
    """A model that thinks: sliders for the least and the most tokens, Run and Stop, and the text.

    Text that was inserted into the model's turn, rather than sampled by it, is marked.

    Args:
        begin: starts a run that thinks at least and at most so many tokens, such as a call of
            ``itslab.start`` with ``ExtendedThinking``.
        first: what is shown until Run is pressed, drawn with the first floor and the last budget.
        gold: the gold answer; None if the answer is not to be graded.
        extract: reads the answer from the model's turn.
        budgets: choices for the ceiling, in tokens, ascending; the last one is set at first.
        floors: choices for the floor, in tokens, ascending; the first one is set at first.
    """

    def __init__(
        self,
        begin: Callable[[int, int], RunHandle],
        first: Result,
        *,
        gold: str | None = None,
        extract: Extractor = answers.extract,
        budgets: Sequence[int] = (32, 64, 128, 256, 512),
        floors: Sequence[int] = (0, 256, 512),
    ) -> None:
        fits = floors[0] <= budgets[0] and floors[-1] <= budgets[-1]
        valid = f"ascending, from at most {budgets[0]} to at most {budgets[-1]}"
        require(fits, "floors", floors, valid)
        self.budgets, self.floors = budgets, floors
        self.floor = slider("think at least", [(f"{n} tokens", n) for n in floors], floors[0])
        self.ceiling = slider("think at most", [(f"{n} tokens", n) for n in budgets], budgets[-1])
        self.floor.observe(self._raise_ceiling, "value")
        self.ceiling.observe(self._lower_floor, "value")
        self._gold, self._extract = gold, extract
        super().__init__(begin, first, [self.floor, self.ceiling])

    def _raise_ceiling(self, _: Any) -> None:
        if self.ceiling.value < self.floor.value:
            self.ceiling.value = next(n for n in self.budgets if n >= self.floor.value)

    def _lower_floor(self, _: Any) -> None:
        if self.floor.value > self.ceiling.value:
            self.floor.value = max(n for n in self.floors if n <= self.ceiling.value)

    def draw(self, tree: Tree, caption: str, drawing: bool) -> str:
        """Return the model's turn as HTML, and below it what was thought, answered and paid."""
        floor, ceiling = self.settings
        last = tree.nodes[-1] if len(tree) else None
        turn = last.turn() if last and last.role == "assistant" else []
        answer = self._extract(turn[-1].turn_text) if turn else None
        look = f"flex: none; margin: 0; background: white; color: {INK}"
        return style.view(
            f'<div style="{_SCROLL}">{style.box(turn_html(turn), ORANGE, look)}</div>'
            f"{_progress(*tokens_thought(turn, floor), floor, ceiling)}"
            f"<div>{'answer so far' if drawing else 'answer'}: {self._graded(answer)}</div>"
            f"{style.note(html.escape(caption))}"
        )

    def _graded(self, answer: str | None) -> str:
        """Return an answer as HTML, and whether it is right."""
        if answer is None:
            return "none"
        line = f"<code>{html.escape(answer)}</code> "
        if self._gold is None:
            return line
        right = answers.equal(answer, self._gold)
        gold = f", the gold answer is <code>{html.escape(self._gold)}</code>"
        return f"{line}{style.mark(right)}{'' if right else gold}"


def inserted(node: Node) -> bool:
    """Return whether a node was inserted into the model's turn, rather than sampled by it."""
    return node.completion is None and node.status == "done"


def turn_html(turn: Sequence[Node]) -> str:
    """Return the model's turn as HTML, with inserted text marked by a word."""
    parts = []
    for node in turn:
        text = html.escape(node.text)
        parts.append(_INNER.sub(_MARKED, text) if inserted(node) else text)
    return "".join(parts)


def tokens_thought(turn: Sequence[Node], floor: int) -> tuple[int, bool]:
    """Return how many tokens were thought in a turn so far, and whether that count is exact.

    Thinking is what was drawn until the floor was reached; what is drawn after it is the answer.
    """
    tokens, counted = 0, True
    for node in turn:
        if inserted(node):
            continue
        if node.completion is None:
            counted = False
            tokens += round(len(node.text) / CHARACTERS)
        else:
            tokens += node.completion.cost.decoded
        if tokens >= floor:
            break
    return tokens, counted


def _progress(tokens: int, counted: bool, floor: int, ceiling: int) -> str:
    """Return the thinking so far as a bar, against the most that is allowed, and in words."""
    done = min(tokens / ceiling, 1)
    least = f", at least {floor}" if floor else ""
    tick = (
        f'<div style="position: absolute; left: {floor / ceiling:.1%}; top: -3px; height: 12px; '
        f'border-left: 2px solid {INK}"></div>'
    )
    return (
        f'<div style="position: relative; height: 6px; margin: 12px 0 6px; background: {GRID}">'
        f'<div style="width: {done:.1%}; height: 6px; background: {BLUE}"></div>'
        f"{tick if floor else ''}</div>"
        f"<div>thought {'' if counted else 'about '}<b>{tokens}</b> tokens of at most {ceiling}"
        f"{least}</div>"
    )
