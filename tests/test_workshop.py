"""The workshop: exercises whose checks name the mistake, expectations, and the journal of both."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from fractions import Fraction
from importlib import import_module
from itertools import chain, repeat
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook
from typer.testing import CliRunner

from itslab import notebooks, share, strategies, teach
from itslab.cli import app
from itslab.core import ItslabError, OptionError
from itslab.workshop import Session
from itslab.workshop import session as sessions
from itslab.workshop.exercise import Exercise, Mistake, same
from itslab.workshop.journal import NAME, Journal, parsed, read

ATTEMPTS = [import_module(f"workshop_attempts_{number}") for number in (1, 2, 3)]
RIGHT, WRONG, GIVEN = (
    {key: value for each in ATTEMPTS for key, value in getattr(each, name).items()}
    for name in ("RIGHT", "WRONG", "GIVEN")
)
ALL = [(n, name) for n in (1, 2, 3) for name in Session(n, folder=Path("/nowhere")).exercises]


def exercise(key: tuple[int, str]) -> Exercise:
    number, name = key
    return Session(number, folder=Path("/nowhere")).exercises[name]


# -- exercises


@pytest.mark.parametrize("key", ALL, ids=str)
def test_three_right_answers_that_differ_are_accepted(key):
    assert len(RIGHT[key]) >= 3
    for attempt in RIGHT[key]:
        checked = exercise(key).check(attempt, *GIVEN.get(key, ()))
        assert checked.right, checked.said


@pytest.mark.parametrize("key", ALL, ids=str)
def test_five_plausible_wrong_ones_are_rejected_and_the_mistake_is_named(key):
    assert len(WRONG[key]) >= 5
    for attempt, word in WRONG[key]:
        checked = exercise(key).check(attempt, *GIVEN.get(key, ()))
        assert checked.right is False
        assert word in checked.said


@pytest.mark.parametrize("key", ALL, ids=str)
def test_inputs_tell_the_known_mistakes_from_the_solution_and_from_each_other(key):
    asked, given = exercise(key), GIVEN.get(key, ())
    assert len(asked.mistakes) >= 5
    for mistake in asked.mistakes:
        attempt = mistake.does if asked.inputs else mistake.does(*given)
        checked = asked.check(attempt, *given)
        if asked.inputs:
            assert checked.said.startswith(mistake.hint)


@pytest.mark.parametrize("key", ALL, ids=str)
def test_the_solution_that_is_shown_is_accepted_as_it_stands(key):
    asked = exercise(key)
    if not asked.inputs:
        return
    space = {"comb": __import__("math").comb, "np": np}
    exec(asked.solution, space)
    assert asked.check(space[asked.right.__name__]).right
    assert "type: ignore" not in asked.solution


DOUBLE = Exercise(
    "double",
    right=lambda n: 2 * n,
    inputs=((1,), (3,)),
    mistakes=(Mistake(lambda n: n**2, "that is its square"),),
    said="Twice.",
    hints=("Add it to itself.", "n + n"),
)


class Odd(Exception):
    """Of which nothing can be known."""

    def fails(self, *_):
        raise ValueError

    __repr__ = __str__ = __eq__ = __bool__ = __iter__ = __array__ = __float__ = fails
    __hash__ = None


class Leaves:
    def __repr__(self):
        sys.exit()

    __eq__ = __repr__
    __hash__ = None


def raises(error):
    raise error


def test_what_was_not_written_is_neither_right_nor_wrong():
    for attempt in (..., lambda n: ...):
        checked = DOUBLE.check(attempt)
        assert (checked.right, repr(checked)) == (None, "double: not written yet")


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (lambda n: n * n, "that is its square"),
        (lambda n: n + 3, "for 1 it should give 2, and gives 4"),
        (lambda n: print(end=""), "return"),
        (lambda: 2, "TypeError"),
        (lambda n: 1 / 0, "ZeroDivisionError"),
        (lambda n: "2", "gives '2'"),
        (lambda n: True, "gives True"),
        (lambda n: float("nan"), "gives nan"),
        (lambda n: np.array([2, 2]), "gives [2, 2]"),
        (7, "a function is asked for"),
        (None, "a function is asked for"),
        (int, "for 1 it should give 2"),
        (lambda n: "2", "a number has no quotes"),
        (lambda n: sys.exit("enough"), "it raised SystemExit: enough"),
        (lambda n: (lambda again: again(again))(lambda again: again(again)), "RecursionError"),
        (lambda n: raises(Odd()), "for 1 it raised Odd"),
        (lambda n: raises(GeneratorExit()), "for 1 it raised GeneratorExit"),
        (lambda n: raises(CancelledError()), "for 1 it raised CancelledError"),
        (lambda n: Leaves(), "gives something of Leaves"),
        (lambda n: [n].sort()[0], "write x = sorted(x)"),
        (lambda n: 200 * n, "a hundred times too much"),
        (lambda n: (n, 2 * n), "what is asked for is in (1, 2)"),
        (lambda n: ValueError(n), "gives ValueError(1)"),
        (lambda n: Odd(), "gives something of Odd"),
        (lambda n: 10**5000, "gives something of int"),
        (lambda n: raises(KeyboardInterrupt()), "interrupted: does every loop in it end?"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(attempt, said):
    checked = DOUBLE.check(attempt)
    assert checked.right is False
    assert said in checked.said
    assert "\n" not in checked.said


def test_what_gives_one_after_the_other_is_told_to_make_a_list():
    asked = Exercise("both", right=lambda n: [n, n + 1], inputs=((1,), (3,)))
    for attempt in (lambda n: iter([n, n + 1]), lambda n: (n + i for i in (0, 1))):
        assert "make a list" in asked.check(attempt).said
    assert asked.check(lambda n: np.array([n, n + 1])).right


def test_a_loop_that_does_not_end_is_interrupted_once():
    calls = []

    def endless(n):
        calls.append(n)
        raise KeyboardInterrupt

    assert "for 1 it was interrupted" in DOUBLE.check(endless).said
    assert calls == [1]


def test_an_attempt_cannot_change_what_the_next_one_is_tried_on():
    asked = Exercise("sum", right=sum, inputs=(([1, 2],),))

    def spoils(numbers):
        total = sum(numbers)
        numbers.clear()
        return total

    assert asked.check(spoils).right
    assert asked.check(sum).right


def test_a_value_is_checked_by_what_it_follows_from():
    asked = Exercise("count", right=len, mistakes=(Mistake(lambda x: len(x) + 1, "one too many"),))
    assert asked.check(3, "abc").right
    assert asked.check(4, "abc").said == "one too many"
    assert asked.check(9, "abc").said == "9 is not it"
    assert asked.check(..., "abc").right is None
    assert "call it" in asked.check(len, "abc").said
    with pytest.raises(ItslabError, match="value"):
        asked.check(3)
    with pytest.raises(ItslabError, match="function"):
        DOUBLE.check(lambda n: n, 3)


@pytest.mark.parametrize(
    ("answer", "expected", "fits"),
    [
        (1, 1.0, True),
        (np.float64(0.1) + 0.2, 0.3, True),
        (True, 1, False),
        (np.bool_(True), True, True),
        ("  Beam  search", "beam search", True),
        ([1, 2], (1, 2), True),
        (deque([1, 2]), [1, 2], True),
        (np.array([1.0, 2.0]), [1, 2], True),
        ([1, 2], [1, 2, 3], False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"b": 1}, False),
        (None, None, True),
        (0, None, False),
        (1j, 1, False),
        (Decimal("0.1"), 0.1, True),
        (Fraction(1, 3), 1 / 3, True),
        (-0.0, 0, True),
        (float("inf"), 1, False),
        (np.array(1.0), 1, True),
        (np.array([[1.0], [2.0]]), [1, 2], False),
        (pd.Series([1, 2]), [1, 2], True),
        (pd.DataFrame({"a": [1, 2]}), [1, 2], False),
        (pd.NA, 1, False),
    ],
)
def test_answers_are_the_same_up_to_rounding_case_and_kind_of_sequence(answer, expected, fits):
    assert same(answer, expected) is fits


def test_who_errs_in_a_known_way_and_raises_besides_is_told_both():
    thrice = Mistake(lambda n: 3 * n, "that is three times")
    asked = Exercise("double", lambda n: 2 * n, ((1,), (3,), (0,)), (thrice,))
    said = asked.check(lambda n: 3 * n if n else 1 / n).said
    assert said == "that is three times (and for 0 it raised ZeroDivisionError: division by zero)"
    assert asked.check(lambda n: 2 * n if n else 1 / n).said.startswith("for 0 it raised")


def test_hints_and_solution_are_folded_and_escaped():
    shown = DOUBLE.check(lambda n: "<script>")._repr_html_()
    assert "<script>" not in shown
    assert shown.count("<details>") == 3
    assert "lambda n: 2 * n" in shown
    assert "hint 1 of 2" in shown
    assert "hint" not in DOUBLE.check(lambda n: n + n)._repr_html_()


# -- expectations and the journal


def test_what_is_expected_is_kept_and_shown_beside_what_came(tmp_path):
    session = Session(1, "ann", tmp_path)
    asked = session.expect("greedy", "How many of 40?", (0, 40))
    assert asked.written is None
    unseen = session.came("greedy", 8)
    assert "Write down what you expect" in repr(unseen)
    assert "<details>" in unseen._repr_html_()
    refused = {
        "": "first",
        "many": "no number",
        "41": "from 0 to 40",
        "-1": "from 0 to 40",
        "nan": "from 0 to 40",
        "inf": "from 0 to 40",
        "1e999": "from 0 to 40",
        "<b>": "&lt;b&gt; is no number",
        "9" * 9999: "from 0 to 40",
        "x" * 9999: "no number",
        "x" * 99_999: "shorten it",
    }
    for text, said in refused.items():
        asked.entry.value = text
        asked.write()
        assert said in asked.said.value
        assert len(asked.said.value) < 400
    assert not (tmp_path / NAME).exists()
    asked.entry.value = "12"
    asked.button.click()
    assert repr(session.came("greedy", np.int64(8))) == "How many of 40? 8. You expected 12."
    kept = [(e.kind, e.value, e.by) for e in read(tmp_path / NAME)]
    assert kept == [("expected", 12, "ann"), ("came", 8, "ann")]
    asked.entry.value = "0"
    asked.write()
    assert "You expected 0" in session.came("greedy", 8)._repr_html_()
    again = Session(1, "ann", tmp_path)
    assert again.expect("greedy", "How many of 40?", (0, 40)).written == 0
    assert again.journal.of == session.journal.of


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,000", 1000),
        ("1 000", 1000),
        ("1'000", 1000),
        ("12,5", 12.5),
        ("0,125", 0.125),
        ("50 %", 50),
        ("４२", 42),
        ("-0", 0),
        ("1e2", 100),
    ],
)
def test_numbers_are_read_as_people_write_them(tmp_path, text, number):
    asked = Session(1, folder=tmp_path).expect("a", "How many?", (0, 1000))
    asked.entry.value = text
    asked.write()
    assert asked.written == number


def test_a_comma_is_read_as_a_point_where_thousands_are_too_many(tmp_path):
    asked = Session(1, folder=tmp_path).expect("a", "How many?", (0, 10))
    asked.entry.value = "1,125"
    asked.write()
    assert asked.written == 1.125


@pytest.mark.parametrize("written", ["abc", "NaN", "1e300", "-5", "Infinity", "9" * 400])
@pytest.mark.parametrize("came", [7, float("nan"), 1e300, -1, 41])
def test_odd_numbers_are_shown_and_their_dots_lie_on_the_line(tmp_path, written, came):
    line = {"session": 1, "kind": "expected", "name": "a", "of": "0" * 12, "between": [0, 40]}
    value = json.dumps(written) if written == "abc" else written
    (tmp_path / NAME).write_text(f'{json.dumps(line)[:-1]}, "value": {value}}}\n')
    session = Session(1, folder=tmp_path)
    session.expect("a", "How many?", (0, 40))
    shown = session.came("a", came)
    assert "How many?" in repr(shown)
    places = [float(x) for x in re.findall(r'cx="([^"]+)"', shown._repr_html_())]
    assert all(10 <= x <= 410 for x in places)


def test_a_text_that_would_not_be_kept_is_not_said_to_be(tmp_path):
    note = Session(1, folder=tmp_path).write("open", "What would you try?")
    note.entry.value = "x" * 20_001
    note.write()
    assert "20,001 characters: shorten it to 20,000" in note.said.value
    note.entry.value = "x" * 20_000
    note.write()
    assert [len(e.value) for e in read(tmp_path / NAME)] == [20_000]


@pytest.mark.parametrize("name", [7, None, "x" * 65])
def test_a_name_that_is_none_is_said_to_be(tmp_path, name):
    with pytest.raises(OptionError, match="a text of at most 64 letters"):
        Session(1, name, tmp_path)


def test_words_are_chosen_and_texts_are_written(tmp_path):
    session = Session(1, folder=tmp_path)
    asked = session.expect("pays", "Which?", ["votes", "a judge"])
    asked.entry.value = "votes"
    asked.write()
    assert "You expected votes" in repr(session.came("pays", "votes"))
    session.choose("next", "What next?", ["more", "less"]).entry.value = "more"
    note = session.write("open", "What would you try?")
    note.entry.value = "  search <b>  "
    note.write()
    assert [e.value for e in read(tmp_path / NAME)] == ["votes", "votes", "search <b>"]


def test_tries_are_kept_and_unknown_names_are_refused(tmp_path):
    session = Session(1, folder=tmp_path)
    session.check("vote", ...)
    assert not (tmp_path / NAME).exists()
    session.check("vote", lambda answers: answers[0])
    [entry] = read(tmp_path / NAME)
    assert (entry.kind, entry.name, entry.right) == ("tried", "vote", False)
    with pytest.raises(OptionError, match="price, tally, vote"):
        session.check("votes", len)
    with pytest.raises(OptionError, match="none yet"):
        session.came("greedy", 1)
    with pytest.raises(OptionError, match=r"\(1, 2, 3\)"):
        Session(4)


def test_a_damaged_journal_is_read_as_far_as_it_goes(tmp_path):
    journal = Journal(tmp_path, "bo")
    journal.write(1, "expected", "a", 1)
    with journal.path.open("a") as file:
        file.write('{"session": 1, "kind": "tried"\n[]\n{"session": "x"}\n\x00\n')
    journal.write(1, "expected", "a", 2)
    assert [entry.value for entry in read(journal.path)] == [1, 2]
    assert Journal(tmp_path).last(1, "expected", "a").value == 2
    line = json.loads(journal.path.read_text().splitlines()[0])
    known = {"session", "kind", "name", "value", "right", "time", "by", "of"}
    assert set(line) == known | {"asked", "between", "at"}
    old = {name: value for name, value in line.items() if name in known}
    assert parsed(json.dumps(old)).value == 1


def test_an_entry_after_a_half_written_one_is_whole(tmp_path):
    journal = Journal(tmp_path)
    journal.write(1, "expected", "a", 1)
    with journal.path.open("a") as file:
        file.write('{"session": 1, "kind": "exp')
    journal.write(1, "expected", "a", 2)
    assert [entry.value for entry in read(journal.path)] == [1, 2]


def test_what_could_not_be_written_is_written_with_the_next_entry(tmp_path):
    (tmp_path / NAME).mkdir()
    session = Session(1, folder=tmp_path)
    with pytest.warns(UserWarning, match="Is a directory|Permission denied"):
        session.journal.write(1, "expected", "a", 1, between=(0, 40))
    assert "nothing was kept" in repr(session.hand_in())
    (tmp_path / NAME).rmdir()
    session.journal.write(1, "expected", "a", 2)
    assert [entry.value for entry in read(tmp_path / NAME)] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        b'{"session": 1, "kind": "tried", "name": "a", "value": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"session": 1, "kind": "tried", "name": "a", "value": ' + b"9" * 5000 + b"}",
        b'{"session": 1, "kind": "tried", "name": "a", "value": 1, "time": NaN}',
        b'{"session": 1, "kind": "tried", "name": "a", "value": 1, "time": ' + b"9" * 400 + b"}",
        b'{"session": true, "kind": "tried", "name": "a", "value": 1}',
        b'{"session": 1, "kind": ["tried"], "name": "a", "value": 1}',
        b'{"session": 1, "kind": "tried", "name": "a", "value": 1, "right": 1}',
        b'{"session": 1, "kind": "tried", "name": "a", "value": "' + b"x" * 20_001 + b'"}',
        b'{"session": 1, "kind": "tried", "name": 7, "value": 1}',
        b'{"session": 1, "kind": "tried", "name": "a", "value": 1, "__class__": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
    ids=range(12),
)
def test_a_line_that_only_looks_like_an_entry_is_none(line):
    assert parsed(line) is None


def test_a_folder_that_cannot_be_written_loses_nothing_at_once(tmp_path):
    journal = Journal(tmp_path / "not there")
    with pytest.warns(UserWarning, match="cannot be written"):
        journal.write(1, "expected", "a", 1)
    assert journal.last(1, "expected", "a").value == 1


def test_who_writes_is_told_by_the_button_that_the_disk_refused_it(tmp_path):
    session = Session(1, "ann", tmp_path)
    number, text = session.expect("a", "How many?", (0, 40)), session.write("b", "Why?")
    (tmp_path / NAME).mkdir()
    number.entry.value, text.entry.value = "5", "so"
    for asked in (number, text):
        with pytest.warns(UserWarning, match="cannot be written"):
            asked.button.click()
    for asked, said in ((number, "you wrote 5"), (text, "written down")):
        assert f"{said}, but {tmp_path / NAME} cannot be written" in asked.said.value
        assert "go on" not in asked.said.value
    (tmp_path / NAME).rmdir()
    number.button.click()
    assert "you wrote 5: go on" in number.said.value
    assert len([*read(tmp_path / NAME)]) == 3


@pytest.mark.parametrize(
    "between",
    [(1,), 5, (0, "x"), "yes", (), (1, 0), (0, 1e400), (0, None), ["a"], ["a", "a"], ["a", ""]],
)
def test_of_what_nothing_can_be_chosen_is_refused(tmp_path, between):
    session = Session(1, folder=tmp_path)
    with pytest.raises(OptionError, match="between must be two numbers, the lesser first, or 2 to"):
        session.expect("a", "How many?", between)


def test_what_is_no_name_and_no_question_is_refused(tmp_path):
    for number in (1.0, True, "1", None):
        with pytest.raises(OptionError, match=r"number must be one of \(1, 2, 3\)"):
            Session(number, folder=tmp_path)
    with pytest.raises(OptionError, match="question must be a text"):
        Session(1, folder=tmp_path).expect("a", None, (0, 1))
    for mode in (None, 5):
        with pytest.raises(OptionError, match="mode must be one of replay"):
            share.Recording(mode)


def test_numbers_of_numpy_are_kept_as_numbers(tmp_path):
    session = Session(1, "ann", tmp_path)
    asked = session.expect("a", "How many?", (0, np.int64(40)))
    asked.entry.value = "7"
    asked.write()
    session.came("a", float("nan"))
    kept = [(entry.value, entry.between) for entry in read(tmp_path / NAME)]
    assert kept == [(7, [0.0, 40.0]), ("nan", None)]


@contextmanager
def answering(*pieces: bytes) -> Iterator[str]:
    """A server that sends the last piece again and again, ten times a second."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError), server.accept()[0] as client:
                for piece in chain(pieces, repeat(pieces[-1])):
                    client.sendall(piece)
                    time.sleep(0.1 if len(piece) < 100 else 0)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


def test_a_server_that_never_ends_holds_no_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(sessions, "SECONDS", 2)
    session = Session(1, "ann", tmp_path)
    session.check("vote", lambda answers: answers[0])
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
    for pieces, said in (
        ([b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"], "was not whole after 2 s"),
        ([head + b"Content-Length: 900\r\n\r\n", b"x"], "was not whole after 2 s"),
        ([head + b"\r\n", b"x" * 65_536], "it is no class's server"),
    ):
        began = time.monotonic()
        with answering(*pieces) as address:
            told = session.hand_in(address)
        assert time.monotonic() - began < 5
        assert (told.there, said in told.said) == (False, True)


def test_a_count_that_is_none_is_not_believed(tmp_path):
    session = Session(1, "ann", tmp_path)
    session.check("vote", lambda answers: answers[0])
    held = b'{"entries": "<img src=x>"}'
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(held)}\r\n\r\n".encode()
    with answering(head + held, b"") as address:
        assert "it is no class's server" in session.hand_in(address).said


def test_in_a_notebook_an_error_of_ours_is_the_line_that_asked_and_a_sentence(tmp_path):
    read = "from itslab.serving import config\nserved = config.read('mine.yaml')"
    within = """
import itslab as its
from itslab.testing import ScriptedModel

def mine(run, problem):
    its.Sampling(max_tokens=0)

its.solve("?", mine, ScriptedModel())"""
    cells = [new_code_cell(code) for code in (read, "its.load(1)\n1 / 0", within)]
    notebook = new_notebook(cells=cells)
    (tmp_path / "mine.yaml").write_text("tiers:\n  mine: {strategy: vote 4}\n")
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, allow_errors=True, resources=resources).execute()
    [error] = notebook.cells[0].outputs
    assert error["traceback"] == [
        "line 2: served = config.read('mine.yaml')",
        "OptionError: tiers.mine: unknown strategy 'vote 4': did you mean self-consistency-4?",
    ]
    assert len(notebook.cells[1].outputs[0]["traceback"]) > 2  # of others it is as ever
    [error] = notebook.cells[2].outputs
    assert error["traceback"][0] == "line 5: its.Sampling(max_tokens=0)"  # in what we called


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("vote 4", "self-consistency-4?"),
        ("majority vote", "self-consistency?"),
        ("maj@16", "self-consistency-16?"),
        ("vote-0", "self-consistency?"),
        ("programs", "ProgramAided?"),
    ],
)
def test_what_people_call_a_strategy_is_known(said, meant):
    with pytest.raises(OptionError, match=re.escape(f"did you mean {meant}")):
        strategies.find(said)


def test_what_somebody_wrote_beside_the_originals_is_nobody_elses(tmp_path):
    (tmp_path / "originals").mkdir()
    for name in ("session_1.ipynb", "ten_questions.txt", NAME):
        (tmp_path / "originals" / name).write_text('{"cells": []}')
    notebooks.copy(tmp_path / "originals", tmp_path / "copies", teach.KINDS)
    there = {path.name for path in (tmp_path / "copies").iterdir()}
    assert there == {"session_1.ipynb", "ten_questions.txt"}


# -- the command


def workshop(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["workshop", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_a_session_opens_as_a_copy_of_ones_own(tmp_path, monkeypatch):
    opened: list[str] = []
    monkeypatch.setattr("os.execv", lambda _, command: opened.extend(command))
    folder = tmp_path / "mine"
    code, out, _ = workshop("1", "--folder", str(folder))
    root, opens = f"--ServerApp.root_dir={folder}", "--LabApp.default_url=/lab/tree/session_1.ipynb"
    assert (code, opened[3:5]) == (0, [root, opens])
    assert "stays as it is" not in out
    assert "stays as it is" in workshop("2", "--folder", str(folder))[1]
    assert (folder / "ten_questions.txt").is_file()
    assert not (folder / "teacher.ipynb").exists()
    assert workshop("teacher", "--folder", str(tmp_path / "hers"))[0] == 0
    hers = {path.name for path in (tmp_path / "hers").iterdir()}
    assert hers == {"teacher.ipynb", "ten_questions.txt"}


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_the_address_that_is_printed_opens_the_session(tmp_path):
    """Where Python finds no browser it is all that one has."""
    command = [sys.executable, "-m", "itslab", "workshop", "2", "--folder", str(tmp_path / "a b")]
    nowhere = {**os.environ, "BROWSER": "false", "DISPLAY": ""}
    lab = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=nowhere)
    try:
        printed = (line.strip() for line in lab.stderr)
        address = next(line for line in printed if line.startswith("http://127.0.0.1"))
        assert "/lab/tree/session_2.ipynb?token=" in address
        assert httpx.get(address, follow_redirects=True).status_code == 200
        there = address.replace("/lab/tree/", "/api/contents/")
        assert httpx.get(there).json()["type"] == "notebook"
    finally:
        lab.terminate()
        lab.wait(20)


def test_restored_notebooks_are_as_they_came_and_what_was_written_is_kept(tmp_path):
    source = share.root() / "notebooks" / "workshop"
    notebooks.copy(source, tmp_path, ("session_*.ipynb", notebooks.QUESTIONS), blank=True)
    mine = tmp_path / "session_1.ipynb"
    mine.write_text("what I wrote")
    (tmp_path / "ten_questions.txt").write_text("my own")
    Journal(tmp_path).write(1, "expected", "a", 1)
    code, out, _ = workshop("--reset", "--folder", str(tmp_path))
    assert code == 0
    assert not any(cell.get("outputs") for cell in json.loads(mine.read_text())["cells"])
    [kept] = tmp_path.glob("kept-*/session_1.ipynb")
    assert kept.read_text() == "what I wrote"
    assert str(kept.parent) in out
    assert (tmp_path / "ten_questions.txt").read_text() == "my own"
    assert (tmp_path / NAME).is_file()
    assert "as they came" in workshop("--reset", "--folder", str(tmp_path))[1]
    assert len([*tmp_path.glob("kept-*")]) == 1


def test_a_folder_or_a_session_that_there_is_not_is_said_in_a_line(tmp_path):
    for arguments, said in (
        (("4",), "session='4' is not valid: session must be one of 1, 2, 3, teacher"),
        (("--folder", "/proc/none"), "cannot be copied to /proc/none"),
        (("--reset", "--check"), "options='--reset --check' is not valid"),
        (("--platform", "windows-x86_64"), "given with --bundle only"),
        (("--names",), "given with --serve or --collect only"),
        (("--reset", "--folder", str(Path(__file__))), f"cannot be copied to {__file__}"),
        (("--bundle", str(tmp_path / "b"), "--platform", "beos"), "one of linux-x86_64"),
        (("--collect", str(tmp_path / "none")), "none"),
        (("--serve", "no-such-model", "--folder", str(tmp_path)), "no-such-model"),
    ):
        code, _, err = workshop(*arguments)
        assert code == 1
        assert said in err
        assert err.count("\n") == 1


def test_a_notebook_that_is_gone_is_restored_as_well(tmp_path):
    assert workshop("--reset", "--folder", str(tmp_path / "new"))[0] == 0
    (tmp_path / "new" / "session_2.ipynb").unlink()
    code, out, _ = workshop("--reset", "--folder", str(tmp_path / "new"))
    assert code == 0
    assert "missing: 1" in out
    there = {path.name for path in (tmp_path / "new").iterdir()}
    assert there == {*(f"session_{n}.ipynb" for n in (1, 2, 3)), "ten_questions.txt"}


def test_the_originals_are_no_copies_and_what_is_lacking_among_them_is_said(tmp_path, monkeypatch):
    there = share.root() / "notebooks" / "workshop"
    root = tmp_path / "root"
    source = root / "notebooks" / "workshop"
    shutil.copytree(there, source)
    held = {path.name: path.read_bytes() for path in source.glob("*.ipynb")}
    monkeypatch.setattr(share, "root", lambda: root)
    (tmp_path / "link").symlink_to(source)
    for arguments in (("--reset",), ("1",)):
        for folder in (source, tmp_path / "link"):
            code, _, err = workshop(*arguments, "--folder", str(folder))
            assert (code, "this one holds the originals" in err) == (1, True)
    assert {path.name: path.read_bytes() for path in source.glob("*.ipynb")} == held
    (source / "session_1.ipynb").unlink()
    for arguments in (("--reset",), ("2",)):
        code, _, err = workshop(*arguments, "--folder", str(tmp_path / "mine"))
        assert (code, "lacks session_1.ipynb: restore" in err) == (1, True)
    assert not (tmp_path / "mine").exists()


def test_a_link_to_nothing_in_a_notebooks_place_is_put_aside(tmp_path):
    (tmp_path / "session_1.ipynb").symlink_to("nowhere/session_1.ipynb")
    assert workshop("--reset", "--folder", str(tmp_path))[0] == 0
    assert (tmp_path / "session_1.ipynb").is_file()
    [kept] = tmp_path.glob("kept-*")
    assert (kept / "session_1.ipynb").is_symlink()


def test_a_folder_in_a_notebooks_place_is_put_aside(tmp_path):
    (tmp_path / "session_1.ipynb" / "inside").mkdir(parents=True)
    assert workshop("--reset", "--folder", str(tmp_path))[0] == 0
    assert (tmp_path / "session_1.ipynb").is_file()
    assert len([*tmp_path.glob("kept-*/session_1.ipynb/inside")]) == 1


def test_the_page_of_a_class_is_written_where_its_journals_are(tmp_path):
    Session(1, "ann", tmp_path).check("vote", lambda answers: answers[0])
    code, out, _ = workshop("--collect", str(tmp_path))
    assert code == 0
    page = next(tmp_path.glob("*.html"))
    assert str(page) in out
    assert "ann" in page.read_text()
    assert workshop("--collect", str(tmp_path), "--no-names")[0] == 0
    assert "ann" not in re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)


BEGIN = "from itslab.workshop import Session\nsession = Session(1)"
FIRST = "def vote(answers):\n    return answers[0]"
CHECK = "session.check('vote', vote)"


@pytest.mark.slow
def test_a_cell_that_did_not_run_is_not_taken_for_what_stood_there_before(tmp_path):
    ran = {
        FIRST: True,
        FIRST.replace("answers[0]", "answers[0"): False,
        FIRST.replace("0", "1"): True,
        "# it was def vote(answers): before": True,
        "class Votes:\n    def vote(self):\n        pass": True,
        "text = '''\ndef vote(answers):\n'''": True,
        "def vote (answers:\n    return 1": False,
        f"%pwd\n{FIRST}": True,
        "def vote(answers, most=nothing):\n    return 1": False,
        f"if True:\n    {FIRST.replace('    ', '        ')}": True,
    }
    cells = [BEGIN, *(cell for each in ran for cell in (each, CHECK))]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, allow_errors=True, resources=resources).execute()
    said = [cell.outputs[-1]["data"]["text/plain"] for cell in notebook.cells[2::2]]
    stale = "vote: the cell above did not run; of what you wrote before: "
    assert [not one.startswith(stale) for one in said] == [*ran.values()]
