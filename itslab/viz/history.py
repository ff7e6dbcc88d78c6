"""Runs that a panel has made: a table, and two of them side by side."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from itslab import answers
from itslab.core import Problem, Result
from itslab.study.samples import asides
from itslab.viz import pieces, style
from itslab.viz.figures import Bar, bars, picture
from itslab.viz.panels import error_text, price
from itslab.viz.readers import changes
from itslab.viz.setting import Setting
from itslab.viz.style import BLUE, GRID, HUES, MUTED, ORANGE, short

_CELL = "padding: 2px 10px; text-align: left; white-space: nowrap"
_LONG = "padding: 2px 10px; text-align: left; min-width: 12rem; overflow-wrap: anywhere"
_NUMBER = (
    "padding: 2px 10px; min-width: 4.2em; text-align: right; font-variant-numeric: tabular-nums"
)
_HEAD = f"padding: 2px 10px; text-align: left; vertical-align: bottom; color: {MUTED}"
_BARS = 420  # pixels
_TIP = 2_000
"""Characters of what is shown where the mouse rests on what a table cuts."""
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
        asked, how = short(self.setting.asked, 24), self.setting.label
        return f"{self.number}: {short(self.answer, 20)} · {how} · {asked}"

    @property
    def answer(self) -> str:
        """What it answered, on one line."""
        answer = self.result.answer
        none = "failed" if self.result.failed else "no answer"
        return none if answer is None else style.plain(answer)

    @cached_property
    def mark(self) -> str:
        """Whether the answer is right, as HTML; empty where that is not known."""
        if self.result.failed:
            return ""
        try:
            right = self.setting.right(self.result.answer)
        except Exception as error:  # a grader of somebody's own
            return html.escape(f"not graded: {error_text(error)}")
        return "" if right is None else style.mark(right)

    @cached_property
    def gold(self) -> str | None:
        """The form of the right answer that equal ones share; None where it is not known."""
        gold = self.setting.gold
        return None if gold is None else self.setting.task.key(gold)

    @cached_property
    def votes(self) -> dict[str, float]:
        """How many chains gave each answer: as the run itself voted, or else those at their end."""
        task, voted = self.setting.task, None
        for event in self.result.tree.events:
            voted = event.data["votes"] if event.kind == "vote" else voted
        if voted is not None:
            return dict(Counter(key for key in voted if key is not None))
        spoken = asides(self.result.tree)
        ends = (node for node in self.result.tree if node.ended and node.id not in spoken)
        try:
            return answers.tally([task.extract(node.turn_text) for node in ends], key=task.key)
        except Exception:  # of a reader of somebody's own: the run itself has told of it
            return {}


class Palette:
    """The hues of answers: of those with most votes on view, in trees and bars.

    An answer has the hue that it had in earlier runs of a problem, unless one with more votes has
    that one too.
    """

    def __init__(self) -> None:
        self._hues: dict[str, dict[str, str]] = {}

    def of(self, problem: Problem) -> dict[str, str]:
        """Return the hues that answers to a problem had last."""
        return self._hues.setdefault(problem.prompt, {})

    def add(self, run: Past) -> None:
        """Keep the hues of a run's answers."""
        self._hues[run.setting.problem.prompt] = self.of(run.setting.problem) | self.on(run)

    def on(self, *runs: Past) -> dict[str, str]:
        """Return the hues of the answers to a problem in runs that are on view together."""
        votes, known = Counter[str](), self.of(runs[0].setting.problem)
        for run in runs:
            votes.update(run.votes)
        often = [key for key, count in votes.items() if count > 1]
        keys = often if len(votes) > len(HUES) and often else [*votes]
        keys = [key for key in sorted(keys, key=lambda key: -votes[key]) if key != runs[0].gold]
        hues: dict[str, str] = {}
        for key in keys[: len(HUES)]:
            if key in known and known[key] not in hues.values():
                hues[key] = known[key]
        here = [hue for hue in HUES if hue not in hues.values()]
        free = sorted(here, key=lambda hue: hue in known.values())  # those of no other answer first
        return hues | dict(zip([k for k in keys[: len(HUES)] if k not in hues], free, strict=False))

    def bars(self, run: Past, *shown: Past) -> list[Bar]:
        """Return the votes of a run, one of those on view, as bars; the gold answer's in green."""
        right = [] if run.gold is None else [run.gold]
        asked = run.setting.problem.prompt
        beside = [other for other in shown if other.setting.problem.prompt == asked]
        return bars(run.votes, right, hues=self.on(*beside))


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
        look["layout"] = {"width": "500px", "max_width": "98%"}
        self._table = widgets.HTML()
        self.again = widgets.Dropdown(description="on view", options=[], **look)
        self.one = widgets.Dropdown(description="side by side", options=[], **look)
        self.other = widgets.Dropdown(description="and", options=[], **look)
        self.again.tooltip = "put the tree of an earlier run on view"
        self.one.tooltip = self.other.tooltip = "two runs beside each other, what differs marked"
        self._pair, self._palette = widgets.HTML(), Palette()
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
        self._palette.add(past)
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

    def leave(self) -> None:
        """Say that none of them is on view."""
        self._adding = True
        self.again.value = None
        self._adding = False

    def _show_pair(self, _: Any = None) -> None:
        one, other = self.one.value, self.other.value
        both = one is not None and other is not None and one is not other
        self._pair.value = side_by_side(one, other, self._palette) if both else ""

    def hues(self, problem: Problem) -> dict[str, str]:
        """Return the hues that answers to a problem have by now."""
        return self._palette.of(problem)


def table(runs: Sequence[Past]) -> str:
    """Return runs as an HTML table, the latest first."""
    titles = ["run", "answer", "", "tokens", style.COMPUTE, style.CLOCK]  # seen in narrow windows
    titles += ["asked", "model", "strategy", "ended"]
    head = "".join(f'<th style="{_HEAD}">{title}</th>' for title in titles)
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
    ended = f"failed: {run.result.failed}" if run.result.failed else run.state
    figures = (f"{cost.decoded:,}", f"{cost.seconds:.1f}", f"{run.result.elapsed:.1f}")
    return "".join(
        [
            _cell(_CELL, str(run.number)),
            _cell(_CELL, short(run.answer, 18), run.answer),
            f'<td style="{_CELL}">{run.mark}</td>',
            *(_cell(_NUMBER, figure) for figure in figures),
            _cell(_CELL, setting.asked, setting.problem.prompt.strip()),
            _cell(_CELL, model),
            _cell(_LONG, setting.label, setting.code),
            _cell(_LONG, short(ended, 90), ended),
        ]
    )


def _cell(look: str, said: str, whole: str = "") -> str:
    """A cell of a table; what it cuts is read where the mouse rests."""
    tip = html.escape(whole[:_TIP])
    return f'<td style="{look}" title="{tip}">{html.escape(said)}</td>'


def side_by_side(one: Past, other: Past, palette: Palette) -> str:
    """Return two runs beside each other: settings that differ marked, answers, costs and votes."""
    left, right = changes(one.setting.code, other.setting.code)
    columns = "".join(
        f'<div style="flex: 1 1 19rem; min-width: 0; max-width: 40rem">'
        f"{_column(run, code, palette.bars(run, one, other))}</div>"
        for run, code in ((one, left), (other, right))
    )
    look = "display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start"
    return style.view(f'<div style="{look}">{columns}</div>', "none")


def _column(run: Past, code: str, rows: Sequence[Bar]) -> str:
    head = f"border-bottom: 2px solid {GRID}; margin-bottom: 6px"
    result = run.result
    chart = picture(rows, "votes (finished chains)", _BARS) if rows else ""
    text = "" if result.node is None else result.node.turn_text.strip()
    answer = pieces.cut(run.answer, 400)
    small = "margin: 6px 0; font-size: 13px; max-height: 18rem; overflow-y: auto"
    said = style.box(html.escape(text), ORANGE, small) if text else ""
    ended = f"failed: {result.failed}" if result.failed else run.state
    return (
        f'<div style="{head}; overflow-wrap: anywhere"><b>run {run.number}</b>: {answer} {run.mark}'
        f"</div>{style.box(code, BLUE, small + '; font-family: monospace')}"
        f"{style.note(html.escape(price(result.cost, 'sample', result.costs)))}"
        f"{chart}{said}"
        f"{style.note(html.escape(ended))}"
    )
