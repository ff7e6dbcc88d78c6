"""Execute notebooks with parameters, as papermill does, but strictly.

An unknown parameter is refused, values are read by the annotations of the cell tagged
``parameters``, and a failure names the cell. What is left behind is a notebook without the state of
its widgets, which is dead once the kernel is gone, and a page that needs nothing but a browser.
"""

from __future__ import annotations

import ast
import difflib
import itertools
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
        source = papermill.iorw.load_notebook_node(str(notebook))
    except Exception as error:  # papermill lets through whatever its reader raises
        raise ItslabError(f"{notebook} cannot be read as a notebook: {_line(error)}") from error
    cells = [cell for cell in source.cells if "parameters" in cell.metadata.get("tags", [])]
    try:
        return _declared(cells[0].source) if cells else {}
    except SyntaxError as error:
        raise ItslabError(f"the parameters of {notebook} are no Python: {_line(error)}") from error


def _declared(source: str) -> dict[str, Any]:
    """Read assignments of plain values; papermill's own reader stumbles over a second ``=``."""
    lines, declared = source.splitlines(), {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign):
            target: ast.expr = statement.target
            kind = ast.unparse(statement.annotation)
        elif isinstance(statement, ast.Assign):
            target, kind = statement.targets[0], "None"
        else:
            continue
        if isinstance(target, ast.Name) and statement.value is not None:
            end = statement.end_col_offset or 0
            after = lines[(statement.end_lineno or 1) - 1].encode()[end:].decode()
            declared[target.id] = {
                "inferred_type_name": kind,
                "default": ast.unparse(statement.value),
                "help": after.partition("#")[2].strip(),
            }
    return declared


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _value(name: str, text: str, declared: Mapping[str, Any]) -> Any:
    if name not in declared:
        close = difflib.get_close_matches(name, declared)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        valid = ", ".join(declared) or "none"
        raise ItslabError(f"unknown parameter {name!r}: {hint}The notebook has {valid}")
    kind = declared[name]["inferred_type_name"]
    if kind == "None":  # not annotated: as its default is
        kind = type(_literal(declared[name]["default"])).__name__
    kinds = [part.strip() for part in kind.removeprefix("Optional[").split("|")]
    if kind.startswith("Optional["):
        kinds = [kind[9:-1], "None"]
    for one in kinds:
        plain = one.partition("[")[0]
        if plain == "str":
            return text
        value = _literal({"true": "True", "false": "False"}.get(text, text))
        if plain == "float" and type(value) is int:
            value = float(value)
        if type(value).__name__ in (plain, {"None": "NoneType"}.get(plain)):
            return value
    words = {"int": "a whole number", "float": "a number", "bool": "True or False"}
    require(
        not set(kinds) & {*words, "None", "list", "tuple", "dict"} and "[" not in kind,
        name,
        text,
        " or ".join(words.get(one, one) for one in kinds),
    )
    return text


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


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

    target = _place(folder, notebook.stem) / notebook.name
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
    except ItslabError:
        raise
    except Exception as error:  # no such kernel, a kernel that died, a disk that is full
        raise ItslabError(
            f"{notebook.name} could not be executed: {type(error).__name__}: {_line(error)}"
        ) from error
    executed = nbformat.read(target, as_version=4)
    tidy(executed)
    nbformat.write(executed, target)
    write_page(executed, target.with_suffix(".html"))
    return target


def _place(folder: Path, stem: str) -> Path:
    """Make a folder for a run; of several in one second, the later ones are numbered."""
    name = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        place = folder / (name if number == 1 else f"{name}-{number}")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            if not place.is_dir():
                raise ItslabError(f"{folder} is no folder: name another with --runs") from None
        except OSError as error:
            raise ItslabError(
                f"no folder can be made in {folder}: {error.strerror}; name another with --runs"
            ) from error
        else:
            return place
    raise AssertionError("there is a number for every run")


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
