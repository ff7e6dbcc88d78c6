"""``itslab workshop``: begin a session, make a class ready, serve it, and collect what it wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from itslab.core import require

SESSIONS = ("1", "2", "3", "teacher")
KINDS = ("session_*.ipynb", "*.jsonl")
"""Of files that participants get."""


def workshop(
    session: Annotated[
        str, typer.Argument(help="1, 2 or 3; or teacher: plan, timing and answers.")
    ] = "1",
    folder: Annotated[Path, typer.Option(help="Where your copies of the notebooks are.")] = Path(
        "itslab-workshop"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Say whether this machine is ready for a session.")
    ] = False,
    reset: Annotated[
        bool,
        typer.Option(
            "--reset", help="Restore the notebooks; what was written into them is put aside."
        ),
    ] = False,
) -> None:
    """Begin a session of the workshop in JupyterLab, in replay: no model is needed."""
    from itslab import notebooks
    from itslab.share import root

    require(session in SESSIONS, "session", session, f"one of {', '.join(SESSIONS)}")
    source = root() / "notebooks" / "workshop"
    name = "teacher.ipynb" if session == "teacher" else f"session_{session}.ipynb"
    kinds = (name,) if session == "teacher" else KINDS
    if reset:
        kept = notebooks.reset(source, folder)
        said = f"what was written is in {kept}" if kept else "they are as they came"
        typer.echo(f"the notebooks in {folder} are restored; {said}. Journal and questions stay")
        return
    notebooks.copy(source, folder, kinds, blank=True)
    typer.echo(f"your copies are in {folder}: what was there stays as it is")
    open_lab(folder / name)


def open_lab(notebook: Path) -> None:
    """Open a notebook in JupyterLab, in this process's place."""
    command = [sys.executable, "-m", "jupyterlab", str(notebook)]
    if getattr(os, "geteuid", lambda: 1)() == 0:
        command.append("--allow-root")  # as in a container
    if os.name == "nt":  # where a program that is replaced leaves its console
        raise typer.Exit(subprocess.call(command))
    os.execv(command[0], command)  # so that Ctrl-C is its own
