"""What a participant expects, answers and chooses, kept beside the notebooks.

JSON lines, one for each entry, appended at once: a kernel that dies loses nothing, and several
notebooks may write to one journal. What was written first about something is kept beside what was
written later, so a class sees how its mind changed.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
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
        of: names the journal: two participants may have one name.
        asked: the question, as it was asked; empty of tries.
        between: the least and the greatest number, or the words, of which one was to be chosen.
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


class Journal:
    """The journal in a folder.

    Args:
        folder: of the notebooks.
        by: the participant's name.
    """

    def __init__(self, folder: Path, by: str = "") -> None:
        self.path = folder / NAME
        self.by = by
        self._lock = threading.Lock()
        self._waiting: list[str] = []  # lines that could not be written yet
        self.entries = list(read(self.path)) if self.path.is_file() else []
        self.of = self.entries[0].of if self.entries else uuid.uuid4().hex[:12]

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
        told = (value, right, time.time(), self.by, self.of, asked, between)
        entry = Entry(session, kind, name, *told)
        line = json.dumps(asdict(entry), ensure_ascii=True, default=str)
        entry = parsed(line) or entry  # as it will be read again
        with self._lock:
            self.entries.append(entry)
            self._waiting.append(line)
            try:
                _append(self.path, self._waiting)
                self._waiting = []
            except OSError as error:
                warnings.warn(
                    f"{self.path} cannot be written ({error.strerror}): until it can, what you "
                    "write down is lost with this notebook's kernel",
                    stacklevel=3,
                )
        return entry

    def last(self, session: int, kind: Kind, name: str) -> Entry | None:
        """The latest entry about something; None if there is none."""
        about = (
            entry
            for entry in reversed(self.entries)
            if (entry.session, entry.kind, entry.name) == (session, kind, name)
        )
        return next(about, None)


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
    """Whether a value is a text or a number of a length that is kept."""
    return isinstance(value, str | int | float) and len(str(value)) <= MOST


def _choices(between: Any) -> bool:
    return isinstance(between, list | tuple) and len(between) <= WORDS and all(map(_plain, between))


def written(entries: Sequence[Entry]) -> bytes:
    """Entries as the lines of a journal."""
    return b"".join(json.dumps(asdict(entry)).encode() + b"\n" for entry in entries)
