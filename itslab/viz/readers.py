"""What models said, to be read: a conversation, samples of a problem, revisions side by side."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from plotly.colors import sample_colorscale

from itslab.core import Extractor, Node, Result, Tree, require
from itslab.handle import RunHandle
from itslab.study.samples import Samples, lines
from itslab.viz import style
from itslab.viz.controls import WIDE
from itslab.viz.figures import bars, picture
from itslab.viz.panels import Panel, RunPanel
from itslab.viz.style import BLUE, GREEN, GRID, INK, MUTED, ORANGE, RED, WINE, short

# -- a conversation --------------------------------------------------------------------------------

_COLOURS = {"system": MUTED, "user": BLUE, "assistant": ORANGE}


class Transcript:
    """The conversation that ends at a node, displayed in a notebook.

    Args:
        node: any node of a tree. The nodes of a turn are shown as one text.
    """

    def __init__(self, node: Node) -> None:
        messages, pieces = node.conversation()
        self.turns = [(message.role, message.content) for message in messages]
        if pieces:
            self.turns.append(("assistant", "".join(piece.text for piece in pieces)))

    def __str__(self) -> str:
        return "\n\n".join(f"{role}:\n{text.strip()}" for role, text in self.turns)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(
            style.box(
                f"<b>{role}</b>\n{html.escape(text.strip())}", _COLOURS[role], "margin: 0.5rem 0"
            )
            for role, text in self.turns
        )


# -- samples of a problem --------------------------------------------------------------------------

SCALE = ("#f1f7fc", "#ccdbed", "#a6bfde", "#7fa5d0", "#538bc1")
"""From the lowest score to the highest: a straight line in CIELAB, so that equal steps look equal,
of one hue, so that it means the same to everyone, and never too dark for black text."""

_TEXT = f"margin: 0; color: {INK}; background: white; max-height: 20rem; overflow-y: auto"
_RAMP = "display: inline-block; width: 9em; height: 0.8em; margin: 0 0.5em; background"
_COLUMNS = (3, 6, 6)  # em: rank, score, right or wrong; the answer takes the rest


class Entry(NamedTuple):
    """One sample as the browser shows it."""

    text: str
    answer: str | None
    right: bool
    score: float


class SampleBrowser(Panel):
    """The votes and the samples of a chosen problem, in the order of a chosen selector.

    Args:
        samples: n of each of p problems.
        scores: the scores (p, n) of each selector, by its name; higher is better, nan is no score.
    """

    def __init__(self, samples: Samples, scores: Mapping[str, ArrayLike]) -> None:
        import ipywidgets as widgets

        require(len(scores) > 0, "scores", scores, "of at least one selector")
        self._samples, right = samples, samples.correct
        self._scores = {name: np.asarray(each, dtype=float) for name, each in scores.items()}
        for name, each in self._scores.items():
            require(each.shape == right.shape, name, each.shape, f"of shape {right.shape}")
        labels = [f"{i}: {row.sum()} of {len(row)} right" for i, row in enumerate(right, start=1)]
        pairs = [(label, i) for i, label in enumerate(labels)]
        self.problem = widgets.Dropdown(description="problem", options=pairs)
        self.selector = widgets.Dropdown(description="ordered by", options=list(scores))
        super().__init__([self.problem, self.selector])
        self.problem.observe(self._show, "value")
        self.selector.observe(self._show, "value")
        self._show()

    def _show(self, _: Any = None) -> None:
        i, selector, samples = self.problem.value, self.selector.value, self._samples
        right, keys = samples.correct[i].tolist(), samples.keys[i]
        votes = Counter(key for key in keys if key is not None)
        marked = {key for key, mark in zip(keys, right, strict=True) if key is not None and mark}
        chart = picture(bars(votes, marked, keys.count(None)), f"votes of {len(keys)} samples")
        texts = [node.turn_text for node in samples.nodes[i]]
        scores = self._scores[selector][i].tolist()
        each = map(Entry, texts, samples.answers[i], right, scores)
        prompt = style.box(html.escape(samples.task.problems[i].prompt.strip()), BLUE, _TEXT)
        self.view.value = style.view(f"{prompt}{chart}{listing(list(each), selector)}")


def listing(samples: Sequence[Entry], selector: str) -> str:
    """Return samples as HTML, the highest score first and those without a score last."""
    order = sorted(samples, key=lambda s: math.inf if math.isnan(s.score) else -s.score)
    shades = shade([sample.score for sample in order])
    rows = (_row(i, s, c) for i, (s, c) in enumerate(zip(order, shades, strict=True), start=1))
    return (
        f"{_legend(order, selector)}"
        f'<div style="padding-left: 1.6em; font-weight: bold">'
        f"{_cells('rank', 'score', 'graded', 'answer')}</div>{''.join(rows)}"
    )


def shade(scores: Sequence[float]) -> list[str]:
    """Return a colour for each score, by its place between the lowest and the highest."""
    known = [score for score in scores if not math.isnan(score)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    places = [(score - low) / (high - low) if low < high else 0.5 for score in scores]
    colours = sample_colorscale(list(SCALE), [0 if math.isnan(x) else x for x in places])
    return ["white" if math.isnan(s) else c for s, c in zip(scores, colours, strict=True)]


def _row(rank: int, sample: Entry, colour: str) -> str:
    mark = "<b>✓ right</b>" if sample.right else "✗ wrong"  # green and red are lost on the shades
    answer = "no answer"
    if sample.answer is not None:
        answer = f"<code>{html.escape(short(' '.join(sample.answer.split()), 48))}</code>"
    head = _cells(str(rank), _number(sample.score), mark, answer)
    text = style.box(html.escape(sample.text.strip()), colour, f"max-width: none; {_TEXT}")
    return (
        f'<details style="background: {colour}; margin-top: 2px">'
        f'<summary style="cursor: pointer; padding: 2px 0.5em">{head}</summary>{text}</details>'
    )


def _cells(*texts: str) -> str:
    *fixed, last = texts
    boxes = (
        f'<span style="display: inline-block; width: {width}em">{text}</span>'
        for width, text in zip(_COLUMNS, fixed, strict=True)
    )
    return f"{''.join(boxes)}<span>{last}</span>"


def _number(score: float) -> str:
    return "none" if math.isnan(score) else f"{score:#.3g}".rstrip(".").replace("-", "−")


def _legend(order: Sequence[Entry], selector: str) -> str:
    """Return a line that explains the colours."""
    known = [sample.score for sample in order if not math.isnan(sample.score)]
    if not known:
        scale = "no sample has one"
    elif known[0] == known[-1]:
        scale = f"all are {_number(known[0])}"
    else:
        low, high = _number(known[-1]), _number(known[0])
        ramp = f'<span style="{_RAMP}: linear-gradient(to right, {", ".join(SCALE)})"></span>'
        scale = f"from this problem's lowest, {low}{ramp}{high}, its highest"
    return style.note(f"score by {html.escape(selector)}: {scale}")


# -- revisions side by side ------------------------------------------------------------------------

Judge = Callable[[str | None], bool]
Describe = Callable[[Node], str]

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
_MOST = 4000
"""The most words of a text that is compared with another."""

_GONE = f"background: #fbe3e3; text-decoration: line-through; text-decoration-color: {RED}"
_NEW = f"background: #dff3ea; border-bottom: 2px solid {GREEN}"
_SIDE_BY_SIDE = "display: flex; flex-wrap: wrap; gap: 14px; align-items: flex-start"
_COLUMN = "flex: 1 1 20rem; max-width: 30rem; min-width: 0"
_HEAD = f"border-bottom: 2px solid {GRID}; margin-bottom: 6px; font-size: 13px; white-space: nowrap"
_SMALL = f"color: {INK}; font-size: 13px; max-height: 24rem; overflow-y: auto"
_VERSION = f"margin: 0; background: white; {_SMALL}"
_REMARK = f"margin: 6px 0 0; background: #faf5f8; {_SMALL}"
_CODE = "font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; font-size: 12px"


def changes(before: str, after: str) -> tuple[str, str]:
    """Return two texts as HTML: deletions marked in the first, insertions in the second.

    Texts of more than ``_MOST`` words are not marked.
    """
    old, new = _WORD.findall(before), _WORD.findall(after)
    if max(len(old), len(new)) > _MOST:
        return html.escape(before), html.escape(after)
    left, right = [], []
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        left.append(_marked("".join(old[a:b]), "" if kind == "equal" else _GONE))
        right.append(_marked("".join(new[c:d]), "" if kind == "equal" else _NEW))
    return "".join(left), "".join(right)


def _marked(text: str, look: str) -> str:
    text = html.escape(text)
    return f'<span style="{look}">{text}</span>' if look and text else text


def remarks(tree: Tree, version: Node) -> list[str]:
    """Return the remarks on a version: its verifier's note, and critiques of it."""
    note = version.verdict.note if version.verdict else ""
    critiques = (
        node.text
        for node in tree
        if node.completion and node.verdict is None
        if node.parent is not None and node.parent.parent is version
    )
    return [text.strip() for text in (note, *critiques) if text.strip()]


class RefinementPanel(RunPanel):
    """Versions of an answer side by side as they come, below sliders, Run and Stop.

    A slider goes through the iterations: it shows each version beside the one before, with the
    words that changed. Where a run has several lines of versions, another picks one.

    Args:
        begin: starts a run with the values of the sliders, in their order.
        first: what is shown until Run is pressed.
        sliders: widgets with a ``value``.
        extract: reads the answer from the model's turn.
        judge: tells whether an answer is right; None if that is not to be shown.
        describe: says more about a version, such as how many tests it passes.
    """

    def __init__(
        self,
        begin: Callable[..., RunHandle],
        first: Result,
        sliders: Sequence[Any],
        *,
        extract: Extractor,
        judge: Judge | None = None,
        describe: Describe | None = None,
    ) -> None:
        import ipywidgets as widgets

        self.iteration = widgets.IntSlider(description="iteration", min=0, max=0, **WIDE)
        self.line = widgets.IntSlider(description="branch", min=1, max=1, **WIDE)
        self._extract = extract
        self._judge = None if judge is None else lru_cache(judge)  # either may run a program
        self._describe = None if describe is None else lru_cache(describe)
        self._shown: tuple[Tree, str, bool] = Tree(), "", False
        super().__init__(begin, first, sliders)
        controls, view = self.box.children
        self.box.children = [controls, widgets.HBox([self.line, self.iteration]), view]
        self.iteration.observe(self._redraw, "value")
        self.line.observe(self._redraw, "value")
        self._redraw()

    def draw(self, tree: Tree, caption: str, drawing: bool) -> str:
        """Return a version beside the one before, what was said between them, and the price."""
        self._shown = tree, caption, drawing
        self.line.max = max(len(lines(tree)), 1)
        line = self._line(tree)
        latest = max(len(line) - 1, 0)
        follow = drawing and self.iteration.value == self.iteration.max
        self.iteration.max = latest
        if follow:
            self.iteration.value = latest
        at = min(self.iteration.value, latest)
        first = max(at - 1, 0)
        columns = [*self._columns(tree, line[first : at + 1], first)]
        growing = [node for node in tree if node.status == "open"] if drawing else []
        columns += (
            _column("being drawn<br>&nbsp;", html.escape(node.text), []) for node in growing[-1:]
        )
        return _side_by_side(columns, caption, "64rem")

    def finish(self, result: Result, state: str) -> None:
        """Show a run at its end, at the version that it returned."""
        super().finish(result, state)
        for number, line in enumerate(lines(result.tree), start=1):
            if result.node in line:
                self.line.max = max(self.line.max, number)
                self.line.value = number
                self.iteration.max = len(line) - 1
                self.iteration.value = line.index(result.node)

    def picture(self) -> str:
        """Return all versions of the line on view, for a page that nobody can move."""
        tree, caption, _ = self._shown
        return _side_by_side(self._columns(tree, self._line(tree), 0), caption, "none")

    def _line(self, tree: Tree) -> list[Node]:
        """The line of versions on view; empty if there is none yet."""
        known = lines(tree)
        return known[self.line.value - 1] if known else []

    def _columns(self, tree: Tree, line: Sequence[Node], first: int) -> Iterator[str]:
        """Each version of a line as a column; the line begins with version ``first``."""

        def head(version: Node, place: int) -> str:
            right = None if self._judge is None else self._judge(self._extract(version.turn_text))
            return _head(version, first + place, right, self._describe)

        return _columns(tree, line, head)

    def _redraw(self, _: Any = None) -> None:
        self.view.value = self.draw(*self._shown)


def versions(tree: Tree, line: Sequence[Node], right: Callable[[Node], bool | None]) -> str:
    """Return the versions of an answer beside each other, with what was said of each.

    Args:
        tree: that they are in.
        line: the versions, the first answer first; see ``study.samples.lines``.
        right: whether a version's answer is right; None where that is not known.
    """
    columns = _columns(tree, line, lambda version, i: _head(version, i, right(version), None))
    return _side_by_side(columns, "", "none")


def _columns(tree: Tree, line: Sequence[Node], head: Callable[[Node, int], str]) -> Iterator[str]:
    """Yield each version of a line as a column, with its changes and what was said of it."""
    for i, version in enumerate(line):
        text = version.turn_text.strip()
        after = line[i + 1] if i + 1 < len(line) else None
        if i:
            shown = changes(line[i - 1].turn_text.strip(), text)[1]
        elif after is not None:
            shown = changes(text, after.turn_text.strip())[0]
        else:
            shown = html.escape(text)
        yield _column(head(version, i), shown, remarks(tree, version))


def _head(version: Node, place: int, right: bool | None, describe: Describe | None) -> str:
    """The heading of a version: which it is, whether it is right, its score and its cost."""
    title = f'<b style="color: {BLUE}">version {place + 1}</b>'
    title += "" if right is None else f" · {style.mark(right)}"
    parts = []
    if version.verdict and not math.isnan(version.verdict.score):
        parts.append(f"score {version.verdict.score:.2f}".rstrip("0").rstrip("."))
    if describe is not None:
        parts.append(html.escape(describe(version)))
    if version.completion:
        parts.append(f"{version.completion.cost.decoded} tokens")
    return f'{title}<br><span style="color: {MUTED}">{" · ".join(parts)}</span>'


def _side_by_side(columns: Iterable[str], caption: str, max_width: str) -> str:
    row = f'<div style="{_SIDE_BY_SIDE}">{"".join(columns)}</div>'
    return style.view(f"{row}{style.note(html.escape(caption))}", max_width)


def _column(head: str, text: str, said: Sequence[str]) -> str:
    look = f"{_VERSION}; {_CODE}" if "```" in text else _VERSION
    notes = "".join(style.box(html.escape(remark), WINE, _REMARK) for remark in said)
    return (
        f'<div style="{_COLUMN}"><div style="{_HEAD}">{head}</div>'
        f"{style.box(text, ORANGE, look)}{notes}</div>"
    )
