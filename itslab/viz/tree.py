"""The tree of a run: watched while it grows, steered, replayed, and kept as a page.

A browser gets the events of a run as rows of JSON (``feed``) and does the rest: it folds them into
the tree at the time of its slider, and draws it. The same script does so in a notebook and in a
page.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Any

from anywidget import AnyWidget

from itslab import answers
from itslab.core import (
    Cost,
    Extractor,
    Key,
    Node,
    OptionError,
    Result,
    Tree,
    require,
)
from itslab.handle import RunHandle
from itslab.options import checked
from itslab.viz import titles
from itslab.viz.feed import Feed, paid, shown, token_logprobs
from itslab.viz.panels import Begin, Watcher, ending, error_text
from itslab.viz.theme import LAB, SYSTEM

_FOLDER = Path(__file__).with_name("script")
_PARTS = (
    *("fold", "layout", "words", "elements", "colours", "legend", "picture", "moving"),
    *("cards", "tools", "clock", "reader", "save", "view"),
)
"""What the script is put together from."""

PAGE = f":root {{ color-scheme: light dark }}{SYSTEM}"
"""The style of a page of its own."""
TOKENS = 60_000
"""Characters of JSON that the log-probabilities of all tokens may add to a page."""

_ABOUT = (
    *("run", "state", "error", "can", "unforkable", "unrunnable", "hues"),
    *("unfinished", "title", "scale"),
)
"""What a message says of the run, besides its rows."""


@cache
def script() -> str:
    """Return the whole script, with its style, as one module.

    It stands in one function, whose text a browser can write into a page that it saves.
    """
    parts = [(_FOLDER / f"{name}.js").read_text(encoding="utf-8") for name in _PARTS]
    styles = json.dumps([(_FOLDER / "tree.css").read_text(encoding="utf-8"), PAGE])[1:-1]
    return (
        f"function itsTree(STYLE, PAGE) {{\n{''.join(parts)}\n"
        "return { treeView, embed, widget };\n}\n"
        f"const {{ treeView, embed, widget }} = itsTree({styles});\n"
        "export { treeView, embed };\nexport default widget;\n"
    )


Fork = Callable[[RunHandle, Node], RunHandle]
Shown = RunHandle | Result | Tree


class TreeView(Watcher, AnyWidget):  # type: ignore[misc]
    """The tree of a run, in a notebook.

    Nodes appear as they are made: the darker the better, the larger the more visits; dimmed once
    pruned, with the way to the best one marked. Chains with the same answer share a hue, also with
    the bar of their votes, which lights the paths to them. A click shows what a node says, a double
    click folds what is below it, and the slider goes back in time.

    Args:
        run: what to show: one that goes on, or one at its end.
        begin: begins another run, for a button Run.
        fork: goes on from a node of the run on view, for a button Fork, such as
            ``lambda handle, node: handle.fork(node, MCTS(...))``.
        extract: reads an answer from the model's turn; None reads it as the run does.
        key: the form that equal answers share; None takes that of the run.
        gold: the gold answer, which is marked; None if it is unknown.
        title: what stands above the tree; None is what was asked.

    Attributes:
        gold: as given; another one is that of the next run.
        unrunnable: why the button Run cannot be pressed; empty if it can.
        hues: of answers, by the form that equal ones share; all others get theirs from the picture.
    """

    _esm, _css = script(), LAB

    def __init__(
        self,
        run: RunHandle | Result | Tree,
        *,
        begin: Begin | None = None,
        fork: Fork | None = None,
        extract: Extractor | None = None,
        key: Key | None = None,
        gold: str | None = None,
        title: str | None = None,
    ) -> None:
        AnyWidget.__init__(self)
        Watcher.__init__(self, begin)
        self._fork, self.unrunnable = fork, ""
        self.hues: Mapping[str, str] = {}
        self._extract, self._key, self.gold, self._title = extract, key, gold, title
        self._told: Shown | None = None  # whose title this is:
        self._titles = _untitled()  # of the run on view, and what its scores are
        self._feed: Feed | None = None
        self._runs = self._rows = 0  # on view so far, and sent of the last one
        self._selected: int | None = None
        self._sent: dict[str, Any] = {}  # about the run, besides its rows
        self.on_msg(self._hear)
        if isinstance(run, RunHandle):
            self.handle = run
            self._open(run, run.run.tree, run.run.extract, run.run.key)
            self.follow(run)
        else:
            self.show(run)

    # -- what is on view ---------------------------------------------------------------------------

    @property
    def feed(self) -> Feed:
        """The rows of the run on view."""
        assert self._feed is not None  # since the view was made
        return self._feed

    @property
    def node(self) -> Node | None:
        """The node that was clicked last."""
        return None if self._selected is None else self.feed.tree.nodes[self._selected]

    def html(self) -> str:
        """Return the run up to now as an HTML element that needs nothing else."""
        name = f"its-tree-{self.model_id}"
        message = {**self._message(0, whole=True), **self._tokens()}
        data = json.dumps(
            shown(message), allow_nan=False, separators=(",", ":"), ensure_ascii=False
        )
        data = data.replace("<", r"\u003c")  # what a model says may hold the end of a script
        count = f"A tree of {len(self.feed.tree)} nodes. Trust this notebook to see it drawn."
        return (
            f'<div data-tree="{name}">{count}</div>'
            f'<script type="application/json" id="{name}">{data}</script>'
            f'<script type="module">{script()}\nembed("{name}");</script>'
        )

    def save(self, path: Path | str) -> Path:
        """Write the run up to now as a page; replaying, folding and reading work in it."""
        path = Path(path)
        name = html.escape(path.stem)
        head = f'<meta charset="utf-8"><title>{name}</title><style>{PAGE}</style>'
        page = f"<!doctype html><html><head>{head}</head><body>{self.html()}</body></html>"
        path.write_text(page, encoding="utf-8", errors="replace")
        return path

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        data, metadata = super()._repr_mimebundle_(**options)
        return {**data, "text/html": self.html()}, metadata

    def _tokens(self) -> dict[str, Any]:
        """Return the log-probabilities of the tokens of all nodes; of too many, that they are."""
        every = {str(node.id): token_logprobs(node) for node in self.feed.tree}
        known = {name: bits for name, bits in every.items() if bits}
        if sum(map(len, known.values())) * len("[4,-0.12],") > TOKENS:
            return {"leftOut": True}
        return {"tokens": known} if known else {}

    # -- steering ----------------------------------------------------------------------------------

    def show(self, run: Result | Tree) -> None:
        """Put a run at its end on view."""
        result = run if isinstance(run, Result) else None
        tree, node = (run, None) if isinstance(run, Tree) else (run.tree, run.node)
        with self._lock:
            self.handle, self.result = None, result
            if not len(tree):  # and nothing asked
                self._told, self._titles = run, _untitled()
            self._open(run, tree, self._reader(result), answers.canonical).close(node)
            if result is not None:
                self._end = ending(result.stopped_by, result.cost)

    def _reader(self, result: Result | None) -> Extractor:
        """What reads answers where the run itself is gone: its answer is what it read."""

        def read(text: str) -> str | None:
            whole = result is not None and result.node is not None
            if whole and result is not None and result.node and text == result.node.turn_text:
                return result.answer
            return answers.extract(text)

        return read

    def fork(self) -> None:
        """Go on from the node that was clicked last; a run that is paused ends."""
        handle, node, fork = self.handle, self.node, self._fork
        valid = "given, and a node of a run that was begun here clicked, to go on from it"
        require(None not in (handle, node, fork), "fork", fork, valid)
        if reason := self._unforkable():
            raise OptionError(reason)
        assert handle is not None
        assert node is not None
        assert fork is not None
        if self.state == "paused":
            self.stop()
            self.wait()
        self._watch(lambda: fork(handle, node))

    # -- watching ----------------------------------------------------------------------------------

    def look(self, handle: RunHandle) -> None:
        """Send what a run has come to since the last look."""
        self._open(handle, handle.run.tree, handle.run.extract, handle.run.key)
        self.notify()

    def finish(self, result: Result, state: str) -> None:
        """Mark the node that answers."""
        with self._lock:
            self.feed.close(result.node)

    def notify(self) -> None:
        """Send what is new to all browsers that show this view."""
        with self._lock:
            if self.state == "failed":
                self.feed.close(None)
            message = self._message(self._rows)
            about = {name: message[name] for name in _ABOUT}
            if message["rows"] or message["growth"] or about != self._sent:
                self._rows += len(message["rows"])
                self._sent = about
                self.send(shown(message))

    def _open(self, run: Shown, tree: Tree, extract: Extractor, key: Key) -> Feed:
        """Put a tree on view, unless it is there already, as that of a fork is."""
        with self._lock:
            if run is not self._told and len(tree):  # until then nothing was asked
                self._told = run
                self._titles = {"title": titles.title(run, self._title), "scale": titles.scale(run)}
            if self._feed is None or tree is not self._feed.tree:
                self._feed = Feed(tree, self._extract or extract, self._key or key, self.gold)
                self._runs += 1
                self._rows, self._selected = 0, None
            return self._feed

    # -- talking to browsers -----------------------------------------------------------------------

    def _message(self, first: int, whole: bool = False) -> dict[str, Any]:
        """Return the rows from ``first`` on, text that grew since, and how the run stands."""
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
                    *(["steer"] if self.handle or self._begin else []),
                    *(["fork"] if self._fork else []),
                ],
                "unforkable": self._unforkable(),
                "unrunnable": self.unrunnable,
                "hues": dict(self.hues),
                "unfinished": self.result is not None and self.result.unfinished,
                "costs": self._costs(),
                **self._titles,
            }

    def _costs(self) -> dict[str, Any]:
        """Return what the run on view paid for each model, by its name."""
        costs: Mapping[str, Cost] = {} if self.result is None else self.result.costs
        if self.handle is not None:
            costs = self.handle.run.ledger.by_model
        return {model: paid(astuple(cost)) for model, cost in costs.items() if cost != Cost()}

    def _unforkable(self) -> str:
        """Return why no node on view can be forked; empty if one can."""
        if self.handle is None and len(self.feed.tree) == 0:
            return "Nothing was run here yet: press Run first"
        if self.handle is None:
            return "This run was recorded: press Run for one that can be forked"
        if getattr(self.handle.run.backend, "model", "any") is None:  # a bank without a model
            return "Only recorded samples are here: a fork draws new ones, so load a model (live)"
        return ""

    def _hear(self, _: Any, message: dict[str, Any], buffers: Any) -> None:
        """Do what a button in a browser asks for, and show there what goes wrong."""
        try:
            match message["do"]:
                case "ask":  # a browser that shows this view only now, or that missed something
                    self.send(shown(self._message(message["first"], whole=True)))
                case "tokens":
                    node = self.feed.tree.nodes[message["node"]]
                    self.send(shown({"tokens": {str(node.id): token_logprobs(node)}}))
                case "select":
                    self._selected = message["node"]
                case "run" | "stop" | "pause" | "resume" | "step" | "fork" as verb:
                    getattr(self, verb)()
                    self.notify()
        except Exception as error:
            self.error = error_text(error)
            self.notify()


def _untitled() -> dict[str, Any]:
    return {"title": ["", ""], "scale": {}}


@checked
def view(
    run: RunHandle | Result | Tree,
    *,
    fork: Fork | None = None,
    extract: Extractor | None = None,
    key: Key | None = None,
    gold: str | None = None,
    title: str | None = None,
) -> TreeView:
    """Show the tree of a run, while it goes on or at its end; see ``TreeView``."""
    return TreeView(run, fork=fork, extract=extract, key=key, gold=gold, title=title)
