"""Execute notebooks with parameters: papermill, but strict.

Unknown parameters are refused, values are read by the type annotations in the cell tagged
``parameters``, and an error names the cell. The result is a notebook without the state of its
widgets, which is useless once the kernel has stopped, and a page that needs only a browser.
"""

from __future__ import annotations

import ast
import difflib
import itertools
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from itslab.core import ItslabError, require
from itslab.parameters import read, written

WIDGET = "application/vnd.jupyter.widget-view+json"
QUESTIONS = "*questions.txt"
"""The files that notebooks read beside them. (What they write there is nobody else's.)"""


class Entry(NamedTuple):
    """A notebook of the package.

    Args:
        name: of its file, without the ending.
        title: its first heading.
        parameters: their names.
        path: of its file.
        minutes: that it takes on two cores, in ``replay`` and ``live``, in words; its metadata say
            so under ``itslab.minutes``.
    """

    name: str
    title: str
    parameters: list[str]
    path: Path
    minutes: dict[str, str]


def listed(folder: Path) -> list[Entry]:
    """Return the notebooks of a folder, and of its folders, in the order of their names."""
    return [_entry(path) for path in _known(folder)]


def _known(folder: Path) -> list[Path]:
    """Its notebooks, then those of the folders within; not what Jupyter keeps of them."""
    found = (path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    return sorted(found, key=lambda path: (len(path.parts), path))


def _entry(path: Path) -> Entry:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    lines = ("".join(cell["source"]).lstrip().partition("\n")[0] for cell in notebook["cells"])
    title = next((line.lstrip("# ") for line in lines if line.startswith("#")), path.stem)
    minutes = notebook["metadata"].get("itslab", {}).get("minutes", {})
    return Entry(path.stem, title, [*parameters(path)], path, minutes)


def find(name: str | Path, folder: Path) -> Path:
    """Return the file of a notebook.

    Args:
        name: its path; or how the name of one in the folder begins or ends, such as ``03``,
            ``tree_search`` or ``03_tree_search``.
        folder: of the package's notebooks.

    Raises:
        ItslabError: there is none, or there are several.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = _known(folder)
    asked = path.stem if path.suffix == ".ipynb" else str(name)
    meant = [one for one in known if asked and asked in (one.stem, one.stem.partition("_")[2])]
    meant = meant or [one for one in known if asked and one.stem.startswith(asked)]
    if len(meant) == 1:
        return meant[0]
    close = ", ".join(one.stem for one in meant or known)
    several = (
        f"{len(meant)} notebooks are called {name}" if meant else f"there is no notebook {name}"
    )
    raise ItslabError(f"{several}: name one of {close}, or the path of another")


def copy(
    source: Path, folder: Path, kinds: Iterable[str] = ("*.ipynb",), *, blank: bool = False
) -> int:
    """Copy notebooks into a folder, but for those that are there; return how many were copied.

    Args:
        source: the folder where they are.
        folder: made if it is not there.
        kinds: patterns of the files' names.
        blank: leave out what the cells of notebooks show.

    Raises:
        ItslabError: the folder cannot be written.
    """
    found = (one for kind in kinds for one in sorted(source.glob(kind)))
    new = [one for one in found if not (folder / one.name).exists()]
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for one in new:
            (folder / one.name).write_bytes(_blank(one) if blank else one.read_bytes())
    return len(new)


def _blank(path: Path) -> bytes:
    """What a file holds, of a notebook without outputs."""
    if path.suffix != ".ipynb":
        return path.read_bytes()
    notebook = json.loads(path.read_bytes())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode() + b"\n"


def reset(source: Path, folder: Path) -> Path | None:
    """Put notebooks aside that are no longer as they came, and copy them anew, without outputs.

    Args:
        source: the folder where they are as they came.
        folder: of the copies; files of other kinds stay as they are.

    Returns:
        The folder, ``kept-<date>-<time>`` within, where what was put aside is; None if nothing was.

    Raises:
        ItslabError: the folder cannot be written.
    """
    mine = [folder / one.name for one in sorted(source.glob("*.ipynb"))]
    there = (one for one in mine if os.path.lexists(one))  # a link to nothing, too
    changed = [one for one in there if not _same(one, _blank(source / one.name))]
    kept = None
    if changed:
        kept = _place(folder, "kept", "--folder")
        with _writing(folder):
            for one in changed:
                shutil.move(one, kept / one.name)
    copy(source, folder, [one.name for one in changed], blank=True)
    return kept


def _same(path: Path, held: bytes) -> bool:
    return path.is_file() and path.read_bytes() == held


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ItslabError(f"the notebooks cannot be copied to {folder}: {error}") from error


def parse(notebook: Path, given: Iterable[str]) -> dict[str, Any]:
    """Read parameters written as ``name=value`` by the types that a notebook declares.

    Args:
        notebook: the file.
        given: such as ``["n_problems=4", "mode=live"]``.

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
    """Return the parameters that a notebook declares.

    Returns:
        By name, a dictionary of ``inferred_type_name``, ``default`` and ``help``.

    Raises:
        ItslabError: the notebook cannot be read.
    """
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
        raise ItslabError(
            f"the parameters of {notebook} are not valid Python: {_line(error)}"
        ) from error


def _declared(source: str) -> dict[str, Any]:
    """Read assignments of plain values; papermill's own reader fails at a second ``=``."""
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


def _line(error: object, most: int = 300) -> str:
    return " ".join(str(error).split())[:most]


def _value(name: str, text: str, declared: Mapping[str, Any]) -> Any:
    if name not in declared:
        close = difflib.get_close_matches(name, declared)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        valid = ", ".join(declared) or "none"
        raise ItslabError(f"unknown parameter {name!r}: {hint}The notebook has {valid}")
    kind, default = declared[name]["inferred_type_name"], declared[name]["default"]
    return read(name, text, kind, default)


def execute(notebook: Path, values: Mapping[str, Any], folder: Path) -> Path:
    """Execute a notebook and write the result and its page into a new folder.

    Progress bars of its cells are shown on standard error.

    Args:
        notebook: the file, which is not changed.
        values: of its parameters; see ``parse``.
        folder: where ``<name>-<date>-<time>/`` is made, with ``<name>.ipynb`` and ``<name>.html``.

    Returns:
        The path of the executed notebook.

    Raises:
        ItslabError: a cell failed; the notebook up to there is kept, and its page shows the error.
            Or there is no kernel, or the folder cannot be written.
    """
    import papermill

    target = _place(folder, notebook.stem) / notebook.name
    # The kernel named python3 must be that of this environment, not one installed for the user.
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")
    papermill.translators.papermill_translators.register("python", _python())
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
            f"{_line(error.evalue, 1000)}. {_kept(target)}"
        ) from error
    except ItslabError:
        raise
    except KeyboardInterrupt:
        raise ItslabError(f"{notebook.name} was interrupted. {_kept(target)}") from None
    except Exception as error:  # no such kernel, a kernel that died, a disk that is full
        raise ItslabError(
            f"{notebook.name} could not be executed: {type(error).__name__}: {_line(error)}. "
            f"{_kept(target)}".strip()
        ) from error
    _finish(target)
    return target


def _finish(executed: Path) -> Path:
    """Tidy an executed notebook, and return the page that is written of it."""
    import nbformat

    from itslab.page import write_page

    notebook = nbformat.read(executed, as_version=4)
    tidy(notebook)
    nbformat.write(notebook, executed)
    return write_page(notebook, executed.with_suffix(".html"))


def _kept(executed: Path) -> str:
    """Write the page of a notebook that went no further, and say where both are."""
    try:
        page = _finish(executed)
    except Exception as error:  # none was written: there was no kernel, or the disk is full
        return f"There is no page of it: {_line(error)}"
    return f"The notebook up to there is {executed}, its page {page}"


def _python() -> Any:
    """How values are written into a notebook: papermill makes texts of tuples, and of keys."""
    from papermill.translators import PythonTranslator

    class Python(PythonTranslator):  # type: ignore[misc]
        @classmethod
        def translate(cls, val: Any) -> str:
            return written(val)

    return Python


def _place(folder: Path, stem: str, option: str = "--runs") -> Path:
    """Make a new folder for a run, numbered if there are several in one second."""
    name = f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        place = folder / (name if number == 1 else f"{name}-{number}")
        try:
            place.mkdir(parents=True)
        except FileExistsError:
            if not place.is_dir():
                raise ItslabError(f"{folder} is not a folder: name another with {option}") from None
        except OSError as error:
            raise ItslabError(
                f"no folder can be made in {folder}: {error.strerror}; name another with {option}"
            ) from error
        else:
            return place
    raise AssertionError("there is a number for every run")


class _Bars:
    """Forward only progress-bar lines, which redraw themselves, to standard error."""

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
    """Remove widgets, which need a kernel, from outputs; their pictures stay."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)


def keep_outputs(executed: Path, notebook: Path) -> None:
    """Copy the outputs of cells tagged ``keep_output`` into the notebook that was executed."""
    import nbformat

    source = nbformat.read(notebook, as_version=4)
    ran = {cell.id: cell for cell in nbformat.read(executed, as_version=4).cells}
    for cell in source.cells:
        if "keep_output" in cell.metadata.get("tags", []):
            cell.outputs = ran[cell.id].outputs
            cell.execution_count = ran[cell.id].execution_count
    nbformat.write(source, notebook)


def summary(notebook: Path) -> list[str]:
    """Return the results of cells tagged ``summary`` as text."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = (cell for cell in cells if "summary" in cell.metadata.get("tags", []))
    return [
        output.data["text/plain"]
        for cell in tagged
        for output in cell.get("outputs", [])
        if "text/plain" in output.get("data", {})
    ]
