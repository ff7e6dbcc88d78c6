"""``itslab workshop``: begin a session, make a class ready, serve it, and collect what it wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from itslab.core import ItslabError, require
from itslab.notebooks import QUESTIONS

SESSIONS = ("1", "2", "3", "teacher")
KINDS = ("session_*.ipynb", QUESTIONS)
"""Of files that participants get."""
JOURNALS = "journals"
"""The folder of what is handed in, among the copies."""

AT_START, BEFORE, CLASS = "A session", "Before it", "The class"


def workshop(
    session: Annotated[
        str, typer.Argument(help="1, 2 or 3; or teacher: plan, timing and answers.")
    ] = "1",
    folder: Annotated[
        Path,
        typer.Option(help="Of your copies of the notebooks.", rich_help_panel=AT_START),
    ] = Path("itslab-workshop"),
    reset: Annotated[
        bool,
        typer.Option(
            "--reset",
            help="Restore the notebooks; those that were changed are put aside.",
            rich_help_panel=AT_START,
        ),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Say whether this machine is ready, and run the notebooks.",
            rich_help_panel=BEFORE,
        ),
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Make a folder from which all is installed without a network.",
            rich_help_panel=BEFORE,
        ),
    ] = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the bundle, such as windows-x86_64. Repeatable. [default: this machine's]",
            rich_help_panel=BEFORE,
        ),
    ] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            help="Of the bundle, such as 3.12. Repeatable. [default: this one's]",
            rich_help_panel=BEFORE,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="That comes in the bundle, to draw with.", rich_help_panel=BEFORE),
    ] = None,
    site: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Make a web site on which the sessions replay in a browser alone.",
            rich_help_panel=BEFORE,
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Of the site: a Pyodide release, or a folder that holds one.",
            rich_help_panel=BEFORE,
        ),
    ] = None,
    serve: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Serve a model to the class; journals are handed in to FOLDER/journals.",
            rich_help_panel=CLASS,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(help="127.0.0.1 keeps the class's server here.", rich_help_panel=CLASS),
    ] = "0.0.0.0",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 takes a free one.", rich_help_panel=CLASS)
    ] = 8000,
    seats: Annotated[
        int, typer.Option(min=1, help="Participants, by their names.", rich_help_panel=CLASS)
    ] = 30,
    collect: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the page of the journals in a folder.",
            rich_help_panel=CLASS,
        ),
    ] = None,
    names: Annotated[
        bool | None,
        typer.Option(
            help="Whether pages call participants by their names. "
            "[default: collected ones do, served ones do not]",
            show_default=False,
            rich_help_panel=CLASS,
        ),
    ] = None,
) -> None:
    """Begin a session of the workshop in JupyterLab, in replay: no model is needed.

    With one of --reset, --check, --bundle, --site, --serve and --collect it does that instead.
    """
    from itslab.share import root

    asked = {
        "--reset": reset,
        "--check": check,
        "--bundle": bundle is not None,
        "--site": site is not None,
        "--serve": serve is not None,
        "--collect": collect is not None,
    }
    chosen = [name for name, wanted in asked.items() if wanted]
    require(len(chosen) < 2, "options", " ".join(chosen), "one of these at a time")
    require(session in SESSIONS, "session", session, f"one of {', '.join(SESSIONS)}")
    stray = {"--platform": platform, "--python": python, "--model": model}
    for option, given in stray.items():
        require(bundle is not None or given is None, option, given, "given with --bundle only")
    shown = serve is not None or collect is not None
    require(shown or names is None, "--names", names, "given with --serve or --collect only")
    require(site is not None or runtime is None, "--runtime", runtime, "given with --site only")
    source = root() / "notebooks" / "workshop"
    if bundle is not None:
        from itslab.workshop.bundle import bundle as make

        make(bundle, platform or (), model, python or (), say=typer.echo)
    elif site is not None:
        from itslab.workshop import site as sites

        page = sites.build(site, sorted(source.glob("session_*.ipynb")), runtime or sites.RUNTIME)
        typer.echo(f"{page}: any server of files will do, such as python -m http.server -d {site}")
    elif serve is not None:
        from itslab.workshop.classroom import serve as to_class

        to_class(
            serve,
            folder / JOURNALS,
            seats=seats,
            host=host,
            port=port,
            names=bool(names),
            say=typer.echo,
        )
    elif collect is not None:
        from itslab.workshop.page import collect as page_of

        typer.echo(f"the class's page: {page_of(collect, names is not False)}")
    elif check:
        _check(source)
    elif reset:
        _reset(source, folder)
    else:
        _begin(source, folder, session)


def _check_folders(source: Path, folder: Path) -> None:
    """Refuse what would put the sessions aside that all others are copies of, or has none.

    Raises:
        OptionError: both folders are one.
        ItslabError: a session is not where it comes from.
    """
    copies = source.resolve() != folder.resolve()
    require(copies, "--folder", str(folder), "a folder of copies; this one holds the originals")
    lacking = [name for one in SESSIONS if not (source / (name := _named(one))).is_file()]
    if lacking:
        raise ItslabError(f"{source} lacks {', '.join(lacking)}: restore them, or install anew")


def _named(session: str) -> str:
    return "teacher.ipynb" if session == "teacher" else f"session_{session}.ipynb"


def _begin(source: Path, folder: Path, session: str) -> None:
    from itslab import notebooks

    _check_folders(source, folder)
    name = _named(session)
    kinds = (name, QUESTIONS) if session == "teacher" else KINDS
    stays = ": what was there stays as it is" if folder.exists() else ""
    notebooks.copy(source, folder, kinds, blank=True)
    typer.echo(f"your copies are in {folder}{stays}")
    open_lab(folder / name)


def _reset(source: Path, folder: Path) -> None:
    from itslab import notebooks

    _check_folders(source, folder)
    kept = notebooks.reset(source, folder)
    missing = notebooks.copy(source, folder, KINDS, blank=True)
    said = f"what was changed is in {kept}" if kept else "they were as they came"
    said += f"; missing: {missing}" if missing else ""
    typer.echo(f"the notebooks in {folder} are restored; {said}. Journal and questions stay")


def _check(source: Path) -> None:
    from itslab.workshop import ready

    chosen = sorted(source.glob("session_*.ipynb"))
    found = ready.check(chosen, say=lambda line: typer.echo(line, err=True))
    typer.echo(ready.text(found))
    if any(finding.state == "lacking" for finding in found):
        raise typer.Exit(1)
    typer.echo("ready")


def open_lab(notebook: Path) -> None:
    """Open a notebook in JupyterLab, in this process's place."""
    # Not as its argument: the address that it prints, too, should open the notebook.
    command = [sys.executable, "-m", "jupyterlab"]
    command.append(f"--ServerApp.root_dir={notebook.parent.resolve()}")
    command.append(f"--LabApp.default_url=/lab/tree/{quote(notebook.name)}")
    if getattr(os, "geteuid", lambda: 1)() == 0:
        command.append("--allow-root")  # as in a container
    if os.name == "nt":  # where a program that is replaced leaves its console
        raise typer.Exit(subprocess.call(command))
    os.execv(command[0], command)  # so that Ctrl-C is its own
