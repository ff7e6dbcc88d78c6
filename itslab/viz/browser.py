"""Samples of a problem to be read, ordered and coloured by what a selector thinks of them."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from plotly.colors import sample_colorscale

from itslab.core import require
from itslab.study.samples import Samples
from itslab.viz.panels import Panel
from itslab.viz.style import BLUE, BOX, INK, MUTED, VIEW, short
from itslab.viz.voting import bars, picture

SCALE = ("#f1f7fc", "#ccdbed", "#a6bfde", "#7fa5d0", "#538bc1")
"""From the lowest score to the highest: a straight line in CIELAB, so that equal steps look equal,
of one hue, so that it means the same to everyone, and never too dark for black text."""

_TEXT = f"margin: 0; color: {INK}; background: white; max-height: 20rem; overflow-y: auto"
_BAR = "display: inline-block; width: 9em; height: 0.8em; margin: 0 0.5em; background"
_COLUMNS = (3, 6, 6)  # em: rank, score, right or wrong; the answer takes the rest


class Sample(NamedTuple):
    """What is shown of one sample."""

    text: str
    answer: str | None
    right: bool
    score: float


class SampleBrowser(Panel):
    """The votes and the samples of the problem that one chooses, in the order of a selector.

    Args:
        samples: n of each of p problems.
        scores: for each name of a selector its scores (p, n), the higher the better; nan is none.
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
        each = map(Sample, texts, samples.answers[i], right, scores)
        prompt = html.escape(samples.task.problems[i].prompt.strip())
        self.view.value = (
            f'<div style="{VIEW}"><pre style="{BOX} {BLUE}; {_TEXT}">{prompt}</pre>'
            f"{chart}{listing(list(each), selector)}</div>"
        )


def listing(samples: Sequence[Sample], selector: str) -> str:
    """Return samples as HTML, the best one by score first."""
    order = sorted(samples, key=lambda s: math.inf if math.isnan(s.score) else -s.score)
    shades = shade([sample.score for sample in order])
    rows = (_row(i, s, c) for i, (s, c) in enumerate(zip(order, shades, strict=True), start=1))
    return (
        f"{_legend(order, selector)}"
        f'<div style="padding-left: 1.6em; font-weight: bold">'
        f"{_cells('rank', 'score', 'graded', 'answer')}</div>{''.join(rows)}"
    )


def shade(scores: Sequence[float]) -> list[str]:
    """Return a colour for each score: its place between the lowest and the highest of them."""
    known = [score for score in scores if not math.isnan(score)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    places = [(score - low) / (high - low) if low < high else 0.5 for score in scores]
    colours = sample_colorscale(list(SCALE), [0 if math.isnan(x) else x for x in places])
    return ["white" if math.isnan(s) else c for s, c in zip(scores, colours, strict=True)]


def _row(rank: int, sample: Sample, colour: str) -> str:
    mark = "<b>✓ right</b>" if sample.right else "✗ wrong"
    answer = "no answer"
    if sample.answer is not None:
        answer = f"<code>{html.escape(short(' '.join(sample.answer.split()), 48))}</code>"
    head = _cells(str(rank), _number(sample.score), mark, answer)
    return (
        f'<details style="background: {colour}; margin-top: 2px">'
        f'<summary style="cursor: pointer; padding: 2px 0.5em">{head}</summary>'
        f'<pre style="{BOX} {colour}; max-width: none; {_TEXT}">{html.escape(sample.text.strip())}'
        f"</pre></details>"
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


def _legend(order: Sequence[Sample], selector: str) -> str:
    """Say what the colours mean."""
    known = [sample.score for sample in order if not math.isnan(sample.score)]
    if not known:
        scale = "no sample has one"
    elif known[0] == known[-1]:
        scale = f"all are {_number(known[0])}"
    else:
        low, high = _number(known[-1]), _number(known[0])
        bar = f'<span style="{_BAR}: linear-gradient(to right, {", ".join(SCALE)})"></span>'
        scale = f"from this problem's lowest, {low}{bar}{high}, its highest"
    text = f"score by {html.escape(selector)}: {scale}"
    return f'<div style="margin: 10px 0; color: {MUTED}">{text}</div>'
