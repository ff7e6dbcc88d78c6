"""What a participant expects, answers and chooses, kept beside the notebooks.

JSON lines, one for each entry, appended at once: a kernel that dies loses nothing, and several
notebooks may write to one journal. What was written first about something is kept beside what was
written later, so a class sees how its mind changed.

A folder is copied, with what an organiser wrote in it, and handed on: each entry says whose it is.
Who goes on under the same name, where she began, stays who she was; who comes with another name, or
in a copy, is somebody else, whose entries stand in the same file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from itslab.core import ItslabError

NAME = "journal.txt"
"""Of the file, beside the notebooks. It holds JSON lines, but is not called ``.jsonl``: JupyterLite
takes such a file for one JSON document, and cannot write it."""
Kind = Literal["expected", "came", "tried", "chosen", "written"]
"""What was expected, and what came; a try at an exercise; a choice; a text."""
MOST = 20_000
"""Characters of an entry that are kept."""
WORDS = 50
"""Of which one may be chosen, at most."""
LARGE = 1e15
"""Numbers are smaller than that: they are to be drawn."""
_FRESH = uuid.uuid4().hex.encode()
_SETTLED: dict[Path, str] = {}
"""Whose journals this process wrote: who changes her name in a notebook stays who she is."""


@dataclass(frozen=True)
class Entry:
    """Something that was written down.

    Args:
        session: whose notebook it was, from 1.
        kind: of entry.
        name: of what it is about.
        value: that was expected, came, was chosen or written; what the check said of a try.
        right: whether a try was right.
        time: seconds since 1970.
        by: the participant's name; empty if none was given.
        of: names the participant, for two may have one name.
        asked: the question, as it was asked; empty of tries.
        between: the least and the greatest number, or the words, of which one was to be chosen.
        at: stands for the machine's user and the folder.
    """

    session: int
    kind: Kind
    name: str
    value: Any
    right: bool | None = None
    time: float = 0.0
    by: str = ""
    of: str = ""
    asked: str = ""
    between: Any = None
    at: str = ""


class Journal:
    """What one participant writes into the journal of a folder.

    Args:
        folder: of the notebooks.
        by: the participant's name.

    Attributes:
        of: names the participant.
        entries: the participant's own.
        unkept: why what was written last is not on disk; empty if it is.

    Raises:
        ItslabError: there is a journal, and it cannot be read.
    """

    def __init__(self, folder: Path, by: str = "") -> None:
        self.path = folder.resolve() / NAME
        self.by, self.unkept = _joined(by), ""
        where = f"{self.path}".encode(errors="surrogatepass")
        self._at = hashlib.sha256(_token() + where).hexdigest()[:12]
        self._lock = threading.Lock()
        self._waiting: list[str] = []  # lines that could not be written yet
        self.of, self.entries = self._settled()

    def _settled(self) -> tuple[str, list[Entry]]:
        """Who writes, and what she wrote here before: under this name, or where one has none."""
        there: dict[str, list[Entry]] = {}
        for entry in read(self.path) if self.path.is_file() else ():
            old = not entry.at and entry.of  # of a journal that did not say where
            if entry.at == self._at or (old and self.by and _joined(entry.by) == self.by):
                there.setdefault(entry.of, []).append(entry)
        names = {of: {_joined(one.by) for one in entries} for of, entries in there.items()}
        fits = [of for of in there if not self.by or self.by in names[of] or names[of] == {""}]
        fits.sort(key=lambda of: there[of][-1].time)
        of = _SETTLED.get(self.path) or (fits[-1] if fits else uuid.uuid4().hex[:12])
        return of, there.get(of, [])

    def write(
        self,
        session: int,
        kind: Kind,
        name: str,
        value: Any,
        right: bool | None = None,
        asked: str = "",
        between: Any = None,
    ) -> Entry:
        """Append an entry, and return it; where the folder cannot be written, it is kept here.

        It goes there with the next entry, if that can be written.
        """
        value = value if _plain(value) else str(value)[:MOST]
        with self._lock:
            if not self.entries:  # another notebook may have begun meanwhile
                with suppress(ItslabError):
                    self.of, self.entries = self._settled()
            _SETTLED[self.path] = self.of
            told = (value, right, time.time(), self.by, self.of, asked, between, self._at)
            entry = Entry(session, kind, name, *told)
            line = json.dumps(asdict(entry), ensure_ascii=True)
            entry = parsed(line) or entry  # as it will be read again
            self.entries.append(entry)
            self._waiting.append(line)
            self.unkept = ""
            try:
                _append(self.path, self._waiting)
                self._waiting = []
            except OSError as error:
                self.unkept = (
                    f"{self.path} cannot be written ({error.strerror}): until it can, what you "
                    "write down is lost with this notebook's kernel"
                )
                warnings.warn(self.unkept, stacklevel=3)
        return entry

    def last(self, session: int, kind: Kind, name: str) -> Entry | None:
        """The latest entry about something; None if there is none."""
        about = (
            entry
            for entry in reversed(self.entries)
            if (entry.session, entry.kind, entry.name) == (session, kind, name)
        )
        return next(about, None)


def _joined(name: str) -> str:
    """A name without surplus blanks, as a server's seats have it."""
    return " ".join(name.split())


def _token() -> bytes:
    """What tells this user of this machine from others, whose folder and host may have one name.

    Where it cannot be kept, it is this process's.
    """
    if sys.platform == "emscripten":  # the folder is the browser's own, and outlives all else
        return b""
    from platformdirs import user_cache_path

    path = user_cache_path("itslab", appauthor=False) / "token"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or not path.stat().st_size:
            with path.open("ab") as file:  # another may do so now: the first line is for both
                file.write(_FRESH + b"\n")
        with path.open("rb") as file:
            return file.readline(len(_FRESH))
    return _FRESH


def _append(path: Path, lines: Sequence[str]) -> None:
    with path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        broken = end and file.read() != b"\n"  # as where a disk was full, or a kernel was killed
        file.write("".join(["\n" * bool(broken), *(f"{line}\n" for line in lines)]).encode())


def read(path: Path) -> Iterator[Entry]:
    """Read the entries of a journal; lines that are none, as of a disk that was full, are left out.

    Raises:
        ItslabError: the file cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise ItslabError(
            f"the journal {path} cannot be read: {error.strerror}; move it away"
        ) from error
    for line in lines:
        if entry := parsed(line):
            yield entry


def parsed(line: bytes | str) -> Entry | None:
    """Return the entry that a line holds; None if it holds none."""
    try:
        entry = Entry(**json.loads(line))
        return entry if _fits(entry) else None
    except (ValueError, TypeError, OverflowError, RecursionError):  # of what only looks like one
        return None


def _fits(entry: Entry) -> bool:
    texts = (entry.name, entry.by, entry.of, entry.asked)
    return (
        type(entry.session) is int
        and entry.kind in get_args(Kind)
        and all(isinstance(text, str) and len(text) <= MOST for text in texts)
        and isinstance(entry.time, int | float)
        and math.isfinite(entry.time)
        and (entry.right is None or isinstance(entry.right, bool))
        and _plain(entry.value)
        and (entry.between is None or _choices(entry.between))
    )


def _plain(value: Any) -> bool:
    """Whether a value is a text or a number that is kept."""
    return len(value) <= MOST if isinstance(value, str) else number(value)


def number(value: Any) -> bool:
    """Whether a value is a number that can be drawn; a truth value is none."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) < LARGE  # which ``nan`` is not


def _choices(between: Any) -> bool:
    return isinstance(between, list | tuple) and len(between) <= WORDS and all(map(_plain, between))


def sign(of: str) -> str:
    """Return by what a participant is called on a page without names.

    Args:
        of: names the participant; who does not know it cannot make the sign out.
    """
    return hashlib.sha256(of.encode(errors="surrogatepass")).hexdigest()[:4]


def written(entries: Sequence[Entry]) -> bytes:
    """Entries as the lines of a journal."""
    return b"".join(json.dumps(asdict(entry)).encode() + b"\n" for entry in entries)
