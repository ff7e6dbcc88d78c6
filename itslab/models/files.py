"""Get a GGUF file on disk: whole, verified, and once however many ask for it.

A file gets its name when it is whole and its SHA-256 is right, by a rename. All files are kept in
one folder, ``home()``::

    models/<file>.gguf                         the catalogue's
    models/hub/<owner>/<repo>/<file>.gguf      pulled as hf:owner/repo/file.gguf
    models/quantized/<name>-<type>-<digest of the source>.gguf
    models/….gguf.parts/, models/….gguf.lock   of a file in the making
    digests/                                   of what was hashed before
    banks/                                     packed banks, unpacked
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from itslab.core import ModelError
from itslab.models.catalogue import ModelInfo, find, home
from itslab.models.gguf import quantization, read_header
from itslab.models.sources import megabytes, say
from itslab.options import Text, checked

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A whole GGUF model on disk.

    Args:
        name: from the catalogue, the ``hf:`` reference, or the stem of the file.
        path: absolute.
        digest: SHA-256 of the file in hex.
        size: bytes.
        metadata: scalars and strings of its GGUF header, such as ``general.architecture``.
    """

    name: str
    path: Path
    digest: str
    size: int
    metadata: Mapping[str, bool | int | float | str] = field(repr=False)

    @property
    def quantization(self) -> str:
        """What most of its weights are quantized to, such as ``Q4_K_M``; "" if untold."""
        return quantization(self.metadata)

    def __repr__(self) -> str:
        kind = f", {self.quantization}" if self.quantization else ""
        return f"ModelFile({self.name!r}{kind}, {megabytes(self.size)}, {str(self.path)!r})"


@checked
def resolve(ref: Text | Path | ModelInfo, progress: bool = True) -> ModelFile:
    """Return the model file that a reference names, pulled if it is not here, and checked.

    The network is touched only by a pull; a file is hashed only if it changed since the last time.

    Args:
        ref: see ``find``.
        progress: see ``pull``.

    Raises:
        ModelError: unknown, cannot be fetched, not a GGUF model, truncated, or of another digest.
    """
    model = find(ref)
    path = pull(model, progress=progress)
    header = read_header(path)
    return ModelFile(model.name, path, digest(path), path.stat().st_size, header.metadata)


@checked
def pull(
    ref: Text | Path | ModelInfo, *, accept_licence: bool = False, progress: bool = True
) -> Path:
    """Get a model on disk, verified, and return its path. Does nothing if it is there.

    Two processes that pull the same model fetch it once.

    Args:
        ref: see ``find``.
        accept_licence: you have read the terms of a model that asks for it, and accept them.
        progress: name the source that is used and show bytes and speed, on standard error.

    Raises:
        ModelError: unknown, terms not accepted, every source failed, or the disk is full.
    """
    model = find(ref)
    if _ready(model):
        return model.path
    if not model.sources:  # a file of the user's own: absent, damaged, or another
        read_header(model.path)
        raise ModelError(f"{model.path} has SHA-256 {digest(model.path)}, not {model.digest}")
    if model.terms and not accept_licence:
        raise ModelError(
            f"{model.name} comes under the {model.licence}, {model.terms} : read them, then pull "
            f"it once with `itslab pull {model.name} --accept-licence` (accept_licence=True)"
        )
    with making(model.path, progress) as parts:
        if not _ready(model):  # another process may have pulled it meanwhile
            _fetch(model, parts, progress)
    return model.path


def _ready(model: ModelInfo) -> bool:
    return model.path.is_file() and model.digest in (None, digest(model.path))


def _fetch(model: ModelInfo, parts: Path, progress: bool) -> None:
    """Try the sources in order until one yields the right file."""
    failures = []
    if model.path.exists():
        failures.append(f"{model.path}: its SHA-256 is {digest(model.path)}, not {model.digest}")
        say(progress, f"{model.name}: {failures[-1]}")
    start = time.monotonic()
    for source in model.sources:
        try:
            found = source.fetch(model.name, model.size, parts, progress)
            sha256 = _verify(found, model)
            os.replace(found, model.path)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                raise
            failures.append(f"{source}: {_one_line(error)}")
            say(progress, f"{model.name}: not from {failures[-1]}")
        else:
            remember(model.path, sha256)
            size = model.path.stat().st_size
            speed = megabytes(int(size / (time.monotonic() - start)))
            done = f"{megabytes(size)} at {speed}/s, SHA-256 {sha256[:12]}… verified"
            return say(progress, f"{model.name}: {done}")
    raise ModelError(
        "\n  ".join([f"{model.name} could not be fetched:", *failures])
        + f"\nGo online, or put the file at {model.path} yourself"
    )


def _verify(found: Path, model: ModelInfo) -> str:
    """Return the SHA-256 of a fetched file; a wrong one is removed."""
    sha256 = hash_file(found)
    if model.digest not in (None, sha256):
        found.unlink()
        raise ModelError(f"its SHA-256 is {sha256}, not {model.digest}: file removed")
    read_header(found)
    return sha256


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ModelError) else f"{type(error).__name__}: {text}"


@contextmanager
def making(target: Path, progress: bool) -> Iterator[Path]:
    """Hold the lock of a file while it is made, and yield a folder for its parts beside it.

    The folder goes once the file is there. After a failure it keeps the wheels that arrived whole.
    """
    from filelock import FileLock, Timeout

    parts = target.with_name(f"{target.name}.parts")
    lock = FileLock(f"{target}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(progress, f"{target.name}: another process is making it, waiting")
            lock.acquire()
        try:
            _tidy(parts)
            parts.mkdir(exist_ok=True)
            yield parts
            shutil.rmtree(parts)
        finally:
            _tidy(parts)
            lock.release()
    except OSError as error:
        raise ModelError(
            f"{target} cannot be written: {error.strerror or error}. Free some space, or let the "
            "environment variable ITSLAB_HOME name another folder"
        ) from error


def _tidy(parts: Path) -> None:
    """Remove what an interruption left, except for whole wheels."""
    for stale in [path for path in parts.glob("*") if path.suffix != ".whl"]:
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)
    with suppress(OSError):  # there are wheels in it, or it is gone
        parts.rmdir()


# -- digests, remembered as long as size and time of change stay the same --------------------------


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex; hashed again only if its size or time of change differ.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        stamp, note = _stamp(path), _note(path)
        text = note.read_text(errors="replace") if note.exists() else ""
        known, _, sha256 = text.rpartition(" ")
        if known != stamp:
            sha256 = hash_file(path)
            remember(path, sha256, stamp)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    return sha256


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _note(path: Path) -> Path:
    key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return home() / "digests" / key[:32]


def remember(path: Path, sha256: str, stamp: str | None = None) -> None:
    """Note the digest of a file as it is now, or was at ``stamp``."""
    note = _note(path)
    with suppress(OSError):  # a folder that cannot be written costs another hashing, no more
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_name(f"{note.name}.{os.getpid()}")
        draft.write_text(f"{stamp or _stamp(path)} {sha256}")
        os.replace(draft, note)
