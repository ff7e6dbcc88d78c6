"""What one expects, written down before it is seen; and beside what came, afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from html import escape
from typing import Any

from itslab.core import OptionError, require
from itslab.viz import pieces, style, theme
from itslab.viz.style import BLUE, GRID, INK, ORANGE
from itslab.workshop.journal import MOST, WORDS, Journal, number

_GROUPED = re.compile(r"[1-9]\d{0,2}([,'\s]\d{3})+")
"""Thousands, as some write them; others begin a fraction with a comma."""
UNSEEN = "write down what you expect, and run this again"


class Expectation:
    """A question, and controls with which an answer is written down.

    Numbers have no first value, for that would be taken as a hint.

    Args:
        journal: where it is kept.
        session: whose question it is.
        name: of the question.
        question: as it is asked.
        between: the least and the greatest number, or the words of which one is chosen; None asks
            for a text.
        kind: of what is written: ``chosen`` has no right answer, ``written`` is a text.

    Raises:
        OptionError: name or question is no text, or of ``between`` nothing can be chosen.
    """

    def __init__(
        self,
        journal: Journal,
        session: int,
        name: str,
        question: str,
        between: tuple[float, float] | Sequence[str] | None,
        kind: Any = "expected",
    ) -> None:
        import ipywidgets as widgets
        from traitlets import TraitError

        for what, text in (("name", name), ("question", question)):
            require(isinstance(text, str) and len(text) <= MOST, what, text, "a text")
        self._journal, self._about = journal, (session, kind, name)
        self.question = question
        self.entry: widgets.ValueWidget
        self.between = between if between is None else _asked(between)
        self._ends: tuple[float, float] | None = None
        if self.between is None:
            self.entry = widgets.Textarea(
                placeholder="in your own words",
                layout={"width": "min(46rem, 98%)", "height": "6rem"},
            )
        elif isinstance(self.between[0], str):
            self.entry = widgets.ToggleButtons(
                options=self.between, value=None, style={"button_width": "auto"}
            )
        else:
            least, most = self._ends = self.between
            self.entry = widgets.Text(
                placeholder=f"{_number(least)} to {_number(most)}",
                layout={"width": "9rem"},
            )
        self.button = widgets.Button(
            description="write it down", button_style="primary", layout={"width": "auto"}
        )
        self.said = widgets.HTML()
        self.button.on_click(lambda _: self.write())
        ask = widgets.HTML(theme.SHEET + style.view(f"<b>{escape(question)}</b>"))
        look = {"flex_flow": "row wrap", "align_items": "center"}
        row = widgets.Box([self.entry, self.button], layout=look)
        self.widget = widgets.VBox([ask, row, self.said])
        self.widget.add_class("its-panel")
        before = self.written
        if before is not None:
            self._show(f"you wrote {_said(before)}")
            with suppress(TraitError):  # a word that was to be chosen before, and is no longer
                self.entry.value = _said(before)

    @property
    def written(self) -> Any:
        """What was written down last; None if nothing was."""
        entry = self._journal.last(*self._about)
        return None if entry is None else entry.value

    def write(self) -> None:
        """Write down what stands in the controls; what is none of the choices is said to be."""
        value = self.entry.value
        if isinstance(value, str):
            value = value.strip()
        if not value:
            self._show("choose or write something first")
            return
        if len(value) > MOST:
            self._show(f"{len(value):,} characters: shorten it to {MOST:,}")
            return
        if self._ends:
            least, most = self._ends
            numbers = [*_numbers(value)]
            meant = next((one for one in numbers if least <= one <= most), None)
            if meant is None:
                what = "" if numbers else f"{style.short(value, 40)} is no number: write "
                self._show(f"{what}a number from {_number(least)} to {_number(most)}")
                return
            value = int(meant) if meant.is_integer() else meant
        session, kind, name = self._about
        self._journal.write(session, kind, name, value, asked=self.question, between=self.between)
        said = "written down" if kind == "written" else f"you wrote {value}"
        lost = self._journal.unkept
        self._show(f"{said}, but {lost}" if lost else f"{said}: go on")

    def _show(self, text: str) -> None:
        self.said.value = style.view(style.note(escape(text)))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = self.widget._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/plain"] = self.question
        return bundle


class Came:
    """What was expected beside what came; folded while nothing was expected.

    Args:
        question: that was asked, or what it is about.
        expected: what was written down; None if nothing was.
        came: what it is.
        between: the least and the greatest number, for a picture.
    """

    def __init__(self, question: str, expected: Any, came: Any, between: Any = None) -> None:
        self.question, self.expected, self.came = question, expected, came
        self._between = between

    def __repr__(self) -> str:
        if self.expected is None:
            return f"{self.question} {UNSEEN.capitalize()}. ({_said(self.came)})"
        return f"{self.question} {_said(self.came)}. You expected {_said(self.expected)}."

    def _repr_html_(self) -> str:
        came = f'<b style="font-size: 17px">{escape(_said(self.came))}</b>'
        asked = f"<div>{escape(self.question)}</div>"
        if self.expected is None:
            return pieces.view(asked, pieces.details(f"{UNSEEN}, or look all the same", came))
        said = escape(f"You expected {_said(self.expected)}.")
        return pieces.view(asked, f"<div>{came} {said}</div>", self._picture())

    def _picture(self) -> str:
        """Where both lie between the least and the greatest; what is beyond lies at the end."""
        if not (number(self.came) and number(self.expected) and self._between):
            return ""
        least, most = self._between

        def dot(value: float, colour: str, y: int) -> str:
            x = 10 + 400 * (min(max(value, least), most) - least) / ((most - least) or 1)
            return f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="{colour}"/>'

        ends = (
            f'<text x="10" y="34" font-size="12" fill="{INK}">{_number(least)}</text>'
            f'<text x="410" y="34" font-size="12" text-anchor="end" fill="{INK}">'
            f"{_number(most)}</text>"
        )
        line = f'<line x1="10" x2="410" y1="14" y2="14" stroke="{GRID}" stroke-width="4"/>'
        dots = dot(self.expected, ORANGE, 14) + dot(self.came, BLUE, 14)
        legend = (
            f'<span style="color: {ORANGE}">●</span> expected '
            f'<span style="color: {BLUE}">●</span> came'
        )
        return (
            f'<svg width="420" height="40" role="img">{line}{ends}{dots}</svg><div>{legend}</div>'
        )


def _asked(between: Any) -> Any:
    """Two numbers as floats, or words, as a journal keeps them.

    Raises:
        OptionError: they are neither.
    """
    given = [] if isinstance(between, str) or not isinstance(between, Iterable) else [*between]
    words = all(isinstance(one, str) and 0 < len(one) <= MOST for one in given)
    if words and 1 < len({*given}) == len(given) <= WORDS:
        return tuple(given)
    with suppress(TypeError, ValueError, OverflowError):
        least, most = map(float, () if words else given)
        if number(least) and number(most) and least < most:
            return least, most
    raise OptionError(
        f"between={style.short(repr(between), 80)} is not valid: between must be two numbers, the "
        f"lesser first, or 2 to {WORDS} words that differ"
    )


def _numbers(text: str) -> Iterator[float]:
    """The numbers that may be meant: 1,000 is a thousand, or one if that is too much."""
    text = text.removesuffix("%").strip()
    if _GROUPED.fullmatch(text):
        yield float(re.sub(r"\D", "", text))
    with suppress(ValueError):
        yield float(text.replace(",", "."))


def _number(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _said(value: Any) -> str:
    return _number(value) if number(value) else str(value)
