"""The tree of a run: watched while it grows, steered, replayed, and kept as a page.

A browser is told what happened, event by event, and does the rest: it folds the events into the
tree at the time of its slider, and draws it. The same script does so in a notebook and in a page.
"""

from __future__ import annotations

import html
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anywidget import AnyWidget

from itslab import answers
from itslab.core import Extractor, Key, Node, OptionError, Result, Tree, require
from itslab.handle import RunHandle
from itslab.options import checked
from itslab.viz.panels import Panel, complaint, ending
from itslab.viz.tree_events import Feed

REFRESH = 0.18
"""Seconds between two looks at a run. Every look costs its kernel, server and browser time that a
model on the same cores has to do without."""

_SCRIPT = Path(__file__).with_name("tree_view.js")
_STYLE = Path(__file__).with_name("tree_view.css")

Begin = Callable[[], RunHandle]
Fork = Callable[[RunHandle, Node], RunHandle]


class TreeView(AnyWidget):  # type: ignore[misc]
    """The tree of a run, in a notebook.

    Nodes appear as they are made: the darker the better, the larger the more visits; dimmed once
    pruned, with the way to the best one marked. A click shows what a node says, a double click
    folds what is below it, and the slider goes back in time.

    Args:
        run: what to show: one that goes on, or one at its end.
        begin: begins another run, for a button Run.
        fork: goes on from a node of the run on view, for a button Fork, such as
            ``lambda started, node: started.fork(node, MCTS(...))``.
        extract: reads an answer from the model's turn; by default as the run does.
        key: the form that equal answers share; by default that of the run.
        gold: the gold answer, which is marked.

    Attributes:
        state: ``drawing``, ``pausing`` until the iteration under way is finished, ``paused``,
            ``failed``, or how it ended: ``done``, ``stopped``, ``budget spent (…)``.
        error: what went wrong, as it is shown; empty if nothing did.
    """

    _esm, _css = _SCRIPT, _STYLE

    def __init__(
        self,
        run: RunHandle | Result | Tree,
        *,
        begin: Begin | None = None,
        fork: Fork | None = None,
        extract: Extractor | None = None,
        key: Key | None = None,
        gold: str | None = None,
    ) -> None:
        super().__init__()
        self._begin, self._fork = begin, fork
        self._extract, self._key, self._gold = extract, key, gold
        # Callbacks of widgets arrive in any thread.
        self._lock = threading.RLock()
        self._worker: threading.Thread | None = None
        self._started: RunHandle | None = None
        self._feed: Feed | None = None
        self._runs = self._rows = 0  # on view so far, and told of the last one
        self._selected: int | None = None
        self._halted = self._held = False  # Stop, and Pause, were pressed
        self._end, self.error = "done", ""
        self._told: dict[str, Any] = {}
        self.on_msg(self._hear)
        if isinstance(run, RunHandle):
            self._attach(run)
            self.follow(run)
        else:
            self.show(run)

    # -- what is on view ---------------------------------------------------------------------------

    @property
    def feed(self) -> Feed:
        """What browsers are told of the run on view."""
        assert self._feed is not None  # since the view was made
        return self._feed

    @property
    def node(self) -> Node | None:
        """The node that was clicked last."""
        return None if self._selected is None else self.feed.tree.nodes[self._selected]

    @property
    def state(self) -> str:  # noqa: D102
        if self._end:
            return self._end
        if self._started is not None and self._started.paused:
            return "paused"
        return "pausing" if self._held else "drawing"

    def html(self) -> str:
        """Return an element of a page that shows the run up to now, and needs nothing else."""
        name = f"its-tree-{self.model_id}"
        message = self._message(0, whole=True)
        data = json.dumps(message, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
        data = data.replace("<", r"\u003c")  # what a model says may hold the end of a script
        script = _SCRIPT.read_text(encoding="utf-8")
        count = f"A tree of {len(self.feed.tree)} nodes. Trust this notebook to see it drawn."
        return (
            f'<div data-tree="{name}">{count}</div>'
            f"<style>{_STYLE.read_text(encoding='utf-8')}</style>"
            f'<script type="application/json" id="{name}">{data}</script>'
            f'<script type="module">{script}\nembed("{name}");</script>'
        )

    def save(self, path: Path | str) -> Path:
        """Write the run up to now as a page; replaying, folding and reading work in it."""
        path = Path(path)
        head = f'<meta charset="utf-8"><title>{html.escape(path.stem)}</title>'
        page = f"<!doctype html><html><head>{head}</head><body>{self.html()}</body></html>"
        path.write_text(page, encoding="utf-8")
        return path

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options)
        return {**data, "text/html": self.html()}, metadata

    # -- steering ----------------------------------------------------------------------------------

    def show(self, run: Result | Tree) -> None:
        """Put a run at its end on view."""
        tree, node = (run.tree, run.node) if isinstance(run, Result) else (run, None)
        with self._lock:
            self._started = None
            self._open(tree, answers.extract, answers.canonical).close(node)
            if isinstance(run, Result):
                self._end = ending(run.stopped_by, run.cost)

    def run(self) -> None:
        """Begin another run; does nothing while one goes on."""
        require(self._begin is not None, "begin", None, "given, to begin a run")
        assert self._begin is not None
        self._start(self._begin)

    def follow(self, started: RunHandle) -> None:
        """Watch another run, such as a fork of this one; does nothing while one goes on."""
        self._start(lambda: started)

    def stop(self) -> None:
        """End the run that goes on; what was drawn so far stays."""
        self._halted = True
        if self._started is not None:
            self._started.stop()

    def pause(self) -> None:
        """Let the run finish the iteration under way, and wait."""
        if self._started is not None:
            self._held = True
            self._started.pause()

    def resume(self) -> None:
        """Let the run go on."""
        if self._started is not None:
            self._held = False
            self._started.resume()

    def step(self) -> None:
        """Let one iteration happen, of a run that is paused."""
        if self._started is not None and self._started.paused:
            self._held = True
            self._started.run.gate.let(1)

    def fork(self) -> None:
        """Go on from the node that was clicked last; a run that is paused ends."""
        started, node, fork = self._started, self.node, self._fork
        valid = "given, and a node of a run that was begun here clicked, to go on from it"
        require(None not in (started, node, fork), "fork", fork, valid)
        if reason := self._unforkable():
            raise OptionError(reason)
        assert started is not None
        assert node is not None
        assert fork is not None
        if self.state == "paused":
            self.stop()
            self.wait()
        self._start(lambda: fork(started, node))

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end of the run that goes on, at most ``timeout`` seconds."""
        if self._worker is not None:
            self._worker.join(timeout)

    # -- watching ----------------------------------------------------------------------------------

    def _start(self, begin: Begin) -> None:
        with self._lock:
            if not self._end:
                return
            self._end = self.error = ""
            self._halted = self._held = False
            self._worker = threading.Thread(target=self._work, args=(begin,), daemon=True)
            self._worker.start()

    def _work(self, begin: Begin) -> None:
        end = "failed"
        try:
            self._tell()
            started = begin()
            self._attach(started)
            if self._halted:  # Stop was pressed before there was anything to stop
                started.stop()
            while started.running:
                self._tell()
                time.sleep(REFRESH)
            result = started.result()
            with self._lock:
                self.feed.close(result.node)
            end = ending(result.stopped_by, result.cost, started.run.budget)
        except Exception as error:
            self.error = complaint(error)
            with self._lock:
                self.feed.close(None)
        self._end = end
        self._tell()

    def _attach(self, started: RunHandle) -> None:
        self._started, self._held = started, started.paused
        self._open(started.run.tree, started.run.extract, started.run.key)

    def _open(self, tree: Tree, extract: Extractor, key: Key) -> Feed:
        """Put a tree on view; a fork goes on in the one that is."""
        with self._lock:
            if self._feed is None or tree is not self._feed.tree:
                self._feed = Feed(tree, self._extract or extract, self._key or key, self._gold)
                self._runs += 1
                self._rows, self._selected = 0, None
            return self._feed

    # -- talking to browsers -----------------------------------------------------------------------

    def _message(self, first: int, whole: bool = False) -> dict[str, Any]:
        """Return the rows from ``first`` on, what is said since, and how the run stands."""
        with self._lock:
            self.feed.read()
            return {
                "run": self._runs,
                "first": first,
                "rows": self.feed.rows[first:],
                "growth": self.feed.growth(whole),
                "gold": self.feed.gold,
                "state": self.state,
                "error": self.error,
                "can": [
                    *(["run"] if self._begin else []),
                    *(["steer"] if self._started or self._begin else []),
                    *(["fork"] if self._fork else []),
                ],
                "unforkable": self._unforkable(),
            }

    def _unforkable(self) -> str:
        """Why nothing can go on from the nodes on view; empty if it can."""
        if self._started is None:
            return "This run was recorded: press Run for one that can be forked"
        if getattr(self._started.run.backend, "model", "any") is None:  # a bank without a model
            return "Only recorded samples are here: a fork draws new ones, so load a model (live)"
        return ""

    def _tell(self) -> None:
        """Send what is new to all browsers that show this view."""
        with self._lock:
            message = self._message(self._rows)
            told = ("run", "state", "error", "can", "unforkable")
            about = {name: message[name] for name in told}
            if message["rows"] or message["growth"] or about != self._told:
                self._rows += len(message["rows"])
                self._told = about
                self.send(message)

    def _hear(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """Do what a button in a browser says; what goes wrong is shown there."""
        try:
            match message["do"]:
                case "ask":  # a browser that shows this view only now, or that missed something
                    self.send(self._message(message["first"], whole=True))
                case "select":
                    self._selected = message["node"]
                case "run" | "stop" | "pause" | "resume" | "step" | "fork" as verb:
                    getattr(self, verb)()
                    self._tell()
        except Exception as error:
            self.error = complaint(error)
            self._tell()


class TreePanel(Panel):
    """Sliders over the tree of the run that they begin.

    Args:
        begin: starts a run with the values of the sliders, in their order.
        first: what is shown until Run is pressed; a run that goes on is waited for.
        instead: shown where ``first`` fails, under the reason.
        sliders: each with a ``value``.
        resume: goes on from a node of the run on view, with the values that the sliders have by
            then, such as ``lambda started, node, c: started.fork(node, MCTS(c=c))``.
        extract, key, gold: as of ``TreeView``.
    """

    def __init__(
        self,
        begin: Callable[..., RunHandle],
        first: RunHandle | Result,
        sliders: Sequence[Any],
        *,
        instead: Result | None = None,
        resume: Callable[..., RunHandle] | None = None,
        extract: Extractor | None = None,
        key: Key | None = None,
        gold: str | None = None,
    ) -> None:
        def values() -> list[Any]:
            return [slider.value for slider in sliders]

        def fork(started: RunHandle, node: Node) -> RunHandle:
            assert resume is not None  # or there is no such button
            return resume(started, node, *values())

        super().__init__(
            sliders,
            TreeView(
                first,
                begin=lambda: begin(*values()),
                fork=fork if resume is not None else None,
                extract=extract,
                key=key,
                gold=gold,
            ),
        )

        self.view.wait()
        if self.view.error and instead is not None:
            self.view.show(instead)

    def picture(self) -> str:
        """Return what stands for the panel in a page."""
        return str(self.view.html())


@checked
def view(run: RunHandle | Result | Tree, *, fork: Fork | None = None) -> TreeView:
    """Show the tree of a run, while it goes on or at its end; see ``TreeView``."""
    return TreeView(run, fork=fork)
