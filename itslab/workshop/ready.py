"""Whether a machine is ready for a workshop: what the notebooks need in replay, tried out.

``itslab doctor`` says what a machine can do; here the packages are compared with what is asked,
a kernel is started and the notebooks are run. Nothing is opened, and nothing stays behind but the
page of a notebook that failed.
"""

from __future__ import annotations

import ast
import os
import platform
import shutil
import socket
import sys
import tempfile
import threading
import time
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from itslab import notebooks
from itslab.core import ItslabError
from itslab.doctor import Finding, diagnose
from itslab.models.sources import megabytes
from itslab.workshop.packages import installed, lacking

PYTHON = (3, 11)
NEEDED_MEMORY = 10**9
"""Bytes free: a kernel in replay takes less, and JupyterLab and a browser are open beside it."""
NEEDED_DISK = 10**9
IN_TERMINAL = ("elinks", "links", "lynx", "w3m", "www-browser")
"""Browsers without scripts, in which JupyterLab does not run."""
_GLANCE = 0.1  # seconds between looks at the memory of a kernel
_PATIENCE = 60.0  # seconds that a kernel has to start, and to answer


def check(
    chosen: Sequence[Path],
    folder: Path = Path(),
    say: Callable[[str], None] = print,
) -> list[Finding]:
    """Look at what a workshop needs, and run notebooks in replay, each in a fresh kernel.

    Args:
        chosen: the notebooks to run.
        folder: where participants will work.
        say: is told what takes long, before it begins.

    Returns:
        What was found: ``lacking`` is what the workshop cannot do without, ``optional`` what it
        can.
    """
    found = [_python(), _memory(), _folder(folder), _browser(), _packages(), _port()]
    say("looking for llama.cpp and models")
    found += _drawing()
    say("starting a kernel")
    found.append(_kernel())
    return [*found, *(_notebook(one, say) for one in chosen)]


def text(findings: Iterable[Finding]) -> str:
    """Return a line for each finding, and the fix below where there is one to make."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<9}{finding.part:<12} {finding.found}")
        if finding.fix:
            lines.append(f"{'':<22}-> {finding.fix}")
    return "\n".join(lines)


# -- the machine -----------------------------------------------------------------------------------


def _python() -> Finding:
    found = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info >= PYTHON:
        return Finding("OK", "python", found)
    wanted = ".".join(map(str, PYTHON))
    return Finding("lacking", "python", found, f"install Python {wanted} or later")


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{megabytes(memory.available)} free of {megabytes(memory.total)}"
    if memory.available >= NEEDED_MEMORY:
        return Finding("OK", "memory", found)
    fix = f"end other programs: {megabytes(NEEDED_MEMORY)} are needed"
    return Finding("lacking", "memory", found, fix)


def _folder(folder: Path) -> Finding:
    here = folder.absolute()
    try:
        with tempfile.TemporaryFile(dir=here):
            free = shutil.disk_usage(here).free
    except OSError as error:
        found = f"{here} cannot be written: {error.strerror or error}"
        return Finding("lacking", "folder", found, "go to a folder of your own")
    found = f"{here} can be written, {megabytes(free)} free"
    if free >= NEEDED_DISK:
        return Finding("OK", "folder", found)
    return Finding("lacking", "folder", found, f"free some: {megabytes(NEEDED_DISK)} are needed")


def _browser() -> Finding:
    """What JupyterLab would open; a browser elsewhere will do."""
    fix = "install Firefox or Chromium, or open the address that `itslab lab` prints in another"
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return Finding("optional", "browser", "none found", fix)
    name = str(getattr(browser, "name", type(browser).__name__))
    if Path(name).name in IN_TERMINAL:
        return Finding("optional", "browser", f"{name}, which cannot show JupyterLab", fix)
    return Finding("OK", "browser", name)


def _port() -> Finding:
    """Whether a program here can reach another, as a browser does JupyterLab and that a kernel."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=_PATIENCE).close()
    except OSError as error:
        fix = "let programs of this machine reach each other on 127.0.0.1 (a firewall?)"
        return Finding("lacking", "loopback", f"no connection: {error.strerror or error}", fix)
    return Finding("OK", "loopback", "a port of 127.0.0.1 can be opened and reached")


def _drawing() -> Iterator[Finding]:
    """What the doctor says of models; replay can do without."""
    for finding in diagnose():
        if finding.part in ("llama.cpp", "models"):
            optional = finding.state == "lacking"
            yield finding._replace(state="optional") if optional else finding
        elif finding.part == "cache":
            yield finding
        if finding.part == "models":  # the last of them
            return


# -- what is installed -----------------------------------------------------------------------------


def _packages() -> Finding:
    """Compare what is installed with what pyproject.toml asks, and what that asks in turn."""
    lacks = lacking("itslab", installed)
    if lacks:
        found = "; ".join(
            f"{one.by or 'you'} asked for {one.wanted.name}{one.wanted.specifier}, "
            + (f"{one.version} is here" if one.version else "which is not here")
            for one in lacks
        )
        wanted = sorted({f"'{one.wanted.name}{one.wanted.specifier}'" for one in lacks})
        return Finding("lacking", "packages", found, f"pip install {' '.join(wanted)}")
    lab = installed("jupyterlab")
    assert lab, "itslab requires it"
    return Finding("OK", "packages", f"all that itslab asks for; JupyterLab {lab.version}")


def _kernel() -> Finding:
    """Start a kernel as a notebook does, and ask where it is."""
    os.environ.setdefault("JUPYTER_PREFER_ENV_PATH", "1")  # as notebooks.execute does
    began = time.monotonic()
    fix = f"{sys.executable} -m pip install --force-reinstall ipykernel"
    try:
        told = _asked("__import__('sys').executable")
    except Exception as error:  # whatever jupyter_client, or the kernel's last words, raise
        found = f"did not start: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return Finding("lacking", "kernel", found, fix)
    seconds, python = time.monotonic() - began, ast.literal_eval(told)
    if Path(python).parent != Path(sys.executable).parent:
        found = f"python3 is that of {python}, not of {sys.executable}"
        other = "`jupyter kernelspec list` shows where it is: remove it there"
        return Finding("lacking", "kernel", found, other)
    return Finding("OK", "kernel", f"started and answered in {seconds:.1f} s")


def _asked(expression: str) -> str:
    """Return what a fresh kernel says to an expression."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(
        startup_timeout=_PATIENCE,
        kernel_name="python3",
        extra_arguments=["--log-level=40"],  # the kernel warns of its loopback connection
    )
    try:
        asked = {"it": expression}
        reply = client.execute_interactive("", user_expressions=asked, timeout=_PATIENCE)
        return str(reply["content"]["user_expressions"]["it"]["data"]["text/plain"])
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# -- the notebooks ---------------------------------------------------------------------------------


def _notebook(path: Path, say: Callable[[str], None]) -> Finding:
    say(f"running {path.stem} in replay")
    values = {"mode": "replay"} if "mode" in notebooks.parameters(path) else {}
    runs = Path(tempfile.mkdtemp(prefix="itslab-workshop-"))
    began = time.monotonic()
    try:
        # A notebook writes beside itself, and where the package is nobody may.
        notebooks.copy(path.parent, runs, (path.name, notebooks.QUESTIONS))
        with _Memory() as memory:
            notebooks.execute(runs / path.name, values, runs)
    except ItslabError as error:  # the page of it is kept
        fix = f"`itslab run {path}` tries again; the page shows where it stopped"
        return Finding("lacking", path.stem, str(error), fix)
    seconds = time.monotonic() - began
    shutil.rmtree(runs, ignore_errors=True)
    return Finding("OK", path.stem, f"{seconds:.0f} s, {megabytes(memory.peak)} at most")


class _Memory:
    """Follows the resident memory of the processes that are started meanwhile, together.

    ``peak`` is the most that was seen, in bytes.
    """

    def __init__(self) -> None:
        import psutil

        self.peak = 0
        self._own = psutil.Process()
        self._before = set(self._own.children(recursive=True))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(_GLANCE):
            new = set(self._own.children(recursive=True)) - self._before
            self.peak = max(self.peak, sum(map(_resident, new)))


def _resident(process: Any) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:  # it has ended
        return 0
