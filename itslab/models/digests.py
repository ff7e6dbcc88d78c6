"""SHA-256 digests of files, remembered as long as size and time of change stay the same."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from itslab.core import ModelError
from itslab.models.catalogue import home


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
