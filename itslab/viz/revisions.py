"""Versions of an answer side by side: what was said of each, and what the next one changed."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from itslab.core import Cost, Extractor, Node, Result, Tree
from itslab.study.revisions import lines
from itslab.viz.panels import RunPanel, price
from itslab.viz.style import BLUE, BOX, GREEN, GRID, INK, MUTED, ORANGE, RED, VIEW, WINE

if TYPE_CHECKING:
    from itslab.handle import RunHandle

Judge = Callable[[str | None], bool]
Told = Callable[[Node], str]

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_MOST = 4000
"""Words up to which two texts are compared; longer ones are shown without marks."""

_GONE = f"background: #fbe3e3; text-decoration: line-through; text-decoration-color: {RED}"
_NEW = f"background: #dff3ea; border-bottom: 2px solid {GREEN}"
_ROW = "display: flex; gap: 14px; overflow-x: auto; align-items: flex-start"
_COLUMN = "flex: 1 0 20rem; max-width: 30rem; min-width: 0"
_TEXT = f"{BOX} {ORANGE}; margin: 0; background: white; color: {INK}; font-size: 13px"
_CODE = "font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 12px"
_SAID = f"{BOX} {WINE}; margin: 6px 0 0; background: #faf5f8; color: {INK}; font-size: 13px"
_HEAD = f"border-bottom: 2px solid {GRID}; margin-bottom: 6px; font-size: 13px; white-space: nowrap"
_HEIGHT = "max-height: 24rem; overflow-y: auto"


def changes(before: str, after: str) -> tuple[str, str]:
    """Return two texts as HTML: in the first marked what goes, in the second what is new."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    if max(len(old), len(new)) > _MOST:
        return html.escape(before), html.escape(after)
    left, right = [], []
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        left.append(_marked("".join(old[a:b]), "" if kind == "equal" else _GONE))
        right.append(_marked("".join(new[c:d]), "" if kind == "equal" else _NEW))
    return "".join(left), "".join(right)


def _marked(text: str, style: str) -> str:
    text = html.escape(text)
    return f'<span style="{style}">{text}</span>' if style and text else text


def remarks(tree: Tree, version: Node) -> list[str]:
    """What was said of a version: its verifier's note, and a critique of it."""
    note = version.verdict.note if version.verdict else ""
    critiques = (
        node.text
        for node in tree
        if node.completion and node.verdict is None
        if node.parent is not None and node.parent.parent is version
    )
    return [text.strip() for text in (note, *critiques) if text.strip()]


class RefinementPanel(RunPanel):
    """Sliders, Run and Stop, and the versions of an answer side by side as they come.

    A slider goes through the iterations: it shows each version beside the one before, with the
    words that changed. Where a run has several lines of versions, another picks one.

    Args:
        begin: starts a run with the values of the sliders, in their order.
        first: what is shown until Run is pressed.
        sliders: each with a ``value``.
        extract: reads the answer from the model's turn.
        judge: whether an answer is right, if that is to be shown.
        told: what else to tell of a version, such as how many tests it passes.
    """

    def __init__(
        self,
        begin: Callable[..., RunHandle],
        first: Result,
        sliders: Sequence[Any],
        *,
        extract: Extractor,
        judge: Judge | None = None,
        told: Told | None = None,
    ) -> None:
        import ipywidgets as widgets

        wide = {"style": {"description_width": "90px"}, "layout": {"margin": "2px 12px 2px 2px"}}
        self.iteration = widgets.IntSlider(description="iteration", min=0, max=0, **wide)
        self.line = widgets.IntSlider(description="branch", min=1, max=1, **wide)
        self._extract = extract
        self._judge = None if judge is None else lru_cache(judge)  # either may run a program
        self._told = None if told is None else lru_cache(told)
        self._shown: tuple[Tree, Cost, str] | None = None
        super().__init__(begin, first, sliders)
        self.box.children = [
            self.box.children[0],
            widgets.HBox([self.line, self.iteration]),
            self.view,
        ]
        self._to_best(first)
        self.iteration.observe(self._redraw, "value")
        self.line.observe(self._redraw, "value")
        self._redraw()

    def draw(self, tree: Tree, cost: Cost, state: str) -> str:
        """Return a version beside the one before, what was said between them, and the price."""
        self._shown = tree, cost, state
        known = lines(tree)
        self.line.max = max(len(known), 1)
        line = known[self.line.value - 1] if known else []
        latest = max(len(line) - 1, 0)
        follow = state == "drawing" and self.iteration.value == self.iteration.max
        self.iteration.max = latest
        if follow:
            self.iteration.value = latest
        at = min(self.iteration.value, latest)
        pair = line[max(at - 1, 0) : at + 1]
        growing = [node for node in tree if node.status == "open"] if state == "drawing" else []
        columns = [
            *self._columns(tree, pair, max(at - 1, 0)),
            *(
                _column("being drawn<br>&nbsp;", html.escape(node.text), [])
                for node in growing[-1:]
            ),
        ]
        return (
            f'<div style="{VIEW}; max-width: 64rem"><div style="{_ROW}">{"".join(columns)}</div>'
            f'<div style="color: {MUTED}; margin-top: 8px">{state}: {price(cost, "completion")}'
            f"</div></div>"
        )

    def finish(self, result: Result, state: str) -> None:
        """Show a run at its end, at the version that it returned."""
        super().finish(result, state)
        self._to_best(result)

    def picture(self) -> str:
        """Return all versions of the line on view, for a page that nobody can move."""
        assert self._shown is not None  # it was drawn when it was made
        tree, cost, state = self._shown
        known = lines(tree)
        line = known[self.line.value - 1] if known else []
        columns = "".join(self._columns(tree, line, 0))
        return (
            f'<div style="{VIEW}; max-width: none"><div style="{_ROW}">{columns}</div>'
            f'<div style="color: {MUTED}; margin-top: 8px">{state}: {price(cost, "completion")}'
            f"</div></div>"
        )

    def _columns(self, tree: Tree, line: Sequence[Node], first: int) -> Iterator[str]:
        """Each version of a line as a column, with what it changed and what was said of it."""
        for i, version in enumerate(line):
            text = version.turn_text.strip()
            after = line[i + 1] if i + 1 < len(line) else None
            if i:
                shown = changes(line[i - 1].turn_text.strip(), text)[1]
            elif after is not None:
                shown = changes(text, after.turn_text.strip())[0]
            else:
                shown = html.escape(text)
            yield _column(self._head(version, first + i), shown, remarks(tree, version))

    def _head(self, version: Node, place: int) -> str:
        """Which version it is and whether it is right; below, how it scored and what it cost."""
        title = f'<b style="color: {BLUE}">{f"revision {place}" if place else "first answer"}</b>'
        if self._judge is not None:
            right = self._judge(self._extract(version.turn_text))
            title += f' · <b style="color: {GREEN}">✓ right</b>' if right else " · ✗ wrong"
        parts = []
        if version.verdict and not math.isnan(version.verdict.score):
            parts.append(f"score {version.verdict.score:.2f}".rstrip("0").rstrip("."))
        if self._told is not None:
            parts.append(html.escape(self._told(version)))
        if version.completion:
            parts.append(f"{version.completion.cost.decoded} tokens")
        return f'{title}<br><span style="color: {MUTED}">{" · ".join(parts)}</span>'

    def _to_best(self, result: Result) -> None:
        """Show the line, and the version of it, that the run returned."""
        for number, line in enumerate(lines(result.tree), start=1):
            if result.node in line:
                self.line.max = max(self.line.max, number)
                self.line.value = number
                self.iteration.max = len(line) - 1
                self.iteration.value = line.index(result.node)

    def _redraw(self, _: Any = None) -> None:
        if self._shown is not None:
            self.view.value = self.draw(*self._shown)


def _column(head: str, text: str, said: Sequence[str]) -> str:
    notes = "".join(f'<pre style="{_SAID}; {_HEIGHT}">{html.escape(note)}</pre>' for note in said)
    style = f"{_TEXT}; {_CODE}" if "```" in text else _TEXT
    return (
        f'<div style="{_COLUMN}"><div style="{_HEAD}">{head}</div>'
        f'<pre style="{style}; {_HEIGHT}">{text}</pre>{notes}</div>'
    )
