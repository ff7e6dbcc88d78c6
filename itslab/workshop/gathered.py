"""The journals of a class, gathered from a folder: who there is, and what came of each question.

Journals are handed in over the network, or brought by hand in any folders and under any names. They
are others' files: what does not read as a journal is left out, and said to be.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from itslab import notebooks
from itslab.core import ItslabError
from itslab.printable import printable
from itslab.workshop.journal import Entry, Kind, number, parsed, sign
from itslab.workshop.session import SESSIONS

MOST_BYTES = 2_000_000
"""Of a journal; a participant writes a hundredth of that in a day."""
MOST_ENTRIES = 2_000
"""Of a journal that are read."""
QUESTIONS = 40
"""Of a session, of one kind."""
LETTERS = 40
"""Of a participant's name that are shown."""


@dataclass(frozen=True)
class Participant:
    """Someone, and what she wrote.

    Args:
        name: as it is shown; those with the same name are numbered.
        entries: in the order of time, each once.
    """

    name: str
    entries: tuple[Entry, ...]

    def about(self, session: int, kind: Kind, name: str) -> list[Entry]:
        """The entries about something, the first one first."""
        return self._by.get((session, kind, name), [])

    @cached_property
    def _by(self) -> dict[tuple[int, Kind, str], list[Entry]]:
        found: dict[tuple[int, Kind, str], list[Entry]] = defaultdict(list)
        for one in self.entries:
            found[one.session, one.kind, one.name].append(one)
        return dict(found)


@dataclass(frozen=True)
class Gathered:
    """The journals of a class.

    Args:
        participants: in the order of their names.
        left_out: what could not be read, in words, a text each.
    """

    participants: tuple[Participant, ...]
    left_out: tuple[str, ...] = field(default=())

    @property
    def sessions(self) -> list[int]:
        """Those of which something was written down."""
        return sorted({entry.session for one in self.participants for entry in one.entries})

    def names(self, session: int, kind: Kind) -> tuple[list[str], int]:
        """What a session's entries of a kind are about, in the order in which they were made.

        Args:
            session: its number.
            kind: of entries.

        Returns:
            The ``QUESTIONS`` about which most wrote, and how many others there are.
        """
        found: dict[str, list[int]] = defaultdict(list)
        for one in self.participants:
            about = (e.name for e in one.entries if e.session == session and e.kind == kind)
            for place, name in enumerate(dict.fromkeys(about)):
                found[name].append(place)
        most = sorted(found, key=lambda name: -len(found[name]))[:QUESTIONS]
        usual = {name: sorted(found[name])[len(found[name]) // 2] for name in most}
        return sorted(most, key=lambda name: (usual[name], name)), len(found) - len(most)


def gather(folder: str | Path, names: bool = True) -> Gathered:
    """Read all journals (``*.txt``) in a folder and in those within it.

    What one participant wrote may stand in several files, handed in earlier and later, and one file
    may hold what several wrote, as a copied folder does.

    Args:
        folder: of the journals.
        names: whether participants are called by their names, or by a sign that only who has the
            journal can make out (``sign``).

    Raises:
        ItslabError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ItslabError(f"there is no folder {root}: journals are collected from a folder")
    left_out: list[str] = []
    written: dict[str, dict[str, Entry]] = defaultdict(dict)
    for path in sorted(root.rglob("*.txt")):
        shown = printable(path.relative_to(root).as_posix())
        entries, damaged, why = _entries(path)
        if why:
            left_out += [] if path.match(notebooks.QUESTIONS) else [f"{shown}: {why}"]
            continue
        if damaged:
            left_out.append(f"{shown}: {damaged:,} line{'s' * (damaged > 1)}, damaged or too many")
        for one in entries:
            written[one.of or f"file {shown}"][repr(one)] = one
    return Gathered(tuple(_named(written, names)), tuple(left_out))


def _entries(path: Path) -> tuple[list[Entry], int, str]:
    """The entries of a file; how many lines are none; why it is left out as a whole."""
    try:
        if not path.is_file():  # a folder, a link to nothing, or what never ends
            return [], 0, "no file"
        if path.stat().st_size > MOST_BYTES:
            return [], 0, f"larger than {MOST_BYTES:,} bytes"
        lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        return [], 0, f"cannot be read ({error.strerror})"
    entries, damaged = sound(lines)
    return entries, damaged, "" if entries or not lines else "no journal"


def sound(lines: Sequence[bytes]) -> tuple[list[Entry], int]:
    """Return the entries that lines of a journal hold, and how many lines hold none."""
    read = [parsed(line) for line in lines[:MOST_ENTRIES]]
    entries = [entry for entry in read if entry and entry.session in SESSIONS]
    return entries, len(lines) - len(entries)


def _named(written: dict[str, dict[str, Entry]], names: bool) -> Iterator[Participant]:
    called: list[tuple[str, list[Entry]]] = []
    for of, each in written.items():
        entries = sorted(each.values(), key=lambda one: one.time)
        by = next((one.by for one in reversed(entries) if one.by.strip()), "") if names else ""
        name = " ".join(printable(by).split())[:LETTERS]
        called.append((name or f"participant {sign(of)}", entries))
    called.sort(key=lambda one: (one[0].casefold(), one[1][0].time))
    taken: set[str] = set()
    for name, entries in called:
        ways = (f"{name} ({number})" if number > 1 else name for number in count(1))
        shown = next(way for way in ways if way not in taken)
        taken.add(shown)
        yield Participant(shown, tuple(entries))


# -- what came of a question -----------------------------------------------------------------------


@dataclass(frozen=True)
class Answers:
    """What a class wrote down about a question.

    Args:
        asked: the question, as most were asked it.
        between: the least and the greatest number, or the words; empty if no entry tells.
        given: participant -> what was written first, before anything was seen; of choices and
            texts what was written last.
        came: participant -> what came.
        others: answers that are none of the possible ones, and are left out.
    """

    asked: str
    between: tuple[Any, ...]
    given: dict[str, Any]
    came: dict[str, Any]
    others: int

    @property
    def numbers(self) -> bool:
        """Whether numbers are asked for."""
        one = [*(self.between or self.given.values())]
        return bool(one) and all(map(number, one))


def answers(class_: Gathered, session: int, kind: Kind, name: str) -> Answers:
    """Return what a class wrote down about a question.

    Args:
        class_: the journals.
        session: its number.
        kind: ``expected``, ``chosen`` or ``written``.
        name: of the question.
    """
    given: dict[str, Any] = {}
    came: dict[str, Any] = {}
    told: Counter[tuple[str, tuple[Any, ...]]] = Counter()
    for one in class_.participants:
        entries = one.about(session, kind, name)
        if entries:
            last = entries[-1]
            given[one.name] = (entries[0] if kind == "expected" else last).value
            told[last.asked, tuple(last.between or ())] += 1
        if kind == "expected" and (seen := one.about(session, "came", name)):
            came[one.name] = seen[-1].value
    [((asked, between), _)] = told.most_common(1) or [(("", ()), 0)]
    if kind == "written":
        return Answers(asked or name, (), {who: str(text) for who, text in given.items()}, {}, 0)
    asked_for = _possible(between, [*given.values()])
    kept = {who: value for who, value in given.items() if asked_for(value)}
    seen_too = {who: value for who, value in came.items() if asked_for(value)}
    return Answers(asked or name, between, kept, seen_too, len(given) - len(kept))


def _possible(between: tuple[Any, ...], given: list[Any]) -> Any:
    """Whether a value is one of those of which one was to be written down."""
    if between and all(map(number, between)):
        return lambda value: number(value) and min(between) <= value <= max(between)
    if between:
        return lambda value: value in between
    numbers = 2 * sum(map(number, given)) > len(given)
    return lambda value: number(value) if numbers else isinstance(value, str)


@dataclass(frozen=True)
class Tries:
    """How a class fared with an exercise.

    Args:
        name: of the exercise.
        right: participant -> tries until it was right.
        wrong: participant -> tries of those who are not there yet.
        hints: what they were told -> the participants who were told it; the most frequent first.
    """

    name: str
    right: dict[str, int]
    wrong: dict[str, int]
    hints: dict[str, set[str]]


def tries(class_: Gathered, session: int, name: str) -> Tries:
    """Return how a class fared with an exercise.

    Args:
        class_: the journals.
        session: its number.
        name: of the exercise.
    """
    right: dict[str, int] = {}
    wrong: dict[str, int] = {}
    hints: dict[str, set[str]] = defaultdict(set)
    for one in class_.participants:
        entries = one.about(session, "tried", name)
        first = next((i for i, entry in enumerate(entries) if entry.right), None)
        for entry in entries[:first]:
            hints[str(entry.value)].add(one.name)
        if first is not None:
            right[one.name] = first + 1
        elif entries:
            wrong[one.name] = len(entries)
    usual = sorted(hints.items(), key=lambda told: (-len(told[1]), told[0]))
    return Tries(name, right, wrong, dict(usual))
