"""A folder from which itslab is installed without a network: for many laptops, and a poor one.

It holds wheels for every platform and Python asked, the records and notebooks (they are in the
wheel of itslab), a model if wanted, and a script to start for each system.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from itslab import models
from itslab.core import ItslabError, require
from itslab.models.files import hash_file
from itslab.models.sources import complaint, megabytes
from itslab.workshop.packages import lacking, wheels

PYTHONS = ("3.11", "3.12", "3.13")
SOURCE_ONLY = ("cellpylib", "zss")
"""What reasoning-gym asks for and is published without a wheel; both are pure Python."""
STAND_IN = Path(__file__).parent / "pycosat"
_START = Path(__file__).parent / "start"
_LLAMA = "llama-cpp-python"
_PORTABLE = "-DGGML_NATIVE=OFF"  # not for the very processor that builds it


class Platform(NamedTuple):
    """A kind of machine.

    Args:
        tags: of the wheels that run on it, the newest first, as pip takes them.
        markers: what conditions of requirements are decided by.
        needs: what it must be at least, in words.
    """

    tags: tuple[str, ...]
    markers: Mapping[str, str]
    needs: str


def _linux(machine: str) -> Platform:
    numbered = (f"manylinux_2_{minor}_{machine}" for minor in range(28, 16, -1))
    tags = (f"linux_{machine}", *numbered, f"manylinux2014_{machine}")
    markers = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux"}
    needs = "Linux of 2019 or later (glibc 2.28)"
    return Platform(tags, {**markers, "platform_machine": machine}, needs)


def _macos(machine: str) -> Platform:
    markers = {"os_name": "posix", "sys_platform": "darwin", "platform_system": "Darwin"}
    needs = "macOS 14 or later"
    return Platform((f"macosx_14_0_{machine}",), {**markers, "platform_machine": machine}, needs)


_WINDOWS = {"os_name": "nt", "sys_platform": "win32", "platform_system": "Windows"}
PLATFORMS: Mapping[str, Platform] = {
    "linux-x86_64": _linux("x86_64"),
    "linux-arm64": _linux("aarch64"),
    "windows-x86_64": Platform(
        ("win_amd64",), {**_WINDOWS, "platform_machine": "AMD64"}, "Windows of 64 bits"
    ),
    "macos-arm64": _macos("arm64"),
    "macos-x86_64": _macos("x86_64"),
}


def here() -> str:
    """Return the name of this machine's platform.

    Raises:
        ItslabError: it has none.
    """
    markers = {"platform_system": platform.system(), "platform_machine": platform.machine()}
    for name, one in PLATFORMS.items():
        if markers.items() <= one.markers.items():
            return name
    kind = " ".join(markers.values())
    raise ItslabError(f"no wheels are known for this machine, {kind}: {', '.join(PLATFORMS)} are")


def bundle(
    folder: Path,
    platforms: Sequence[str] = (),
    model: str | None = None,
    pythons: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Path:
    """Make a folder from which itslab is installed without a network. Making it takes one.

    It is whole or empty: every platform named is complete.

    Args:
        folder: new, or empty.
        platforms: names of ``PLATFORMS``; by default this machine's.
        model: to draw with, as of ``itslab.load``. With it comes llama.cpp for this machine's
            platform, which is compiled for some minutes.
        pythons: versions of Python that participants have, of ``PYTHONS``; by default this one's.
        say: is told what takes long, before it begins, and the size in the end.

    Returns:
        The folder.

    Raises:
        OptionError: a platform or a version is unknown, or the folder is not empty.
        ItslabError: a wheel does not exist, cannot be built or fetched, or the disk is full.
    """
    chosen, versions = _unique(platforms or (here(),)), _unique(pythons or (_this_python(),))
    for name in chosen:
        require(name in PLATFORMS, "platform", name, f"one of {', '.join(PLATFORMS)}")
    for version in versions:
        require(version in PYTHONS, "python", version, f"one of {', '.join(PYTHONS)}")
    target = folder.absolute()
    empty = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    require(empty, "folder", str(folder), "new, or empty")
    try:
        target.mkdir(parents=True, exist_ok=True)
        # Within it, for it may be a stick's root, or where the caller is: it stays the same folder.
        with _ended(), tempfile.TemporaryDirectory(dir=target, prefix=".itslab-") as scratch:
            made = _make(Path(scratch), chosen, versions, model, say)
            for part in [*made.iterdir()]:
                os.replace(part, target / part.name)
    except OSError as error:
        raise ItslabError(
            f"the bundle cannot be written to {target}: {error.strerror or error}"
        ) from error
    say(f"{megabytes(_size(target))} in {target}; {target / 'README.txt'} says how to use it")
    return target


@contextmanager
def _ended() -> Iterator[None]:
    """Let SIGTERM end what is under way as Ctrl-C does: nothing half made stays, and no pip."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


def _make(
    scratch: Path,
    platforms: Sequence[str],
    pythons: Sequence[str],
    model: str | None,
    say: Callable[[str], None],
) -> Path:
    made, built = scratch / "bundle", scratch / "built"
    (made / "wheels").mkdir(parents=True)
    if model is not None:
        _add_model(model, made / "models", say)
    say("building the wheels of itslab, and of what is published as source only")
    own = own_wheel(built)
    _build(built, *_source_only(), STAND_IN)
    if model is not None and here() in platforms:
        say("building llama.cpp: some minutes")
        _build(built, _llama(), cmake=_PORTABLE)
    counts = {}
    for name in platforms:
        root = "itslab[llama]" if model is not None and name == here() else "itslab"
        for python in pythons:
            say(f"fetching the wheels for {name} and Python {python}")
            part = scratch / f"{name}-{python}"
            _fetch(part, f"{own}[llama]" if "[" in root else str(own), root, name, python, built)
            counts[name, python] = len([*part.iterdir()])
            for wheel in part.iterdir():
                os.replace(wheel, made / "wheels" / wheel.name)
    _write_scripts(made, pythons)
    (made / "README.txt").write_text(_readme(made, counts, model), encoding="utf-8")
    _write_sums(made)
    return made


# -- wheels ----------------------------------------------------------------------------------------


def own_wheel(folder: Path) -> Path:
    """Build the wheel of itslab from its checkout, or put it together from the installed files.

    Raises:
        ItslabError: it cannot be built, or installed files were changed.
    """
    from itslab.share import root

    if (root() / "pyproject.toml").is_file():
        _build(folder, root())
        [wheel] = folder.glob("itslab-*.whl")
        return wheel
    return _repacked(folder)


def _repacked(folder: Path) -> Path:
    """Make a wheel of an installed package that is pure Python: what RECORD lists, verified."""
    installed = metadata.distribution("itslab")
    tag = next(
        line.removeprefix("Tag: ")
        for line in (installed.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag: ")
    )
    stem = f"itslab-{installed.version}"
    by_pip = {f"{stem}.dist-info/{name}" for name in ("INSTALLER", "REQUESTED", "direct_url.json")}
    record = f"{stem}.dist-info/RECORD"
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in installed.files or ():
            name = file.as_posix()
            if name.startswith("..") or name in by_pip or name == record or file.suffix == ".pyc":
                continue
            data = Path(str(file.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            if file.hash is None or file.hash.value != digest:
                raise ItslabError(
                    f"{file.locate()} is not as it was installed: install itslab anew, or make the "
                    "bundle from its checkout"
                )
            archive.writestr(name, data)
            rows.append((name, f"sha256={digest}", len(data)))
        written = io.StringIO()
        csv.writer(written, lineterminator="\n").writerows([*rows, (record, "", "")])
        archive.writestr(record, written.getvalue())
    return wheel


def _source_only() -> list[str]:
    """The requirements of ``SOURCE_ONLY``, in the versions that reasoning-gym asks for."""
    asked = map(Requirement, metadata.requires("reasoning-gym") or ())
    return [f"{one.name}{one.specifier}" for one in asked if one.name in SOURCE_ONLY]


def _llama() -> str:
    asked = map(Requirement, metadata.requires("itslab") or ())
    return next(f"{one.name}{one.specifier}" for one in asked if one.name == _LLAMA)


def _build(folder: Path, *sources: str | Path, cmake: str = "") -> None:
    """Build wheels; with options for CMake anew, since pip keeps built wheels without them."""
    options = ["--no-cache-dir"] if cmake else []
    environment = {"CMAKE_ARGS": cmake} if cmake else {}
    _pip("wheel", "--no-deps", "--wheel-dir", folder, *options, *sources, environment=environment)


def _fetch(folder: Path, own: str, root: str, name: str, python: str, built: Path) -> None:
    """Download what a platform needs: what pip finds, then what it leaves out (see ``packages``).

    Args:
        folder: for the wheels of this platform alone.
        own: the wheel of itslab, with extras.
        root: the same as a requirement.
        name: of the platform.
        python: its version.
        built: the folder of wheels that were built here.

    Raises:
        ItslabError: there is no wheel of something.
    """
    one = PLATFORMS[name]
    options = ["--dest", folder, "--only-binary=:all:", "--find-links", built]
    options += ["--implementation", "cp", "--python-version", python]
    options += [f"--platform={tag}" for tag in one.tags]
    try:
        _pip("download", *options, own, "pip")
        environment = _environment(one, python)
        while lacks := lacking(root, wheels(folder).get, environment):
            wanted = [f"{lack.wanted.name}{lack.wanted.specifier}" for lack in lacks]
            others = [lack for lack in lacks if lack.version]
            if others:
                raise ItslabError(f"{others[0].by} asks for {wanted[0]}, not {others[0].version}")
            _pip("download", "--no-deps", *options, *wanted)
    except ItslabError as error:
        raise ItslabError(
            f"no bundle for {name} and Python {python}: {error}. Leave it out, or go online"
        ) from error


def _environment(one: Platform, python: str) -> dict[str, str]:
    """All that markers can ask of a machine with CPython."""
    return {
        **one.markers,
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
    }


def _pip(*arguments: object, environment: Mapping[str, str] | None = None) -> None:
    """Run pip with the user's configuration.

    Raises:
        ItslabError: pip failed; with its complaint.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments), "--no-input", "--progress-bar=off"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(environment or {})},
    )
    if done.returncode:
        raise ItslabError(complaint(done.stdout.decode(errors="replace")))


# -- the rest --------------------------------------------------------------------------------------


def _add_model(model: str, folder: Path, say: Callable[[str], None]) -> None:
    """Copy a verified model to where ``models.home()`` will have it."""
    say(f"the model {model}")
    file = models.resolve(model)
    kept = models.home() / "models"
    inside = file.path.is_relative_to(kept)
    copied = folder / (file.path.relative_to(kept) if inside else file.path.name)
    copied.parent.mkdir(parents=True)
    shutil.copyfile(file.path, copied)
    if hash_file(copied) != file.digest:
        raise ItslabError(f"the copy of {file.path} is not the same: is the disk in order?")


def _write_scripts(folder: Path, pythons: Sequence[str]) -> None:
    """Copy what is started on each system, for these versions of Python."""
    commands = " ".join(f"python{version}" for version in pythons)
    for name, newline in (("install.sh", "\n"), ("install.bat", "\r\n")):
        script = (_START / name).read_text(encoding="utf-8")
        script = script.replace("@COMMANDS@", commands).replace("@PYTHONS@", " ".join(pythons))
        (folder / name).write_text(script, encoding="utf-8", newline=newline)
    (folder / "install.sh").chmod(0o755)


def _readme(folder: Path, counts: Mapping[tuple[str, str], int], model: str | None) -> str:
    complete = "\n".join(
        f"  {name}, Python {python}: {count} wheels; {PLATFORMS[name].needs}"
        for (name, python), count in counts.items()
    )
    untried = ", ".join(_unique(name for name, _ in counts if name != here()))
    about = f"{_drawing(folder, model)}\n"
    if untried:
        about += f"It was made on {here()}; nobody tried to install it on\n{untried}.\n"
    return f"""\
itslab, to be installed without a network

  Linux, macOS:  sh install.sh           then  .venv/bin/itslab workshop
  Windows:       open install.bat        then  .venv\\Scripts\\itslab workshop

Copy this folder to the machine first (it is {megabytes(_size(folder))}): what is installed goes
beside these files, into the folder .venv, and takes 1.2 GB there. To be rid of it, remove the
folder.

Complete for
{complete}

Python itself has to be there. In place of the package pycosat, which is published as source only,
there is a slower one in pure Python; only zebra puzzles of reasoning-gym use it.
{about}
SHA256SUMS tells whether a copy is whole: sha256sum -c SHA256SUMS; install.sh looks by itself.
"""


def _drawing(folder: Path, model: str | None) -> str:
    """Say whether something can be drawn with what is in a bundle."""
    if model is None:
        return "There is no model in it: the notebooks show what was recorded."
    goes = f"The model {model} goes to the user's cache folder, or where ITSLAB_HOME says."
    online = "`.venv/bin/python -m pip install 'itslab[llama]'` brings it, online"
    if any((folder / "wheels").glob("llama_cpp_python-*")):
        drawn = f"llama.cpp, which draws, is for {here()} alone, and processors of 2013 or later"
        return f"{goes}\nIn here, {drawn};\nelsewhere {online}."
    return f"{goes}\nllama.cpp, which draws, is not in here: {online}."


def _write_sums(folder: Path) -> None:
    lines = [
        f"{hash_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in _files(folder)
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8", newline="\n")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _this_python() -> str:
    return "{}.{}".format(*sys.version_info)
