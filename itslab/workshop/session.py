"""A session as its notebook holds it: exercises, expectations, and the journal of both."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FunctionType
from typing import Any

from itslab.background import begin
from itslab.core import require
from itslab.printable import printable
from itslab.share import LETTERS, key
from itslab.viz import pieces, style
from itslab.viz.style import BLUE, GREEN, ORANGE
from itslab.workshop.exercise import Checked, Exercise
from itslab.workshop.expectation import Came, Expectation
from itslab.workshop.journal import Journal, read, sign, written

SESSIONS = (1, 2, 3)
SECONDS = 20
"""That a class's server has to take a journal."""
MOST_TOLD = 10_000
"""Bytes of its answer that are read."""


class Session:
    """One of the three sessions of the workshop.

        session = Session(1, name="ann")
        session.expect("greedy", "How many of 40 will one chain solve?", (0, 40))
        session.came("greedy", 9)
        session.check("vote", my_function)

    What is written down goes to ``journal.txt`` beside the notebook.

    Args:
        number: of the session, from 1.
        name: the participant's, for the class's page; may be empty.
        folder: of the journal; by default that in which the notebook runs.

    Raises:
        OptionError: there is no such session, or the name is no text.
        ItslabError: there is a journal, and it cannot be read.
    """

    def __init__(self, number: int, name: str = "", folder: Path | None = None) -> None:
        there = type(number) is int and number in SESSIONS
        require(there, "number", number, f"one of {SESSIONS}")
        fits = isinstance(name, str) and len(name) <= LETTERS
        require(fits, "name", name, f"a text of at most {LETTERS} letters, or empty")
        self.number = number
        self.journal = Journal(folder or Path.cwd(), name)
        module = importlib.import_module(f"itslab.workshop.exercises.session_{number}")
        self.exercises: dict[str, Exercise] = {one.name: one for one in module.EXERCISES}
        self._asked: dict[str, Expectation] = {}

    def __repr__(self) -> str:
        return f"Session({self.number}, exercises {', '.join(self.exercises)})"

    # -- expectations

    def expect(
        self, name: str, question: str, between: tuple[float, float] | Sequence[str]
    ) -> Expectation:
        """Ask what is expected, before it is seen.

        Args:
            name: by which ``came`` knows it.
            question: a sentence.
            between: the least and the greatest number, or the words of which one is chosen.
        """
        return self._ask(name, question, between, "expected")

    def came(self, name: str, value: Any) -> Came:
        """Show what came of something beside what was expected of it.

        Args:
            name: as of ``expect``.
            value: a number, or one of the words.
        """
        asked = self._asked.get(name)
        require(asked is not None, "name", name, f"one of {', '.join(self._asked) or 'none yet'}")
        assert asked is not None
        value = value.item() if hasattr(value, "item") else value  # of numpy
        if asked.written is not None:
            self.journal.write(self.number, "came", name, value)
        return Came(asked.question, asked.written, value, asked.between)

    # -- what has no right answer

    def choose(self, name: str, question: str, words: Sequence[str]) -> Expectation:
        """Ask for a choice that has no right answer; the class's page shows all of them."""
        return self._ask(name, question, words, "chosen")

    def write(self, name: str, question: str) -> Expectation:
        """Ask for a few sentences."""
        return self._ask(name, question, None, "written")

    def _ask(self, name: str, question: str, between: Any, kind: Any) -> Expectation:
        asked = Expectation(self.journal, self.number, name, question, between, kind)
        self._asked[name] = asked
        return asked

    # -- exercises

    def check(self, name: str, attempt: Any, *given: Any) -> Checked:
        """Check an attempt at an exercise; ``...`` is not written yet.

        Args:
            name: of the exercise.
            attempt: a function, or a value.
            given: what a value follows from; see the exercise's notebook.

        Raises:
            OptionError: the session has no such exercise.
        """
        require(name in self.exercises, "name", name, f"one of {', '.join(self.exercises)}")
        checked = self.exercises[name].check(attempt, *given)
        if _stale(attempt):
            said = f"the cell above did not run; of what you wrote before: {checked.said}"
            checked = replace(checked, right=None, said=said)
        if checked.right is not None:
            self.journal.write(self.number, "tried", name, checked.said, checked.right)
        return checked

    # -- the class

    def hand_in(self, address: str = "") -> HandedIn:
        """Send the journal to the class's server; where that is not there, say where it lies.

        It may be handed in again, whenever there is more of it.

        Args:
            address: of the server, as the notebook's mode has it: ``http://…/v1``. Any other mode
                has no server: then the journal is brought by hand.
        """
        path = self.journal.path
        entries = list(read(path)) if path.is_file() else []
        there = {repr(one) for one in entries}  # of another notebook, too
        entries += [one for one in self.journal.entries if repr(one) not in there]
        if not entries:
            return HandedIn(None, "nothing is written down yet")
        by_hand = f"bring {path.resolve()} by hand" if path.is_file() else "nothing was kept"
        if not address.startswith(("http://", "https://")):
            return HandedIn(None, f"no server is known here: {by_hand}")
        try:
            answer = _posted(address, written(entries), key(self.journal.by))
        except OSError as error:
            return HandedIn(False, f"{address} does not answer ({error}): {by_hand}")
        kept = answer.get("entries")
        if type(kept) is not int:
            why = answer.get("error") or "it is no class's server"
            return HandedIn(False, f"{address} did not take it: {why}: {by_hand}")
        others = sum(one.of != self.journal.of for one in entries)
        said = f"{len(entries) - others} entries"
        said += f", {others} of others in this folder" if others else ""
        said += f", {len(entries) - kept} left out" if kept < len(entries) else ""
        shown = f"participant {sign(self.journal.of)}"
        return HandedIn(True, f"{said}; on the class's page you are {shown}")


def _stale(attempt: Any) -> bool:
    """Whether a notebook's last cell that defines a function is not the one that defined this."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    name = getattr(attempt, "__name__", "")
    if shell is None or not isinstance(attempt, FunctionType) or not name.isidentifier():
        return False
    try:
        source = inspect.getsource(attempt).strip()
    except (OSError, TypeError):  # of a function that was made elsewhere
        return False
    for cell in reversed(shell.user_ns.get("In", ())):
        try:
            body = ast.parse(cell).body
        except SyntaxError:  # so it did not run
            if re.search(rf"^def\s+{name}\s*\(", cell, re.MULTILINE):
                return True
            continue
        if source in cell.replace("\r\n", "\n"):
            return False
        if any(isinstance(one, ast.FunctionDef) and one.name == name for one in body):
            return True  # it raised an error before that
    return False


@dataclass(frozen=True)
class HandedIn:
    """What became of a journal that was handed in.

    Args:
        there: whether the server has it; None where none was asked.
        said: the same in words.
    """

    there: bool | None
    said: str

    def __repr__(self) -> str:
        return f"handed in: {self.said}" if self.there else f"not handed in: {self.said}"

    def _repr_html_(self) -> str:
        colour = {True: GREEN, False: ORANGE, None: BLUE}[self.there]
        return pieces.view(style.box(escape(repr(self)), colour))


def _posted(address: str, journal: bytes, name: str) -> dict[str, Any]:
    """Send a journal to a class's server, and return what it says, ``error`` if it refuses it.

    Raises:
        OSError: it cannot be reached.
    """
    import httpx

    url = f"{address.rstrip('/').removesuffix('/v1')}/class/journal"
    headers = {"Authorization": f"Bearer {name}"}
    answers: SimpleQueue[tuple[int, bytes] | Exception] = SimpleQueue()

    def post() -> None:
        held = bytearray()
        try:
            with client.stream("POST", url, content=journal, headers=headers) as answer:
                for piece in answer.iter_bytes():  # of which there may be no end
                    held += piece
                    if len(held) > MOST_TOLD:
                        break
            answers.put((answer.status_code, bytes(held)))
        except Exception as error:
            answers.put(error)

    with httpx.Client(timeout=SECONDS) as client:
        begin(post)  # what has so many seconds to read a byte may take for ever
        try:
            answer = answers.get(timeout=SECONDS)
        except Empty:
            raise OSError(f"its answer was not whole after {SECONDS} s") from None
    if isinstance(answer, Exception):  # httpx has its own, and those of what is no address
        raise OSError(printable(str(answer)) or type(answer).__name__) from answer
    status, held = answer
    try:
        told = json.loads(held[:MOST_TOLD])
    except (ValueError, RecursionError):
        return {}
    if not isinstance(told, dict):
        return {}
    if isinstance(told.get("error"), dict):
        return {"error": printable(str(told["error"].get("message", "")))[:300]}
    return told if status == httpx.codes.OK else {}
