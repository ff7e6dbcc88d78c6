"""How model-written code is kept in: the operating system's own mechanism, whichever is there.

| mechanism | where | what it does |
|---|---|---|
| bubblewrap | Linux, the program ``bwrap`` | name spaces of its own, one process (seccomp) |
| sandlock | Linux ≥ 6.12, the package | Landlock and seccomp |
| sandbox-exec | macOS | a profile of the system's own sandbox |

Each gives no network, no other process, nothing to write but an empty folder that goes with it, and
of the file system only what Python needs. Memory, time and file size are limited by ``inside.py``.
"""

from __future__ import annotations

import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from itslab.core import ItslabError

MECHANISMS = ("bubblewrap", "sandlock", "sandbox-exec")
FOLDER_BYTES = 16 * 2**20  # that the program's folder may hold

_NO_SANDBOX = (
    "no sandbox for model-written code is here: install bubblewrap (apt install bubblewrap), or on "
    "Linux 6.12 or later the package sandlock (pip install sandlock)"
)


@cache
def mechanism() -> str:
    """Return the mechanism that is in force on this machine, tried once.

    Raises:
        ItslabError: there is none that works; the text has the install lines.
    """
    for name in MECHANISMS:
        if _works(name):
            return name
    raise ItslabError(_NO_SANDBOX)


def _works(name: str) -> bool:
    program = {"bubblewrap": "bwrap", "sandlock": sys.executable}.get(name, name)
    if shutil.which(program) is None or (name == "bubblewrap" and _ARCH not in _SYSCALLS):
        return False
    try:
        with confined(["-c", "print(6 * 7)"], name) as process:
            return process.communicate(timeout=20)[0] == b"42\n"
    except (OSError, subprocess.SubprocessError, ImportError):
        return False


@contextmanager
def confined(arguments: list[str], name: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Start Python inside; at the end of the block everything of it is killed and gone.

    Args:
        arguments: of the interpreter, which is isolated and without site packages (``-I -S``).
        name: of the mechanism; by default the one in force.
    """
    name = name or mechanism()
    with tempfile.TemporaryDirectory(prefix="itslab-") as folder:
        command, passed = _COMMANDS[name](Path(folder), ["-I", "-S", *arguments])
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
                pass_fds=passed,
                start_new_session=True,
            )
        finally:
            for descriptor in passed:
                os.close(descriptor)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


# -- bubblewrap ------------------------------------------------------------------------------------


def _bubblewrap(folder: Path, arguments: list[str]) -> tuple[list[str], tuple[int, ...]]:
    seccomp = _one_process()
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for path in _needed():
        command += ["--ro-bind", path, path]
    for link in ("/bin", "/lib", "/lib64"):
        if os.path.islink(link):
            command += ["--symlink", os.readlink(link), link]
    command += ["--proc", "/proc", "--dev", "/dev"]
    command += ["--size", str(FOLDER_BYTES), "--tmpfs", "/tmp", "--remount-ro", "/"]
    command += ["--chdir", "/tmp", "--seccomp", str(seccomp), "--", _python(), *arguments]
    return command, (seccomp,)


def _python() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(sys.executable)


def _needed() -> list[str]:
    """Folders that Python reads: its own, and the system's libraries."""
    wanted = [sys.base_prefix, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"]
    found = [path for path in wanted if os.path.exists(path) and not os.path.islink(path)]
    return list(dict.fromkeys([*found, os.path.dirname(_python())]))


_SYSCALLS = {  # clone, clone3, and older ways to make a process (asm/unistd.h)
    "x86_64": (0xC000003E, 56, 435, (57, 58)),
    "aarch64": (0xC00000B7, 220, 435, ()),
}
_ARCH = platform.machine()
_THREAD = 0x00010000  # CLONE_THREAD (linux/sched.h)


def _one_process() -> int:
    """A file that holds a seccomp filter: threads may be made, processes may not.

    Classic BPF as in linux/filter.h. The C library falls back from clone3 (whose flags a filter
    cannot read) to clone where it is told that there is no clone3.
    """
    arch, clone, clone3, forks = _SYSCALLS[_ARCH]
    load, equal, has_bit, give = 0x20, 0x15, 0x45, 0x06
    kill, refuse, absent, allow = 0x80000000, 0x00050001, 0x00050026, 0x7FFF0000
    code = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, arch),
        (give, 0, 0, kill),
        (load, 0, 0, 0),  # the number of the call
        (equal, 0, 1, clone3),
        (give, 0, 0, absent),
    ]
    for fork in forks:
        code += [(equal, 0, 1, fork), (give, 0, 0, refuse)]
    code += [
        (equal, 1, 0, clone),
        (give, 0, 0, allow),
        (load, 0, 0, 16),  # the flags of clone
        (has_bit, 1, 0, _THREAD),
        (give, 0, 0, refuse),
        (give, 0, 0, allow),
    ]
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(struct.pack("HBBI", *step) for step in code))
        file.flush()
        descriptor = os.dup(file.fileno())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# -- the others ------------------------------------------------------------------------------------

_SANDLOCK = """
import sys
from sandlock import Sandbox
folder, read, *command = sys.argv[1:]
box = Sandbox(fs_readable=read.split(":"), fs_writable=[folder], workdir=folder, max_processes=1)
sys.exit(box.run_interactive(command))
"""


def _sandlock(folder: Path, arguments: list[str]) -> tuple[list[str], tuple[int, ...]]:
    import sandlock  # type: ignore[import-not-found]  # noqa: F401

    command = [sys.executable, "-c", _SANDLOCK, str(folder), ":".join(_needed())]
    return [*command, _python(), *arguments], ()


_PROFILE = """
(version 1) (deny default) (import "system.sb")
(allow process-exec (literal "{python}")) (deny process-fork)
(allow file-read* (subpath "{prefix}") (subpath "/usr/lib") (subpath "/System"))
(allow file-read* file-write* (subpath "{folder}"))
"""


def _sandbox_exec(folder: Path, arguments: list[str]) -> tuple[list[str], tuple[int, ...]]:
    python = _python()
    profile = _PROFILE.format(python=python, prefix=sys.base_prefix, folder=folder.resolve())
    return ["sandbox-exec", "-p", profile, python, *arguments], ()


_COMMANDS = {"bubblewrap": _bubblewrap, "sandlock": _sandlock, "sandbox-exec": _sandbox_exec}
