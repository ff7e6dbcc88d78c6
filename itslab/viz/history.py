"""Runs that a panel has made: a table, and two of them side by side."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from itslab import answers
from itslab.core import Result
from itslab.viz import style
from itslab.viz.figures import bars, picture
from itslab.viz.panels import error_text, price
from itslab.viz.readers import changes
from itslab.viz.setting import Setting
from itslab.viz.style import BLUE, GRID, MUTED, ORANGE, short

_CELL = "padding: 2px 10px; text-align: left; white-space: nowrap"
_NUMBER = "padding: 2px 10px; text-align: right; font-variant-numeric: tabular-nums"
_KEPT = 50
"""Runs whose trees are kept; of more the first are forgotten."""


@dataclass(frozen=True)
class Past:
    """A run at its end, and what it was begun with.

    Args:
        number: of the run, from 1.
        setting: what it was begun with.
        result: how it ended.
        state: the same, in words.
    """

    number: int
    setting: Setting
    result: Result
    state: str

    @property
    def label(self) -> str:
        """What it is called in a list."""
        return f"{self.number}: {self.setting.label}, {short(self.answer, 20)}"

    @property
    def answer(self) -> str:
        """What it answered, on one line."""
        answer = self.result.answer
        return "no answer" if answer is None else " ".join(answer.split())

    @cached_property
    def mark(self) -> str:
        """Whether the answer is right, as HTML; empty where that is not known."""
        try:
            right = self.setting.right(self.result.answer)
        except Exception as error:  # a grader of somebody's own
            return html.escape(f"not graded: {error_text(error)}")
        return "" if right is None else style.mark(right)


class History:
    """The table of runs, a choice of one to look at again, and of two to lay side by side.

    Attributes:
        runs: the last ones, the earliest first.
        box: all of it; hidden until there is a run.
        again: chooses the run whose tree is on view.
    """

    def __init__(self) -> None:
        import ipywidgets as widgets

        self.runs: list[Past] = []
        self._count = 0
        self._adding = False
        look: dict[str, Any] = {"style": {"description_width": "104px"}}
        look["layout"] = {"width": "330px"}
        self._table = widgets.HTML()
        self.again = widgets.Dropdown(description="on view", options=[], **look)
        self.one = widgets.Dropdown(description="side by side", options=[], **look)
        self.other = widgets.Dropdown(description="and", options=[], **look)
        self._pair = widgets.HTML()
        row = widgets.HBox([self.again, self.one, self.other], layout={"flex_flow": "row wrap"})
        self.box = widgets.VBox([self._table, row, self._pair], layout={"display": "none"})
        self.one.observe(self._show_pair, "value")
        self.other.observe(self._show_pair, "value")

    def add(self, **facts: Any) -> Past:
        """Add a run, see ``Past``; it is the one on view."""
        self._count += 1
        self._adding = True  # new options take the values of a list away for a moment
        past = Past(number=self._count, **facts)
        self.runs = [*self.runs, past][-_KEPT:]
        options = [(run.label, run) for run in self.runs]
        before = self.one.value
        for choice in (self.again, self.one, self.other):
            choice.options = options
        self.again.value = self.other.value = past
        kept = before if before in self.runs and before is not past else self.runs[-2:][0]
        self.one.value = kept
        self._adding = False
        self._table.value = table(self.runs)
        self.box.layout.display = ""
        for choice in (self.one, self.other):
            choice.layout.display = "" if len(self.runs) > 1 else "none"
        self._show_pair()
        return past

    def watch(self, chosen: Callable[[Past], None]) -> None:
        """Call a function with the run that somebody chooses to look at again."""

        def follow(_: Any) -> None:
            if not self._adding and self.again.value is not None:
                chosen(self.again.value)

        self.again.observe(follow, "value")

    def _show_pair(self, _: Any = None) -> None:
        one, other = self.one.value, self.other.value
        both = one is not None and other is not None and one is not other
        self._pair.value = side_by_side(one, other) if both else ""


def table(runs: Sequence[Past]) -> str:
    """Return runs as an HTML table, the latest first."""
    titles = ("run", "asked", "model", "strategy", "answer", "", "tokens", "elapsed, s", "ended")
    head = "".join(f'<th style="{_CELL}; color: {MUTED}">{title}</th>' for title in titles)
    rows = "".join(f"<tr>{_row(run)}</tr>" for run in reversed(runs))
    return style.view(
        f'<div style="overflow-x: auto; max-height: 16rem; overflow-y: auto">'
        f'<table style="border-collapse: collapse; font-size: 13px"><tr>{head}</tr>{rows}</table>'
        "</div>",
        "none",
    )


def _row(run: Past) -> str:
    cost, setting = run.result.cost, run.setting
    model = getattr(setting.model, "name", "model")
    said = [run.number, setting.asked, model, setting.label, short(run.answer, 24)]
    cells = [f'<td style="{_CELL}">{html.escape(str(one))}</td>' for one in said]
    cells.append(f'<td style="{_CELL}">{run.mark}</td>')
    for number in (f"{cost.decoded:,}", f"{run.result.elapsed:.1f}"):
        cells.append(f'<td style="{_NUMBER}">{number}</td>')
    cells.append(f'<td style="{_CELL}">{html.escape(run.state)}</td>')
    return "".join(cells)


def side_by_side(one: Past, other: Past) -> str:
    """Return two runs beside each other: settings that differ marked, answers, costs and votes."""
    left, right = changes(one.setting.code, other.setting.code)
    columns = "".join(
        f'<div style="flex: 1 0 19rem; min-width: 0; max-width: 34rem">{_column(run, code)}</div>'
        for run, code in ((one, left), (other, right))
    )
    look = "display: flex; gap: 16px; align-items: flex-start; overflow-x: auto"
    return style.view(f'<div style="{look}">{columns}</div>', "none")


def _column(run: Past, code: str) -> str:
    head = f"border-bottom: 2px solid {GRID}; margin-bottom: 6px"
    result = run.result
    chart = picture(bars(_votes(run)), "answers of finished chains")
    text = "" if result.node is None else result.node.turn_text.strip()
    answer = html.escape(short(run.answer, 40))
    small = "margin: 6px 0; font-size: 13px; max-height: 18rem; overflow-y: auto"
    return (
        f'<div style="{head}"><b>run {run.number}</b>: {answer} {run.mark}'
        f"</div>{style.box(code, BLUE, small + '; font-family: monospace')}"
        f"{style.note(html.escape(price(result.cost, 'sample', result.costs)))}"
        f"{chart}{style.box(html.escape(text), ORANGE, small)}"
        f"{style.note(html.escape(run.state))}"
    )


def _votes(run: Past) -> dict[str, float]:
    """How many chains that the model itself ended gave each answer."""
    ends = (node for node in run.result.tree if node.completion and node.completion.finish == "end")
    return answers.tally([run.setting.task.extract(node.turn_text) for node in ends])
