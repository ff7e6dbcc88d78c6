"""What IPython is told: how our objects are displayed, and how ``solve`` is watched.

All of it is registered by name and imported when something is first shown, so that nothing of ours
has to know of notebooks, and importing the package stays free.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from itslab import attended, background

if TYPE_CHECKING:
    from itslab.core import Result
    from itslab.handle import RunHandle
    from itslab.run import Run

DISPLAYED = {
    ("itslab.core", "Result"): "result",
    ("itslab.core", "Tree"): "tree",
    ("itslab.handle", "RunHandle"): "handle",
    ("itslab.tasks.task", "Task"): "task",
    ("itslab.study.samples", "Samples"): "samples",
    ("itslab.backends.llama", "Llama"): "llama",
    ("itslab.backends.reward_model", "RewardModel"): "reward_model",
    ("itslab.backends.remote", "Remote"): "remote",
    ("itslab.backends.banked", "Banked"): "banked",
    ("itslab.backends.bank", "Bank"): "bank",
    ("itslab.models.files", "ModelFile"): "model_file",
}
"""Module and name of a type -> the function of ``viz.displays`` that shows it."""
BEGIN, LOOK = 0.5, 0.25
"""Seconds until a run is watched, so that quick ones show nothing, and between two looks at it."""


def register() -> None:
    """Tell the running IPython of our types; does nothing where none is running."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["text/html"]
    bundles = shell.display_formatter.mimebundle_formatter
    bundles.for_type_by_name("itslab.handle", "RunHandle", _followed)
    for (module, name), function in DISPLAYED.items():
        formatter.for_type_by_name(module, name, _shown_by(function))
    if find_spec("nbformat") is None:  # plotly insists on it, to write what IPython can write
        figures = shell.display_formatter.ipython_display_formatter
        figures.for_type_by_name("plotly.graph_objs._figure", "Figure", _drawn)
    attended.watch = Watched


def _shown_by(function: str) -> Callable[[Any], str]:
    def show(thing: Any) -> str:
        from itslab.viz import displays

        try:
            return str(getattr(displays, function)(thing))
        except Exception as error:  # of a part that is somebody's own: a cell still has its output
            return displays.unshown(thing, error)

    return show


def _drawn(figure: Any) -> None:
    from IPython.display import display

    from itslab.viz.panels import PLOTLY

    display({PLOTLY: json.loads(figure.to_json())}, raw=True)  # type: ignore[no-untyped-call]


def _followed(handle: RunHandle) -> Any:
    """A run that goes on, followed live; None where nobody looks, or it is at its end."""
    if not handle.running or not _attended():
        return None
    from itslab.viz.tree import TreeView

    data, metadata = TreeView(handle)._repr_mimebundle_()
    return {**data, "text/plain": repr(handle)}, metadata


class Watched(attended.Onlooker):
    """A run of ``solve`` in a cell: how far it has come, and in the end one line of it.

    Quiet where nobody looks: outside of a notebook's kernel, where a program executes the cells
    (papermill, nbconvert and nbval never answer questions, and say so), in threads, and for as long
    as a run takes half a second. Several runs in one cell share their line.
    """

    _cells: ClassVar[
        dict[str, Any]
    ] = {}  # the last cell with a line: its number, and the line's display

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._result: Result | None = None
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._line: Any = None
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        if _attended() and background.threads():
            self._watcher.start()
        return self

    def hear(self, result: Result) -> None:
        """Keep what is said in the end."""
        self._result = result

    def __exit__(self, *error: Any) -> None:
        """Say how it ended; of a run that was interrupted, show what it came to."""
        self._ended.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        if isinstance(error[1], attended.Interrupted):
            self._keep(error[1])
        elif self._line is not None:
            self._show(ended=True)

    def _watch(self) -> None:
        wait = BEGIN
        with suppress(Exception):  # such as of a reader of answers: the run itself will tell
            while not self._ended.wait(wait):
                self._show()
                wait = LOOK

    def _show(self, ended: bool = False) -> None:
        from itslab.viz import displays

        seconds = time.monotonic() - self._began
        if ended:
            self._put(displays.summary(self.run, seconds, self._result))
        else:
            self._put(displays.progress(self.run, seconds))

    def _put(self, data: dict[str, str]) -> None:
        if self._line is None:
            self._line = _line(self._cells)
        self._line.update(data, raw=True)

    def _keep(self, error: attended.Interrupted) -> None:
        """Show what an interrupted run came to, and keep it in ``Out``, as what a cell returns."""
        if not _attended():
            return
        shell = _shell()
        html = shell.display_formatter.formatters["text/html"](error.result)
        self._put({"text/html": html, "text/plain": repr(error.result)})
        shell.displayhook.update_user_ns(error.result)
        cell = shell.displayhook.prompt_count
        if shell.user_ns["Out"].get(cell) is error.result:
            error.args = (f"{attended.drawn(error.result)}; they are kept as Out[{cell}]",)


def _line(cells: dict[str, Any]) -> Any:
    """The display of the running cell that its runs share."""
    from IPython.display import DisplayHandle

    cell = _shell().execution_count
    if cells.get("cell") != cell:
        cells |= {"cell": cell, "line": DisplayHandle()}  # type: ignore[no-untyped-call]
        cells["line"].display({"text/plain": ""}, raw=True)
    return cells["line"]


def _shell() -> Any:
    return sys.modules["IPython"].get_ipython()


def _attended() -> bool:
    """Whether a person looks at the cell that calls: a kernel's, in its main thread."""
    kernel = getattr(_shell(), "kernel", None)
    main = threading.current_thread() is threading.main_thread()
    return main and bool(getattr(kernel, "_allow_stdin", False))
