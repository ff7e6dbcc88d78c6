"""Execute notebooks with parameters, as papermill does, but strictly.

An unknown parameter is refused, values are read by the annotations of the cell tagged
``parameters``, and a failure names the cell. What is left behind is a notebook without the state of
its widgets, which is dead once the kernel is gone, and a page that needs nothing but a browser.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from itslab.core import ItslabError, require

WIDGET = "application/vnd.jupyter.widget-view+json"


def parse(notebook: Path, given: Iterable[str]) -> dict[str, Any]:
    """Read parameters given as ``name=value`` by the types that a notebook declares.

    Raises:
        ItslabError: the notebook cannot be read, or has no such parameter.
        OptionError: a value is not of the parameter's type.
    """
    declared = parameters(notebook)
    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        require(bool(equals), "parameter", text, "written as name=value")
        values[name] = _value(name, value, declared)
    return values


def parameters(notebook: Path) -> dict[str, Any]:
    """Return what a notebook declares: name -> ``inferred_type_name``, ``default``, ``help``."""
    import papermill

    if not notebook.is_file():
        raise ItslabError(f"there is no notebook {notebook}")
    try:
        return dict(papermill.inspect_notebook(str(notebook)))
    except Exception as error:  # papermill lets through whatever its reader raises
        raise ItslabError(f"{notebook} cannot be read as a notebook: {error}") from error


def _value(name: str, text: str, declared: Mapping[str, Any]) -> Any:
    if name not in declared:
        close = difflib.get_close_matches(name, declared)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        valid = ", ".join(declared) or "none"
        raise ItslabError(f"unknown parameter {name!r}: {hint}The notebook has {valid}")
    kind = declared[name]["inferred_type_name"]
    if kind == "bool":
        require(text in ("True", "False", "true", "false"), name, text, "True or False")
        return text in ("True", "true")
    if kind not in ("int", "float"):
        return text
    try:
        return {"int": int, "float": float}[kind](text)
    except ValueError:
        require(False, name, text, {"int": "a whole number", "float": "a number"}[kind])


def execute(notebook: Path, values: Mapping[str, Any], folder: Path) -> Path:
    """Execute a notebook, and leave it and its page in a folder of their own.

    Its progress bars are shown on standard error as they grow.

    Args:
        notebook: stays as it is.
        values: of its parameters; see ``parse``.
        folder: where ``<name>-<date>-<time>/<name>.ipynb`` and ``….html`` are made.

    Returns:
        The path of the executed notebook.

    Raises:
        ItslabError: a cell failed. The notebook is kept up to there.
    """
    import nbformat
    import papermill

    from itslab.page import write_page

    target = folder / f"{notebook.stem}-{time.strftime('%Y%m%d-%H%M%S')}" / notebook.name
    target.parent.mkdir(parents=True)
    # The kernel named python3 must be that of this environment, not one installed for the user.
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    try:
        papermill.execute_notebook(
            str(notebook),
            str(target),
            parameters=dict(values),
            cwd=str(notebook.parent),
            progress_bar={"desc": notebook.stem, "ncols": 96},
            stdout_file=_Bars(),
            store_widget_state=False,
            coalesce_streams=True,  # of a progress bar, its last state
            extra_arguments=["--log-level=40"],  # the kernel warns of its loopback connection
        )
    except papermill.PapermillExecutionError as error:
        raise ItslabError(
            f"cell {error.exec_count} of {notebook.name} failed with {error.ename}: "
            f"{error.evalue}. The notebook up to there is {target}"
        ) from error
    executed = nbformat.read(target, as_version=4)
    tidy(executed)
    nbformat.write(executed, target)
    write_page(executed, target.with_suffix(".html"))
    return target


class _Bars:
    """Passes on of a text what redraws itself, to standard error."""

    def __init__(self) -> None:
        self._unfinished = False

    def write(self, text: str) -> None:
        for line in re.findall(r"[^\n]*\n|[^\n]+", text):
            if "\r" in line or self._unfinished:
                sys.stderr.write(line)
                self._unfinished = not line.endswith("\n")

    def flush(self) -> None:
        sys.stderr.flush()


def tidy(notebook: Any) -> None:
    """Drop widgets, which are dead without their kernel; a picture may stand in for one."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)


def keep_outputs(executed: Path, notebook: Path) -> None:
    """Write the outputs of cells tagged ``keep_output`` back into the notebook they come from."""
    import nbformat

    source = nbformat.read(notebook, as_version=4)
    ran = {cell.id: cell for cell in nbformat.read(executed, as_version=4).cells}
    for cell in source.cells:
        if "keep_output" in cell.metadata.get("tags", []):
            cell.outputs = ran[cell.id].outputs
            cell.execution_count = ran[cell.id].execution_count
    nbformat.write(source, notebook)


def summary(notebook: Path) -> list[str]:
    """Return as text what the cells tagged ``summary`` show."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = (cell for cell in cells if "summary" in cell.metadata.get("tags", []))
    return [
        output.data["text/plain"]
        for cell in tagged
        for output in cell.get("outputs", [])
        if "text/plain" in output.get("data", {})
    ]
